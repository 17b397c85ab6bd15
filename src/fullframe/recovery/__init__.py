"""Recovering people from photos, videos and live cameras."""
