"""Recovering the people of a photo."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fullframe.assets import LIFTER
from fullframe.body import load_body
from fullframe.detect import load_detector
from fullframe.detect.find_people import body_scores, find_people
from fullframe.fit import KeypointFitter
from fullframe.geometry.box import box_from_keypoints, clip_boxes
from fullframe.geometry.camera import Camera
from fullframe.io.calibration import CalibratedCamera, choose_camera, read_calibration
from fullframe.io.image import Photo, photo_from_pil, read_photo
from fullframe.models import load_model, predict_people
from fullframe.models.batchnorm import fuse_conv_bn
from fullframe.models.checkpoint import read_card
from fullframe.models.lift_people import lifter_of
from fullframe.motion.shape import Height, check_height, keep_in_view, with_height
from fullframe.recovery.plausibility import bounded, check
from fullframe.results.people import People
from fullframe.video.prefetch import ordered_map

PhotoInput = str | Path | bytes | NDArray[np.uint8] | Image.Image | Photo
"""A path, the content of a file, (H, W, 3) uint8 RGB pixels that are upright, an image of Pillow, or what
`read_photo` returned."""
T = TypeVar("T")

NETWORK = "cliff-lite"
"""The built-in network; it predicts the open body."""
FIT = KeypointFitter.name
"""The model that sees only detected 2D keypoints: bodies fitted to them, the open body from the lifter's."""


@dataclass(frozen=True)
class CameraOptions:
    """The camera as specified by the user, in px of the upright image: one of these, or none if unknown.

    Attributes:
        focal: focal length in px.
        fov: horizontal field of view in degrees.
        intrinsics: (3, 3) K or (fx, fy, cx, cy), px.
        vertical_fov: vertical field of view in degrees.
        calibration: cameras, as `read_camera` returns them; of several, that of the image's name.

    Raises:
        ValueError: for impossible values, or more than one of them.
    """

    focal: float | None = None
    fov: float | None = None
    intrinsics: ArrayLike | None = None
    vertical_fov: float | None = None
    calibration: tuple[CalibratedCamera, ...] | None = None

    def __post_init__(self) -> None:
        given = (self.focal, self.fov, self.intrinsics, self.vertical_fov, self.calibration)
        if sum(value is not None for value in given) > 1:
            raise ValueError("give only one of focal, fov, vertical fov, intrinsics and camera")
        if self.calibration is None:
            self._camera((1, 1), "")  # impossible values are refused before the first image is read

    def camera(self, size: tuple[int, int], image: str = "") -> Camera | None:
        """The camera of an image of `size` (width, height) px; None if unknown.

        Args:
            image: its name, by which it finds its camera in a calibration of several.

        Raises:
            ValueError: if no lens could have taken such an image, as when units are confused, or the
                calibration does not fit it.
        """
        camera = self._camera(size, image)
        if camera is not None and (why := camera.implausible()):
            raise ValueError(why)
        return camera

    def _camera(self, size: tuple[int, int], image: str) -> Camera | None:
        if self.calibration is not None:
            return choose_camera(self.calibration, image).camera(size)
        if self.vertical_fov is not None:
            turned = Camera.from_fov(self.vertical_fov, size[::-1])
            return Camera.from_focal(turned.focal[0], size, "fov")
        if self.focal is not None:
            return Camera.from_focal(self.focal, size)
        if self.fov is not None:
            return Camera.from_fov(self.fov, size)
        if self.intrinsics is not None:
            return Camera.from_intrinsics(self.intrinsics, size)
        return None


UNKNOWN_CAMERA = CameraOptions()


def read_camera(path: str | Path) -> tuple[CalibratedCamera, ...]:
    """The cameras of a calibration, or of FILE:NAME the one of that name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, lacks something, or has no camera of that name.
    """
    text = str(path)
    file, colon, name = text.rpartition(":")
    if not colon or Path(text).exists() or not Path(file).exists():
        return tuple(read_calibration(Path(text)))
    cameras = read_calibration(Path(file))
    found = tuple(camera for camera in cameras if camera.name == name)
    if not found:
        names = ", ".join(camera.name for camera in cameras)
        raise ValueError(f"{file}: no camera {name!r} in it; there are {names}")
    return found


@dataclass(frozen=True)
class Detected:
    """A photo with its camera and its N people as detected or given: boxes (N, 4) px, scores (N,), keypoints
    (N, 17, 3)."""

    photo: Photo
    camera: Camera
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]


class Recoverer:
    """Recovers the people of photos with models that are loaded once.

    Args:
        model: "cliff-lite", "hmr-lite" or "imphmr-lite", which are built in, the path of a checkpoint
            (.safetensors), or "keypoint-fit". None: cliff-lite for the open body, keypoint-fit for SMPL.
        refine: fit the network's bodies to the detected keypoints afterwards.
        body: "open" or "smpl"; "smpl-neutral", "-male" or "-female" if the file name does not say which.
        body_path: SMPL file (.npz or .pkl).
        detector: provider of boxes and keypoints, see `fullframe.detect`.
        height: the people's in metres, of all or by track id: it sets the scale of everything about them.

    Raises:
        ValueError: for unknown names, impossible heights, or files that do not match.
        fullframe.models.CheckpointError, fullframe.body.BodyFileError: if a checkpoint or body is missing or
            damaged; both are ValueErrors.
        ImportError: if the detector's package is not installed.
        OSError: if its weights cannot be read or downloaded.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        refine: bool = True,
        body: str = "open",
        body_path: str | Path | None = None,
        detector: str = "builtin",
        height: Height | None = None,
    ) -> None:
        check_height(height)
        self.height = height
        if model is None:
            model = NETWORK if body == "open" else FIT
        weights = None if str(model) == FIT else model
        self.card = None if weights is None else read_card(weights)
        # Without a network the open body is the lifter's.
        options = self.card.options if self.card else read_card(LIFTER).options if body == "open" else {}
        self.body = load_body(body, body_path, options.get("num_betas", 10))
        self.detector = load_detector(detector)
        self.network = None if weights is None else load_model(weights, self.body.name).network
        if self.network is not None:
            fuse_conv_bn(self.network.encoder.net)
        fits = self.network is None or refine
        self.fitter = KeypointFitter(self.body, lifter=lifter_of(self.body)) if fits else None
        names = [] if weights is None else [Path(weights).stem]
        self.name = "+".join(names + ([] if self.fitter is None else [self.fitter.name]))

    def __call__(
        self,
        image: PhotoInput,
        *,
        focal: float | None = None,
        fov: float | None = None,
        intrinsics: ArrayLike | None = None,
        vertical_fov: float | None = None,
        camera: str | Path | None = None,
        boxes: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        keypoints: ArrayLike | None = None,
    ) -> People:
        """Recover the people of one photo.

        Args:
            image: path, content of a file, image of Pillow, or upright (H, W, 3) uint8 RGB pixels.
            focal: focal length, px. Without focal, fov or intrinsics: from EXIF, else the image diagonal.
            fov: horizontal field of view, degrees.
            intrinsics: (3, 3) K or (fx, fy, cx, cy), px.
            vertical_fov: vertical field of view, degrees.
            camera: a calibration, see `read_camera`.
            boxes: (N, 4) x1, y1, x2, y2 px; detected if not given.
            scores: (N,) confidence of the boxes, 0 to 1; 1 if not given.
            keypoints: (N, 17, 3) COCO-17 keypoints, x, y px and confidence 0 to 1; detected if not given.

        Raises:
            fullframe.io.image.ImageError: if the file cannot be read.
            ValueError: for impossible cameras, boxes or keypoints, or different numbers of them.
            TypeError: for an image of another type.
        """
        options = read_camera_options(focal, fov, intrinsics, vertical_fov, camera)
        return self.pose(self.detect(image, options, boxes, scores, keypoints))

    def stream(
        self,
        photos: Iterable[PhotoInput],
        *,
        focal: float | None = None,
        fov: float | None = None,
        intrinsics: ArrayLike | None = None,
        vertical_fov: float | None = None,
        camera: str | Path | None = None,
        on_error: Callable[[Any, Exception], object] | None = None,
    ) -> Iterator[People]:
        """Recover the people of many photos, one after the other.

        While a photo's bodies are computed, the next ones are read and their people detected in as many
        threads as torch has; until the iterator ends or is closed, torch's operators use one core each.

        Args:
            photos: as for a call; taken from the iterable a few ahead.
            focal: of all photos, as fov, intrinsics, vertical_fov and camera: see a call.
            on_error: called with a photo that fails and the error, and the photo is left out. Without it, the
                first error is raised and ends the stream.
        """
        options = read_camera_options(focal, fov, intrinsics, vertical_fov, camera)
        results = recover_photos(self, photos, lambda image: (as_photo(image), {"camera_options": options}))
        try:
            for image, result in results:
                if not isinstance(result, Exception):
                    yield result[1]
                elif on_error is None:
                    raise result
                else:
                    on_error(image, result)
        finally:
            results.close()

    def detect(
        self,
        image: PhotoInput,
        camera_options: CameraOptions = UNKNOWN_CAMERA,
        boxes: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        keypoints: ArrayLike | None = None,
    ) -> Detected:
        """The first half of a call, which may run in other threads: read a photo and detect its people."""
        photo = as_photo(image)
        camera = camera_options.camera(photo.size, photo.path) or photo.camera
        return Detected(photo, camera, *self._detect(photo.pixels, boxes, scores, keypoints))

    def pose(self, detected: Detected) -> People:
        """The second half of a call: the bodies of the people of a photo."""
        photo, camera = detected.photo, detected.camera
        # Everything is computed for a pinhole; the result has what the photo shows.
        xyxy = camera.undistort_boxes(detected.boxes)
        points = camera.undistort_keypoints(detected.keypoints)
        bodies = None
        if self.network is not None:
            bodies = predict_people(self.network, photo.pixels, xyxy, camera)
        uncertainty = np.full((len(xyxy), 24, 3), np.nan, np.float32)
        if self.fitter is not None:
            fit = self.fitter.fit(points, xyxy, camera, start=bodies)
            bodies, uncertainty = fit.bodies, fit.uncertainty
        assert bodies is not None
        bodies, possible = bounded(bodies, xyxy, camera)
        track_ids = np.arange(len(xyxy))
        if self.height is not None:
            betas = with_height(self.body, bodies.betas, track_ids, self.height)
            moved = keep_in_view(self.body, bodies.pose, bodies.translation, bodies.betas, betas)
            bodies = bodies._replace(betas=betas, translation=moved)
        people = People.posed(
            self.body,
            boxes=detected.boxes,
            scores=detected.scores,
            track_ids=track_ids,
            keypoints=detected.keypoints,
            pose=bodies.pose,
            betas=bodies.betas,
            translation=bodies.translation,
            camera=camera,
            model=self.name,
            image=photo.path,
            orientation=photo.orientation,
            uncertainty=uncertainty,
        )
        joints = self.body.regress(torch.from_numpy(people.vertices), "coco17").numpy()
        quality = check(self.body, bodies, possible, joints, points, xyxy, camera)
        people.reprojection, people.reliable = quality
        return people

    def _detect(
        self,
        pixels: NDArray[np.uint8],
        boxes: ArrayLike | None,
        scores: ArrayLike | None,
        keypoints: ArrayLike | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Boxes, scores and keypoints, detected unless given."""
        if keypoints is not None:
            points: NDArray[np.float32] = np.asarray(keypoints, np.float32)
            if points.shape[1:] != (17, 3):
                raise ValueError(
                    f"keypoints have shape {points.shape}; expected (N, 17, 3): x, y, confidence"
                )
            if not np.isfinite(points).all() or not ((points[..., 2] >= 0) & (points[..., 2] <= 1)).all():
                raise ValueError("keypoints must be finite, confidences 0 to 1 (0 for unknown joints)")
            if boxes is None:
                boxes = box_from_keypoints(points, threshold=0.0)
                if not np.isfinite(boxes).all():
                    raise ValueError("a person has fewer than 2 keypoints of confidence above 0: give boxes")
        if boxes is None:
            found = find_people(self.detector, pixels)
            return found.boxes, body_scores(found.scores, found.keypoints), found.keypoints
        xyxy = clip_boxes(boxes, (pixels.shape[1], pixels.shape[0]))
        found_scores = np.ones(len(xyxy), np.float32)
        if scores is not None:
            found_scores = np.asarray(scores, np.float32).reshape(len(xyxy))
        if keypoints is None:
            # Also without a fit: they are part of the result.
            points = self.detector.keypoints(pixels, xyxy)
        if len(points) != len(xyxy):
            raise ValueError(f"got {len(xyxy)} boxes but keypoints of {len(points)} people")
        return xyxy, found_scores, points


def read_camera_options(
    focal: float | None,
    fov: float | None,
    intrinsics: ArrayLike | None,
    vertical_fov: float | None,
    camera: str | Path | None,
) -> CameraOptions:
    """The options of a call, with the calibration read; raises what `read_camera` and CameraOptions raise."""
    calibration = None if camera is None else read_camera(camera)
    return CameraOptions(focal, fov, intrinsics, vertical_fov, calibration)


def recover_photos(
    recoverer: Recoverer, inputs: Iterable[T], read: Callable[[T], tuple[Photo, Mapping[str, Any]]]
) -> Generator[tuple[T, tuple[Photo, People] | Exception], None, None]:
    """Recover the people of photos in order, with reading and detection in several threads.

    Args:
        inputs: what `read` takes.
        read: a photo and the other arguments of `Recoverer.detect`; called in the threads.

    Yields:
        each input with its photo and people, or with the error if anything fails.
    """

    def detect(name: T) -> tuple[T, Detected | Exception]:
        try:
            photo, arguments = read(name)
            return name, recoverer.detect(photo, **arguments)
        except Exception as error:  # of this photo alone
            return name, error

    # A single photo is faster with all cores at each step, and one core is shared by nothing.
    threads = torch.get_num_threads()
    if threads == 1 or (isinstance(inputs, Sized) and len(inputs) == 1):
        detections = (detect(name) for name in inputs)
    else:
        detections = ordered_map(detect, inputs, threads)
    try:
        for name, detected in detections:
            if isinstance(detected, Exception):
                yield name, detected
                continue
            result: tuple[Photo, People] | Exception
            try:
                result = detected.photo, recoverer.pose(detected)
            except Exception as error:
                result = error
            yield name, result
    finally:
        detections.close()


def as_photo(image: PhotoInput) -> Photo:
    """What a call takes, as a photo.

    Raises:
        fullframe.io.image.ImageError: if it cannot be read.
        ValueError: for an array that is not (H, W, 3) uint8.
        TypeError: for another type.
    """
    if isinstance(image, Photo):
        return image
    if isinstance(image, (str, Path, bytes)):
        return read_photo(image)
    if isinstance(image, Image.Image):
        return photo_from_pil(image)
    if not isinstance(image, np.ndarray):
        kinds = "a path, bytes, an image of Pillow, or an array (H, W, 3) of uint8"
        raise TypeError(f"a photo is {kinds}, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"expected (H, W, 3) uint8 RGB pixels, got {image.shape} {image.dtype}")
    return Photo(image, 1, None)


def recover(
    image: PhotoInput,
    *,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: ArrayLike | None = None,
    vertical_fov: float | None = None,
    camera: str | Path | None = None,
    boxes: ArrayLike | None = None,
    keypoints: ArrayLike | None = None,
    model: str | Path | None = None,
    refine: bool = True,
    body: str = "open",
    body_path: str | Path | None = None,
    detector: str = "builtin",
    height: Height | None = None,
) -> People:
    """The people in one photo, as 3D meshes in the camera of the full frame.

    `image` is a path, the content of a file, an image of Pillow, or upright (H, W, 3) uint8 RGB pixels. For
    several photos, create one `Recoverer` and use its `stream`. `model`, `refine`, `body`, `body_path`,
    `detector` and `height` are arguments of `Recoverer`, the others of its call.

    Raises:
        fullframe.io.image.ImageError: if the file cannot be read.
        ValueError: for impossible cameras, boxes or keypoints, or files that do not match.
    """
    recoverer = Recoverer(model, refine, body, body_path, detector, height)
    return recoverer(
        image,
        focal=focal,
        fov=fov,
        intrinsics=intrinsics,
        vertical_fov=vertical_fov,
        camera=camera,
        boxes=boxes,
        keypoints=keypoints,
    )
