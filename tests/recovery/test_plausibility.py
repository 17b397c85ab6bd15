import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.body import load_body
from fullframe.fit.energy import DISTANCES
from fullframe.geometry.camera import Camera, project_points
from fullframe.models.predict import Bodies
from fullframe.recovery.plausibility import bounded, check, check_clip, reprojection_error
from fullframe.results.clip import Clip

CAMERA = Camera.from_fov(60, (1280, 720))
BOX = np.array([[600, 200, 700, 500]], np.float32)
FACING = np.diag([1.0, -1.0, -1.0])


def standing(translation=(0.0, 0.0, 6.0), num_betas: int = 11) -> Bodies:
    pose = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
    pose[:, 0] = FACING
    return Bodies(pose, np.zeros((1, num_betas), np.float32), np.array([translation], np.float32))


def test_possible_bodies_are_left_alone():
    bodies = standing()
    found, possible = bounded(bodies, BOX, CAMERA)
    assert possible.tolist() == [True]
    for after, before in zip(found, bodies, strict=True):
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("depth", [1e10, -3, 0, 0.01])
def test_impossible_distances_become_plausible(depth):
    found, possible = bounded(standing((0.02 * depth, 0.01 * depth, depth)), BOX, CAMERA)
    assert possible.tolist() == [False]
    x, y, z = found.translation[0]
    assert DISTANCES[0] <= z <= DISTANCES[1]
    if depth > 0:  # on the same ray
        np.testing.assert_allclose((x / z, y / z), (0.02, 0.01), rtol=1e-5)


@pytest.mark.parametrize("broken", ["pose", "betas", "translation"])
def test_bodies_that_are_not_finite_stand_upright_in_their_box(broken):
    bodies = standing()
    values = bodies._asdict()
    values[broken] = np.full_like(values[broken], np.nan)
    found, possible = bounded(Bodies(**values), BOX, CAMERA)
    assert possible.tolist() == [False] and all(np.isfinite(value).all() for value in found)
    np.testing.assert_allclose(project_points(found.translation, CAMERA)[0], (650, 350), atol=1)


def test_nobody():
    bodies, box = standing(), np.zeros((0, 4), np.float32)
    found, possible = bounded(Bodies(*(value[:0] for value in bodies)), box, CAMERA)
    assert len(possible) == 0 and found.pose.shape == (0, 24, 3, 3)


@pytest.mark.parametrize("translation", [(0, 0, -3), (0, 1, 1e-45), (3e38, 0, 6), (3e38, 0, 0.01)])
def test_bodies_that_are_on_no_ray_of_the_photo_go_to_their_box(translation):
    found, possible = bounded(standing(translation), BOX, CAMERA)
    assert possible.tolist() == [False]
    np.testing.assert_allclose(project_points(found.translation, CAMERA)[0], (650, 350), atol=1)


@settings(max_examples=50)
@given(st.lists(st.floats(width=32), min_size=3, max_size=3), st.floats(1, 4000), st.floats(1, 4000))
def test_whatever_the_translation(translation, width, height):
    box = np.array([[5, 5, 5 + width, 5 + height]], np.float32)
    found, _ = bounded(standing(translation), box, CAMERA)
    assert np.isfinite(found.translation).all()
    assert DISTANCES[0] * 0.999 <= found.translation[0, 2] <= DISTANCES[1] * 1.001


def test_reliable_people_agree_with_enough_keypoints():
    body, bodies = load_body(num_betas=11), standing()
    vertices = body(*(torch.from_numpy(v) for v in (bodies.betas, bodies.pose, bodies.translation))).vertices
    joints = body.regress(vertices, "coco17").numpy()
    pixels = project_points(joints[0], CAMERA)
    keypoints = np.concatenate((pixels, np.ones((17, 1))), 1)[None].astype(np.float32)
    box = np.concatenate((pixels.min(0), pixels.max(0)))[None].astype(np.float32)
    seen = np.ones((1, 17), bool)
    assert reprojection_error(pixels[None], keypoints, seen, box)[0] < 1e-4
    assert check(body, bodies, np.array([True]), joints, keypoints, box, CAMERA)[0][0] < 1e-4
    assert np.isnan(reprojection_error(pixels[None], keypoints, ~seen, box)[0])

    def reliable(points, possible=True, bodies=bodies):
        some = np.array([possible])
        return bool(check(body, bodies, some, joints, points, box, CAMERA)[1][0])

    few, far = keypoints.copy(), keypoints.copy()
    few[:, 5:, 2] = 0
    far[:, :, 0] += 0.2 * (box[0, 3] - box[0, 1])
    assert reliable(keypoints) and not reliable(keypoints, possible=False)
    assert not reliable(few) and not reliable(far)
    giant = bodies._replace(betas=np.float32([[12] + 10 * [0]]))
    assert not reliable(keypoints, bodies=giant)


def test_clips_store_the_agreement_of_each_body(tmp_path):
    body = load_body(num_betas=11)
    rows = 5  # as it was seen, keypoints of a filled gap, moved keypoints, a body far off, few keypoints
    pose, betas, translation = (np.repeat(value, rows, axis=0) for value in standing())
    vertices = body(*map(torch.from_numpy, (betas, pose, translation))).vertices
    pixels = project_points(body.regress(vertices, "coco17").numpy()[0], CAMERA)
    box = np.concatenate((pixels.min(0), pixels.max(0)))
    keypoints = np.tile(np.concatenate((pixels, np.ones((17, 1))), 1), (rows, 1, 1))
    keypoints[1] = 0
    keypoints[2, :, 0] += 0.2 * (box[3] - box[1])
    translation[3] *= 1e6
    keypoints[4, 5:, 2] = 0
    clip = check_clip(
        body,
        Clip(
            times=np.arange(rows) / 25,
            frames=np.arange(rows),
            track_ids=np.zeros(rows, np.int64),
            detected=np.arange(rows) != 1,
            boxes=np.tile(box, (rows, 1)),
            scores=np.ones(rows),
            keypoints=keypoints,
            pose=pose,
            betas=betas,
            translation=translation,
            camera=CAMERA,
            body="open",
            model="",
        ),
    )
    assert clip.reliable.tolist() == [True, False, False, False, False]
    assert clip.reprojection[0] < 1e-4 and np.isnan(clip.reprojection[1]) and clip.reprojection[4] < 1e-4
    np.testing.assert_allclose(clip.reprojection[2], 0.2, atol=1e-3)
    assert DISTANCES[0] <= clip.translation[3, 2] <= DISTANCES[1]
    clip.save(tmp_path / "a.npz")
    assert Clip.load(tmp_path / "a.npz").reliable.tolist() == clip.reliable.tolist()
    assert clip.people(0, body).reliable.tolist() == [True]


def test_a_clip_of_nobody():
    empty = np.zeros((0, 4))
    clip = Clip(
        np.zeros(1), *(np.zeros(0) for _ in range(3)), empty, np.zeros(0), np.zeros((0, 17, 3)),
        np.zeros((0, 24, 3, 3)), np.zeros((0, 11)), np.zeros((0, 3)), CAMERA, "open", "",
    )  # fmt: skip
    assert len(check_clip(load_body(num_betas=11), clip).reliable) == 0
