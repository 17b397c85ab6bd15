"""Quality and speed of the built-in detector on photos with labelled people.

    python benchmarks/detect.py [--overlays FOLDER] [--fit]

Needs the folder of photos that FULLFRAME_SHARED names (default: shared/ beside the repository).

Recall is that of labelled people at least 80 px high, at IoU 0.5, each matched to one box: of the boxes by
their lowest score, and of the people who remain once their keypoints are known, also in turned photos. Boxes
that match nobody are counted apart: those on a labelled person (parts, doubles, two people in one box, but
also people behind who are not labelled) and those elsewhere. Both need a look, since COCO leaves many people
without labels: --overlays draws them in red. Photos without people are a second count of wrong boxes.
PCK@0.1 (error below a tenth of the box's longer side) is over the labelled joints of people with at least 12
of them and 100 px of height, in labelled boxes and in the detected boxes that match them.

--fit prints the weights of the score, by logistic regression on candidate boxes, and what weights found on
four fifths of the photos reach on the fifth left out.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from common import LabelledPhoto, labelled_photos, pck_errors, photos_folder
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, minimize

from fullframe.detect import builtin
from fullframe.detect.find_people import boxes_turned_back, find_people
from fullframe.geometry.box import iou
from fullframe.io.image import read_photo

Candidates = tuple[NDArray, NDArray]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--overlays", type=Path, help="write every photo with its boxes and joints into this folder"
    )
    parser.add_argument("--fit", action="store_true", help="find the weights of the score again")
    arguments = parser.parse_args()
    photos = list(labelled_photos())
    # Only those: people walk through some of the other backgrounds.
    empty = sorted((photos_folder() / "backgrounds").glob("coco_noperson_*.jpg"))
    torch.set_num_threads(1)
    detector = builtin.load()

    def find(path: Path) -> Candidates:
        pixels = read_photo(path).pixels
        start = time.perf_counter()
        found = detector.candidates(pixels)
        seconds.append(time.perf_counter() - start)
        return found

    seconds: list[float] = []
    found = [find(photo.path) for photo in photos]
    nobody = [find(path) for path in empty]
    if arguments.fit:
        fit(photos, found, nobody)
        return

    print(f"boxes, {len(photos)} photos, {len(empty)} photos without people")
    print("lowest score | recall | unmatched on labelled people | elsewhere | per photo without people")
    for lowest in sorted({0.08, 0.12, 0.2, 0.3, 0.4, 0.5, builtin.LOWEST_SCORE}):
        selected = [builtin.select(*candidates, lowest)[0] for candidates in found]
        recall, wrong, elsewhere = count(photos, selected)
        alone = np.mean([len(builtin.select(*candidates, lowest)[0]) for candidates in nobody])
        default = " (default)" if lowest == builtin.LOWEST_SCORE else ""
        print(f"{lowest:.2f}{default} | {recall:.3f} | {wrong} | {elsewhere} | {alone:.2f}")
    alone = np.mean([len(people_boxes(detector, path, 0)) for path in empty])
    for turn in range(4):
        kept = [people_boxes(detector, photo.path, turn) for photo in photos]
        recall, wrong, elsewhere = count(photos, kept)
        where = f"people, photo turned by {90 * turn} degrees" if turn else "people, by keypoints"
        print(f"{where} | {recall:.3f} | {wrong} | {elsewhere} | {'' if turn else f'{alone:.2f}'}")
    print(f"boxes: median {np.median(seconds) * 1e3:.0f} ms, least {min(seconds) * 1e3:.0f} ms, 1 thread")

    errors: dict[str, list[NDArray]] = {"labelled boxes": [], "detected boxes": []}
    confident: dict[str, list[NDArray]] = {"labelled boxes": [], "detected boxes": []}
    seconds = []
    for photo, candidates in zip(photos, found, strict=True):
        pixels = read_photo(photo.path).pixels
        boxes, _ = builtin.select(*candidates)
        rows, columns = match(photo.boxes, boxes)
        matched = LabelledPhoto(photo.path, photo.boxes[rows], photo.keypoints[rows])
        for name, people, where in (
            ("labelled boxes", photo, photo.boxes),
            ("detected boxes", matched, boxes[columns]),
        ):
            where = where[people.measured]
            people = people.of_measured_people()
            start = time.perf_counter()
            keypoints = detector.keypoints(pixels, where)
            if len(where):
                seconds.append((time.perf_counter() - start) / len(where))
            errors[name].append(pck_errors(people, keypoints[..., :2]))
            confident[name].append(pck_errors(people, keypoints[..., :2], keypoints[..., 2] > 0.3))
        if arguments.overlays:
            arguments.overlays.mkdir(parents=True, exist_ok=True)
            picture = draw(pixels, photo, boxes, columns, detector.keypoints(pixels, boxes))
            cv2.imwrite(str(arguments.overlays / f"{photo.path.stem}.png"), picture[..., ::-1])
    for name in errors:
        every, sure = np.concatenate(errors[name]), np.concatenate(confident[name])
        print(
            f"PCK@0.1, {name}: {np.mean(every < 0.1):.3f} over {len(every)} joints, "
            f"{np.mean(sure < 0.1):.3f} over the {len(sure)} with confidence > .3"
        )
    middle, least = np.median(seconds) * 1e3, min(seconds) * 1e3
    print(f"keypoints: median {middle:.0f} ms, least {least:.0f} ms a person, 1 thread")


def people_boxes(detector: builtin.Builtin, path: Path, turn: int) -> NDArray[np.float32]:
    """The boxes of the people found in a photo that is turned by quarters, in px of the upright photo."""
    pixels = read_photo(path).pixels
    boxes = find_people(detector, np.ascontiguousarray(np.rot90(pixels, turn))).boxes
    height, width = pixels.shape[:2]
    return boxes_turned_back(boxes, turn, width, height)


def match(labelled: NDArray, boxes: NDArray) -> tuple[NDArray, NDArray]:
    """Indices of labelled boxes and of the boxes found for them, one to one, IoU at least 0.5."""
    overlap = iou(labelled, boxes)
    rows, columns = linear_sum_assignment(-np.where(overlap >= 0.5, 10 + overlap, 0))
    right = overlap[rows, columns] >= 0.5
    return rows[right], columns[right]


def on_labelled_people(labelled: NDArray, boxes: NDArray) -> NDArray[np.bool_]:
    """(N,) whether a box overlaps a labelled one: IoU > 0.2, or one covers more than half of the other."""
    low = np.maximum(labelled[:, None, :2], boxes[None, :, :2])
    high = np.minimum(labelled[:, None, 2:], boxes[None, :, 2:])
    both = (high - low).clip(0).prod(axis=-1)
    smaller = np.minimum(*np.meshgrid(area(boxes), area(labelled)))
    return ((iou(labelled, boxes) > 0.2) | (both > 0.5 * smaller)).any(axis=0)


def area(boxes: NDArray) -> NDArray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)


def count(photos: list[LabelledPhoto], selected: list[NDArray]) -> tuple[float, int, int]:
    """Recall, and the number of boxes that match nobody: on labelled people and elsewhere."""
    hits, wrong, elsewhere = [], 0, 0
    for photo, boxes in zip(photos, selected, strict=True):
        rows, columns = match(photo.boxes, boxes)
        hit = np.isin(np.arange(len(photo.boxes)), rows)
        hits.append(hit[photo.boxes[:, 3] - photo.boxes[:, 1] >= 80])
        left = np.delete(boxes, columns, axis=0)
        on = on_labelled_people(photo.boxes, left)
        wrong, elsewhere = wrong + on.sum(), elsewhere + (~on).sum()
    return float(np.concatenate(hits).mean()), wrong, elsewhere


def fit(photos: list[LabelledPhoto], found: list[Candidates], nobody: list[Candidates]) -> None:
    """Find and try the weights of `builtin.select`.

    A candidate that matches a labelled person is right, another one on labelled people wrong, except that one
    with IoU > 0.5 is neither, and so is one away from them, as COCO's labels are not complete. All in photos
    without people are wrong; they count 0.3, since photos usually have people.
    """
    features, right, weight, group = [], [], [], []
    for index, (photo, (boxes, values)) in enumerate(zip(photos, found, strict=True)):
        good = np.isin(np.arange(len(boxes)), match(photo.boxes, boxes)[1])
        double = ~good & (iou(photo.boxes, boxes) > 0.5).any(axis=0)
        use = good | (on_labelled_people(photo.boxes, boxes) & ~double)
        features.append(values[use])
        right.append(good[use])
        weight.append(np.ones(use.sum()))
        group.append(np.full(use.sum(), index % 5))
    for index, (_, values) in enumerate(nobody):
        features.append(values)
        right.append(np.zeros(len(values), bool))
        weight.append(np.full(len(values), 0.3))
        group.append(np.full(len(values), index % 5))
    data = [np.concatenate(part) for part in (features, right, weight, group)]

    def regress(use: NDArray[np.bool_]) -> NDArray:
        x, y, w, _ = (part[use] for part in data)
        x = np.concatenate((x, np.ones((len(x), 1))), axis=1)
        return minimize(lambda b: (w * np.logaddexp(0, np.where(y, -1, 1) * (x @ b))).sum(), np.zeros(3)).x

    *weights, bias = regress(np.ones(len(data[0]), bool))
    print(f"WEIGHTS, BIAS = ({weights[0]:.1f}, {weights[1]:.1f}), {bias:.2f}")
    selected = []
    folds = [regress(data[3] != fold) for fold in range(5)]
    for index, candidates in enumerate(found):
        builtin.WEIGHTS, builtin.BIAS = folds[index % 5][:2], folds[index % 5][2]
        selected.append(builtin.select(*candidates)[0])
    recall, wrong, elsewhere = count(photos, selected)
    print(f"left out: recall {recall:.3f}, unmatched on labelled people {wrong}, elsewhere {elsewhere}")


def draw(
    pixels: NDArray[np.uint8], photo: LabelledPhoto, boxes: NDArray, matched: NDArray, keypoints: NDArray
) -> NDArray[np.uint8]:
    """Labelled boxes green, found ones blue if they match, else red; joints yellow if confident."""
    picture = pixels.copy()
    colors = [(60, 130, 255) if index in matched else (255, 0, 0) for index in range(len(boxes))]
    for box, color in [*((b, (0, 200, 0)) for b in photo.boxes), *zip(boxes, colors, strict=True)]:
        x1, y1, x2, y2 = (round(float(value)) for value in box)
        cv2.rectangle(picture, (x1, y1), (x2, y2), color, 2)
    for x, y, confidence in keypoints.reshape(-1, 3):
        color = (255, 230, 0) if confidence > 0.3 else (140, 140, 140)
        cv2.circle(picture, (round(float(x)), round(float(y))), 2, color, -1)
    return picture


if __name__ == "__main__":
    main()
