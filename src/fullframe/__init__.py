"""3D human body meshes from photos and videos, every person in the camera coordinates of the full frame."""

import lazy_loader

# The public names are listed in __init__.pyi alone. They are imported on first use: torch takes seconds.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
