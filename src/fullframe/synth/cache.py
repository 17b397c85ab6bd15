"""Synthetic people rendered once into a folder, for machines that train on the CPU.

A cache is an io.workdir.WorkDir with shards of SHARD people: labels in `labels.npy`,
JPEG pixels in `pixels.bin`.
"""

import itertools
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.data.sample import Sample
from fullframe.geometry.camera import Camera
from fullframe.io.atomic import digest
from fullframe.io.progress import Progress, silent
from fullframe.io.workdir import Shards, WorkDir
from fullframe.synth.joints import JOINTS, NUM_BETAS
from fullframe.synth.synthetic_people import SyntheticPeople

SHARD = 500
_LABELS_FILE, _PIXELS_FILE = "labels.npy", "pixels.bin"
_WAIT_S = 24 * 3600.0
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


def build_cache(
    folder: str | Path,
    count: int,
    settings: dict[str, Any],
    processes: int = 1,
    progress: Progress = silent,
) -> None:
    """Render at least `count` people into a folder, or those of them that are missing.

    Other processes that want the same cache wait.

    Args:
        folder: of the cache; created if it does not exist.
        count: of people.
        settings: arguments of SyntheticPeople.
        processes: that render.
        progress: in people.

    Raises:
        WorkError: if the folder holds people of other settings, or something else.
    """
    request = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    if settings.get("labels"):
        request["labels"] = digest(settings["labels"])
    with WorkDir(folder, request, wait_s=_WAIT_S) as work:
        total = -(-count // SHARD) * SHARD
        shards = work.shards(size=SHARD, count=total)
        missing = shards.missing()
        done = total - SHARD * len(missing)
        if not missing:
            return
        progress("rendering people", done, total)
        # Spawned: a forked process could inherit locks of torch's threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, context, _open_people, (settings,)) as pool:
            starts = [start for start, _ in missing]
            for number, _ in enumerate(pool.map(_write_shard, itertools.repeat(shards), starts), 1):
                progress("rendering people", done + SHARD * number, total)


_people: SyntheticPeople
"""In a process that renders."""


def _open_people(settings: dict[str, Any]) -> None:
    global _people
    cv2.setNumThreads(1)
    _people = SyntheticPeople(**settings)


def _write_shard(shards: Shards, start: int) -> None:
    """Render SHARD people from this one on and write them."""
    labels = np.zeros(SHARD, _LABELS)
    pixels = bytearray()
    for row, index in enumerate(range(start, start + SHARD)):
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
    with shards.writing(start) as folder:
        (folder / _PIXELS_FILE).write_bytes(pixels)
        np.save(folder / _LABELS_FILE, labels)


class CachedPeople(Sequence[Sample]):
    """The people of a cache.

    Args:
        folder: of the shards.
        count: of people to use, from the first on; all if None.

    Raises:
        FileNotFoundError: if there are fewer.
    """

    def __init__(self, folder: str | Path, count: int | None = None) -> None:
        self.folder = Path(folder)
        self._shards: list[tuple[NDArray[np.void], NDArray[np.uint8]]] = []
        shards = Shards(self.folder, SHARD)
        while (shard := shards.folder(len(self._shards) * SHARD)).is_dir():
            pixels = np.memmap(shard / _PIXELS_FILE, np.uint8, "r")
            self._shards.append((np.load(shard / _LABELS_FILE, mmap_mode="r"), pixels))
        self._count = len(self._shards) * SHARD if count is None else count
        if not 0 < self._count <= len(self._shards) * SHARD:
            raise FileNotFoundError(
                f"{folder} holds {len(self._shards) * SHARD} synthetic people, not {count}: render more first"
            )

    def __reduce__(self) -> tuple[type, tuple]:
        """Opened again in other processes, not copied."""
        return CachedPeople, (self.folder, self._count)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError(f"{self.folder} holds {self._count} people, there is no number {index}")
        labels, pixels = self._shards[index // SHARD]
        row = labels[index % SHARD]
        data = pixels[row["start"] : row["start"] + row["length"]]
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise OSError(
                f"{self.folder}: person {index} is damaged: remove the folder and run the same command"
            )
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
