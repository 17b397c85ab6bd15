import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_smpl import synthetic_smpl, write_npz

import fullframe
from fullframe.io.image import ImageError
from fullframe.models import create_model, save_checkpoint
from fullframe.recovery.photo import as_photo

BOX = [[340.0, 60.0, 520.0, 430.0]]


@pytest.fixture(scope="module")
def pixels(photo_path: Path) -> np.ndarray:
    with Image.open(photo_path) as image:
        return np.asarray(image.convert("RGB").resize((525, 430)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    torch.manual_seed(0)
    model = create_model("cliff", encoder="resnet18", crop=(64, 48))
    save_checkpoint(model, path, body="open", data="none", licence="Apache-2.0", metrics={})
    return path


def reprojection_error(people: fullframe.People) -> float:
    """Mean distance of confident keypoints to the body's, in px."""
    from fullframe.body import load_body

    points = load_body().regress(torch.from_numpy(people.vertices)).numpy()
    points = points[..., :2] / points[..., 2:] * people.camera.focal + people.camera.principal_point
    sure = people.keypoints[..., 2] > 0.5
    return float(np.linalg.norm(points - people.keypoints[..., :2], axis=-1)[sure].mean())


def test_pixels_and_path_give_the_same(pixels: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    first, second = fullframe.recover(pixels, boxes=BOX), fullframe.recover(tmp_path / "a.png", boxes=BOX)
    np.testing.assert_array_equal(first.vertices, second.vertices)
    assert first.image == "" and second.image == str(tmp_path / "a.png")


@pytest.mark.parametrize(("model", "limit"), [(None, 25), ("keypoint-fit", 10)])
def test_the_result_is_one_body_in_the_full_frame(
    pixels: np.ndarray, model: str | None, limit: float
) -> None:
    people = fullframe.recover(pixels, boxes=BOX, focal=900, model=model)
    assert people.camera.focal == (900, 900) and people.camera.source == "focal"
    assert people.vertices.shape == (1, 6700, 3) and people.body == "open"
    # Joints are those of the body with this pose, shape and translation.
    from fullframe.body import load_body

    values = (torch.from_numpy(v) for v in (people.betas, people.pose, people.translation))
    body = load_body(num_betas=people.betas.shape[1])
    np.testing.assert_allclose(body(*values).joints, people.joints, atol=1e-5)
    assert reprojection_error(people) < limit
    assert people.pose[0, 0, 1, 1] < -0.8 and people.pose[0, 0, 2, 2] < -0.5  # upright, facing the camera


def test_twice_the_focal_length_is_twice_as_far(pixels: np.ndarray) -> None:
    recoverer = fullframe.Recoverer("keypoint-fit")
    near, far = (recoverer(pixels, boxes=BOX, focal=focal).translation[0, 2] for focal in (700, 1400))
    assert far / near == pytest.approx(2, rel=0.1)


def test_given_keypoints_are_used(pixels: np.ndarray) -> None:
    keypoints = fullframe.recover(pixels, boxes=BOX).keypoints
    people = fullframe.recover(pixels, keypoints=keypoints)
    np.testing.assert_array_equal(people.keypoints, keypoints)
    assert len(people) == 1


def test_a_network_recovers_and_the_fit_refines(pixels: np.ndarray, checkpoint: Path) -> None:
    network = fullframe.recover(pixels, boxes=BOX, model=checkpoint, refine=False)
    refined = fullframe.recover(pixels, boxes=BOX, model=checkpoint, refine=True)
    assert network.model == "untrained" and refined.model == "untrained+keypoint-fit"
    assert reprojection_error(refined) < 10 < reprojection_error(network)


def test_a_network_with_the_kid_direction(pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "kid.safetensors"
    model = create_model("cliff", encoder="resnet18", crop=(64, 48), num_betas=11)
    save_checkpoint(model, path, body="open", data="none", licence="Apache-2.0", metrics={})
    people = fullframe.recover(pixels, boxes=BOX, model=path, refine=True)
    assert people.betas.shape == (1, 11)


def test_many_photos_with_one_recoverer(pixels: np.ndarray, photo_path: Path) -> None:
    recoverer = fullframe.Recoverer()
    assert len(recoverer(pixels, boxes=BOX, fov=60)) == 1
    assert recoverer(photo_path, boxes=BOX).image == str(photo_path)


def test_the_built_in_network_needs_no_timm() -> None:
    """Which takes 190 MB and two seconds."""
    code = "import sys, fullframe; fullframe.Recoverer(); assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_smpl_drops_in(pixels: np.ndarray, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "SMPL_NEUTRAL.npz", synthetic_smpl())
    people = fullframe.recover(pixels, boxes=BOX, body="smpl", body_path=path)
    assert people.model == "keypoint-fit"  # no network for SMPL is built in
    assert people.body == "smpl-neutral" and people.vertices.shape == (1, 6890, 3)
    assert np.isfinite(people.vertices).all()


def test_weights_for_another_body_are_refused(pixels: np.ndarray, checkpoint: Path, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "SMPL_NEUTRAL.npz", synthetic_smpl())
    with pytest.raises(ValueError, match="smpl-neutral"):
        fullframe.recover(pixels, boxes=BOX, body="smpl", body_path=path, model=checkpoint)


@pytest.mark.parametrize(
    "bad", [np.zeros((10, 10), np.uint8), np.zeros((10, 10, 3)), np.zeros((0, 10, 3), np.uint8)]
)
def test_other_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected \(H, W, 3\) uint8"):
        fullframe.recover(bad)


def test_a_missing_photo_is_named() -> None:
    with pytest.raises(ImageError, match="none.jpg"):
        fullframe.recover("none.jpg")


def test_impossible_keypoints(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="keypoints must be finite"):
        fullframe.recover(pixels, keypoints=np.full((1, 17, 3), np.nan))
    with pytest.raises(ValueError, match="fewer than 2 keypoints"):
        fullframe.recover(pixels, keypoints=np.zeros((1, 17, 3)))
    with pytest.raises(ValueError, match="expected .N, 17, 3."):
        fullframe.recover(pixels, keypoints=np.zeros((1, 16, 3)))
    with pytest.raises(ValueError, match="1 boxes but keypoints of 2 people"):
        fullframe.recover(pixels, boxes=BOX, keypoints=np.ones((2, 17, 3)))


def test_bytes_and_images_of_pillow_give_the_same(pixels: np.ndarray, tmp_path: Path) -> None:
    """Also what EXIF says: the orientation and the focal length."""
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[0x0112], exif.get_ifd(0x8769)[0xA405] = 6, 40
    taken = Image.fromarray(pixels).resize((560, 420))  # 4:3, as cameras take photos
    taken.rotate(90, expand=True).save(path, exif=exif)
    recoverer = fullframe.Recoverer(refine=False)
    expected = recoverer(path, boxes=BOX)
    assert expected.orientation == 6 and expected.camera.source == "exif"
    with Image.open(path) as image:
        others = [recoverer(source, boxes=BOX) for source in (path.read_bytes(), image)]
    for people in others:
        np.testing.assert_array_equal(people.vertices, expected.vertices)
        assert people.orientation == 6 and people.camera == expected.camera and people.image == ""


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "photo of 0 bytes: the file is empty"),
        (b"no photo", "photo of 8 bytes: not an image"),
        (Image.new("RGB", (0, 5)), "image of Pillow"),
    ],
)
def test_content_that_is_no_photo(bad: bytes | Image.Image, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        as_photo(bad)


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="not list"):
        as_photo([1, 2])  # type: ignore[arg-type]


def test_a_stream_gives_the_same_in_order(pixels: np.ndarray, photo_path: Path, tmp_path: Path) -> None:
    recoverer = fullframe.Recoverer()
    Image.fromarray(pixels).save(tmp_path / "small.png")
    photos = [pixels, tmp_path / "small.png", (tmp_path / "small.png").read_bytes(), photo_path]
    expected = [recoverer(photo, fov=60) for photo in photos]
    taken = []
    stream = recoverer.stream((taken.append(n) or p for n, p in enumerate(photos)), fov=60)
    for people, other in zip(stream, expected, strict=True):
        np.testing.assert_allclose(people.vertices, other.vertices, atol=1e-4)
        assert people.image == other.image and people.camera == other.camera
    assert taken == [0, 1, 2, 3]


def test_a_stream_takes_few_photos_ahead(pixels: np.ndarray) -> None:
    taken = []
    stream = fullframe.Recoverer(refine=False).stream(
        taken.append(number) or pixels[:64, :64] for number in range(100)
    )
    next(stream)
    assert len(taken) <= torch.get_num_threads() + 1
    stream.close()
    assert len(taken) <= torch.get_num_threads() + 1


def test_bad_photos_in_a_stream(pixels: np.ndarray) -> None:
    recoverer, failed = fullframe.Recoverer(refine=False), []
    photos = [b"bad", pixels, "none.jpg", pixels]
    found = list(recoverer.stream(photos, on_error=lambda photo, error: failed.append((photo, str(error)))))
    assert len(found) == 2 and [photo for photo, _ in failed] == [b"bad", "none.jpg"]
    assert "none.jpg: no such file" in failed[1][1]
    stream = recoverer.stream(photos)
    with pytest.raises(ImageError, match="photo of 3 bytes"):
        next(stream)
