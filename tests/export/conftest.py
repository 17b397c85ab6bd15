from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp
from synthetic_smpl import synthetic_smpl, write_npz

from fullframe.assets import MOTION
from fullframe.body.body_model import BodyModel, load_body
from fullframe.geometry.camera import Camera
from fullframe.results.clip import Clip

IDS = (4, 7)
PITCH, HEIGHT = 0.3, 1.6  # radians that the camera looks down, metres that it is above the ground
TILT = Rotation.from_euler("x", PITCH).as_matrix()  # from a level camera frame to the camera's
GROUND = np.array([*(TILT @ [0, -1, 0]), HEIGHT])
CAMERA = Camera((900.0, 950.0), (650.0, 350.0), (1280, 720), "intrinsics")


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return load_body("open", num_betas=11)


@pytest.fixture(scope="session")
def smpl_body(tmp_path_factory: pytest.TempPathFactory) -> BodyModel:
    """A stick figure with SMPL's keys and shapes."""
    path = tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz"
    return load_body("smpl-neutral", write_npz(path, synthetic_smpl()))


@pytest.fixture
def make_clip() -> Callable[..., Clip]:
    return moving_people


def moving_people(
    frames: int = 12,
    num_people: int = 2,
    times: np.ndarray | None = None,
    absent: tuple[int, ...] = (0, 1, 6),
    body: str = "open",
    num_betas: int = 11,
    ground: np.ndarray = GROUND,
) -> Clip:
    """People who turn on the spot from one motion-capture pose to another, seen by a camera that looks down.

    The second person is not there in the frames `absent`.
    """
    rng = np.random.default_rng(frames)
    times = np.arange(frames) / 25 if times is None else np.asarray(times, float)
    theta = np.load(MOTION)["theta"].astype(float)
    betas = rng.normal(0, 0.7, (num_people, num_betas))
    rows = []
    for person in range(num_people):
        ends = Rotation.from_rotvec(theta[rng.choice(len(theta), 2)].reshape(-1, 3))
        ends = ends.as_matrix().reshape(2, 24, 3, 3)
        share = np.linspace(0, 1, frames)
        pose = np.stack(
            [Slerp([0, 1], Rotation.from_matrix(ends[:, k]))(share).as_matrix() for k in range(24)], 1
        )
        yaw = Rotation.from_euler("y", 40 * person + 200 * share[:, None], degrees=True).as_matrix()
        pose[:, 0] = TILT @ np.diag([1, -1, -1]) @ yaw
        for frame in range(frames):
            if person == 1 and frame in absent:
                continue
            place = TILT @ [1.2 * person - 0.6, HEIGHT - 0.95, 4 + person + 0.3 * share[frame]]
            rows.append((frame, IDS[person], pose[frame], betas[person], place))
    rows.sort(key=lambda row: row[:2])
    number = len(rows)
    return Clip(
        times=times,
        frames=np.array([row[0] for row in rows], np.int64),
        track_ids=np.array([row[1] for row in rows], np.int64),
        detected=np.arange(number) != 2,
        boxes=rng.uniform(0, 500, (number, 4)),
        scores=rng.uniform(0, 1, number),
        keypoints=rng.uniform(0, 1, (number, 17, 3)) * (500, 500, 1),
        pose=np.array([row[2] for row in rows]).reshape(-1, 24, 3, 3),
        betas=np.array([row[3] for row in rows]).reshape(-1, num_betas),
        translation=np.array([row[4] for row in rows]).reshape(-1, 3),
        contacts=rng.random((number, 2)) < 0.5,
        camera=CAMERA,
        body=body,
        model="some model",
        ground=ground.copy(),
        video="street.mp4",
    )
