"""Synthetic people in full frames, with exact cameras and labels."""
