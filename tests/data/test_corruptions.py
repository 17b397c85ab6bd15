import numpy as np
import pytest

from fullframe.data import corruptions as degrade


@pytest.fixture
def crop() -> np.ndarray:
    y, x = np.indices((128, 96))
    return np.stack((x * 2, y * 2 % 256, (x + y) % 256), axis=-1).astype(np.uint8)


def test_occluders_cover_some_of_the_crop_and_nothing_else(crop: np.ndarray) -> None:
    image = np.full((40, 30, 3), 7, np.uint8)
    covered = []
    for seed in range(60):
        ours = crop.copy()
        degrade.occlude(ours, image, 2.0, np.random.default_rng(seed))
        covered.append((ours != crop).any(axis=-1).mean())
    assert (image == 7).all()
    assert np.mean(covered) > 0.03 and np.max(covered) < 0.5
    assert len(set(covered)) > 50


def test_pieces_of_the_image_are_pasted() -> None:
    """Grey occluders can only come from an all-grey image."""
    image, crop = np.full((200, 200, 3), 77, np.uint8), np.zeros((128, 96, 3), np.uint8)
    for seed in range(20):
        degrade.occlude(crop, image, 1.0, np.random.default_rng(seed))
    assert (crop == 77).all(axis=-1).mean() > 0.02


def test_recolor_multiplies_channels(crop: np.ndarray) -> None:
    plain = degrade.recolor(crop, 0.0, False, np.random.default_rng(0))
    assert np.abs(plain.astype(int) - crop).max() <= 1
    for seed in range(20):
        ours = degrade.recolor(np.full((4, 4, 3), 100, np.uint8), 0.4, False, np.random.default_rng(seed))
        assert (ours == ours[0, 0]).all() and ours.min() >= 59 and ours.max() <= 140
    bright = degrade.recolor(np.full((4, 4, 3), 250, np.uint8), 0.4, False, np.random.default_rng(3))
    assert bright.max() <= 255 and bright.min() >= 149


def test_gamma_keeps_black_and_white(crop: np.ndarray) -> None:
    ends = np.array([[[0, 0, 0], [255, 255, 255], [128, 128, 128]]], np.uint8)
    ours = [degrade.recolor(ends, 0.0, True, np.random.default_rng(seed))[0] for seed in range(20)]
    assert all((o[0] == 0).all() and (o[1] == 255).all() for o in ours)
    middle = [int(o[2, 0]) for o in ours]
    assert min(middle) < 100 and max(middle) > 150


def test_grey_has_equal_channels(crop: np.ndarray) -> None:
    ours = degrade.grey(crop)
    assert ours.shape == crop.shape and np.ptp(ours, axis=-1).max() == 0
    # BT.601 weighs red more than blue: channels are not mixed up.
    red, blue = (degrade.grey(np.eye(3, dtype=np.uint8)[None, c : c + 1] * 200)[0, 0, 0] for c in (0, 2))
    assert red > 2 * blue


@pytest.mark.parametrize("name", ["blur", "downscale", "compress"])
def test_quality_is_lost_and_colours_stay(crop: np.ndarray, name: str) -> None:
    noisy = np.random.default_rng(0).integers(0, 80, crop.shape, dtype=np.uint8)
    noisy[..., 0] += 150
    ours = getattr(degrade, name)(noisy, np.random.default_rng(1))
    assert ours.shape == noisy.shape and ours.dtype == np.uint8
    np.testing.assert_allclose(ours.mean((0, 1)), noisy.mean((0, 1)), atol=6)
    assert ours.std() < noisy.std() and not np.array_equal(ours, noisy)
