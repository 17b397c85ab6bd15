"""The ways to fit bodies to annotated keypoints."""
