"""3D human body meshes from ordinary photos, every person in the camera coordinates of the full frame."""

from fullframe.geometry.camera import Camera
from fullframe.models import load_model
from fullframe.people import People
from fullframe.recover import Recoverer, recover

__version__ = "0.1.0"
__all__ = ["Camera", "People", "Recoverer", "load_model", "recover"]
