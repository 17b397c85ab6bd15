import shutil
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fullframe.io.image import PHOTO_SUFFIXES, ImageError, is_animated, is_photo, read_photo

# A picture with a different colour in each corner, 40 x 20: top left is red.
CORNERS = np.zeros((20, 40, 3), np.uint8)
CORNERS[:10, :20], CORNERS[:10, 20:], CORNERS[10:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    undo = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: np.rot90,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = read_photo(save(tmp_path / "a.png", Image.fromarray(CORNERS), exif=exif))
    np.testing.assert_array_equal(photo.pixels, undo(CORNERS))
    assert photo.orientation == orientation


def test_the_camera_comes_from_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    exif[0x0112] = 6
    photo = read_photo(save(tmp_path / "a.jpg", Image.fromarray(CORNERS), exif=exif))
    assert photo.exif_camera is not None and photo.camera is photo.exif_camera
    assert photo.camera.size == photo.size == (20, 40)
    assert photo.camera.focal[0] == pytest.approx(50 / np.hypot(36, 24) * np.hypot(20, 40))


def test_a_photo_without_exif_has_no_camera(photo_path: Path) -> None:
    photo = read_photo(photo_path)
    assert photo.exif_camera is None and photo.camera.source == "diagonal"
    assert photo.orientation == 1 and photo.pixels.shape == (861, 1049, 3)


GREY = np.linspace(0, 255, 800).astype(np.uint8).reshape(20, 40)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("grey.png", Image.fromarray(GREY)),
        ("grey.jpg", Image.fromarray(GREY)),
        ("sixteen.png", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("sixteen.tif", Image.fromarray(GREY.astype(np.uint16) * 257)),
        ("float.tif", Image.fromarray(GREY.astype(np.float32) / 255)),
        ("rgba.png", Image.fromarray(np.dstack((GREY, GREY, GREY, np.full_like(GREY, 255))))),
        ("la.png", Image.fromarray(GREY).convert("LA")),
        ("palette.png", Image.fromarray(GREY).convert("P")),
        ("cmyk.jpg", Image.fromarray(GREY).convert("RGB").convert("CMYK")),
    ],
)
def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path, name: str, image: Image.Image) -> None:
    pixels = read_photo(save(tmp_path / name, image)).pixels
    assert pixels.dtype == np.uint8 and pixels.shape == (20, 40, 3)
    assert np.abs(pixels.astype(int) - GREY[..., None]).max() <= 8  # JPEG's own loss


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    pixels = read_photo(save(tmp_path / "a.png", Image.new("RGBA", (3, 3), (0, 0, 0, 0)))).pixels
    assert (pixels == 255).all()


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_photo(path).pixels[0, 0], [255, 0, 0])


def test_an_empty_first_frame_is_not_the_photo(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 20), "white"), Image.fromarray(CORNERS), Image.fromarray(CORNERS[::-1])]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_photo(path).pixels, CORNERS)
    assert is_animated(path) and not is_animated(save(tmp_path / "b.gif", frames[1]))


@pytest.mark.parametrize(
    ("suffix", "format_"),
    [
        (".jpe", "JPEG"), (".jfif", "JPEG"), (".mpo", "MPO"), (".avif", "AVIF"), (".jp2", "JPEG2000"),
        (".heic", "HEIF"), (".webp", "WEBP"), (".ppm", "PPM"), (".tga", "TGA"),
    ],
)  # fmt: skip
def test_formats(tmp_path: Path, photo_path: Path, suffix: str, format_: str) -> None:
    if format_ == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    with Image.open(photo_path) as image:
        small = image.convert("RGB").resize((128, 96))
    path = save(tmp_path / f"a{suffix}", small, format=format_)
    assert suffix in PHOTO_SUFFIXES
    assert np.abs(read_photo(path).pixels.astype(int) - np.asarray(small)).mean() < 12
    if format_ != "TGA":  # has no signature
        assert is_photo(path.rename(tmp_path / "a"))


def test_heic_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Image.OPEN, "HEIF", Image.OPEN["TGA"])  # as if it were not registered
    monkeypatch.setattr("fullframe.io.image.find_spec", lambda name: None)
    path = tmp_path / "IMG_0001"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(
        ImageError, match=r"IMG_0001: HEIC needs pillow-heif: pip install 'fullframe\[heic\]'"
    ):
        read_photo(path)
    assert is_photo(path)


def test_raw_files_of_cameras_are_refused(tmp_path: Path) -> None:
    preview = save(tmp_path / "a.tif", Image.fromarray(CORNERS)).rename(tmp_path / "a.NEF")
    with pytest.raises(ImageError, match=r"a.NEF: a raw file of a camera: convert it to JPEG or TIFF"):
        read_photo(preview)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_deep_pixels_are_stretched_by_the_bits_used(
    tmp_path: Path, bits: int, suffix: str, channels: int
) -> None:
    values = np.linspace(0, 2**bits - 1, 800).round().astype(np.uint16).reshape(20, 40)
    deep = np.repeat(values[..., None], channels, axis=2)
    if channels > 1:
        deep[..., 0] //= 2  # blue
    if channels == 4:
        deep[..., 3] = 2**bits - 1
    cv2.imwrite(str(tmp_path / f"a{suffix}"), deep)
    pixels = read_photo(tmp_path / f"a{suffix}").pixels
    expected = values / (2**bits - 1) * 255
    np.testing.assert_allclose(pixels[..., 0], expected, atol=1)
    np.testing.assert_allclose(pixels[..., 2], expected / (2 if channels > 1 else 1), atol=1)


def test_deep_colours_are_turned_upright(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), CORNERS[..., ::-1].astype(np.uint16) * 16)
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    data = (tmp_path / "a.png").read_bytes()
    header = 8 + 25  # signature and IHDR
    size, crc = (len(chunk) - 4).to_bytes(4, "big"), zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data[:header] + size + chunk + crc + data[header:])
    photo = read_photo(tmp_path / "a.png")
    assert photo.orientation == 6
    np.testing.assert_allclose(photo.pixels, np.rot90(CORNERS, -1), atol=1)


def test_thermal_values_are_stretched_to_their_range(tmp_path: Path) -> None:
    kelvin = np.linspace(29_000, 31_500, 800).astype(np.uint16).reshape(20, 40)  # hundredths
    pixels = read_photo(save(tmp_path / "a.tif", Image.fromarray(kelvin))).pixels
    assert pixels.min() == 0 and pixels.max() == 255 and np.ptp(pixels[10].astype(int)) > 10


@pytest.mark.parametrize("size", [(1, 1), (20_000, 10), (10, 20_000)])
def test_extreme_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    photo = read_photo(save(tmp_path / "a.png", Image.new("RGB", size)))
    assert photo.size == size


def test_values_that_are_not_finite(tmp_path: Path) -> None:
    path = save(tmp_path / "nan.tif", Image.fromarray(np.full((4, 4), np.nan, np.float32)))
    with pytest.raises(ImageError, match="nan.tif: .*not finite"):
        read_photo(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="none.jpg: no such file"):
        read_photo(tmp_path / "none.jpg")


def test_a_folder_is_no_photo(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="not a regular file but a folder"):
        read_photo(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").touch()
    with pytest.raises(ImageError, match="zero.jpg: the file is empty"):
        read_photo(tmp_path / "zero.jpg")


def test_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(ImageError, match="text.jpg: not an image"):
        read_photo(tmp_path / "text.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp"])
def test_truncated(tmp_path: Path, photo_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".jpg":
        shutil.copy(photo_path, whole)
    else:
        Image.open(photo_path).save(whole)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match=f"cut{suffix}: "):
        read_photo(cut)
