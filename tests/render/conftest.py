import numpy as np
import pytest
import trimesh

from fullframe.geometry.camera import Camera
from fullframe.results.people import People


@pytest.fixture
def balls():
    """People whose bodies are balls: balls(centres (N, 3), radius, camera)."""

    def make(centers, radius=0.5, camera=None):
        centers = np.asarray(centers, float).reshape(-1, 3)
        number = len(centers)
        ball = trimesh.creation.icosphere(subdivisions=4, radius=radius)
        return People(
            boxes=np.zeros((number, 4)),
            scores=np.ones(number),
            track_ids=np.arange(number),
            keypoints=np.zeros((number, 17, 3)),
            pose=np.tile(np.eye(3), (number, 24, 1, 1)),
            betas=np.zeros((number, 10)),
            translation=centers,
            vertices=ball.vertices + centers[:, None],
            joints=np.repeat(centers[:, None], 24, axis=1),
            faces=ball.faces,
            camera=camera or Camera.from_focal(400, (320, 240)),
            body="ball",
            model="test",
        )

    return make
