"""synth-val with half of each person behind things, as 3DPW-OCC has people."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullframe.data.corruptions import occlude
from fullframe.data.crop import read_pixels
from fullframe.data.sample import Sample
from fullframe.evaluate.protocols import synth

HIDDEN = 0.5
"""Least share of the joints in the frame that are behind occluders."""

_MOST = 100
"""Pastes after which a person is left as they are."""


class Occluded(Sequence[Sample]):
    """People with occluders pasted over them until HIDDEN of their joints are covered.

    The same person always gets the same occluders: they follow from the number in the sequence.
    """

    def __init__(self, people: Sequence[Sample]) -> None:
        self.people = people

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        sample = self.people[index]
        pixels = read_pixels(sample).copy()
        cover(pixels, sample, np.random.default_rng([7, index]))
        return replace(sample, image=pixels)


def cover(pixels: NDArray[np.uint8], sample: Sample, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Paste occluders on the sample's pixels (H, W, 3), in place.

    Returns:
        (H, W) where they are.
    """
    height, width = pixels.shape[:2]
    x, y, scale = sample.window
    corner = np.array([x, y])
    inside = (sample.box.reshape(2, 2) - corner) / scale
    left, top = np.clip(np.floor(inside[0]), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(inside[1]), (left + 1, top + 1), (width, height)).astype(int)
    joints = np.rint((sample.keypoints["smpl24"][:, :2] - corner) / scale).astype(int)
    joints = joints[((joints >= 0) & (joints < (width, height))).all(axis=1)]

    scenery, covered = pixels.copy(), np.zeros((height, width), np.bool_)
    part = slice(top, bottom), slice(left, right)
    for _ in range(_MOST):
        if not len(joints) or covered[joints[:, 1], joints[:, 0]].mean() >= HIDDEN:
            break
        before = pixels[part].copy()
        occlude(pixels[part], scenery, 1.0, rng)
        covered[part] |= (pixels[part] != before).any(axis=-1)
    return covered


def people(root: Path) -> Sequence[Sample]:
    """The people of synth-val behind occluders; nothing is read from `root`."""
    return Occluded(synth.people(root))


PROTOCOL = replace(
    synth.PROTOCOL,
    title="synth-val, occluded",
    open=people,
    options={
        **synth.PROTOCOL.options,
        "occluders": f"pasted until {HIDDEN:.0%} of the joints in the frame are covered, the same for all",
    },
)
