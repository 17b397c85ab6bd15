"""Results: the people of a photo (People) and of a video (Clip)."""
