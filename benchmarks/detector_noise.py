"""How the built-in detector errs on labelled photos, and how the simulator of detections does.

    python benchmarks/detector_noise.py [--simulated 20000]

Photos of COCO (coco_dev) and of Leeds Sports Pose Extended (val, whose labels often have left and right
exchanged and do not mark hidden joints) in labelled boxes. By group of joints and by confidence: the median
error as a share of the box's longer side, the share of errors beyond a tenth of it, the share of these that
lie on the joint's mirror image; and the confidences of joints that are seen, hidden and not labelled. The
same is printed of fullframe.synth.detections, whose constants the numbers on COCO set. Labels have errors of
their own (hips and shoulders most), which the simulator leaves out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import tyro
from common import PHOTOS, labelled_photos, protocol_of
from numpy.typing import NDArray

from fullframe.body import JOINT_SETS
from fullframe.data.crop import read_pixels
from fullframe.detect import builtin
from fullframe.evaluate.report import markdown_table
from fullframe.geometry.camera import project
from fullframe.io.image import read_photo
from fullframe.synth.detections import Simulator

GROUPS = {"face": range(5), "shoulders": (5, 6), "elbows": (7, 8), "wrists": (9, 10), "hips": (11, 12),
          "knees": (13, 14), "ankles": (15, 16)}  # fmt: skip
EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.01)
FLIP = list(JOINT_SETS["coco17"].flip_permutation)
LABELLED = 5
"""Joints that a person must have to count."""
Person = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
"""Pixels, box x1, y1, x2, y2 and labels (17, 3): x, y px and COCO's visibility."""


@dataclass
class Found:
    """N people: places in units of the box's longer side.

    Attributes:
        true: (N, 17, 2).
        state: (N, 17) 0 not labelled, 1 hidden, 2 seen.
        found: (N, 17, 3) x, y, confidence.
    """

    true: NDArray[np.float64]
    state: NDArray[np.int64]
    found: NDArray[np.float64]


def main(simulated: int = 20_000) -> None:
    torch.set_num_threads(1)
    for folder, people in (("coco_dev", coco()), ("lspet", lspet())):
        if (PHOTOS / folder).is_dir():
            print(f"{folder}\n")
            report(on_photos(people))
            print()
        else:
            print(f"{folder}: skipped, since {PHOTOS / folder} is absent; set FULLFRAME_SHARED\n")
    print("simulated\n")
    report(on_simulations(simulated))


def coco() -> Iterator[Person]:
    for photo in labelled_photos():
        pixels = read_photo(photo.path).pixels
        for box, labels in zip(photo.boxes, photo.keypoints, strict=True):
            yield pixels, box, labels


def lspet() -> Iterator[Person]:
    names = JOINT_SETS["lsp14"].names
    limbs = [JOINT_SETS["coco17"].names.index(name) for name in names[:12]]
    for sample in protocol_of("lspet").open(PHOTOS / "lspet"):
        labels = np.zeros((17, 3), np.float32)
        labels[limbs] = sample.keypoints["lsp14"][:12]
        labels[:, 2] = 2 * (labels[:, 2] > 0)
        yield read_pixels(sample), sample.box, labels


def on_photos(people: Iterable[Person]) -> Found:
    """Detections in labelled boxes."""
    detector = builtin.load()
    true, state, found = [], [], []
    for pixels, box, labels in people:
        if (labels[:, 2] > 0).sum() < LABELLED:
            continue
        side = (box[2:] - box[:2]).max()
        points = detector.keypoints(pixels, box[None])[0].astype(np.float64)
        points[:, :2] /= side
        true.append(labels[:, :2] / side)
        state.append(labels[:, 2])
        found.append(points)
    return Found(np.array(true), np.array(state).astype(np.int64), np.array(found))


def on_simulations(count: int) -> Found:
    """Simulated detections; joints beyond the picture or a line count as not labelled, like COCO's."""
    people = Simulator(2022, "val").draw(count)
    true = project(people.joints + people.translation[:, None], 1.0) - people.bbox_info[:, None, :2]
    true = true / people.bbox_info[:, None, 2:]
    found = people.keypoints.clone()
    found[..., :2] /= 2
    state = torch.where(people.visible, 2, 0)
    return Found(true.numpy(), state.numpy(), found.numpy())


def report(people: Found) -> None:
    """Prints the tables."""
    error = np.linalg.norm(people.found[..., :2] - people.true, axis=2)
    mirrored = np.linalg.norm(people.found[..., :2] - people.true[:, FLIP], axis=2)
    confidence = people.found[..., 2]
    rows = [["joints", *(f"{low:.1f}" for low in EDGES[:-1]), "seen", "hidden", "not labelled"]]
    for name, group in GROUPS.items():
        of = list(group)
        e, m, c, state = (x[:, of].ravel() for x in (error, mirrored, confidence, people.state))
        cells = []
        for low, high in pairwise(EDGES):
            here = (state > 0) & (c >= low) & (c < high)
            if here.sum() < 5:
                cells.append("")
                continue
            far = here & (e > 0.1)
            swapped = (m[far] < 0.06).mean() if far.any() else 0
            cells.append(f"{np.median(e[here]):.3f}, {far.sum() / here.sum():.2f}, {swapped:.2f}")
        rows.append([name, *cells, *(quartiles(c[state == s]) for s in (2, 1, 0))])
    print(markdown_table(rows))
    labelled = people.state[:, 5:] > 0
    mean = np.where(labelled, confidence[:, 5:], 0).sum(1) / labelled.sum(1).clip(1)
    print(f"{len(mean)} people, mean confidence of limbs: {quartiles(mean)}")
    print(f"PCK@0.1 {100 * (error[:, 5:][labelled] < 0.1).mean():.1f}, "
          f"PCK@0.05 {100 * (error[:, 5:][labelled] < 0.05).mean():.1f}")  # fmt: skip


def quartiles(values: NDArray) -> str:
    return " ".join(f"{q:.2f}" for q in np.quantile(values, (0.25, 0.5, 0.75))) if len(values) else ""


if __name__ == "__main__":
    tyro.cli(main)
