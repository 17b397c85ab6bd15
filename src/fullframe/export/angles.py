"""Joint angles as a table and as a chart."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.export.tracks import motions
from fullframe.geometry.world import level_frame
from fullframe.io.atomic import atomic_path
from fullframe.motion.ground import runs
from fullframe.motion.joint_angles import joint_angles
from fullframe.results.clip import Clip

_RIGHT, _LEFT, _BOTH = "#d95f02", "#1f78b4", "#444444"
_SHADE = 0.13


def write_clip_angles(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """A table <stem>_<track id>_angles.csv and a chart <stem>_<track id>_angles.png for each person.

    A line of the table is a time: frame, time_s, contact_r and contact_l (1 where that foot stands), and
    `joint_angles` in degrees. The clip's mean rate, from the first frame that shows the person to the last;
    fields are empty while the person is out of sight.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
        ImportError: matplotlib is missing.
    """
    written = []
    # The pelvis has no rotation where it faces the camera: along z of the level frame.
    for motion in motions(clip, body, level_frame(clip.ground)):
        angles = joint_angles(motion.track.matrices)
        times, seen = motion.track.times - clip.times[0], motion.rows >= 0
        contacts = clip.contacts[motion.rows][:, ::-1] & seen[:, None]  # right, left
        table, chart = (
            path.with_name(f"{path.stem}_{motion.track.id}_angles.{suffix}") for suffix in ("csv", "png")
        )
        with atomic_path(table) as temporary, open(temporary, "w", encoding="ascii", newline="") as file:
            file.write(",".join(("frame", "time_s", "contact_r", "contact_l", *angles)) + "\n")
            values = np.stack(list(angles.values()), axis=1)
            for frame, time, standing, row, there in zip(
                motion.frames, times, contacts.astype(int), values, seen, strict=True
            ):
                fields = (*standing, *(f"{value:.3f}" for value in row)) if there else [""] * (2 + len(row))
                file.write(",".join(map(str, (frame, f"{time:.6f}", *fields))) + "\n")
        shown = {name: np.where(seen, values, np.nan) for name, values in angles.items()}
        with atomic_path(chart) as temporary:
            _draw(temporary, f"{path.stem}, person {motion.track.id}", times, shown, contacts)
        written += [table, chart]
    return written


def _draw(
    path: Path,
    title: str,
    times: NDArray[np.float64],
    angles: dict[str, NDArray[np.float64]],
    contacts: NDArray[np.bool_],
) -> None:
    """A panel for each angle, right and left together; the times when a foot stands are shaded."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(name.removesuffix("_r").removesuffix("_l") for name in angles))
    rows = len(panels) // 3
    height = 1.7 * rows + 0.8
    # Margins of fixed size, inches: a layout that is computed takes longer than the drawing.
    margins = {"left": 0.7 / 12, "right": 1 - 0.15 / 12, "bottom": 0.45 / height, "top": 1 - 0.65 / height}
    figure = Figure((12, height))
    axes = figure.subplots(rows, 3, sharex=True, gridspec_kw=margins | {"hspace": 0.32, "wspace": 0.14})
    end = 2 * times[-1] - times[-2] if len(times) > 1 else times[-1] + 1 / 30
    edges = np.append(times, end)
    for panel, ax in zip(panels, axes.flat, strict=True):
        for side, color in enumerate((_RIGHT, _LEFT)):
            for start, stop in runs(contacts[:, side]):
                ax.axvspan(edges[start], edges[stop], color=color, alpha=_SHADE, linewidth=0)
        for name, color in ((panel, _BOTH), (f"{panel}_r", _RIGHT), (f"{panel}_l", _LEFT)):
            if name in angles:
                ax.plot(times, angles[name], color=color, linewidth=1.3, marker="." if len(times) < 3 else "")
        ax.set_title(panel.replace("_", " "), fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
        ax.margins(x=0)
    for ax in axes[-1]:
        ax.set_xlabel("s", fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("degrees", fontsize=8)
    figure.suptitle(
        f"{title}: right in orange, left in blue; shaded while that foot stands, grey for both",
        fontsize=10,
        y=1 - 0.12 / height,
        va="top",
    )
    figure.savefig(path, dpi=100, format="png")
