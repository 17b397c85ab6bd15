"""Quality and speed of the fit to detected keypoints on photos with labelled keypoints.

    python benchmarks/fit.py [--overlays FOLDER]

Needs the folder of photos that FULLFRAME_SHARED names (default: shared/ beside the repository). For people
with at least 12 labelled joints and 100 px of height, in labelled boxes: PCK@0.1 of the fitted bodies'
COCO-17 joints and of the detector, over labelled joints that it gives a confidence above .3, and over all.
Stature is that of the fitted shape standing upright, of everyone labelled. Times include all starts, not the
detection. Then everyone whom the detector finds, as `fullframe run` does: how near, far, short and tall they
are, and overlays.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from common import LabelledPhoto, labelled_photos, pck_errors

from fullframe.detect import load_detector
from fullframe.fit import KeypointFitter
from fullframe.geometry.camera import Camera, project
from fullframe.io.image import read_photo
from fullframe.recovery.photo import Recoverer
from fullframe.render import overlay

DISTANCES, STATURES = (0.3, 50.0), (0.6, 2.2)
"""Metres between which people in photos are plausible."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--overlays", type=Path, help="write an overlay of every photo into this folder")
    arguments = parser.parse_args()
    recoverer = Recoverer()
    fitter, detector = recoverer.fitter, recoverer.detector
    assert fitter is not None

    confident: tuple[list, list] = ([], [])
    every: tuple[list, list] = ([], [])
    betas, errors, found = [], [], []
    for labelled in labelled_photos():
        photo = read_photo(labelled.path)
        camera = Camera.from_diagonal(photo.size)
        keypoints = detector.keypoints(photo.pixels, labelled.boxes)
        fit = fitter.fit(keypoints, labelled.boxes, camera)
        for i, points in enumerate((fitted_pixels(fitter, fit.bodies, camera), keypoints[..., :2])):
            confident[i].append(pck_errors(labelled, points, keypoints[..., 2] > 0.3))
            every[i].append(pck_errors(labelled, points))
        betas.append(fit.bodies.betas)
        errors.append(fit.error)
        people = recoverer(photo)
        found.append(people)
        if arguments.overlays:
            arguments.overlays.mkdir(parents=True, exist_ok=True)
            picture = np.hstack((photo.pixels, overlay(photo.pixels, people)))
            cv2.imwrite(str(arguments.overlays / labelled.path.name), picture[..., ::-1])

    for name, joints in (("confident", confident), ("all labelled", every)):
        ours, theirs = (np.mean(np.concatenate(side) < 0.1) for side in joints)
        print(f"PCK@0.1, {name} joints: fit {ours:.3f}, detector {theirs:.3f}, ratio {ours / theirs:.3f}")
    stature = statures(fitter, np.concatenate(betas))
    inside = np.mean((stature > 1.3) & (stature < 2.1))
    print(f"{len(stature)} people, stature {stature.min():.2f} to {stature.max():.2f} m")
    print(f"{inside:.1%} of them between 1.3 and 2.1 m")
    print(f"median reprojection error {np.median(np.concatenate(errors)):.4f} of the box's longer side")
    distance = np.concatenate([people.translation[:, 2] for people in found])
    stature = statures(fitter, np.concatenate([people.betas for people in found]))
    (near, far), (short, tall) = DISTANCES, STATURES
    outside = (distance < near) | (distance > far) | (stature < short) | (stature > tall)
    print(
        f"{len(distance)} people found, {distance.min():.2f} to {distance.max():.2f} m away and "
        f"{stature.min():.2f} to {stature.max():.2f} m tall; {outside.sum()} of them outside "
        f"{near} to {far:.0f} m or {short} to {tall} m"
    )
    for count in (1, 8):
        print(f"{count} people: {seconds(fitter, count):.2f} s ({torch.get_num_threads()} threads)")


def fitted_pixels(fitter, bodies, camera: Camera) -> np.ndarray:
    pose, betas, translation = (torch.from_numpy(value) for value in bodies)
    points = fitter.model(betas, pose).keypoints + translation[:, None]
    return project(points, torch.tensor(camera.focal), torch.tensor(camera.principal_point)).numpy()


def statures(fitter: KeypointFitter, betas: np.ndarray) -> np.ndarray:
    pose = torch.eye(3).expand(len(betas), 24, 3, 3)
    height = fitter.body(torch.from_numpy(betas), pose).vertices[..., 1]
    return (height.amax(1) - height.amin(1)).numpy()


def seconds(fitter: KeypointFitter, count: int) -> float:
    """Median time of a fit to the first labelled people with many joints, gathered into one image."""
    keypoints, boxes = [], []
    detector = load_detector()
    for labelled in labelled_photos():
        chosen: LabelledPhoto = labelled.of_measured_people()
        if len(chosen.boxes):
            keypoints.append(detector.keypoints(read_photo(chosen.path).pixels, chosen.boxes))
            boxes.append(chosen.boxes)
        if sum(map(len, boxes)) >= count:
            break
    some = np.concatenate(keypoints)[:count], np.concatenate(boxes)[:count]
    camera, times = Camera.from_diagonal((640, 480)), []
    for _ in range(9):
        start = time.perf_counter()
        fitter.fit(*some, camera)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    main()
