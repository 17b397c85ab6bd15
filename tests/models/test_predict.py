import cv2
import numpy as np
import pytest
import torch

from fullframe.geometry.camera import Camera, project
from fullframe.geometry.rotation import axis_rotation
from fullframe.models import MODELS, create_model, predict_people
from fullframe.models.predict import Bodies, mean_bodies

BOXES = np.array([[20, 30, 120, 230], [200, 60, 390, 290], [330, -40, 460, 150]], np.float32)
CAMERA = Camera.from_diagonal((400, 300))


@pytest.fixture(scope="module")
def image():
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(noise, (400, 300), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    torch.manual_seed(0)
    net = create_model(request.param, encoder="tf_efficientnet_lite0", crop=(64, 48)).eval()
    for head in (net.regressor.decpose, net.regressor.decshape):
        torch.nn.init.xavier_uniform_(head.weight)
    return net


def test_everyone_is_placed_where_their_box_is(model, image):
    pose, betas, translation = predict_people(model, image, BOXES, CAMERA)
    assert pose.shape == (3, 24, 3, 3) and betas.shape == (3, 10) and translation.shape == (3, 3)
    assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in (pose, betas, translation))
    # An untrained camera head says about s = .9 and no offset: the body's origin is in the middle of its box.
    center = (BOXES[:, :2] + BOXES[:, 2:]) / 2
    seen = project(torch.from_numpy(translation), CAMERA.focal[0], torch.tensor(CAMERA.principal_point))
    np.testing.assert_allclose(seen, center, atol=0.1 * 200)
    height = np.maximum((BOXES[:, 2] - BOXES[:, 0]) * 64 / 48, BOXES[:, 3] - BOXES[:, 1]) * 1.1
    np.testing.assert_allclose(translation[:, 2], 2 * CAMERA.focal[0] / (0.9 * height), rtol=0.1)


def test_batches_do_not_matter(model, image):
    together = predict_people(model, image, BOXES, CAMERA)
    for a, b in zip(together, predict_people(model, image, BOXES, CAMERA, batch_size=2), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    alone = predict_people(model, image, BOXES[1:2], CAMERA)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-4)


def test_nobody(model, image):
    pose, betas, translation = predict_people(model, image, np.zeros((0, 4)), CAMERA)
    assert pose.shape == (0, 24, 3, 3) and betas.shape == (0, 10) and translation.shape == (0, 3)


def test_resolution_of_the_photo_does_not_matter(model, image):
    """Twice the pixels, the same people in the same places (up to resampling)."""
    large = cv2.resize(image, (800, 600), interpolation=cv2.INTER_CUBIC)
    small = predict_people(model, image, BOXES, CAMERA)
    # Pixel centres are at whole numbers, so resizing maps x to 2 x + .5.
    doubled = predict_people(model, large, 2 * BOXES + 0.5, Camera.from_diagonal((800, 600)))
    np.testing.assert_allclose(doubled.translation, small.translation, rtol=0.02, atol=0.02)
    difference = np.abs(doubled.betas - small.betas).mean()
    assert difference < 0.1 * np.abs(small.betas - small.betas[[1, 2, 0]]).mean()


def test_a_longer_lens_moves_people_away(model, image):
    near, far = (predict_people(model, image, BOXES, Camera.from_focal(f, (400, 300))) for f in (500, 1000))
    np.testing.assert_allclose(far.translation[:, 2], 2 * near.translation[:, 2], rtol=0.05)


def test_enlarge_widens_the_crop(model, image):
    tight, wide = (predict_people(model, image, BOXES, CAMERA, enlarge=e) for e in (1.0, 1.2))
    np.testing.assert_allclose(tight.translation[:, 2], 1.2 * wide.translation[:, 2], rtol=0.05)


def test_training_mode_is_kept_and_not_used(model, image):
    expected = predict_people(model, image, BOXES, CAMERA)
    model.train()
    result = predict_people(model, image, BOXES, CAMERA)
    assert model.training
    model.eval()
    for a, b in zip(result, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_line_that_is_not_a_box(model, image):
    with pytest.raises(ValueError, match="box 1 is not a box"):
        predict_people(model, image, [[0, 0, 10, 10], [5, 5, 5, 9]], CAMERA)


def test_mean_bodies_lie_between():
    """Half of two turns about an axis is the turn between them; a share of 0 or 1 is one of the two."""
    turns = np.array([[0.2, 0.0, 0.0], [0.6, 0.0, 0.0]])
    first, second = (
        Bodies(
            np.tile(axis_rotation(0, turn[0]), (2, 24, 1, 1)).astype(np.float32),
            np.full((2, 10), turn[0], np.float32),
            np.full((2, 3), turn[0], np.float32),
        )
        for turn in turns
    )
    mean = mean_bodies(first, second, np.array([0.5, 1.0]))
    np.testing.assert_allclose(mean.pose[0], np.tile(axis_rotation(0, 0.4), (24, 1, 1)), atol=1e-6)
    np.testing.assert_allclose(mean.betas[0], 0.4, rtol=1e-6)
    for found, expected in zip(mean, first, strict=True):
        np.testing.assert_allclose(found[1], expected[1], atol=1e-6)
