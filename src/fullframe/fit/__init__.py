"""Bodies fitted to 2D keypoints in the full frame."""

from fullframe.fit.smplify import Fit, FitWeights, KeypointFitter

__all__ = ["Fit", "FitWeights", "KeypointFitter"]
