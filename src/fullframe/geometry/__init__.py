"""Pure functions: rotations, boxes and crops, cameras."""
