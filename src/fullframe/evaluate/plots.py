"""Pictures of scores: errors by joint and by off-axis angle, and the worst people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body import JOINT_SETS, BodyModel
from fullframe.data.crop import read_pixels
from fullframe.data.sample import Sample
from fullframe.evaluate.posed_bodies import BodyCache
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.report import Bin, Estimate, number
from fullframe.geometry.box import PersonBox, crop_image
from fullframe.io.atomic import atomic_path
from fullframe.io.image import write_jpeg
from fullframe.render.colors import PALETTE
from fullframe.render.drawing import Label, draw_labels, polyline
from fullframe.render.mesh_shading import draw_meshes

_PANEL, _CAPTION, _GAP, _COLUMNS = 320, 26, 4, 2
_BLUE, _ORANGE = ("#{:02x}{:02x}{:02x}".format(*PALETTE[i]) for i in (5, 6))


def have_matplotlib() -> bool:
    """Whether charts can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw_joints(path: Path, joints: Mapping[str, Estimate], unit: str) -> None:
    """A bar for the mean error of each joint, the largest on top."""
    with _figure(path, (7, 0.8 + 0.32 * len(joints))) as axes:
        names = sorted(joints, key=lambda name: joints[name].value)
        values = [joints[name].value for name in names]
        bars = axes.barh([name.replace("_", " ") for name in names], values, color=_BLUE)
        axes.bar_label(bars, [number(value) for value in values], padding=3, fontsize=8)
        axes.set_xlabel(f"mean error, {unit}")
        axes.margins(x=0.12)


def draw_angles(path: Path, bins: Sequence[Bin], column: str) -> None:
    """A column by off-axis angle, with 95 % intervals."""
    shown = [b for b in bins if b.people and not np.isnan(b.values[column].value)]
    with _figure(path, (6, 4)) as axes:
        values = np.array([b.values[column] for b in shown])
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        colors = [_ORANGE if b.name == "all" else _BLUE for b in shown]
        axes.bar([f"{b.name}\n{b.people}" for b in shown], values[:, 0], yerr=spread, capsize=4, color=colors)
        axes.set_xlabel("off-axis angle in degrees, and people")
        axes.set_ylabel(column)


def draw_worst(
    path: Path,
    samples: Sequence[Sample],
    predictions: Predictions,
    bodies: BodyCache,
    column: str,
    values: NDArray[np.float64],
    count: int = 12,
) -> None:
    """The people of the worst values: photo, prediction, and truth side by side.

    Args:
        path: of the picture.
        samples: the benchmark, for the photos.
        predictions: for the same people.
        bodies: to draw.
        column: name of the values; of a PCK, less is worse.
        values: (N,); NaN are left out.
        count: of people.
    """
    order = np.argsort(values if column.startswith("PCK") else -values)
    worst = [int(i) for i in order if not np.isnan(values[i])][:count]
    cells = []
    for i in worst:
        panels = _panels(samples[i], i, predictions, bodies)
        cell = np.full((_PANEL + _CAPTION, (_PANEL + _GAP) * len(panels) + 3 * _GAP, 3), 255, np.uint8)
        for place, panel in enumerate(panels):
            x = place * (_PANEL + _GAP)
            cell[_CAPTION:, x : x + _PANEL] = panel
        caption = f"{number(values[i])} {column}   {predictions.names[i]}"
        draw_labels(cell, [Label(caption, np.array((4.0, _CAPTION / 2)), "lm")], 15)
        cells.append(cell)
    if not cells:
        return
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % _COLUMNS)
    rows = [np.concatenate(cells[i : i + _COLUMNS], axis=1) for i in range(0, len(cells), _COLUMNS)]
    write_jpeg(path, np.concatenate(rows))


def _panels(
    sample: Sample, index: int, predictions: Predictions, bodies: BodyCache
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Photo, prediction, truth: square views of the person, through the camera of that part of the photo."""
    image = read_pixels(sample)
    corner, step = np.array(sample.window[:2]), sample.window[2]
    box = sample.box.astype(np.float64)
    center, size = (box[:2] + box[2:]) / 2, 1.4 * float((box[2:] - box[:2]).max())
    view = PersonBox((center[None] - corner) / step, np.array([size / step]))
    photo = crop_image(image, view, (_PANEL, _PANEL))[0]
    scale = _PANEL / size
    intrinsics = sample.camera.intrinsics
    intrinsics[:2, 2] -= center
    intrinsics[:2] *= scale
    intrinsics[:2, 2] += _PANEL / 2

    body = bodies.load(bodies.predicted, predictions.betas.shape[1])
    found = (predictions.betas[index], predictions.pose[index], predictions.translation[index])
    drawn = _draw(photo, body, *found, intrinsics, PALETTE[0])
    truth = photo.copy()
    if sample.pose is not None and sample.betas is not None and sample.translation is not None:
        true_body, betas = bodies.shaped(sample.body, sample.betas[None], np.array([sample.kid], np.float32))
        truth = _draw(truth, true_body, betas[0], sample.pose, sample.translation, intrinsics, PALETTE[2])
    else:
        for joint_set, points in sample.keypoints.items():
            pixels = (points[:, :2] - center) * scale + _PANEL / 2
            for a, b in JOINT_SETS[joint_set].bones:
                if points[a, 2] > 0 and points[b, 2] > 0:
                    polyline(truth, pixels[[a, b]], PALETTE[2], 3)
    return photo, drawn, truth


def _draw(
    image: NDArray[np.uint8],
    body: BodyModel,
    betas: NDArray[np.float32],
    pose: NDArray[np.float32],
    translation: NDArray[np.float32],
    intrinsics: NDArray[np.float64],
    color: tuple[int, ...],
) -> NDArray[np.uint8]:
    with torch.inference_mode():
        given = (torch.from_numpy(np.asarray(x, np.float32)[None]) for x in (betas, pose, translation))
        vertices = body(*given).vertices.numpy()
    return draw_meshes(image, vertices, body.faces.numpy().astype(np.int32), [color], intrinsics, 0.85)


class _figure:
    """Axes of a chart that is saved at the end, without a window system."""

    def __init__(self, path: Path, size: tuple[float, float]) -> None:
        from matplotlib.figure import Figure

        self.path, self.figure = path, Figure(size, layout="constrained")

    def __enter__(self) -> Any:
        axes = self.figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        return axes

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            with atomic_path(self.path) as temporary:
                self.figure.savefig(temporary, dpi=120)
