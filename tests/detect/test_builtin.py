import shutil

import cv2
import numpy as np
import pytest

from fullframe.detect import builtin, load_detector, onnx_model
from fullframe.detect.movenet import FLIP
from fullframe.geometry.box import iou
from fullframe.io.image import read_photo

# Of tests' photo, measured by hand.
PEOPLE = np.array([[0, 5, 645, 861], [85, 320, 665, 861], [690, 30, 1049, 861]], np.float32)
NOSES = np.array([[189, 146], [402, 468], [873, 147]])


@pytest.fixture(scope="module")
def detector():
    return load_detector()


@pytest.fixture(scope="module")
def photo(photo_path):
    return read_photo(photo_path).pixels


def test_finds_overlapping_people(detector, photo):
    boxes, scores = detector.boxes(photo)
    assert boxes.dtype == scores.dtype == np.float32
    assert boxes.shape == (3, 4) and (np.diff(scores) <= 0).all() and (scores > 0.9).all()
    overlap = iou(PEOPLE, boxes)
    assert sorted(overlap.argmax(axis=1)) == [0, 1, 2] and (overlap.max(axis=1) > 0.75).all()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_finds_noses_at_any_turn_of_the_photo(detector, photo, turns):
    height, width = photo.shape[:2]
    boxes, noses = PEOPLE.copy(), NOSES.astype(float)
    for _ in range(turns):  # np.rot90 turns anticlockwise: (x, y) -> (y, width - x)
        boxes = np.stack((boxes[:, 1], width - boxes[:, 2], boxes[:, 3], width - boxes[:, 0]), axis=1)
        noses = np.stack((noses[:, 1], width - 1 - noses[:, 0]), axis=1)
        height, width = width, height
    # Lying people are found through the second look, half bodies that stand on their head need not be.
    found = detector.keypoints(np.ascontiguousarray(np.rot90(photo, turns)), boxes)
    assert found.shape == (3, 17, 3) and found.dtype == np.float32
    assert ((found[..., 2] >= 0) & (found[..., 2] <= 1)).all()
    error = np.linalg.norm(found[:, 0, :2] - noses, axis=1)
    assert (error < 25).sum() >= (3 if turns == 0 else 2), error


def test_a_mirrored_photo_has_mirrored_people(detector, photo):
    plain = detector.keypoints(photo, PEOPLE)
    width = photo.shape[1]
    boxes = PEOPLE.copy()
    boxes[:, [0, 2]] = width - PEOPLE[:, [2, 0]]
    mirrored = detector.keypoints(np.ascontiguousarray(photo[:, ::-1]), boxes)[:, FLIP]
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    sure = (plain[..., 2] > 0.4) & (mirrored[..., 2] > 0.4)
    assert sure.sum() > 20
    distance = np.linalg.norm(plain - mirrored, axis=-1)[sure]
    assert np.median(distance) < 6 and np.mean(distance < 40) > 0.9


def test_a_smaller_photo_has_the_same_people(detector, photo):
    boxes, _ = detector.boxes(cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA))
    assert (iou(PEOPLE, boxes / 0.4).max(axis=1) > 0.7).all() and len(boxes) == 3


def gradient():
    rows, columns = np.indices((300, 400))
    return np.stack((rows * 255 // 300, columns * 255 // 400, rows * 0 + 90), axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        gradient(),
        np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8),
        np.full((1, 1, 3), 128, np.uint8),
        np.full((10, 20_000, 3), 200, np.uint8),
        np.random.default_rng(1).integers(0, 255, (20_000, 10, 3), np.uint8),
    ],
    ids=["gradient", "noise", "1x1", "20000x10", "10x20000"],
)
def test_no_people(detector, image):
    boxes, scores = detector.boxes(image)
    assert boxes.shape == (0, 4) and scores.shape == (0,)
    assert detector.keypoints(image, boxes).shape == (0, 17, 3)
    # A box that the user gives is still looked at.
    height, width = image.shape[:2]
    assert np.isfinite(detector.keypoints(image, np.array([[0, 0, width, height]], np.float32))).all()


def test_boxes_stay_within_the_image(detector, photo):
    part = np.ascontiguousarray(photo[200:700, 60:560])
    boxes, _ = detector.boxes(part)
    assert len(boxes) > 0 and (boxes >= 0).all() and (boxes <= 500).all()


def test_confirmed_people_may_overlap_more():
    boxes = np.array([[0, 0, 100, 100], [0, 0, 100, 70]], float)  # IoU 0.7
    sure = np.array([[0.6, 0.3], [0.5, 0.3]])
    assert len(builtin.select(boxes, sure)[0]) == 2
    sure[1, 1] = 0
    kept, scores = builtin.select(boxes, sure)
    np.testing.assert_array_equal(kept, boxes[:1])
    assert scores[0] > builtin.LOWEST_SCORE
    assert len(builtin.select(boxes, np.zeros((2, 2)))[0]) == 0


def test_consensus_drops_the_outlier_and_averages_the_rest():
    person = np.stack((np.linspace(0, 100, 17), np.linspace(0, 200, 17), np.full(17, 0.8)), axis=1)
    shift = np.array([2, 0, 0])
    looks = np.stack((person + shift, person - shift, person))
    looks[2, 9, :2] += 90
    found = builtin.consensus(looks)
    np.testing.assert_allclose(found, person, atol=1e-3)
    # A sure look outvotes an unsure one.
    pair = np.stack((person, person + np.array([50, 0, -0.7])))
    np.testing.assert_allclose(builtin.consensus(pair)[:, :2], person[:, :2], atol=1e-3)


def test_files_are_right_and_checked(tmp_path, monkeypatch):
    assert builtin.verify() == dict.fromkeys(onnx_model.SHA256)
    for name in onnx_model.SHA256:
        shutil.copy(onnx_model.DETECTORS / f"{name}.onnx", tmp_path)
    damaged = tmp_path / "nanodet.onnx"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    (tmp_path / "movenet-thunder.onnx").unlink()
    monkeypatch.setattr(onnx_model, "DETECTORS", tmp_path)
    found = builtin.verify()
    assert "nanodet.onnx is damaged" in found["nanodet"]
    assert "movenet-thunder.onnx is missing" in found["movenet-thunder"]
    assert found["movenet-multipose"] is None

    detector, image = load_detector(), np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(OSError, match=r"nanodet\.onnx is damaged: reinstall fullframe"):
        detector.boxes(image)
    with pytest.raises(OSError, match=r"movenet-thunder\.onnx is missing"):
        detector.keypoints(image, np.array([[0, 0, 64, 64]], np.float32))


def test_joints_do_not_depend_on_what_is_outside_the_box(detector, photo):
    boxes, _ = detector.boxes(photo)
    left, top, right, bottom = boxes[0]
    margin = builtin.MARGIN * (boxes[0, 2:] - boxes[0, :2])
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
    rows = slice(max(0, int(top - margin[1])), int(np.ceil(bottom + margin[1])))
    columns = slice(max(0, int(left - margin[0])), int(np.ceil(right + margin[0])))
    noise[rows, columns] = photo[rows, columns]
    found, same = (detector.keypoints(pixels, boxes[:1]) for pixels in (photo, noise))
    np.testing.assert_allclose(same, found, atol=1e-3)
    assert found[0, :, 2].mean() > 0.5
