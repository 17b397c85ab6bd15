import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fullframe.geometry.camera import (
    HMR_FOCAL,
    Camera,
    ExifError,
    compute_bbox_info,
    crop_to_full_translation,
    crop_translation,
    project,
)

FOCAL = 2202.9072
CENTER_REL = torch.tensor([1400 - 960.0, 500 - 540.0], dtype=torch.float64)
SIZE = torch.tensor(600.0, dtype=torch.float64)
WEAK = torch.tensor([0.9, 0.05, -0.1], dtype=torch.float64)


def test_golden_location() -> None:
    plain = compute_bbox_info(CENTER_REL, SIZE, FOCAL)
    np.testing.assert_allclose(plain, [0.199736, -0.018158, 0.272367], atol=1e-6)
    h36m = compute_bbox_info(CENTER_REL, SIZE, FOCAL, norm="h36m")
    np.testing.assert_allclose(h36m, [0.559261, -0.050842, 0.539456], atol=1e-6)
    with pytest.raises(ValueError, match="unknown bbox_info norm 'cliff'; known: plain, h36m"):
        compute_bbox_info(CENTER_REL, SIZE, FOCAL, norm="cliff")


def test_golden_translation_and_projection() -> None:
    translation = crop_to_full_translation(WEAK, CENTER_REL, SIZE, FOCAL)
    np.testing.assert_allclose(translation, [1.679630, -0.248148, 8.158915], atol=1e-6)
    point = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64) + translation
    pixel = project(point, FOCAL, torch.tensor([960.0, 540.0], dtype=torch.float64))
    np.testing.assert_allclose(pixel, [1461.355, 367.119], atol=1e-3)
    np.testing.assert_allclose(
        (pixel - torch.tensor([1400.0, 500.0])) / 300, [0.204517, -0.442937], atol=1e-6
    )


def test_golden_crop_camera() -> None:
    depth = crop_translation(WEAK, crop_height=224)[2]
    assert depth.item() == pytest.approx(49.603175, abs=1e-6)
    assert (FOCAL / HMR_FOCAL * 224 / SIZE * depth).item() == pytest.approx(8.158915, abs=1e-6)


positive = st.floats(0.2, 5)


@given(
    st.floats(0.3, 2), st.floats(-1, 1), st.floats(-1, 1), st.floats(50, 2000), st.floats(300, 5000), positive
)
def test_rescaling_the_image_changes_neither_location_nor_translation(
    s: float, tx: float, ty: float, b: float, f: float, k: float
) -> None:
    weak = torch.tensor([s, tx, ty], dtype=torch.float64)
    size = torch.tensor(b, dtype=torch.float64)
    for norm in ("plain", "h36m"):
        torch.testing.assert_close(
            compute_bbox_info(CENTER_REL, size, f, norm),
            compute_bbox_info(CENTER_REL * k, size * k, f * k, norm),
        )
    torch.testing.assert_close(
        crop_to_full_translation(weak, CENTER_REL, size, f),
        crop_to_full_translation(weak, CENTER_REL * k, size * k, f * k),
    )


@given(st.floats(0.3, 2), st.floats(-1, 1), st.floats(-1, 1), st.floats(50, 2000), st.floats(300, 5000))
def test_the_point_opposite_the_offset_projects_to_the_box_centre(
    s: float, tx: float, ty: float, b: float, f: float
) -> None:
    weak = torch.tensor([s, tx, ty], dtype=torch.float64)
    translation = crop_to_full_translation(weak, CENTER_REL, torch.tensor(b, dtype=torch.float64), f)
    point = torch.tensor([-tx, -ty, 0], dtype=torch.float64) + translation
    torch.testing.assert_close(project(point, f), CENTER_REL, atol=1e-4, rtol=1e-6)


def test_a_long_lens_tends_to_weak_perspective() -> None:
    f = 1e8
    translation = crop_to_full_translation(WEAK, CENTER_REL, SIZE, f)
    point = torch.tensor([0.2, -0.4, 0.1], dtype=torch.float64)
    normalised = (project(point + translation, f) - CENTER_REL) / (SIZE / 2)
    torch.testing.assert_close(normalised, 0.9 * (point[:2] + WEAK[1:]), atol=1e-5, rtol=0)


def test_crop_and_full_frame_agree_only_on_the_axis_with_the_matching_focal() -> None:
    """HMR's camera is CLIFF's for a centred box and f = 5000 b / r (13392.857 px for b = 600)."""
    points = torch.randn(20, 3, dtype=torch.float64) * 0.3
    crop = project(points + crop_translation(WEAK, 224), HMR_FOCAL) / 112

    def full(center_rel: torch.Tensor, focal: float) -> torch.Tensor:
        translation = crop_to_full_translation(WEAK, center_rel, SIZE, focal)
        return (project(points + translation, focal) - center_rel) / (SIZE / 2)

    focal = HMR_FOCAL * 600 / 224
    assert focal == pytest.approx(13392.857, abs=1e-3)
    centred = torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(full(centred, focal), crop)
    assert (full(CENTER_REL, focal) - crop).abs().max() > 1e-3
    assert (full(centred, FOCAL) - crop).abs().max() > 1e-3


def test_gradients() -> None:
    weak = torch.tensor([[0.9, 0.05, -0.1]], dtype=torch.float64, requires_grad=True)

    def pixels(weak: torch.Tensor) -> torch.Tensor:
        return project(crop_to_full_translation(weak, CENTER_REL[None], SIZE[None], FOCAL), FOCAL)

    assert torch.autograd.gradcheck(pixels, weak)


def test_points_behind_the_camera_stay_finite() -> None:
    assert torch.isfinite(project(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, -3.0]]), 1000.0)).all()


def test_diagonal_camera() -> None:
    camera = Camera.from_diagonal((1920, 1080))
    assert camera.focal[0] == pytest.approx(FOCAL, abs=1e-4)
    assert camera.principal_point == (960, 540)
    diagonal_view = math.degrees(2 * math.atan(math.hypot(1920, 1080) / 2 / camera.focal[0]))
    assert diagonal_view == pytest.approx(53.13, abs=0.01)
    assert camera.source == "diagonal"


@given(st.floats(1, 179))
def test_field_of_view_round_trip(degrees: float) -> None:
    assert Camera.from_fov(degrees, (640, 480)).fov[0] == pytest.approx(degrees)


def test_intrinsics_in_both_forms() -> None:
    matrix = [[1000, 0, 300], [0, 1100, 200], [0, 0, 1]]
    camera = Camera.from_intrinsics(matrix, (640, 480))
    assert camera == Camera.from_intrinsics([1000, 1100, 300, 200], (640, 480))
    np.testing.assert_allclose(camera.intrinsics, matrix)


def test_exif() -> None:
    size = (3000, 2000)
    diagonal = math.hypot(*size)
    equivalent = Camera.from_exif({0xA405: 26, 0x920A: Fraction(21, 5)}, size)
    assert equivalent is not None and equivalent.source == "exif"
    assert equivalent.focal[0] == pytest.approx(26 * diagonal / math.hypot(36, 24))
    # 50 mm on a sensor of 36 mm across 6000 px, photo halved since.
    sensor = {0x920A: 50, 0xA20E: 6000 / 3.6, 0xA210: 3, 0xA002: 6000, 0xA003: 4000}
    camera = Camera.from_exif(sensor, size)
    assert camera is not None
    assert camera.focal[0] == pytest.approx(50 / 36 * 3000)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {0xA405: 0},
        {0xA405: float("nan")},
        {0xA405: "wide"},
        {0x920A: 50},
        {0x920A: 50, 0xA20E: 1000, 0xA210: 9},
    ],
)
def test_exif_that_does_not_say(tags: dict[int, object]) -> None:
    assert Camera.from_exif(tags, (3000, 2000)) is None


@pytest.mark.parametrize(
    "tags, size, message",
    [
        ({0x920A: 50, 0xA20E: 72, 0xA210: 2}, (3000, 2000), "would be 142 px, which no lens has"),
        ({0x920A: 50, 0xA20E: 1e9, 0xA210: 2}, (3000, 2000), "which no lens has"),
        ({0xA405: 26, 0xA002: 800, 0xA003: 600}, (1000, 1000), "800 x 600 px is not that of this photo"),
        ({0xA405: 26, 0xA002: 320, 0xA003: 600}, (320, 600), "320 x 600 px is no camera's shape: .* cut"),
        ({0xA405: 26}, (600, 320), "600 x 320 px is no camera's shape"),
    ],
)
def test_exif_of_another_photo(tags: dict[int, object], size: tuple[int, int], message: str) -> None:
    with pytest.raises(ExifError, match=message):
        Camera.from_exif(tags, size)


@pytest.mark.parametrize("focal", [0, -5, float("nan"), float("inf")])
def test_impossible_focal(focal: float) -> None:
    with pytest.raises(ValueError, match="focal length must be positive"):
        Camera.from_focal(focal, (10, 10))


@pytest.mark.parametrize("bad", [0, -10, 180, float("nan")])
def test_impossible_field_of_view(bad: float) -> None:
    with pytest.raises(ValueError, match="field of view"):
        Camera.from_fov(bad, (10, 10))


@pytest.mark.parametrize("bad", [[1, 2, 3], np.eye(4), [[1, 5, 0], [0, 1, 0], [0, 0, 1]]])
def test_impossible_intrinsics(bad: object) -> None:
    with pytest.raises(ValueError, match="intrinsics"):
        Camera.from_intrinsics(bad, (10, 10))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        (Camera.from_intrinsics((1.389, 2.083, 0.5, 0.5), (800, 600)), "normalised; multiply"),
        (Camera.from_focal(26, (800, 600)), "in mm of a 36 x 24 mm frame, give 601 px"),
        (Camera.from_fov(1.05, (800, 600)), "radians, give 60.2"),
        (
            Camera.from_intrinsics((800, 800, 1920, 1080), (800, 600)),
            "another resolution, perhaps 3840 x 2160 px",
        ),
        (Camera.from_focal(1e6, (800, 600)), "too long"),
        (Camera.from_fov(150, (1080, 1920)), "at most 102"),
    ],
)
def test_confused_units(camera: Camera, message: str) -> None:
    why = camera.implausible()
    assert why is not None and message in why


@pytest.mark.parametrize("fov", [4, 20, 53, 90, 100])
@pytest.mark.parametrize("size", [(800, 600), (1080, 1920), (64, 64)])
def test_lenses_are_plausible(fov: float, size: tuple[int, int]) -> None:
    assert Camera.from_fov(fov, size).implausible() is None
    assert Camera.from_diagonal(size).implausible() is None


def test_exif_of_crops_and_reductions() -> None:
    """26 mm on 800 x 600 px is a focal length of 601 px there, and in a crop; half of it in a reduction."""
    tags = {0xA405: 26, 0xA002: 800, 0xA003: 600}
    sizes = {(800, 600): 601, (600, 800): 601, (320, 600): 601, (400, 300): 300, (1600, 1200): 1202}
    for size, focal in sizes.items():
        camera = Camera.from_exif(tags, size)
        assert camera is not None and camera.focal[0] == pytest.approx(focal, abs=1)
