"""Labels for photos that have only 2D keypoints: bodies in the camera of the full frame."""
