from pathlib import Path

import numpy as np
import pytest

from fullframe.data.augment import Augmentation, augment
from fullframe.data.crop import plain_crop
from fullframe.data.sample import Sample
from fullframe.geometry.box import CROP_METHODS, box_from_xyxy, crop_image
from fullframe.geometry.camera import Camera
from fullframe.io.image import ImageError
from fullframe.models.crop_regressor import box_to_bbox_info

CROP = (128, 96)


def sample_of(pixels: np.ndarray, window: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> Sample:
    camera = Camera((500.0, 500.0), (180.0, 140.0), (400, 300), "intrinsics")
    return Sample(pixels, camera, np.array([110.5, 40.25, 190, 260], np.float32), window)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", CROP_METHODS)
def test_the_plain_crop_is_that_of_inference(pixels: np.ndarray, method: str) -> None:
    sample = sample_of(pixels)
    crop, bbox_info = plain_crop(sample, CROP, method)
    box = box_from_xyxy(sample.box, CROP[0] / CROP[1], enlarge=1.2)
    np.testing.assert_array_equal(crop, crop_image(pixels, box, CROP, method)[0])
    np.testing.assert_allclose(bbox_info, box_to_bbox_info(box, sample.camera)[0], rtol=1e-6)


def test_the_plain_crop_is_that_of_training_without_augmentation(pixels: np.ndarray) -> None:
    sample = sample_of(pixels[::2, ::2].copy(), window=(0.5, 0.5, 2.0))
    crop, bbox_info = plain_crop(sample, CROP)
    example = augment(sample, CROP, np.random.default_rng(1), Augmentation.none())
    np.testing.assert_array_equal(crop, example.crop)
    np.testing.assert_array_equal(bbox_info, example.bbox_info)


def test_an_image_of_another_size_is_refused(photo_path: Path) -> None:
    sample = Sample(photo_path, Camera.from_diagonal((10, 10)), np.array([1, 1, 5, 9], np.float32))
    with pytest.raises(ImageError, match=r"three_people.*labels are for 10 x 10"):
        plain_crop(sample, CROP)
