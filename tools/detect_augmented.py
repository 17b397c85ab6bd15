"""What the built-in detector says of people whose bodies are known, for tools/train_lifter.py --detected.

    python tools/detect_augmented.py OUT --labels sport.npz street.npz --photos PHOTOS/sport PHOTOS/street
    python tools/detect_augmented.py OUT --synth PEOPLE

Labels are from `fullframe annotate`, PEOPLE is a cache of synthetic people (fullframe.synth.cache). Each
labelled person is augmented --passes times and detected in a box that is not quite right. In front of nearly
half of them stands another labelled person, cut out by the mesh: the detector then confuses the two as in
photos of groups, which is hard to simulate. Files that exist are not made again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.progress import Progress

from fullframe.body import load_body
from fullframe.data.augment import Augmentation, augment
from fullframe.data.crop import read_pixels
from fullframe.data.formats.cliff_npz import CLIFFLabels
from fullframe.data.sample import Sample
from fullframe.detect.builtin import Builtin
from fullframe.geometry.box import box_from_keypoints
from fullframe.geometry.camera import project_points
from fullframe.io.atomic import write_npz
from fullframe.render.rasterize import rasterize
from fullframe.synth.cache import CachedPeople
from fullframe.synth.detections import FastBody
from fullframe.synth.joints import NUM_BETAS

CROP = (256, 192)
AUGMENTATION = Augmentation(rotation_probability=0.3, scale=0.2, half_body=0.12, occlusion=0.4)
PART = 500
"""People in a file."""
CUTOUTS = 600
SMALLEST = 70
"""Longer side of a box in px: who is smaller is not well labelled."""
IN_FRONT = 0.45
"""Share of people with another one in front."""

CENTER = np.array(CROP[::-1]) / 2
BODY = FastBody()

Pixels = NDArray[np.uint8]


def main(
    out: Annotated[Path, tyro.conf.Positional],
    /,
    labels: tuple[Path, ...] = (),
    photos: tuple[Path, ...] = (),
    synth: Path | None = None,
    passes: int = 4,
) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    sources: dict[str, Sequence[Sample]] = {
        path.stem: [person for person in CLIFFLabels(path, images) if usable(person)]
        for path, images in zip(labels, photos, strict=True)
    }
    cutouts = list(cut_out([person for people in sources.values() for person in people]))
    if synth is not None:
        sources["synth"] = CachedPeople(synth)
    detector = Builtin()
    with Progress() as progress:
        for name, people in sources.items():
            count = len(people) * (1 if name == "synth" else passes)
            for start in progress.track(range(0, count, PART), description=name):
                file = out / f"{name}_{start:07d}.npz"
                if not file.exists():
                    numbers = range(start, min(start + PART, count))
                    some = [detected(people, number, cutouts, detector) for number in numbers]
                    write_npz(file, {key: np.stack([person[key] for person in some]) for key in some[0]})


def usable(person: Sample) -> bool:
    """Whether the person is labelled with a body, and large enough."""
    return person.pose is not None and (person.box[2:] - person.box[:2]).max() >= SMALLEST


def detected(
    people: Sequence[Sample], number: int, cutouts: list[Pixels], detector: Builtin
) -> dict[str, NDArray[np.float32]]:
    """The fields of synth.detections.SimulatedDetections of one augmented person, but for `visible`."""
    rng = np.random.default_rng((7, number))
    person = people[number % len(people)]
    example = augment(with_joints(person), CROP, rng, AUGMENTATION)
    assert example.pose is not None and example.betas is not None
    joints, _ = BODY(torch.from_numpy(example.betas[None]), torch.from_numpy(example.pose[None]))
    translation = (example.joints["coco17"][:, :3] - joints[0].numpy()).mean(axis=0)
    places = example.keypoints["coco17"] * np.array([CROP[0] / 2, CROP[0] / 2, 1])
    places[:, :2] += CENTER
    box = box_from_keypoints(places[None].astype(np.float32), threshold=0.0)[0]
    pixels = example.crop
    if cutouts and rng.random() < IN_FRONT:
        paste(pixels, cutouts[rng.integers(len(cutouts))], box, rng)
    sides = box[2:] - box[:2]
    box = (box + np.tile(sides, 2) * rng.normal(0, 0.04, 4)).clip(0, [*CROP[::-1]] * 2)
    if (box[2:] - box[:2]).min() < 16:
        box = np.array([0, 0, *CROP[::-1]])
    keypoints = detector.keypoints(pixels, box[None].astype(np.float32))[0]
    keypoints[:, :2] = (keypoints[:, :2] - CENTER) * (2 / CROP[0])
    return {
        "keypoints": keypoints,
        "bbox_info": example.bbox_info,
        "pose": example.pose,
        "betas": example.betas,
        "translation": translation.astype(np.float32),
        "joints": joints[0].numpy(),
    }


def with_joints(person: Sample) -> Sample:
    """A labelled person with the keypoints and joints of their body; a synthetic one has them."""
    if "coco17" in person.joints:
        return person
    assert person.pose is not None and person.betas is not None and person.translation is not None
    body, _ = BODY(torch.from_numpy(person.betas[None]), torch.from_numpy(person.pose[None]))
    joints = with_ones(body[0].numpy() + person.translation)
    keypoints = with_ones(project_points(joints[:, :3], person.camera))
    return replace(person, keypoints={"coco17": keypoints}, joints={"coco17": joints})


def with_ones(points: NDArray) -> NDArray[np.float32]:
    """Points (K, D) and their validity, (K, D + 1)."""
    return np.column_stack((points, np.ones(len(points)))).astype(np.float32)


def cut_out(people: list[Sample]) -> Iterator[Pixels]:
    """Some of the people as (H, W, 4) RGB and opacity, at most 256 px high or wide."""
    body = load_body("open", num_betas=NUM_BETAS)
    rows = np.random.default_rng(7).permutation(len(people))[:CUTOUTS]
    for person in (people[row] for row in rows):
        assert person.pose is not None and person.betas is not None
        with torch.no_grad():
            posed = body(torch.from_numpy(person.betas[None]), torch.from_numpy(person.pose[None]))
        size = person.camera.size
        seen = rasterize(posed.vertices[0].numpy() + person.translation, body.faces,
                         np.zeros((len(posed.vertices[0]), 0)), person.camera.intrinsics, size)  # fmt: skip
        mask = np.bincount(seen.pixel, seen.weight, size[0] * size[1]).reshape(size[::-1]).clip(0, 1)
        radius = max(1, round(0.012 * float((person.box[2:] - person.box[:2]).max())))  # clothes, hair
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        mask = cv2.GaussianBlur(cv2.dilate(mask, kernel), (0, 0), max(0.6, radius / 3))
        y, x = np.nonzero(mask > 0.05)
        if len(y) < SMALLEST**2 / 8:
            continue
        cut = np.dstack((read_pixels(person), (255 * mask).astype(np.uint8)))
        cut = cut[y.min() : y.max() + 1, x.min() : x.max() + 1]
        scale = min(1.0, 256 / max(cut.shape[:2]))
        yield cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def paste(crop: Pixels, cutout: Pixels, box: NDArray, rng: np.random.Generator) -> None:
    """Put a person in front of the one in the box, beside or before them, as large or larger."""
    sides = box[2:] - box[:2]
    if rng.random() < 0.5:
        cutout = cutout[:, ::-1]
    scale = max(sides.max(), 16) * rng.uniform(0.75, 1.5) / max(cutout.shape[:2])
    cutout = cv2.resize(cutout, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    middle = (box[:2] + box[2:]) / 2 + rng.normal(0, 1, 2) * sides * [0.45, 0.2]
    corner = (middle - np.array(cutout.shape[1::-1]) / 2).astype(int)
    low = corner.clip(0)
    high = np.minimum(corner + cutout.shape[1::-1], crop.shape[1::-1])
    if (high <= low).any():
        return
    part = cutout[low[1] - corner[1] : high[1] - corner[1], low[0] - corner[0] : high[0] - corner[0]]
    opacity = part[..., 3:] / 255
    behind = crop[low[1] : high[1], low[0] : high[0]]
    light = (part[..., :3] * rng.uniform(0.7, 1.3)).clip(0, 255)
    behind[:] = (behind * (1 - opacity) + light * opacity).astype(np.uint8)


if __name__ == "__main__":
    tyro.cli(main)
