"""People to be labelled: numbers in memory, crops as JPEG on disk, however many there are."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fullframe.annotate.chunks import CHUNK, Advance, Arrays, Workers, chunk_file, here, in_chunks, silent
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.batch import Batch
from fullframe.data.crop import plain_crop
from fullframe.data.sample import Sample
from fullframe.geometry.box import ENLARGE, PersonBox, box_from_xyxy
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import WorkError, atomic_path
from fullframe.io.image import ImageError
from fullframe.models.cliff import CLIFF
from fullframe.models.predict import Bodies

_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]
_LARGEST = 2
"""A box may be so many times as large as its photo."""


@dataclass(frozen=True)
class Crops:
    """N people with 2D keypoints in photos that could be read.

    Attributes:
        folder: of the crops.
        crop: (height, width) px of a crop; (0, 0) where there are none, for methods without a network.
        joint_set: what the keypoints are, a key of JOINT_SETS.
        rows: (N,) int64, the people's numbers among the samples.
        sources: (N,) where each camera comes from, as Camera.source.
        boxes: (N, 4) float32 x1, y1, x2, y2 px.
        focal, principal_point: (N, 2) float64 px.
        sizes: (N, 2) int64 width, height px of the images.
        keypoints: (N, K, 3) float32 x, y px and confidence; zero where the confidence is.
        spans: (N, 2) int64 where each crop begins and ends in its file.
    """

    folder: Path
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
        """What the crops show."""
        return box_from_xyxy(self.boxes, self.crop[0] / self.crop[1], ENLARGE)

    def bbox_info(self, indices: NDArray[np.int64]) -> Tensor:
        """(n, 3) (cx, cy, b) / f of some people, as models.locate."""
        center = self.windows.center[indices] - self.principal_point[indices]
        numbers = np.concatenate((center, self.windows.size[indices, None]), axis=1)
        return torch.from_numpy(numbers / self.focal[indices].mean(axis=1, keepdims=True)).float()

    def pixels(self, indices: NDArray[np.int64]) -> Tensor:
        """Crops (n, height, width, 3) RGB uint8 of some people."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._decode, indices.tolist()))))

    def batch(self, indices: NDArray[np.int64], towards: Bodies) -> Batch:
        """Some people as the losses take them: keypoints, and as labels what is regularised towards.

        Args:
            indices: (n,).
            towards: bodies of all N people.
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
            pose=torch.from_numpy(towards.pose[indices]),
            has_pose=torch.ones(n),
            betas=torch.from_numpy(towards.betas[indices]),
            has_betas=torch.ones(n),
            source=torch.zeros(n, dtype=torch.int64),
        )

    def _decode(self, index: int) -> NDArray[np.uint8]:
        start, end = self.spans[index].tolist()
        path = _jpegs(self.folder, int(self.rows[index]))
        with path.open("rb") as file:
            file.seek(start)
            content = np.frombuffer(file.read(end - start), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if picture is None:
            raise WorkError(f"{path}: damaged; remove {self.folder} and run the same command")
        return np.ascontiguousarray(picture[..., ::-1])


def prepare(
    samples: Sequence[Sample],
    joint_set: str,
    folder: Path,
    network: CLIFF | None,
    advance: Advance = silent,
    workers: Workers = here,
) -> tuple[Crops, list[str], NDArray[np.int64]]:
    """Cut everyone's crop out once; later passes read these and not the photos.

    Keypoints that are not finite or lie outside the image become unknown.

    Args:
        samples: each is asked for once, those of a chunk in order.
        joint_set: of the keypoints that are used.
        folder: for the crops and what is known about them; finished parts of it are not made again.
        network: that the crops are for; None for no crops.
        advance: told of progress.
        workers: who cuts them.

    Returns:
        the people, messages about those who cannot be labelled and keypoints that are not used, and the
        numbers (M,) of those samples whose photos cannot be used.
    """
    blank = _blank(joint_set)

    def make(start: int, end: int) -> Arrays:
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
        if network is not None:
            with atomic_path(_jpegs(folder, start)) as temporary:
                temporary.write_bytes(content)
        # The blank row tells types and shapes where nobody is left.
        columns = {key: np.stack([row[key] for row in rows])[1:] for key in blank}
        return {
            **columns,
            "problems": np.array(problems, np.str_),
            "unread": np.array(unread, np.int64),
        }

    found = in_chunks(folder, len(samples), make, advance, CHUNK, workers)
    problems = found.pop("problems").tolist() if found else []
    unread = found.pop("unread") if found else np.zeros(0, np.int64)
    columns: Arrays = found or {key: value[None][:0] for key, value in blank.items()}
    crop = (0, 0) if network is None else network.crop
    return Crops(folder, crop, joint_set, **columns), problems, unread


def forget(folder: Path, samples: NDArray[np.int64]) -> None:
    """Have `prepare` ask for some samples again: the chunks that they are in are removed."""
    for start in np.unique(samples - samples % CHUNK).tolist():
        chunk_file(folder, start).unlink(missing_ok=True)


def usable(points: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(K,) which of the keypoints (K, 3) are numbers and lie in a photo of this (width, height)."""
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
            f"{size[1]} px: mend its bbox [x, y, width, height] in px"
        )
    if (box[2:] - box[:2]).max() > _LARGEST * size.max():
        raise ValueError(
            f"{sample.name}: the box {np.round(box, 1).tolist()} is more than {_LARGEST} times as large as "
            f"the photo of {size[0]} x {size[1]} px: mend its bbox [x, y, width, height] in px"
        )
    points = sample.keypoints[joint_set].astype(np.float32)
    good = usable(points, sample.camera.size)
    labelled = ~(points[:, 2] <= 0)  # NaN is a label too, of an unusable point
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


def _jpeg(sample: Sample, network: CLIFF) -> bytes:
    """The plain crop that the network is meant for, as in evaluation."""
    crop, _ = plain_crop(sample, network.crop, network.crop_method)
    done, content = cv2.imencode(".jpg", crop[..., ::-1], _QUALITY)
    assert done
    return content.tobytes()


def _jpegs(folder: Path, row: int) -> Path:
    """The file with the crop of a sample."""
    return folder / f"{row - row % CHUNK:09d}.jpegs"
