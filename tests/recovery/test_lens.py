"""People seen through a lens that distorts: found as if it did not, and drawn where it shows them."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fullframe.geometry.box import box_from_xyxy, crop_image
from fullframe.geometry.camera import Camera
from fullframe.io.image import read_photo
from fullframe.models.predict import cut_crops
from fullframe.recovery.photo import FIT, Recoverer
from fullframe.recovery.video_tracker import Detections, PlannedFrame, VideoTracker
from fullframe.render import overlay
from fullframe.video.reader import Frame

LENS = (-0.28, 0.09, 0.001, -0.001, -0.02)


@pytest.fixture(scope="module")
def seen(photo_path: Path):
    """A photo, its camera with a lens, and what that lens makes of it."""
    photo = cv2.resize(read_photo(photo_path).pixels, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    height, width = photo.shape[:2]
    pinhole = Camera((1.1 * width, 1.1 * width), (width / 2, height / 2), (width, height), "calibration")
    camera = replace(pinhole, distortion=LENS)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
    maps = camera.undistort(grid).astype(np.float32)
    distorted = cv2.remap(photo, maps[..., 0], maps[..., 1], cv2.INTER_CUBIC)
    return photo, camera, distorted


def test_crops_have_no_distortion(seen):
    """What the network sees of the distorted photo is what it sees of the photo."""
    photo, camera, distorted = seen
    network = SimpleNamespace(crop=(256, 192), crop_method="antialiased")
    height, width = photo.shape[:2]
    boxes = np.array([[0.1, 0.15, 0.4, 0.9], [0.6, 0.1, 0.95, 0.95]]) * (width, height, width, height)
    box, crops = cut_crops(network, distorted, boxes, camera=camera)
    expected = crop_image(photo, box_from_xyxy(boxes, network.crop[0] / network.crop[1]), network.crop)
    np.testing.assert_allclose(box.center, box_from_xyxy(boxes).center)
    inside = crops.min(axis=-1) > 0
    error = np.abs(crops.astype(float) - expected)[inside].mean()
    bent = np.abs(cut_crops(network, distorted, boxes)[1].astype(float) - expected)[inside].mean()
    assert error < 6 and error < 0.4 * bent


def test_people_are_those_of_the_plain_photo(seen, tmp_path):
    """The same keypoints, once as the pinhole shows them and once through the lens: the same bodies."""
    photo, camera, distorted = seen
    recoverer = Recoverer(FIT)
    plain = recoverer(photo, intrinsics=camera.intrinsics)
    file = tmp_path / "camera.json"
    file.write_text(
        json.dumps({"K": camera.intrinsics.tolist(), "size": camera.size, "distortion": camera.distortion})
    )
    keypoints = plain.keypoints.copy()
    keypoints[..., :2] = camera.distort(plain.keypoints[..., :2])
    through = recoverer(distorted, camera=file, keypoints=keypoints)
    assert through.camera == camera and len(through) == len(plain) == 3
    # The results have what the photo shows.
    np.testing.assert_array_equal(through.keypoints, keypoints)
    straight = recoverer(photo, intrinsics=camera.intrinsics, keypoints=plain.keypoints)
    np.testing.assert_allclose(through.translation, straight.translation, atol=0.05)
    np.testing.assert_allclose(through.reprojection, straight.reprojection, atol=5e-3)
    # And so do pictures: the body is drawn where the lens shows it.
    covered = (overlay(distorted, through) != distorted).any(axis=-1)
    for person in range(3):
        points = camera.distort(
            through.joints[person, :, :2] / through.joints[person, :, 2:] * camera.focal
            + camera.principal_point
        )
        inside = ((points > 0) & (points < np.array(camera.size) - 1)).all(axis=1)
        x, y = np.rint(points[inside]).astype(int).T
        assert covered[y, x].mean() > 0.9


def test_bodies_of_videos(seen):
    """The keypoints of a pinhole and of a lens give the same bodies; boxes stay as they were given."""
    photo, camera, distorted = seen
    recoverer = Recoverer(FIT)
    found = recoverer(photo, intrinsics=camera.intrinsics)
    results = []
    for image, lens in ((photo, camera.pinhole), (distorted, camera)):
        keypoints = found.keypoints.copy()
        keypoints[..., :2] = lens.distort(keypoints[..., :2])
        tracker = VideoTracker(recoverer, lens, 30)
        for index in range(2):
            frame = PlannedFrame(Frame(index, index / 30, image), index == 0, detect=True)
            tracker.update(frame, Detections(found.boxes, found.scores, keypoints, np.arange(3)))
        results.append(tracker.flush())
    plain, through = results
    np.testing.assert_array_equal(through.boxes, plain.boxes)
    np.testing.assert_allclose(through.translation, plain.translation, atol=0.05)
    np.testing.assert_allclose(through.pose, plain.pose, atol=0.1)
    assert np.abs(through.keypoints - plain.keypoints).max() > 5
