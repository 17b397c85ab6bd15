"""What is recovered: the people of a photo, and of a clip."""
