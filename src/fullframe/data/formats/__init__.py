"""Readers of data sets: each gives a sequence of Samples."""
