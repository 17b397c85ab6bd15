"""A report of labels in one HTML file: the worst people by each score, and some evenly spread."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.annotate.labels import Labels, worst_first
from fullframe.body import JOINT_SETS, BodyModel
from fullframe.geometry.box import PersonBox, crop_image
from fullframe.io.atomic import atomic_path
from fullframe.io.image import ImageError, read_photo
from fullframe.recovery.plausibility import MAX_REPROJECTION, MIN_KEYPOINTS
from fullframe.render.colors import PALETTE
from fullframe.render.drawing import polyline
from fullframe.render.mesh_shading import draw_meshes

PEOPLE_PER_SECTION = 24
_PANEL = 240
_SCORES = {
    "reprojection": ("Farthest from their keypoints", "reprojection {:.3f} of the box"),
    "prior": ("Least likely poses", "prior {:.1f}"),
    "agreement": ("Farthest from the network's initial prediction", "agreement {:.0f} mm"),
}
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1560px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em 1em .2em 0;text-align:left}"
    ".tiles{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:724px;max-width:100%}"
    "img{width:100%;display:block;border-radius:4px}figcaption{font-size:13px;color:#444}"
    "b.bad{color:#b3261e}li{font-size:13px}"
)


def write_page(path: Path, labels: Labels, images: Path, body: BodyModel, problems: Sequence[str]) -> None:
    """Write the page; reads the photos of the people that it shows.

    Args:
        path: of the HTML file, which is self-contained.
        labels: of all people.
        images: the folder of the photos.
        body: that the labels are of.
        problems: messages of the run.
    """
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(path.stem)}</title>",
        f"<style>{_STYLE}</style><h1>Labels by {html.escape(labels.model)}</h1>",
        _summary(labels, problems),
    ]
    sections = {title: worst_first(labels, key)[:PEOPLE_PER_SECTION] for key, (title, _) in _SCORES.items()}
    few = np.flatnonzero(labels.visible < MIN_KEYPOINTS)[:PEOPLE_PER_SECTION]
    sections[f"Fewer than {MIN_KEYPOINTS} keypoints: unreliable"] = few.tolist()
    order = worst_first(labels, "reprojection")
    spread = sorted({round(i) for i in np.linspace(0, len(order) - 1, PEOPLE_PER_SECTION)}) if order else []
    sections["Evenly spread from the worst to the best reprojection"] = [order[i] for i in spread]
    for title, chosen in sections.items():
        if chosen:
            tiles = "".join(_figure(labels, index, images, body) for index in chosen)
            parts.append(f"<h2>{html.escape(title)}</h2><div class=tiles>{tiles}</div>")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")


def _summary(labels: Labels, problems: Sequence[str]) -> str:
    rows = [
        ("people", f"{len(labels)} in {len(np.unique(labels.photos))} photos"),
        ("reliable", f"{int(labels.reliable.sum())}"),
        ("unreliable", f"{int((~labels.reliable).sum())}: fewer than {MIN_KEYPOINTS} keypoints "
         f"({int((labels.visible < MIN_KEYPOINTS).sum())}), or reprojection above {MAX_REPROJECTION}"),
    ]  # fmt: skip
    for key, (_, text) in _SCORES.items():
        values = getattr(labels, key)
        values = values[~np.isnan(values)]
        if len(values):
            low, middle, high = np.percentile(values, (10, 50, 90))
            rows.append((key, f"median {text.format(middle)}, 10 to 90 %: {low:.3g} to {high:.3g}"))
    table = "".join(f"<tr><th>{key}<td>{html.escape(value)}" for key, value in rows)
    items = "".join(f"<li>{html.escape(problem)}" for problem in problems[:100])
    more = f"<p>and {len(problems) - 100} more</p>" if len(problems) > 100 else ""
    listed = f"<details><summary>{len(problems)} problems</summary><ul>{items}</ul>{more}</details>"
    return (
        f"<table>{table}</table>{listed if problems else ''}<p>Photo and keypoints; label; from its side.</p>"
    )


def _figure(labels: Labels, index: int, images: Path, body: BodyModel) -> str:
    name = html.escape(f"{labels.photos[index]}#{labels.ids[index]}")
    try:
        photo = read_photo(images / str(labels.photos[index])).pixels
    except ImageError as error:
        return f"<figure>{html.escape(str(error))}</figure>"
    picture = draw_person(photo, labels, index, body)
    done, content = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    scores = (text.format(getattr(labels, key)[index]) for key, (_, text) in _SCORES.items()
              if not np.isnan(getattr(labels, key)[index]))  # fmt: skip
    mark = "" if labels.reliable[index] else " <b class=bad>unreliable</b>"
    data = base64.b64encode(content.tobytes()).decode()
    caption = f"{name}{mark}<br>{labels.visible[index]} keypoints, {', '.join(scores)}"
    image = f'<img alt="{name}" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def draw_person(photo: NDArray[np.uint8], labels: Labels, index: int, body: BodyModel) -> NDArray[np.uint8]:
    """Photo with keypoints, label over the photo, and the label from its side: (240, 724, 3) RGB.

    Args:
        photo: (H, W, 3) RGB, the whole one that the person is in.
    """
    box = labels.boxes[index].astype(np.float64)
    center, size = (box[:2] + box[2:]) / 2, 1.3 * float((box[2:] - box[:2]).max())
    view = crop_image(photo, PersonBox(center[None], np.array([size])), (_PANEL, _PANEL))[0]
    scale = _PANEL / size
    left, top = (center - size / 2).tolist()
    intrinsics = labels.camera(index).through((left, top, 1 / scale))
    with torch.inference_mode():
        values = (labels.betas[index], labels.pose[index], labels.translation[index])
        posed = body(*(torch.from_numpy(value[None]) for value in values))
    vertices = posed.vertices.numpy()
    faces = body.faces.numpy().astype(np.int32)

    given = view.copy()
    points = labels.keypoints[index]
    pixels = (points[:, :2] - center) * scale + _PANEL / 2
    for a, b in JOINT_SETS[labels.joint_set].bones:
        if points[a, 2] > 0 and points[b, 2] > 0:
            polyline(given, pixels[[a, b]], PALETTE[1], 2)
    for k in np.flatnonzero(points[:, 2] > 0):
        cv2.circle(given, pixels[k].round().astype(int).tolist(), 3, PALETTE[6], -1, cv2.LINE_AA)

    # Rotated by 90 degrees about the vertical, seen by a distant camera.
    quarter = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    turned = vertices @ quarter.T
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    away = 10 * float((high - low).max())
    turned += np.array([0, 0, away], np.float32) - (low + high) / 2
    focal = 9 * _PANEL
    straight = np.array([[focal, 0, _PANEL / 2], [0, focal, _PANEL / 2], [0, 0, 1]])
    blank = np.full_like(view, 245)
    panels = (
        given,
        draw_meshes(view, vertices, faces, [PALETTE[0]], intrinsics, 0.8),
        draw_meshes(blank, turned, faces, [PALETTE[0]], straight, 1.0),
    )
    gap = np.full((_PANEL, 2, 3), 255, np.uint8)
    return np.concatenate((panels[0], gap, panels[1], gap, panels[2]), axis=1)
