"""People to be labelled: their numbers in memory, their crops as JPEG on disk."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.batch import Batch
from fullframe.data.crop import plain_crop
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE, PersonBox, box_from_xyxy
from fullframe.geometry.camera import Camera
from fullframe.io.image import ImageError
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import Arrays, Shards, WorkError, Workers, in_process, save_arrays
from fullframe.models.crop_regressor import CropRegressor
from fullframe.models.predict import Bodies

SHARD_SIZE = 256
"""People in a shard, except of slow methods."""

_JPEGS = "crops.jpegs"
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
_LARGEST = 2
"""Longest side of a box in units of its photo's longest side."""


@dataclass(frozen=True)
class Crops:
    """N people with 2D keypoints in photos that could be read.

    Attributes:
        shards: that hold the crops.
        crop: (height, width) px of a crop; (0, 0) where there are none, for methods without a network.
        joint_set: what the keypoints are, a key of JOINT_SETS.
        rows: (N,) int64, the people's indices among the samples.
        sources: (N,) where each camera comes from, as Camera.source.
        boxes: (N, 4) float32 x1, y1, x2, y2 px.
        focal, principal_point: (N, 2) float64 px.
        sizes: (N, 2) int64 width, height px of the images.
        keypoints: (N, K, 3) float32 x, y px and confidence; zero where the confidence is.
        spans: (N, 2) int64 start and end of each crop in its file, bytes.
    """

    shards: Shards
    crop: tuple[int, int]
    joint_set: str
    rows: NDArray[np.int64]
    sources: NDArray[np.str_]
    boxes: NDArray[np.float32]
    focal: NDArray[np.float64]
    principal_point: NDArray[np.float64]
    sizes: NDArray[np.int64]
    keypoints: NDArray[np.float32]
    spans: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def camera(self, index: int) -> Camera:
        """Of the image that the person is in."""
        return Camera.from_dict(
            {
                "focal": self.focal[index],
                "principal_point": self.principal_point[index],
                "size": self.sizes[index],
                "source": str(self.sources[index]),
            }
        )

    @property
    def longer_side(self) -> NDArray[np.float32]:
        """Of each box (N,), px: the unit of reprojection errors."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)

    @cached_property
    def windows(self) -> PersonBox:
        """The regions of the images that the crops show."""
        return box_from_xyxy(self.boxes, self.crop[0] / self.crop[1], LABEL_ENLARGE)

    def bbox_info(self, indices: NDArray[np.int64]) -> Tensor:
        """(n, 3) (cx, cy, b) / f of some people, as models.box_to_bbox_info."""
        center = self.windows.center[indices] - self.principal_point[indices]
        numbers = np.concatenate((center, self.windows.size[indices, None]), axis=1)
        return torch.from_numpy(numbers / self.focal[indices].mean(axis=1, keepdims=True)).float()

    def pixels(self, indices: NDArray[np.int64]) -> Tensor:
        """Crops (n, height, width, 3) RGB uint8 of some people."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._decode, indices.tolist()))))

    def batch(self, indices: NDArray[np.int64], initial: Bodies) -> Batch:
        """Some people as a batch for the losses, with their initial bodies as labels of pose and betas.

        Args:
            indices: (n,).
            initial: bodies of all N people.
        """
        n = len(indices)
        center, size = self.windows.center[indices, None], self.windows.size[indices, None, None]
        points = self.keypoints[indices].astype(np.float64)
        relative = np.where(points[..., 2:] > 0, 2 * (points[..., :2] - center) / size, 0)
        keypoints = torch.from_numpy(np.concatenate((relative, points[..., 2:]), axis=2)).float()
        return Batch(
            crops=self.pixels(indices),
            bbox_info=self.bbox_info(indices),
            keypoints={self.joint_set: keypoints},
            joints={},
            pose=torch.from_numpy(initial.pose[indices]),
            has_pose=torch.ones(n),
            betas=torch.from_numpy(initial.betas[indices]),
            has_betas=torch.ones(n),
            source=torch.zeros(n, dtype=torch.int64),
        )

    def _decode(self, index: int) -> NDArray[np.uint8]:
        start, end = self.spans[index].tolist()
        row = int(self.rows[index])
        path = self.shards.folder(row - row % self.shards.size) / _JPEGS
        with path.open("rb") as file:
            file.seek(start)
            content = np.frombuffer(file.read(end - start), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if picture is None:
            raise WorkError(f"{path} is damaged: run the same command again, which replaces it")
        return np.ascontiguousarray(picture[..., ::-1])


def prepare(
    samples: Sequence[Sample],
    joint_set: str,
    shards: Shards,
    network: CropRegressor | None,
    progress: Progress = silent,
    workers: Workers = in_process,
) -> tuple[Crops, list[str], NDArray[np.int64]]:
    """Crop all people once; later passes read the crops and not the photos.

    Keypoints that are not finite or lie outside the image become unknown.

    Args:
        samples: each is read once, those of a shard in order.
        joint_set: of the keypoints that are used.
        shards: for the crops and the numbers of the people.
        network: that the crops are for; None for no crops.

    Returns:
        the people, messages about people who cannot be labelled and keypoints that are not used, and the
        indices (M,) of those samples whose photos cannot be read.
    """
    blank = _blank(joint_set)

    def write(start: int, end: int) -> None:
        content = bytearray()
        rows, problems, unread = [blank], [], []
        for index in range(start, end):
            try:
                sample = samples[index]
                row, unused = _row(index, sample, joint_set)
                jpeg = b"" if network is None else _jpeg(sample, network)
            except (ValueError, OSError) as error:
                problems.append(str(error))
                if isinstance(error, ImageError | OSError):
                    unread.append(index)
                continue
            if unused:
                problems.append(f"{sample.name}: {unused} keypoints are outside the photo or NaN: not used")
            rows.append({**row, "spans": np.array([len(content), len(content) + len(jpeg)])})
            content += jpeg
        # The blank row gives types and shapes to the columns of no people.
        columns = {key: np.stack([row[key] for row in rows])[1:] for key in blank}
        messages = {"problems": np.array(problems, np.str_), "unread": np.array(unread, np.int64)}
        with shards.writing(start) as folder:
            save_arrays(folder, columns | messages)
            if network is not None:
                (folder / _JPEGS).write_bytes(content)

    shards.run(write, progress, workers)
    found = shards.joined()
    problems = found.pop("problems").tolist() if found else []
    unread = found.pop("unread") if found else np.zeros(0, np.int64)
    columns: Arrays = found or {key: value[None][:0] for key, value in blank.items()}
    crop = (0, 0) if network is None else network.crop
    return Crops(shards, crop, joint_set, **columns), problems, unread


def usable(points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(K,) which of the keypoints (K, 3) are finite and lie in a photo of this (width, height)."""
    with np.errstate(invalid="ignore"):
        inside = (points[:, :2] >= 0).all(axis=1) & (points[:, :2] <= size).all(axis=1)
    return np.asarray(inside & np.isfinite(points).all(axis=1))


def _blank(joint_set: str) -> dict[str, NDArray[Any]]:
    return {
        "rows": np.array(0, np.int64),
        "sources": np.array("", np.str_),
        "boxes": np.zeros(4, np.float32),
        "focal": np.zeros(2),
        "principal_point": np.zeros(2),
        "sizes": np.zeros(2, np.int64),
        "keypoints": np.zeros((len(JOINT_SETS[joint_set]), 3), np.float32),
        "spans": np.zeros(2, np.int64),
    }


def _row(index: int, sample: Sample, joint_set: str) -> tuple[dict[str, NDArray[Any]], int]:
    """The numbers of a person, and how many keypoints are not used.

    Raises:
        ValueError: the box has no area, lies outside the image or is far larger.
    """
    size = np.array(sample.camera.size)
    box = sample.box.astype(np.float32)
    if not (np.isfinite(box).all() and (np.minimum(box[2:], size) > np.maximum(box[:2], 0)).all()):
        raise ValueError(
            f"{sample.name}: the box {np.round(box, 1).tolist()} has no area in the photo of {size[0]} x "
            f"{size[1]} px: correct its bbox [x, y, width, height] in px"
        )
    if (box[2:] - box[:2]).max() > _LARGEST * size.max():
        raise ValueError(
            f"{sample.name}: the box {np.round(box, 1).tolist()} is more than {_LARGEST} times as large as "
            f"the photo of {size[0]} x {size[1]} px: correct its bbox [x, y, width, height] in px"
        )
    points = sample.keypoints[joint_set].astype(np.float32)
    good = usable(points, sample.camera.size)
    labelled = ~(points[:, 2] <= 0)  # NaN counts as labelled, but unusable
    points = np.where((good & labelled)[:, None], points, 0)
    points[:, 2] = points[:, 2].clip(0, 1)
    row = {
        "rows": np.array(index, np.int64),
        "sources": np.array(sample.camera.source),
        "boxes": box,
        "focal": np.array(sample.camera.focal),
        "principal_point": np.array(sample.camera.principal_point),
        "sizes": size.astype(np.int64),
        "keypoints": points,
    }
    return row, int((labelled & ~good).sum())


def _jpeg(sample: Sample, network: CropRegressor) -> bytes:
    """The plain crop that the network is meant for, as in evaluation."""
    crop, _ = plain_crop(sample, network.crop, network.crop_method)
    done, content = cv2.imencode(".jpg", crop[..., ::-1], _QUALITY)
    assert done
    return content.tobytes()
