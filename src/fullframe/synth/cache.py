"""Synthetic people drawn once and kept on disk, for machines whose processor must also train.

A stock is a folder of shards of SHARD people: labels in `NNNN.npy`, JPEG pixels in `NNNN.bin`. A shard
appears whole or not at all, so that making a stock can be stopped and taken up again.
"""

import itertools
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import atomic_path, claim, digest
from fullframe.synth.joints import JOINTS, NUM_BETAS
from fullframe.synth.people import SyntheticPeople

SHARD = 500
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 92]
_COUNT = sum(len(JOINT_SETS[name]) for name in JOINTS)
_SPLITS = np.cumsum([len(JOINT_SETS[name]) for name in JOINTS[:-1]])
_LABELS = np.dtype(
    [
        ("start", "i8"),
        ("length", "i4"),
        ("size", "i4", 2),
        ("focal", "f4"),
        ("box", "f4", 4),
        ("window", "f4", 3),
        ("keypoints", "f4", (_COUNT, 2)),
        ("joints", "f4", (_COUNT, 3)),
        ("pose", "f4", (24, 3, 3)),
        ("betas", "f4", NUM_BETAS),
        ("translation", "f4", 3),
    ]
)


def fill(
    folder: str | Path,
    count: int,
    settings: dict[str, Any],
    processes: int = 1,
    progress: Callable[[int], object] = lambda people: None,
) -> None:
    """Makes a stock of at least `count` people, or what is missing of it.

    Args:
        folder: of the stock; made if it does not exist.
        settings: arguments of SyntheticPeople.
        processes: how many draw at a time.
        progress: called with the number of people that are there.

    Raises:
        WorkError: if the folder holds a stock of other settings, or something else.
    """
    folder = Path(folder)
    made_by = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    if settings.get("labels"):
        made_by["labels"] = digest(settings["labels"])
    claim(folder, made_by | {"fullframe": version("fullframe")})
    wanted = _shards(count)
    missing = [number for number in wanted if not _labels_file(folder, number).is_file()]
    done = len(wanted) - len(missing)
    progress(done * SHARD)
    if not missing:
        return
    # Spawned: a forked process could inherit locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _open_people, (settings,)) as pool:
        for number, _ in enumerate(pool.map(_add_shard, itertools.repeat(folder), missing), done + 1):
            progress(number * SHARD)


def is_full(folder: str | Path, count: int) -> bool:
    """Whether a stock holds so many people."""
    return all(_labels_file(Path(folder), number).is_file() for number in _shards(count))


def _shards(count: int) -> range:
    return range(-(-count // SHARD))


_people: SyntheticPeople
"""In a process that draws."""


def _labels_file(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.npy"


def _open_people(settings: dict[str, Any]) -> None:
    global _people
    cv2.setNumThreads(1)
    _people = SyntheticPeople(**settings)


def _add_shard(folder: Path, number: int) -> None:
    """Draws the people number * SHARD up to (number + 1) * SHARD and keeps them."""
    labels = np.zeros(SHARD, _LABELS)
    pixels = bytearray()
    for row, index in enumerate(range(number * SHARD, (number + 1) * SHARD)):
        sample = _people[index]
        assert isinstance(sample.image, np.ndarray)
        data = cv2.imencode(".jpg", sample.image[..., ::-1], _QUALITY)[1].tobytes()
        joints = np.concatenate([sample.joints[name][:, :3] for name in JOINTS])
        keypoints = np.concatenate([sample.keypoints[name][:, :2] for name in JOINTS])
        labels[row] = (
            len(pixels), len(data), sample.camera.size, sample.camera.focal[0], sample.box, sample.window,
            keypoints, joints, sample.pose, sample.betas, sample.translation,
        )  # fmt: skip
        pixels += data
    # The labels come last: they say that the shard is complete.
    file = _labels_file(folder, number)
    with atomic_path(file.with_suffix(".bin")) as temporary:
        temporary.write_bytes(pixels)
    with atomic_path(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, labels)


class CachedPeople(Sequence[Sample]):
    """The people of a stock.

    Args:
        folder: of the shards.
        count: how many of the people to take, from the first on; all if None.

    Raises:
        FileNotFoundError: if there are fewer.
    """

    def __init__(self, folder: str | Path, count: int | None = None) -> None:
        self.folder = Path(folder)
        self._shards: list[tuple[NDArray[np.void], NDArray[np.uint8]]] = []
        while (labels := _labels_file(self.folder, len(self._shards))).is_file():
            pixels = np.memmap(labels.with_suffix(".bin"), np.uint8, "r")
            self._shards.append((np.load(labels, mmap_mode="r"), pixels))
        self._count = len(self._shards) * SHARD if count is None else count
        if not 0 < self._count <= len(self._shards) * SHARD:
            raise FileNotFoundError(
                f"{folder} holds {len(self._shards) * SHARD} synthetic people, not {count}: make more first"
            )

    def __reduce__(self) -> tuple[type, tuple]:
        """For other processes: opened anew there, not copied."""
        return CachedPeople, (self.folder, self._count)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(f"{self.folder} holds {self._count} people, not one with number {index}")
        labels, pixels = self._shards[index // SHARD]
        row = labels[index % SHARD]
        data = pixels[row["start"] : row["start"] + row["length"]]
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise OSError(f"{self.folder}: person {index} is damaged; delete the folder, it is made again")
        ones = np.ones((_COUNT, 1), np.float32)
        keypoints = np.split(np.concatenate((row["keypoints"], ones), axis=1), _SPLITS)
        joints = np.split(np.concatenate((row["joints"], ones), axis=1), _SPLITS)
        size = (int(row["size"][0]), int(row["size"][1]))
        return Sample(
            image=np.asarray(image, np.uint8),
            camera=Camera.from_focal(float(row["focal"]), size, "intrinsics"),
            box=np.array(row["box"]),
            window=(float(row["window"][0]), float(row["window"][1]), float(row["window"][2])),
            keypoints=dict(zip(JOINTS, keypoints, strict=True)),
            joints=dict(zip(JOINTS, joints, strict=True)),
            pose=np.array(row["pose"]),
            betas=np.array(row["betas"]),
            translation=np.array(row["translation"]),
            name=f"{self.folder.name}/{index}",
        )
