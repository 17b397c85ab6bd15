"""From people in single frames to motion: who is who, where shots end, smoothness, ground and contacts."""

from fullframe.motion.postprocess import finish

__all__ = ["finish"]
