"""Pictures of People: over the photo, from the side, from above, and all of them on one sheet."""

from fullframe.render.overlay import overlay
from fullframe.render.sheet import sheet
from fullframe.render.views import birds_eye, side_view

__all__ = ["birds_eye", "overlay", "sheet", "side_view"]
