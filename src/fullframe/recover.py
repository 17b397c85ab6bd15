"""From a photo to the people in it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fullframe.body import load_body
from fullframe.detect import load_detector
from fullframe.fit import KeypointFitter
from fullframe.geometry.box import box_from_keypoints
from fullframe.geometry.camera import Camera
from fullframe.image import Photo, read_photo
from fullframe.models import load_model, predict_people
from fullframe.people import People

FIT = KeypointFitter.name
"""The model that needs no weights: bodies fitted to detected 2D keypoints."""


@dataclass(frozen=True)
class CameraOptions:
    """What the user knows about the camera; at most one may be given.

    Attributes:
        focal: focal length in px of the full image.
        fov: horizontal field of view in degrees.
        intrinsics: (3, 3) K or (fx, fy, cx, cy), px.
    """

    focal: float | None = None
    fov: float | None = None
    intrinsics: ArrayLike | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.focal, self.fov, self.intrinsics)) > 1:
            raise ValueError("give only one of focal, fov and intrinsics")
        self._told((1, 1))  # impossible values are refused before any photo is read

    def _told(self, size: tuple[int, int]) -> Camera | None:
        if self.focal is not None:
            return Camera.from_focal(self.focal, size)
        if self.fov is not None:
            return Camera.from_fov(self.fov, size)
        if self.intrinsics is not None:
            return Camera.from_intrinsics(self.intrinsics, size)
        return None

    def camera(self, photo: Photo) -> Camera:
        """The camera of a photo: as told, else by its EXIF, else by its diagonal."""
        return self._told(photo.size) or photo.exif_camera or Camera.from_diagonal(photo.size)


class Recoverer:
    """Recovers people from many photos with everything loaded once.

    Args:
        model: "keypoint-fit", or the path of a checkpoint (.safetensors).
        refine: fit the network's bodies to the detected keypoints afterwards.
        body: "open" or "smpl".
        body_path: where SMPL lies (.npz or .pkl).
        detector: provider of boxes and keypoints, see `fullframe.detect`.

    Raises:
        ValueError: for unknown names, or files that do not go together.
        FileNotFoundError: if a body or checkpoint is missing.
    """

    def __init__(
        self,
        model: str | Path = FIT,
        refine: bool = False,
        body: str = "open",
        body_path: str | Path | None = None,
        detector: str = "builtin",
    ) -> None:
        self.body = load_body(body, body_path)
        self.detector = load_detector(detector)
        if str(model) != FIT and not Path(model).is_file():
            raise ValueError(f"no model {model}: give {FIT}, or the path of a checkpoint (.safetensors)")
        self.network = None if str(model) == FIT else load_model(model, self.body.name)
        self.fitter = KeypointFitter(self.body) if self.network is None or refine else None
        network = [] if self.network is None else [Path(model).stem]
        self.name = "+".join(network + ([] if self.fitter is None else [self.fitter.name]))

    def __call__(
        self,
        photo: Photo,
        camera: Camera,
        boxes: ArrayLike | None = None,
        scores: ArrayLike | None = None,
        keypoints: ArrayLike | None = None,
        image: str = "",
    ) -> People:
        """Find the people of one photo.

        Args:
            photo: upright pixels.
            camera: of the photo.
            boxes: (N, 4) x1, y1, x2, y2 px; detected if not given.
            scores: (N,) confidence of the boxes; 1 if not given.
            keypoints: (N, 17, 3) COCO-17 keypoints, x, y px and confidence; detected if not given and needed.
            image: path to note in the result.

        Raises:
            ValueError: for boxes or keypoints that are impossible, or of different numbers.
        """
        xyxy, scores, points = self._find(photo.pixels, boxes, scores, keypoints)
        bodies = None
        if self.network is not None:
            bodies = predict_people(self.network, photo.pixels, xyxy, camera)
        if self.fitter is not None:
            bodies = self.fitter.fit(points, xyxy, camera, start=bodies).bodies
        assert bodies is not None
        with torch.inference_mode():
            pose, betas, translation = (torch.from_numpy(x) for x in bodies)
            posed = self.body(betas, pose, translation)
        return People(
            boxes=xyxy,
            scores=scores,
            track_ids=np.arange(len(xyxy)),
            keypoints=points,
            pose=bodies.pose,
            betas=bodies.betas,
            translation=bodies.translation,
            vertices=posed.vertices.numpy(),
            joints=posed.joints.numpy(),
            faces=self.body.faces.numpy(),
            camera=camera,
            body=self.body.name,
            model=self.name,
            image=image,
            orientation=photo.orientation,
        )

    def _find(
        self,
        pixels: NDArray[np.uint8],
        boxes: ArrayLike | None,
        scores: ArrayLike | None,
        keypoints: ArrayLike | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Boxes, scores and keypoints: those given, the rest detected."""
        if keypoints is not None:
            points: NDArray[np.float32] = np.asarray(keypoints, np.float32).reshape(-1, 17, 3)
            if not np.isfinite(points).all():
                raise ValueError("keypoints must be finite; mark unknown ones with confidence 0")
            if boxes is None:
                boxes = box_from_keypoints(points, threshold=0.0)
        if boxes is None:
            xyxy, found_scores = self.detector.boxes(pixels)
        else:
            xyxy = clip_boxes(boxes, (pixels.shape[1], pixels.shape[0]))
            found_scores = np.ones(len(xyxy), np.float32)
            if scores is not None:
                found_scores = np.asarray(scores, np.float32).reshape(len(xyxy))
        if keypoints is None:
            # Also without a fit: whoever draws or measures a result wants to see what was detected.
            points = self.detector.keypoints(pixels, xyxy)
        if len(points) != len(xyxy):
            raise ValueError(f"{len(xyxy)} boxes but keypoints of {len(points)} people")
        return xyxy, found_scores, points


def clip_boxes(boxes: ArrayLike, size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes cut to the image.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 px.
        size: (width, height) px.

    Raises:
        ValueError: for a box that is not finite, has no area, or lies outside the image.
    """
    xyxy = np.asarray(boxes, np.float32).reshape(-1, 4)
    width, height = size
    clipped = np.clip(xyxy, 0, np.array([width, height, width, height], np.float32))
    for index, (box, inside) in enumerate(zip(xyxy, clipped, strict=True)):
        if not np.isfinite(box).all():
            raise ValueError(f"box {index} is not finite: {box.tolist()}")
        if (box[2:] <= box[:2]).any():
            raise ValueError(f"box {index} has no area: {box.tolist()}; expected x1 < x2 and y1 < y2 in px")
        if (inside[2:] <= inside[:2]).any():
            raise ValueError(f"box {index} lies outside the {width} x {height} px image: {box.tolist()}")
    return clipped


def recover(
    image: str | Path | NDArray[np.uint8],
    *,
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
    keypoints: ArrayLike | None = None,
    model: str | Path = FIT,
    refine: bool = False,
    body: str = "open",
    body_path: str | Path | None = None,
    detector: str = "builtin",
) -> People:
    """The people in one photo, as 3D meshes in the camera of the full frame.

    For many photos create a `Recoverer` once.

    Args:
        image: path, or (H, W, 3) uint8 RGB pixels that are upright.
        focal: focal length, px. Without focal, fov or intrinsics, EXIF is asked, else the diagonal is taken.
        fov: horizontal field of view, degrees.
        intrinsics: (3, 3) K or (fx, fy, cx, cy), px.
        boxes: (N, 4) x1, y1, x2, y2 px, instead of detected ones.
        keypoints: (N, 17, 3) COCO-17 x, y, confidence, instead of detected ones.
        model, refine, body, body_path, detector: see `Recoverer`.

    Raises:
        fullframe.image.ImageError: if the file cannot be read.
        ValueError: for impossible cameras, boxes or keypoints.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"expected (H, W, 3) uint8 RGB pixels, got {image.shape} {image.dtype}")
        photo, path = Photo(image, 1, None), ""
    else:
        photo, path = read_photo(image), str(image)
    camera = CameraOptions(focal, fov, intrinsics).camera(photo)
    recoverer = Recoverer(model, refine, body, body_path, detector)
    return recoverer(photo, camera, boxes=boxes, keypoints=keypoints, image=path)
