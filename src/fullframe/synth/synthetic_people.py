"""Synthetic people as samples: exact labels, on the fly, the same from the same seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.compiled import compiled
from fullframe.data.sample import Sample
from fullframe.geometry.box import LABEL_ENLARGE, box_from_xyxy
from fullframe.geometry.camera import Camera, project_points
from fullframe.io.image import write_jpeg
from fullframe.synth.renderer import Painter
from fullframe.synth.scene import Person, Scene, Scenes

VAL_SEED, VAL_PEOPLE = 2022, 2000
"""The benchmark synth-val: the first VAL_PEOPLE of SyntheticPeople("val")."""

_SPLITS = {"train": 0, "val": 1}
_MARGIN = 1.25
"""Ratio of the rendered window to the crop: room for augmentation."""
_SMALLEST = 40
"""Smallest longer side of a labelled box, px."""


def synth_val() -> "SyntheticPeople":
    """The benchmark synth-val: the first VAL_PEOPLE, with procedural backgrounds, which need no files."""
    return SyntheticPeople("val", VAL_SEED, simplify=False)


class SyntheticPeople(Sequence[Sample]):
    """An endless list of people, each in a frame of their own with other people around them.

    Only a window around the person is rendered; camera, box and labels are those of the full frame.

    Args:
        split: "train" or "val". Their motion capture differs.
        seed: another seed gives other people.
        height: of the crop that the window is meant for, px; the window is 1.25 times as high.
        backgrounds: folder of photos without people; None for procedural backgrounds.
        labels: list of SPIN's form, as `fullframe annotate` writes, from which half of the captured poses are
            taken; None for motion capture alone.
        simplify: fewer triangles for people that are small in the window, which is hardly visible.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 1,
        height: int = 224,
        backgrounds: str | Path | None = None,
        labels: str | Path | None = None,
        simplify: bool = True,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"unknown split {split!r}; known: {', '.join(_SPLITS)}")
        self._arguments = (split, seed, height, backgrounds, labels, simplify)
        self.split = split
        self.seed = seed
        self.height = height
        self.simplify = simplify
        self.scenes = Scenes(split, labels)
        self.painter = Painter(backgrounds)

    def __reduce__(self) -> tuple[type, tuple]:
        """Constructed again in other processes: its caches are large."""
        return SyntheticPeople, self._arguments

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """The person with this number.

        Raises:
            IndexError: for a negative number.
        """
        if index < 0:
            raise IndexError("negative numbers are not supported: the list is endless")
        rng = self._rng(index)
        while True:
            scene = self.scenes.compose(rng)
            person = scene.people[0]
            # The size in the image is estimated from the joints, before there are vertices.
            joints = visible_box(person.posed.joints + person.translation, scene.camera)
            dressed = self.painter.dress(person, self._focal(scene.camera, joints))
            box = visible_box(dressed.mesh.vertices, scene.camera)
            if box is not None:
                break
        window, shape = self._window(box)
        focal = self._focal(scene.camera, box)
        others = [
            self.painter.dress(p, focal)
            for p in scene.people[1:]
            if _may_show(p, scene.camera, window, shape)
        ]
        pixels = self.painter.paint(scene, [dressed, *others], window, shape)
        return self._label(scene, person, box, pixels, window, f"synth-{self.split}/{index}")

    def frame(self, index: int, path: Path) -> list[Sample]:
        """A whole frame: a sample for each visible person.

        Args:
            index: number of the frame; frames show other people than the items of this list.
            path: of the image, which is rendered and written unless it exists.

        Raises:
            OSError: if it cannot be written.
        """
        rng = np.random.default_rng([self.seed, _SPLITS[self.split], index, 1])
        scene = self.scenes.compose(rng)
        width, height = scene.camera.size
        window = (0.0, 0.0, 1.0)
        dressed = [self.painter.dress(person) for person in scene.people]
        if not path.exists():
            pixels = self.painter.paint(scene, dressed, window, (height, width), antialias=True)
            write_jpeg(path, pixels, quality=95)
        samples = []
        for number, (person, clothed) in enumerate(zip(scene.people, dressed, strict=True)):
            box = visible_box(clothed.mesh.vertices, scene.camera)
            if box is not None:
                samples.append(self._label(scene, person, box, path, window, f"{path.stem}#{number}"))
        return samples

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, _SPLITS[self.split], index])

    def _focal(self, camera: Camera, box: NDArray[np.float32] | None) -> float:
        """Focal length in px of the window around a box, which decides how many triangles people get."""
        if not self.simplify or box is None:
            return np.inf
        return camera.focal[0] / self._window(box)[0][2]

    def _window(self, box: NDArray[np.float32]) -> tuple[tuple[float, float, float], tuple[int, int]]:
        """The window around a box: its (x, y, scale), and its (height, width) in px."""
        crop = box_from_xyxy(box[None], enlarge=LABEL_ENLARGE * _MARGIN)
        height = round(self.height * _MARGIN)
        width = round(height * 3 / 4)
        scale = float(crop.size[0]) / height
        x, y = crop.center[0] - scale * (np.array([width, height]) - 1) / 2
        return (float(x), float(y), scale), (height, width)

    def _label(
        self,
        scene: Scene,
        person: Person,
        box: NDArray[np.float32],
        image: NDArray[np.uint8] | Path,
        window: tuple[float, float, float],
        name: str,
    ) -> Sample:
        """The sample of one person of a scene."""
        camera = scene.camera
        joints, keypoints = {}, {}
        for joint_set, points in self.scenes.bodies.keypoints(person.betas, person.posed).items():
            points = points + person.translation
            ones = np.ones((len(points), 1), np.float32)
            joints[joint_set] = np.concatenate((points, ones), axis=1)
            seen = project_points(points, camera)
            keypoints[joint_set] = np.concatenate((seen, ones), axis=1).astype(np.float32)
        return Sample(
            image=image,
            camera=camera,
            box=box,
            window=window,
            keypoints=keypoints,
            joints=joints,
            pose=person.posed.rotations,
            betas=person.betas,
            translation=person.translation,
            name=name,
            sequence=person.kind,
        )


def visible_box(vertices: NDArray[np.float32], camera: Camera) -> NDArray[np.float32] | None:
    """The box (4,) around the vertices (V, 3) that are in the frame; None if it is too small."""
    box = np.array([np.inf, np.inf, -np.inf, -np.inf], np.float32)
    _extend(box, vertices, camera.focal, camera.principal_point, camera.size)
    return box if (box[2:] - box[:2]).max() > _SMALLEST else None


@compiled
def _extend(box, vertices, focal, principal_point, size):
    """Extends the box around the vertices that are in the frame, in place.

    Feet below the frame, say, must not widen the box around a face.
    """
    for v in range(len(vertices)):
        z = vertices[v, 2]
        if z > 0.05:
            x = vertices[v, 0] / z * focal[0] + principal_point[0]
            y = vertices[v, 1] / z * focal[1] + principal_point[1]
            if 0 <= x < size[0] and 0 <= y < size[1]:
                box[0], box[1] = min(box[0], x), min(box[1], y)
                box[2], box[3] = max(box[2], x), max(box[3], y)


def _may_show(
    person: Person, camera: Camera, window: tuple[float, float, float], shape: tuple[int, int]
) -> bool:
    """Whether a person, clothes included, may be visible in a window."""
    points = person.posed.joints + person.translation
    if points[:, 2].max() < 0.1:
        return False
    pixels = project_points(points, camera)
    reach = 0.35 * camera.focal[0] / max(float(points[:, 2].min()), 0.1)
    low, high = pixels.min(axis=0) - reach, pixels.max(axis=0) + reach
    corner = np.array(window[:2])
    return bool((high > corner).all() and (low < corner + window[2] * np.array(shape[::-1])).all())
