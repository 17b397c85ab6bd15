"""How a camera has turned from frame to frame, seen from the background.

Between two images of a camera that only turns, the background moves by the homography K R K^-1, whatever its
depth (Hartley & Zisserman, "Multiple View Geometry", 2004, section 8.4). Features of a keyframe are tracked
(Lucas & Kanade; pyramids as of Bouguet, 2000) outside of people's boxes, and R is the rotation that most of
their rays agree on. A keyframe serves as long as enough of it is in view, so that errors add up per keyframe
and not per frame; one that comes back into view is used again, and `close_rotations` distributes what has
added up until then.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.sparse import coo_array
from scipy.sparse.linalg import lsqr
from scipy.spatial.transform import Rotation

from fullframe.geometry.camera import Camera

STILL = np.radians(0.5)
"""A shot in which the camera never turns farther than this is one of a camera that stands still: at 5 m it
moves people by 4 cm, less than their joints' error (50 mm, `fullframe evaluate gestures`)."""
MOVES = 0.15
"""Share of the background's motion that no rotation explains, above which the camera is taken to move."""

_SIDE = 480
"""px, the longer side of the images that features are tracked in."""
_FEATURES, _DISTANCE = 150, 10
_WINDOW, _LEVELS = (15, 15), 3
_AGREE = 1.5
"""px by which a feature may be away from where the rotation puts it."""
_FEWEST, _KEPT = 12, 0.5
"""Features that must agree on a rotation, and the share of a keyframe's that must, for it to serve on."""
_MARGIN = 0.1
"""Boxes are enlarged by this share of their size on each side: arms and shadows."""
_AGAIN = 0.5
"""A keyframe is used again if its centre is within this share of the way from the middle to the edge."""
_SAMPLES = 64
_SEEN_MOTION = 8.0
"""px of motion since the keyframe from which on it is judged whether a rotation explains it."""
_MEMORY = 300
"""Keyframes that can be found again; the oldest are forgotten first."""


@dataclass
class Turns:
    """How a camera turned in F frames, relative to keyframes.

    Attributes:
        keyframes: (F,) int64, the number of each frame's keyframe; a new shot begins with a new one.
        rotations: (F, 3, 3) from the keyframe's camera to the frame's.
        unexplained: (F,) share of the background's motion that the rotation does not explain; NaN where it
            has hardly moved, or nothing was found to track.
        links: (L, 2) int64, pairs of keyframes.
        link_rotations: (L, 3, 3) from the first one's camera to the second one's.
    """

    keyframes: NDArray[np.int64]
    rotations: NDArray[np.float64]
    unexplained: NDArray[np.float64]
    links: NDArray[np.int64]
    link_rotations: NDArray[np.float64]


@dataclass
class _Keyframe:
    number: int
    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    rays: NDArray[np.float64]
    rotation: NDArray[np.float64]  # from the first keyframe of the shot, as far as is known now


@dataclass
class _Found:
    rotation: NDArray[np.float64]
    points: NDArray[np.float32]  # of all features of the keyframe
    agreeing: int
    unexplained: float


@dataclass
class CameraMotion:
    """Finds how the camera turns, frame by frame.

    Args:
        camera: the intrinsics of all frames.
    """

    camera: Camera

    def __post_init__(self) -> None:
        self._key: _Keyframe | None = None
        self._known: dict[int, _Keyframe] = {}
        self._count = 0
        width, height = self.camera.size
        scale = min(1.0, _SIDE / max(width, height))
        self._size = max(1, round(width * scale)), max(1, round(height * scale))
        self._scale = np.array(self._size) / (width, height)
        self._lens = self.camera.resized(self._size)
        self._focal = np.array(self._lens.focal)
        self._last: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        self._turn: NDArray[np.float64] = np.eye(3)
        self._rng = np.random.default_rng(0)
        self._boxes: NDArray[np.float64] = np.zeros((0, 4))
        self.clear()

    def clear(self) -> None:
        """Forget what `turns` returns, not what the next frames need."""
        self._keyframes: list[int] = []
        self._rotations: list[NDArray[np.float64]] = []
        self._unexplained: list[float] = []
        self._links: list[tuple[int, int]] = []
        self._link_rotations: list[NDArray[np.float64]] = []

    def turns(self) -> Turns:
        """The frames since `clear`."""
        return Turns(
            np.array(self._keyframes, np.int64),
            np.array(self._rotations).reshape(-1, 3, 3),
            np.array(self._unexplained, np.float64),
            np.array(self._links, np.int64).reshape(-1, 2),
            np.array(self._link_rotations).reshape(-1, 3, 3),
        )

    def update(self, image: NDArray[np.uint8], boxes: NDArray[np.floating] | None, is_cut: bool) -> None:
        """Take the next frame.

        Args:
            image: (H, W, 3) RGB.
            boxes: (N, 4) x1, y1, x2, y2 px of its people; None: they are where they were.
            is_cut: whether it begins a new shot.
        """
        # Green is most of the brightness, and a third of the work.
        gray = cv2.resize(cv2.extractChannel(image, 1), self._size, interpolation=cv2.INTER_AREA)
        if boxes is not None:
            self._boxes = self._enlarged(boxes)
        if self._key is None or is_cut:
            self._known.clear()
            self._begin(np.asarray(gray, np.uint8), np.eye(3))
            self._record(np.eye(3), np.nan)
            return
        found = self._track(self._key, gray, self._last)
        if found is not None:
            self._last, self._turn = found.points, found.rotation
        # Where nothing is found, the camera is taken to stand still.
        self._record(self._turn, np.nan if found is None else found.unexplained)
        if found is None or found.agreeing < max(_FEWEST, _KEPT * len(self._key.points)):
            self._change_keyframe(np.asarray(gray, np.uint8))

    def _record(self, rotation: NDArray[np.float64], unexplained: float) -> None:
        assert self._key is not None
        self._keyframes.append(self._key.number)
        self._rotations.append(rotation)
        self._unexplained.append(unexplained)

    def _link(self, first: int, second: int, rotation: NDArray[np.float64]) -> None:
        self._links.append((first, second))
        self._link_rotations.append(rotation)

    def _change_keyframe(self, gray: NDArray[np.uint8]) -> None:
        """Use an older keyframe again that is in view, else make a new one of this frame."""
        old = self._key
        assert old is not None
        now = self._turn @ old.rotation
        near = [key for key in self._known.values() if key is not old and self._in_view(now @ key.rotation.T)]
        for key in sorted(near, key=lambda key: key.number)[:3]:
            turn = now @ key.rotation.T
            found = self._track(key, gray, self._project(key.rays @ turn.T))
            if found is not None and found.agreeing >= max(_FEWEST, 1.2 * _KEPT * len(key.points)):
                self._link(old.number, key.number, found.rotation.T @ self._turn)
                self._key, self._last, self._turn = key, found.points, found.rotation
                return
        self._begin(gray, now)
        assert self._key is not None
        self._link(old.number, self._key.number, now @ old.rotation.T)

    def _begin(self, gray: NDArray[np.uint8], rotation: NDArray[np.float64]) -> None:
        """Make this frame a keyframe."""
        mask = np.full(gray.shape, 255, np.uint8)
        for x1, y1, x2, y2 in np.rint(self._boxes).astype(int).clip(0).tolist():
            mask[y1 : y2 + 1, x1 : x2 + 1] = 0
        corners = cv2.goodFeaturesToTrack(gray, _FEATURES, 0.01, _DISTANCE, mask=mask)
        points = np.zeros((0, 2), np.float32) if corners is None else corners.reshape(-1, 2)
        rays = self._rays(points)
        known = np.isfinite(rays).all(axis=1)
        points = points[known]
        self._key = _Keyframe(self._count, gray, points, rays[known], rotation)
        if len(points) >= _FEWEST:  # else nothing finds it again
            self._known[self._count] = self._key
        if len(self._known) > _MEMORY:
            del self._known[min(self._known)]
        self._count += 1
        self._last, self._turn = points, np.eye(3)

    def _track(self, key: _Keyframe, gray: NDArray[np.uint8], start: NDArray[np.float32]) -> _Found | None:
        """The rotation from a keyframe to an image; None if too few features agree on one.

        Args:
            start: (N, 2) px, where the keyframe's features are expected.
        """
        if len(key.points) < _FEWEST:
            return None
        guess, use = start.astype(np.float32), cv2.OPTFLOW_USE_INITIAL_FLOW
        points, good, _ = cv2.calcOpticalFlowPyrLK(
            key.image, gray, key.points, guess, winSize=_WINDOW, maxLevel=_LEVELS, flags=use
        )
        inside = (points >= 0).all(axis=1) & (points < self._size).all(axis=1)
        rays = self._rays(points)
        seen = good.ravel().astype(bool) & inside & ~self._hidden(points) & np.isfinite(rays).all(axis=1)
        if seen.sum() < _FEWEST:
            return None
        tolerance = _AGREE / float(self._focal.mean())
        rotation, agree = fit_rotation(key.rays[seen], rays[seen], tolerance, self._rng)
        if agree.sum() < _FEWEST:
            return None
        expected = self._project(key.rays @ rotation.T)
        away = np.linalg.norm(points[seen] - expected[seen], axis=1)
        moved = float(np.median(np.linalg.norm(points[seen] - key.points[seen], axis=1)))
        unexplained = float(np.quantile(away, 0.75) / moved) if moved > _SEEN_MOTION else np.nan
        # Lost features start again from where they should be.
        kept = seen.copy()
        kept[seen] = agree
        return _Found(rotation, np.where(kept[:, None], points, expected), int(agree.sum()), unexplained)

    def _enlarged(self, boxes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Boxes in px of the small images, with a margin."""
        xyxy = np.asarray(boxes, np.float64).reshape(-1, 4) * np.tile(self._scale, 2)
        margin = _MARGIN * (xyxy[:, 2:] - xyxy[:, :2])
        return np.concatenate((xyxy[:, :2] - margin, xyxy[:, 2:] + margin), axis=1)

    def _hidden(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(N,) whether points are in a person's box."""
        x, y = points[:, None, 0], points[:, None, 1]
        x1, y1, x2, y2 = self._boxes.T
        hidden: NDArray[np.bool_] = ((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)).any(axis=1)
        return hidden

    def _in_view(self, rotation: NDArray[np.float64]) -> bool:
        """Whether the middle of an image is well inside of another one that is turned to it."""
        ahead = rotation[:, 2]
        half = np.array(self._size) / self._focal / 2
        return bool(ahead[2] > 0 and (np.abs(ahead[:2]) < _AGAIN * half * ahead[2]).all())

    def _rays(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, 3) unit vectors; NaN where the lens shows nothing."""
        flat = self._lens.undistort(points)
        rays = np.column_stack(((flat - self._lens.principal_point) / self._focal, np.ones(len(points))))
        unit: NDArray[np.float64] = rays / np.linalg.norm(rays, axis=1, keepdims=True)
        return unit

    def _project(self, rays: NDArray[np.float64]) -> NDArray[np.float32]:
        depth = np.maximum(rays[:, 2:], 1e-3)
        flat = rays[:, :2] / depth * self._focal + self._lens.principal_point
        return np.asarray(self._lens.distort(flat), np.float32)


def fit_rotation(
    a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The rotation R of which most of b = R a hold: RANSAC over pairs, then Kabsch's solution of those.

    Args:
        a, b: (N, 3) unit vectors, N > 1.
        tolerance: radians.
        rng: draws the pairs.

    Returns:
        (3, 3), and (N,) which agree with it.
    """
    pairs = rng.integers(0, len(a), (_SAMPLES, 2))
    frames = []
    for rays in (a, b):
        first, second = rays[pairs[:, 0]], rays[pairs[:, 1]]
        across = np.cross(first, second)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
        frames.append(np.stack((first, across, np.cross(first, across)), axis=2))
    candidates = frames[1] @ frames[0].swapaxes(1, 2)
    away = np.linalg.norm(np.einsum("hij,nj->hni", candidates, a) - b, axis=2)
    rotation = candidates[(away < tolerance).sum(axis=1).argmax()]
    for _ in range(4):
        agree = np.linalg.norm(a @ rotation.T - b, axis=1) < tolerance
        if agree.sum() < 2:
            break
        u, _, vt = np.linalg.svd(b[agree].T @ a[agree])
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    agree = np.linalg.norm(a @ rotation.T - b, axis=1) < tolerance
    return rotation, agree


def close_rotations(turns: Turns, shot: NDArray[np.int64]) -> NDArray[np.float64]:
    """From each frame's camera to that of its shot's first frame, (F, 3, 3); exactly identity in still shots.

    The rotations of keyframes are those that agree best with all links (rotation averaging, Hartley et al.,
    IJCV 2013; Gauss-Newton on the tangent space): where an older keyframe is used again, what has added up in
    between is distributed.

    Args:
        turns: of all frames.
        shot: (F,) the number of each frame's shot, ascending.
    """
    of_keys = _average(turns)
    found = np.tile(np.eye(3), (len(shot), 1, 1))
    for number in np.unique(shot):
        frames = np.flatnonzero(shot == number)
        to_frame = turns.rotations[frames] @ of_keys[turns.keyframes[frames]]
        to_first = to_frame[0] @ to_frame.swapaxes(1, 2)
        angles = Rotation.from_matrix(to_first).magnitude()
        # A frame or two where nothing was found are no motion.
        if median_filter(angles, 5, mode="nearest").max() >= STILL:
            found[frames] = to_first
    return found


def _average(turns: Turns) -> NDArray[np.float64]:
    """From a common frame to each keyframe's camera, (K, 3, 3)."""
    count = int(turns.keyframes.max(initial=-1)) + 1
    count = max(count, int(turns.links.max(initial=-1)) + 1)
    keys = np.tile(np.eye(3), (count, 1, 1))
    reached = np.zeros(count, bool)
    for (first, second), link in zip(turns.links.tolist(), turns.link_rotations, strict=True):
        if second > first and not reached[second]:
            keys[second], reached[second] = link @ keys[first], True
    if len(turns.links) <= reached.sum():  # nothing to be closed
        return keys
    first, second = turns.links.T
    rows = np.arange(3 * len(first)).reshape(-1, 3)
    for _ in range(5):
        # Of keys exp(d) X, links L hold if log(L X_i X_j^T) + L d_i - d_j = 0, to first order.
        away = Rotation.from_matrix(
            turns.link_rotations @ keys[first] @ keys[second].swapaxes(1, 2)
        ).as_rotvec()
        weight = 1 / np.maximum(1, np.linalg.norm(away, axis=1) / np.radians(0.5)) ** 0.5
        blocks = np.concatenate((turns.link_rotations, np.tile(-np.eye(3), (len(first), 1, 1))))
        of_row = np.concatenate((rows, rows))
        of_column = 3 * np.concatenate((first, second))[:, None] + np.arange(3)
        matrix = coo_array(
            (
                (blocks * np.tile(weight, 2)[:, None, None]).ravel(),
                (np.repeat(of_row, 3, axis=1).ravel(), np.tile(of_column, (1, 3)).ravel()),
            ),
            shape=(3 * len(first), 3 * count),
        )
        step = lsqr(matrix.tocsr(), -(away * weight[:, None]).ravel(), atol=1e-10, btol=1e-10)[0]
        keys = Rotation.from_rotvec(step.reshape(-1, 3)).as_matrix() @ keys
    return keys


def unexplained_motion(turns: Turns) -> float:
    """The share of the background's motion that no turning explains, where it moves; 0 where it does not."""
    judged = turns.unexplained[np.isfinite(turns.unexplained)]
    return float(np.median(judged)) if len(judged) else 0.0
