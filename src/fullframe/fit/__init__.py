"""Bodies fitted to 2D keypoints in the full frame."""

from fullframe.fit.clip_fitter import fit_clip
from fullframe.fit.energy import FitWeights
from fullframe.fit.keypoint_fitter import Fit, KeypointFitter

__all__ = ["Fit", "FitWeights", "KeypointFitter", "fit_clip"]
