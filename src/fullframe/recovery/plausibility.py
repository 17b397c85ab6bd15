"""Whether a recovered body is possible, and how well it agrees with its keypoints."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fullframe.body.body_model import BodyModel
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.fit.energy import DISTANCES, SEEN_LENGTHS
from fullframe.geometry.camera import Camera
from fullframe.models.predict import Bodies
from fullframe.motion.shape import STATURES
from fullframe.motion.skeleton import blocks
from fullframe.results.clip import Clip

MAX_TANGENT = 10.0
"""Of the angle off the optical axis, sideways and up, at which a photo can show a body."""
MIN_KEYPOINTS, MIN_CONFIDENCE = 6, 0.2
MAX_REPROJECTION = 0.1
"""Of reliable people: the fewest keypoints of at least this confidence, and the largest root mean square
distance to them, as a share of the box's longer side."""


def bounded(bodies: Bodies, boxes: NDArray[np.float32], camera: Camera) -> tuple[Bodies, NDArray[np.bool_]]:
    """Finite bodies within plausible distances for their boxes.

    A body outside is moved along its viewing ray; a body with a number that is not finite is replaced by one
    at rest, upright in its box.

    Args:
        bodies: of N people.
        boxes: (N, 4) x1, y1, x2, y2 px.
        camera: of the image.

    Returns:
        The bodies, and (N,) whether they were possible as they were.
    """
    pose, betas, translation = (np.array(values) for values in bodies)
    finite = np.logical_and.reduce([np.isfinite(v).all(tuple(range(1, v.ndim))) for v in bodies])
    focal, principal_point = np.array(camera.focal), np.array(camera.principal_point)
    angle = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / focal.mean()
    low, high = (np.clip(length / angle, *DISTANCES) for length in SEEN_LENGTHS)
    rays = ((boxes[:, :2] + boxes[:, 2:]) / 2 - principal_point) / focal
    if not finite.all():
        pose[~finite] = np.eye(3)
        pose[~finite, 0] = np.diag([1, -1, -1])
        betas[~finite] = 0
        distance = np.clip(1.7 / angle, low, high)[:, None]
        translation[~finite] = (np.concatenate((rays, np.ones((len(rays), 1))), 1) * distance)[~finite]
    depth = translation[:, 2].astype(np.float64)
    # A body behind the camera, or beside it, is on no ray of a photo: it goes to the middle of its box.
    direction = translation[:, :2] / np.where(depth > 1e-3, depth, 1)[:, None]
    ahead = (depth > 1e-3) & (np.abs(direction).max(axis=1, initial=0) <= MAX_TANGENT)
    possible = finite & ahead & (depth >= low) & (depth <= high)
    nearest = np.clip(depth, low, high)[:, None]
    moved = np.concatenate((np.where(ahead[:, None], direction, rays), np.ones((len(rays), 1))), 1) * nearest
    return Bodies(pose, betas, np.where(possible[:, None], translation, moved).astype(np.float32)), possible


def reprojection_error(
    pixels: NDArray[np.floating],
    keypoints: NDArray[np.float32],
    seen: NDArray[np.bool_],
    boxes: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How far bodies are from their keypoints.

    Args:
        pixels: (N, K, 2) the bodies' keypoints in the image, px.
        keypoints: (N, K, 3) x, y px and confidence.
        seen: (N, K) which of them are compared.
        boxes: (N, 4) x1, y1, x2, y2 px.

    Returns:
        (N,) root mean square distance as a share of the box's longer side, NaN where none is seen.
    """
    square = ((pixels - keypoints[..., :2]) ** 2).sum(-1) * seen
    count = seen.sum(1)
    error = np.sqrt(square.sum(1) / np.maximum(count, 1)) / (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return np.where(count > 0, error, np.nan).astype(np.float32)


def check(
    body: BodyModel,
    bodies: Bodies,
    possible: NDArray[np.bool_],
    joints: NDArray[np.float32],
    keypoints: NDArray[np.float32],
    boxes: NDArray[np.float32],
    camera: Camera,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The reprojection error (N,) of N people, see `reprojection_error`, and whether each is reliable (N,).

    Reliable is who was possible, has a plausible stature, enough keypoints, and a small reprojection error.

    Args:
        body: of the bodies.
        possible: (N,) as from `bounded`.
        joints: (N, 17, 3) of the bodies in the camera frame, COCO-17, metres.
        keypoints: (N, 17, 3) x, y px and confidence.
        boxes: (N, 4) x1, y1, x2, y2 px.
        camera: of the image.
    """
    shapes, of_shape = np.unique(bodies.betas, axis=0, return_inverse=True)
    with torch.inference_mode():
        betas = torch.from_numpy(shapes)
        rest = body(betas, torch.eye(3).expand(len(betas), 24, 3, 3)).vertices.numpy()
    stature = np.ptp(rest[..., 1], axis=1)[of_shape.ravel()] if len(rest) else np.zeros(0)
    pixels = joints[..., :2] / np.maximum(joints[..., 2:], 0.1) * camera.focal + camera.principal_point
    seen = keypoints[..., 2] >= MIN_CONFIDENCE
    error = reprojection_error(pixels, keypoints, seen, boxes)
    plausible = possible & (stature >= STATURES[0]) & (stature <= STATURES[1])
    return error, plausible & agrees(seen.sum(1), error)


def check_clip(body: BodyModel, clip: Clip) -> Clip:
    """The clip with its people within plausible distances, their reprojection errors, and who is reliable.

    Args:
        body: the one named in the clip, with as many betas.
    """
    model, camera = KeypointRegressor(body), clip.camera
    translation, errors, reliable = clip.translation.copy(), [], []
    for rows in blocks(len(clip)):
        boxes = camera.undistort_boxes(clip.boxes[rows])
        bodies, possible = bounded(
            Bodies(clip.pose[rows], clip.betas[rows], translation[rows]), boxes, camera
        )
        translation[rows] = bodies.translation
        with torch.inference_mode():
            joints = model(torch.from_numpy(bodies.betas), torch.from_numpy(bodies.pose)).keypoints.numpy()
        joints = joints + bodies.translation[:, None]
        keypoints = camera.undistort_keypoints(clip.keypoints[rows])
        error, good = check(body, bodies, possible, joints, keypoints, boxes, camera)
        errors.append(error)
        reliable.append(good)
    if not errors:
        return clip
    return replace(
        clip,
        translation=translation,
        reprojection=np.concatenate(errors),
        reliable=np.concatenate(reliable),
    )


def agrees(count: NDArray[np.int64], reprojection: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) whether a body was compared with enough keypoints and is close to them."""
    return (count >= MIN_KEYPOINTS) & (np.nan_to_num(reprojection, nan=np.inf) <= MAX_REPROJECTION)
