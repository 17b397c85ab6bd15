"""Bodies fitted to 2D keypoints in the full frame."""

from fullframe.fit.keypoint_fitter import Fit, FitWeights, KeypointFitter

__all__ = ["Fit", "FitWeights", "KeypointFitter"]
