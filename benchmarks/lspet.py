"""The annotator on the photos of Leeds Sports Pose Extended, which have 14 keypoints in 2D.

    python benchmarks/lspet.py LSPET_FOLDER --out runs/lspet

Labels the photos for training and, in a run of its own that learns nothing from them, those for validation.
Prints a table of how near the labels are to their keypoints and how many count as reliable, and draws 200
labels at random into <out>/overlays_*.jpg. <out>/train.npz is for `fullframe train data.NAME.labels=...`.
The same command resumes.
"""

import json
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro

from fullframe.annotate.labels import Labels
from fullframe.annotate.pipeline import annotate
from fullframe.annotate.report_page import draw_person
from fullframe.body import JOINT_SETS, load_body
from fullframe.cli.console import show_progress
from fullframe.data.formats.lspet import LSPET, SPLITS
from fullframe.evaluate.report import markdown_table
from fullframe.io.atomic import atomic_path
from fullframe.io.image import read_photo

DRAWN, A_SHEET, ACROSS = 200, 40, 4


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    out: Path = Path("runs/lspet"),
    method: str = "cliff",
    model: str | None = None,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    heading = ["photos", "people", "left out", "reliable", "reprojection: median", "90 %", "agreement mm"]
    rows, everyone = [heading], []
    for split in SPLITS:
        people = LSPET(folder, split)
        annotations = out / f"{split}.json"
        with atomic_path(annotations) as temporary:
            temporary.write_text(json.dumps(as_coco(people)))
        images, file = folder / "images", out / f"{split}.npz"
        with show_progress() as progress:
            labels = annotate(images, file, annotations, method=method, model=model, progress=progress).labels
        everyone.append(labels)
        middle, most = np.quantile(labels.reprojection, (0.5, 0.9))
        share, apart = 100 * labels.reliable.mean(), np.nanmedian(labels.agreement)
        numbers = [f"{share:.1f} %", f"{middle:.4f}", f"{most:.4f}", f"{apart:.0f}"]
        rows.append([split, f"{len(labels):,}", str(people.left_out), *numbers])
    table = markdown_table(rows)
    with atomic_path(out / "lspet.md") as temporary:
        temporary.write_text(table)
    print(table)
    draw(everyone, folder / "images", out)


def as_coco(people: LSPET) -> dict:
    """COCO keypoint annotations."""
    images, annotations = [], []
    for number, person in enumerate(people, 1):
        assert isinstance(person.image, Path)
        x0, y0, x1, y1 = person.box.tolist()
        points = person.keypoints["lsp14"].astype(np.float64)
        width, height = person.camera.size
        images.append({"id": number, "file_name": person.image.name, "width": width, "height": height})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
             "keypoints": points.ravel().tolist()}
        )  # fmt: skip
    category = {"id": 1, "name": "person", "keypoints": list(JOINT_SETS["lsp14"].names)}
    return {"images": images, "annotations": annotations, "categories": [category]}


def draw(everyone: list[Labels], images: Path, out: Path) -> None:
    """Labels at random, the same in every run."""
    where = [(labels, index) for labels in everyone for index in range(len(labels))]
    chosen = np.random.default_rng(0).permutation(len(where))[:DRAWN]
    tiles = []
    for number in chosen.tolist():
        labels, index = where[number]
        body = load_body(labels.body, num_betas=labels.betas.shape[1])
        tiles.append(draw_person(read_photo(images / str(labels.photos[index])).pixels, labels, index, body))
    for start in range(0, len(tiles), A_SHEET):
        some = tiles[start : start + A_SHEET]
        rows = [np.concatenate(some[i : i + ACROSS], axis=1) for i in range(0, len(some), ACROSS)]
        sheet = np.concatenate([row for row in rows if row.shape == rows[0].shape])
        cv2.imwrite(str(out / f"overlays_{start // A_SHEET}.jpg"), sheet[..., ::-1])


if __name__ == "__main__":
    tyro.cli(main)
