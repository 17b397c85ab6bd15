"""3D human body meshes from photos and videos, every person in the camera coordinates of the full frame."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullframe.geometry.camera import Camera
    from fullframe.models import load_model
    from fullframe.recovery.photo import Recoverer, recover
    from fullframe.recovery.video import recover_video
    from fullframe.results.clip import Clip
    from fullframe.results.people import People

__version__ = "0.1.0"
__all__ = ["Camera", "Clip", "People", "Recoverer", "load_model", "recover", "recover_video"]

_HOME = {
    "Camera": "fullframe.geometry.camera",
    "Clip": "fullframe.results.clip",
    "People": "fullframe.results.people",
    "Recoverer": "fullframe.recovery.photo",
    "load_model": "fullframe.models",
    "recover": "fullframe.recovery.photo",
    "recover_video": "fullframe.recovery.video",
}


def __getattr__(name: str) -> Any:
    """Import on first use: torch takes seconds, and the command's own checks need none of it."""
    if name not in _HOME:
        raise AttributeError(f"module 'fullframe' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
