"""The people drawn over the photo they were found in."""

import numpy as np
from numpy.typing import NDArray

from fullframe.render.colors import person_colors
from fullframe.render.mesh_shading import draw_meshes
from fullframe.results.people import People

# The body's form must be clear, and the photo just visible through it to judge the fit.
_OPACITY = 0.85


def overlay(image: NDArray[np.uint8], people: People) -> NDArray[np.uint8]:
    """A copy of the photo with every person's body, lit and in the person's colour.

    People hide each other by their distance. Parts nearer than 5 cm to the camera are cut off.

    Args:
        image: (H, W, 3) RGB, the upright photo.

    Raises:
        ValueError: if the image has another size than the people's camera.
    """
    height, width = image.shape[:2]
    if (width, height) != tuple(people.camera.size):
        raise ValueError(f"the image is {width} x {height} px, the camera's {people.camera.size}")
    colors = person_colors(people.track_ids)
    vertices = people.camera.bend(people.vertices)  # the photo has the distortion of its lens
    return draw_meshes(image, vertices, people.faces, colors, people.camera.intrinsics, _OPACITY)
