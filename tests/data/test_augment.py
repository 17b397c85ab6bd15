import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fullframe.body.body_model import BodyModel, load_body
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.augment import Augmentation, augment
from fullframe.data.batch import Example
from fullframe.data.sample import Sample
from fullframe.geometry.box import PersonBox, box_from_xyxy, crop_image
from fullframe.geometry.camera import Camera
from fullframe.models.cliff import CLIFF
from fullframe.models.crop_regressor import Prediction, box_to_bbox_info

CROP = (128, 96)
GEOMETRY = Augmentation(
    rotation_probability=1, half_body=0.5, occlusion=0, channel_noise=0, gamma=0, grey=0, blur=0, downscale=0,
    jpeg=0,
)  # fmt: skip
TURNED = dataclasses.replace(
    Augmentation.none(), rotation=30.0, rotation_limit=60.0, rotation_probability=1.0
)
MIRRORED = dataclasses.replace(Augmentation.none(), flip=1.0)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open", num_betas=11)


@pytest.fixture(scope="module")
def cliff() -> CLIFF:
    return CLIFF("tf_efficientnet_lite0", CROP)


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    return points[..., :2] / points[..., 2:3] * camera.focal + np.array(camera.principal_point)


def person(body: BodyModel, seed: int) -> Sample:
    """A random body in front of a random camera with exact labels."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(300, 900)), int(rng.integers(300, 900)))
    focal = rng.uniform(0.6, 2) * max(size)
    camera = Camera((focal, focal), tuple(rng.uniform(0.3, 0.7, 2) * size), size, "intrinsics")
    vectors = torch.from_numpy(rng.normal(0, 0.3, (24, 3)))
    pose = torch.linalg.matrix_exp(
        torch.stack([torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]]) for x, y, z in vectors.tolist()])
    )
    pose[0] = pose[0] @ torch.diag(torch.tensor([1.0, -1, -1], dtype=pose.dtype))
    betas = rng.normal(0, 1, 11).astype(np.float32)
    depth = rng.uniform(2, 8)
    offset = rng.uniform(-0.3, 0.3, 2) * np.array(size) / focal * depth
    translation = np.array([*offset, depth], np.float32)
    posed = body(torch.from_numpy(betas)[None], pose[None].float(), torch.from_numpy(translation)[None])
    joints = {"smpl24": posed.joints[0].numpy(), "coco17": body.regress(posed.vertices)[0].numpy()}
    points = {name: project(xyz, camera) for name, xyz in joints.items()}
    box = np.concatenate((points["smpl24"].min(0), points["smpl24"].max(0))).astype(np.float32)
    return Sample(
        np.zeros((size[1] // 4, size[0] // 4, 3), np.uint8),
        camera,
        box,
        window=(0.0, 0.0, 4.0),
        keypoints={name: with_ones(points[name]) for name in points},
        joints={name: with_ones(joints[name]) for name in joints},
        pose=pose.numpy().astype(np.float32),
        betas=betas,
        translation=translation,
    )


def with_ones(points: np.ndarray) -> np.ndarray:
    return np.concatenate((points, np.ones((len(points), 1))), axis=1).astype(np.float32)


def weak_camera(example: Example, translation: np.ndarray) -> torch.Tensor:
    """Inverse of crop_to_full_translation: what a perfect network would predict."""
    x, y, z = translation
    cx, cy, b = example.bbox_info.astype(np.float64)
    s = 2 / (b * z)
    return torch.tensor([[s, x - 2 * cx / (b * s), y - 2 * cy / (b * s)]])


def seen_by_model(example: Example, cliff: CLIFF, name: str) -> np.ndarray:
    joints = example.joints[name][:, :3].astype(np.float64)
    pelvis = example.joints["smpl24"][0, :3].astype(np.float64)
    prediction = Prediction(torch.zeros(1, 24, 3, 3), torch.zeros(1, 11), weak_camera(example, pelvis))
    bbox_info = torch.from_numpy(example.bbox_info.astype(np.float64))[None]
    return cliff.project(torch.from_numpy(joints - pelvis)[None], prediction, bbox_info)[0].numpy()


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40)
def test_labels_agree_through_the_models_camera(body: BodyModel, cliff: CLIFF, seed: int) -> None:
    sample = person(body, seed)
    example = augment(sample, CROP, np.random.default_rng(seed), GEOMETRY)
    for name in ("smpl24", "coco17"):
        seen = seen_by_model(example, cliff, name)
        np.testing.assert_allclose(seen, example.keypoints[name][:, :2], atol=1e-3)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_pose_and_shape_give_the_joints(body: BodyModel, seed: int) -> None:
    example = augment(person(body, seed), CROP, np.random.default_rng(seed), GEOMETRY)
    posed = body(torch.from_numpy(example.betas)[None], torch.from_numpy(example.pose)[None])
    pelvis = example.joints["smpl24"][0, :3] - posed.joints[0, 0].numpy()
    np.testing.assert_allclose(posed.joints[0], example.joints["smpl24"][:, :3] - pelvis, atol=2e-3)
    coco17 = example.joints["coco17"][:, :3] - pelvis
    np.testing.assert_allclose(body.regress(posed.vertices)[0], coco17, atol=2e-3)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test_pixels_and_keypoints_move_together(body: BodyModel, seed: int) -> None:
    sample = person(body, seed)
    width, height = sample.camera.size
    image = np.zeros((height, width, 3), np.uint8)
    radius = round(0.05 * float((sample.box[2:] - sample.box[:2]).max())) + 4
    low, high = radius + 3, np.array([width, height]) - radius - 3
    inside = [p for p in sample.keypoints["coco17"][:, :2] if (p > low).all() and (p < high).all()]
    if not inside:
        return
    x, y = inside[0]
    cv2.circle(image, (round(16 * float(x)), round(16 * float(y))), 16 * radius, (255,) * 3, -1, shift=4)
    whole = dataclasses.replace(sample, image=image, window=(0.0, 0.0, 1.0))
    options = dataclasses.replace(GEOMETRY, half_body=0.0)
    example = augment(whole, CROP, np.random.default_rng(seed), options)
    # The same pixels, given as a reduced window of the image: blocks of 2 x 2 have their centre at +0.5.
    x0, y0 = (0, 0)
    small = cv2.resize(
        image[y0 : height // 2 * 2, x0 : width // 2 * 2], None, fx=0.5, fy=0.5, interpolation=3
    )
    part = dataclasses.replace(sample, image=small, window=(0.5, 0.5, 2.0))
    again = augment(part, CROP, np.random.default_rng(seed), options)
    for one in (example, again):
        weight = one.crop[..., 0].astype(np.float64)
        if weight[[0, -1]].any() or weight[:, [0, -1]].any() or not weight.any():
            continue  # the spot is cut by the crop
        ys, xs = np.indices(weight.shape)
        middle = np.array([(xs * weight).sum(), (ys * weight).sum()]) / weight.sum()
        points = one.keypoints["coco17"][:, :2] * 64 + (48, 64)
        # The spot is drawn in whole pixels of the image.
        magnification = CROP[0] / (one.bbox_info[2] * sample.camera.focal[0])
        assert np.linalg.norm(points - middle, axis=1).min() < 0.4 * max(1, magnification)


def test_the_plain_crop_is_that_of_inference(body: BodyModel) -> None:
    sample = person(body, 3)
    width, height = sample.camera.size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sample = dataclasses.replace(sample, image=pixels, window=(0.0, 0.0, 1.0))
    example = augment(sample, CROP, np.random.default_rng(1), Augmentation.none())
    box = box_from_xyxy(sample.box, CROP[0] / CROP[1], enlarge=1.2)
    np.testing.assert_array_equal(example.crop, crop_image(pixels, box, CROP)[0])
    np.testing.assert_allclose(example.bbox_info, box_to_bbox_info(box, sample.camera)[0], rtol=1e-6)
    np.testing.assert_array_equal(example.pose, sample.pose)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_left_stays_left(tmp_path: Path, flip: float) -> None:
    """Someone who faces us with a red left hand and a blue right one, in a picture on disk.

    Their left hand is on our right. It also is in the mirrored picture, where it is the blue one.
    """
    image = np.full((200, 150, 3), 90, np.uint8)
    image[90:110, 110:130] = (250, 0, 0)
    image[90:110, 20:40] = (0, 0, 250)
    path = tmp_path / "hands.png"
    cv2.imwrite(str(path), image[..., ::-1])
    keypoints = np.zeros((17, 3), np.float32)
    names = JOINT_SETS["coco17"].names
    left, right = names.index("left_wrist"), names.index("right_wrist")
    keypoints[left], keypoints[right] = (119.5, 99.5, 1), (29.5, 99.5, 1)
    box = np.array([20, 20, 130, 180], np.float32)
    sample = Sample(path, Camera.from_diagonal((150, 200)), box, keypoints={"coco17": keypoints})
    colors = {left: 2 if flip else 0, right: 0 if flip else 2}
    for seed in range(20):
        options = dataclasses.replace(TURNED, flip=flip)
        example = augment(sample, CROP, np.random.default_rng(seed), options)
        points = example.keypoints["coco17"]
        assert points[left, 0] > points[right, 0]
        for row, channel in colors.items():
            x, y = np.round(points[row, :2] * 64 + (48, 64)).astype(int)
            assert 0 <= x < 96 and 0 <= y < 128
            assert example.crop[y, x].argmax() == channel and example.crop[y, x].max() > 200
        assert example.keypoints["coco17"][[left, right], 2].tolist() == [1, 1]
        assert not example.keypoints["coco17"][0].any()  # not annotated: zero, not some place


def test_a_mirrored_person_looks_at_the_mirrored_picture() -> None:
    image = np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)
    camera = Camera((70.0, 70.0), (20.0, 41.0), (60, 80), "intrinsics")
    plain = Sample(image, camera, np.array([10, 10, 40, 60], np.float32))
    mirrored_camera = Camera((70.0, 70.0), (59 - 20.0, 41.0), (60, 80), "intrinsics")
    by_hand = Sample(
        np.ascontiguousarray(image[:, ::-1]), mirrored_camera, np.array([19, 10, 49, 60], np.float32)
    )
    rng = np.random.default_rng(0)
    ours, expected = augment(plain, CROP, rng, MIRRORED), augment(by_hand, CROP, rng, Augmentation.none())
    np.testing.assert_allclose(ours.bbox_info, expected.bbox_info, atol=1e-6)
    assert np.abs(ours.crop.astype(int) - expected.crop).max() <= 2


def as_sample(example: Example, camera: Camera) -> Sample:
    """The labels of a view as a new sample, seen by a camera whose principal point is (0, 0)."""
    focal = camera.focal[0]
    center, size = example.bbox_info[:2] * focal, example.bbox_info[2] * focal
    halves = np.array([size * CROP[1] / CROP[0], size]) / 2 / 1.2
    keypoints = {
        name: np.concatenate((points[:, :2] * size / 2 + center, points[:, 2:]), 1).astype(np.float32)
        for name, points in example.keypoints.items()
    }
    return Sample(
        np.zeros((4, 4, 3), np.uint8),
        dataclasses.replace(camera, principal_point=(0.0, 0.0)),
        np.concatenate((center - halves, center + halves)).astype(np.float32),
        (0.0, 0.0, 4.0),
        keypoints,
        example.joints,
        example.pose,
        example.betas,
    )


def test_flipping_twice_changes_nothing(body: BodyModel) -> None:
    sample = person(body, 5)
    rng = np.random.default_rng(0)
    once = augment(sample, CROP, rng, MIRRORED)
    twice = augment(as_sample(once, sample.camera), CROP, rng, MIRRORED)
    plain = augment(sample, CROP, rng, Augmentation.none())
    assert not np.allclose(once.pose, plain.pose, atol=0.05)
    for name in ("bbox_info", "pose", "betas"):
        np.testing.assert_allclose(getattr(twice, name), getattr(plain, name), atol=1e-4)
    for name in plain.keypoints:
        np.testing.assert_allclose(twice.keypoints[name], plain.keypoints[name], atol=1e-3)
        np.testing.assert_allclose(twice.joints[name], plain.joints[name], atol=1e-4)


def test_half_bodies_keep_all_keypoints_and_cut_the_image(body: BodyModel) -> None:
    options = dataclasses.replace(Augmentation.none(), half_body=1.0)
    sizes, black = [], 0
    for seed in range(40):
        sample = person(body, 11)
        sample = dataclasses.replace(sample, image=np.full_like(sample.image, 255))
        example = augment(sample, CROP, np.random.default_rng(seed), options)
        assert (example.keypoints["coco17"][:, 2] == 1).all()
        sizes.append(example.bbox_info[2])
        black += int((example.crop == 0).any())
        beyond = np.abs(example.keypoints["coco17"][:, 1]) > 1
        assert beyond.any() or example.bbox_info[2] > 0.8 * sizes[0]
    whole = augment(sample, CROP, np.random.default_rng(0), Augmentation.none())
    assert min(sizes) < 0.6 * whole.bbox_info[2] and max(sizes) <= whole.bbox_info[2] * (1 + 1e-6)
    assert black > 5


def test_where_the_image_is_cut_the_rest_stays_in_place(body: BodyModel) -> None:
    options = dataclasses.replace(Augmentation.none(), half_body=1.0)
    cuts = 0
    for seed in range(60):
        sample = person(body, seed)
        width, height = sample.camera.size
        y, x = np.indices((height // 2, width // 2))
        waves = [140 + 60 * np.sin(x / a) + 50 * np.cos(y / b) for a, b in ((8, 9), (11, 7), (14, 10))]
        pixels = np.stack(waves, axis=-1).astype(np.uint8)
        sample = dataclasses.replace(sample, image=pixels, window=(30.5, 40.5, 2.0))
        example = augment(sample, CROP, np.random.default_rng(seed), options)
        focal, principal_point = sample.camera.focal[0], sample.camera.principal_point
        center = (example.bbox_info[:2] * focal + principal_point - (30.5, 40.5)) / 2
        window = PersonBox(center[None], np.array([example.bbox_info[2] * focal / 2]))
        uncut = crop_image(pixels, window, CROP)[0]
        masks = [(one > 0).all(-1).astype(np.uint8) for one in (example.crop, uncut)]
        # Bilinear sampling fades to black over one pixel of the image.
        shown, known = (cv2.erode(mask, np.ones((15, 15))) for mask in masks)
        if 50 < shown.sum() < 0.97 * known.sum():
            cuts += 1
            assert np.abs(example.crop.astype(int) - uncut)[shown > 0].mean() < 0.1
    assert cuts > 5


def test_half_bodies_need_projected_joints(body: BodyModel) -> None:
    options = dataclasses.replace(Augmentation.none(), half_body=1.0)
    sample = person(body, 11)
    projected = dataclasses.replace(sample, keypoints={})
    unknown = dataclasses.replace(projected, translation=None)
    plain = augment(sample, CROP, np.random.default_rng(0), Augmentation.none()).bbox_info[2]
    both = [
        [augment(one, CROP, np.random.default_rng(seed), options).bbox_info[2] for seed in range(8)]
        for one in (projected, unknown)
    ]
    assert min(both[0]) < 0.9 * plain
    np.testing.assert_allclose(both[1], plain)


def test_unknown_labels_stay_unknown(body: BodyModel) -> None:
    rng = np.random.default_rng(0)
    bare = Sample(np.zeros((50, 50, 3), np.uint8), Camera.from_diagonal((50, 50)), np.array([5, 5, 40, 45.0]))
    example = augment(bare, CROP, rng, Augmentation())
    assert example.pose is None and example.betas is None
    assert not example.keypoints and not example.joints
    child = dataclasses.replace(person(body, 1), kid=0.5)
    assert augment(child, CROP, rng, Augmentation()).betas is None


def test_the_sample_is_left_alone_and_the_seed_decides(body: BodyModel) -> None:
    sample = person(body, 2)
    sample = dataclasses.replace(
        sample, image=np.random.default_rng(0).integers(0, 256, sample.image.shape, dtype=np.uint8)
    )
    before = sample.image.copy(), sample.keypoints["coco17"].copy(), sample.pose.copy()
    options = Augmentation(occlusion=1, gamma=1, grey=0.5, blur=1, downscale=1, jpeg=1)
    one, two = (augment(sample, CROP, np.random.default_rng(7), options) for _ in range(2))
    other = augment(sample, CROP, np.random.default_rng(8), options)
    for now, then in zip((sample.image, sample.keypoints["coco17"], sample.pose), before, strict=True):
        np.testing.assert_array_equal(now, then)
    np.testing.assert_array_equal(one.crop, two.crop)
    assert not np.array_equal(one.crop, other.crop)


@pytest.mark.parametrize("bad", [{"flip": 1.1}, {"scale": -0.1}, {"scale": 1.0}, {"jpeg": float("nan")}])
def test_impossible_options(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Augmentation(**bad)
