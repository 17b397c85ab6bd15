"""A person's motion on another's character."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import PARENTS
from fullframe.export.character import Character, rotation_of
from fullframe.export.gltf import Channel, add_motion
from fullframe.export.skin import rest_mesh
from fullframe.export.tracks import Track, continuous, tracks
from fullframe.geometry.rotation import rotation_between
from fullframe.geometry.world import level_frame
from fullframe.io.atomic import atomic_path
from fullframe.motion.feet import bend_leg, lock_feet, standing_offsets
from fullframe.motion.skeleton import soles
from fullframe.results.clip import Clip

_REACH = 0.9995
"""Of the leg's length: the feet come no farther from the hips, which are lowered where needed."""
_LOWERED = 0.05
"""Of the leg's length that the hips are lowered at most."""


def retarget(clip: Clip, body: BodyModel, character: Character, path: Path, track: int) -> None:
    """Writes the character's GLB with the motion of one person in place of its animations.

    Bones turn as the person's joints do from a common pose: the difference between the character's rest pose
    and SMPL's is undone for arms and legs by the direction of the bones; both are taken to stand upright with
    flat feet. The motion is scaled by the length of the legs about the point of the ground where the person
    is first seen. The balls of the feet (of characters without toes the heels) then are exactly where the
    person's are, and those that stand stay where they stand: the legs reach for them. Times and axes are
    those of `write_clip_glb`: y up, y = 0 on the ground if that is known.

    Args:
        body: the clip's.
        character: its file is changed.
        track: whose motion.

    Raises:
        ValueError: nobody in the clip is that track, the body is not the clip's, or a pose or translation is
            not finite.
    """
    rows = np.flatnonzero(clip.track_ids == track)
    if not len(rows):
        ids = ", ".join(map(str, np.unique(clip.track_ids)))
        raise ValueError(
            f"the clip has no person {track}: " + (f"its people are {ids}." if ids else "it has none.")
        )
    clip = _standing(clip.take(rows).in_world(body), body)
    (person,) = tracks(clip, body, level_frame(clip.ground))
    motion = _held(_source(person, body), clip)
    limbs = _limbs(character, person.rest)
    scale = limbs.leg / motion.leg
    known = np.isfinite(clip.ground).all()
    origin = person.pelvis[0].copy()
    origin[1] = 0 if known else min(motion.balls[0, :, 1].min(), motion.heels[0, :, 1].min())

    turned = motion.rotations @ np.swapaxes(limbs.turns, 1, 2)
    hips = origin + scale * (motion.joints[:, 1:3].mean(1) - origin)
    hips[:, 1] += (limbs.ankle_heights - scale * motion.ankle_heights).mean()
    feet = np.zeros((len(hips), 2, 3))
    for side in range(2):
        down = np.array([0, -1.0, 0])
        if limbs.toes is None:
            sole = turned[:, 7 + side] @ (limbs.ankle_heights[side] * down)
            feet[:, side] = origin + scale * (motion.heels[:, side] - origin) - sole
        else:
            sole = turned[:, 10 + side] @ (limbs.toe_heights[side] * down)
            toe = turned[:, 7 + side] @ limbs.toes[side]
            feet[:, side] = origin + scale * (motion.balls[:, side] - origin) - sole - toe
    hips = _lowered(hips, turned[:, 0], feet, limbs)
    for side in range(2):
        _stand(turned, hips, feet[:, side], limbs, side)
    pelvis = hips - np.einsum("tab,b->ta", turned[:, 0], limbs.hips.mean(0))
    channels = _channels(character, turned, pelvis)
    character.file.tree["animations"] = []
    distinct, keys = np.unique(person.times.astype(np.float32), return_index=True)
    add_motion(character.file, distinct, [(node, kind, values[keys]) for node, kind, values in channels])
    with atomic_path(path) as temporary:
        temporary.write_bytes(character.file.content())


def _standing(clip: Clip, body: BodyModel) -> Clip:
    """One person's clip with feet that stand kept in place, and a body that follows them."""
    clip = clip.take(slice(None))
    clip.pose, clip.translation = clip.pose.copy(), clip.translation.copy()
    points = soles(body, clip)
    for rows in _stretches(clip):
        if clip.contacts[rows].any():
            lock_feet(body, clip, rows, points[rows], clip.contacts[rows], clip.ground)
    return clip


def _stretches(clip: Clip) -> list[NDArray[np.int64]]:
    """The rows of one person's clip, by stretches of consecutive frames."""
    return np.split(np.arange(len(clip)), np.flatnonzero(np.diff(clip.frames) > 1) + 1)


def _held(motion: "_Source", clip: Clip) -> "_Source":
    """With soles that stay exactly in place while they stand: a straight leg of the person may not reach."""
    balls, heels = motion.balls.copy(), motion.heels.copy()
    ground = np.array([0, 1.0, 0, 0]) if np.isfinite(clip.ground).all() else np.full(4, np.nan)
    for rows in _stretches(clip):
        for side in range(2):
            points = np.stack((heels[rows, side], balls[rows, side]), axis=1)
            standing, times = clip.contacts[rows, side], clip.times[clip.frames[rows]]
            offsets, pulled = standing_offsets(points, standing, times, ground)
            balls[rows, side] += offsets * pulled[:, None]
            heels[rows, side] += offsets * pulled[:, None]
    return motion._replace(balls=balls, heels=heels)


class _Source(NamedTuple):
    """The person's motion, metres, y up.

    Attributes:
        rotations: (T, 24, 3, 3) global, from SMPL's T-pose.
        joints: (T, 24, 3).
        balls, heels: (T, 2, 3) points of the soles below the joints of the feet and below the ankles.
        ankle_heights: (2,) above the sole.
        leg: length of a leg.
    """

    rotations: NDArray[np.float64]
    joints: NDArray[np.float64]
    balls: NDArray[np.float64]
    heels: NDArray[np.float64]
    ankle_heights: NDArray[np.float64]
    leg: float


def _source(person: Track, body: BodyModel) -> _Source:
    local = Rotation.from_quat(person.rotations.reshape(-1, 4)).as_matrix().reshape(-1, 24, 3, 3)
    rotations, joints = local.copy(), np.tile(person.pelvis[:, None], (1, 24, 1))
    for joint in range(1, 24):
        parent = PARENTS[joint]
        rotations[:, joint] = rotations[:, parent] @ local[:, joint]
        joints[:, joint] = joints[:, parent] + rotations[:, parent] @ (
            person.rest[joint] - person.rest[parent]
        )
    floor = float(rest_mesh(body, person.betas)[0][:, 1].min())
    heights = person.rest[:, 1] - floor
    down = np.array([0, -1.0, 0])
    balls, heels = (
        np.stack([joints[:, k] + rotations[:, k] @ (heights[k] * down) for k in pair], axis=1)
        for pair in ((10, 11), (7, 8))
    )
    return _Source(rotations, joints, balls, heels, heights[[7, 8]], _leg(person.rest))


def _leg(joints: NDArray[np.float64]) -> float:
    """The mean length of the legs from hip to ankle."""
    bones = [np.linalg.norm(joints[b] - joints[a]) for a, b in ((1, 4), (4, 7), (2, 5), (5, 8))]
    return float(sum(bones) / 2)


class _Limbs(NamedTuple):
    """The character's proportions in metres, axes left, up, front at rest.

    Attributes:
        turns: (24, 3, 3) rotation of each joint's bone from SMPL's T-pose to the character's rest pose.
        hips: (2, 3) from the hips' bone to the legs'; knees: (2, 3) and ankles: (2, 3) from the joint above.
        toes: (2, 3) from the ankles to the toes' bones; None without.
        ankle_heights, toe_heights: (2,) above the sole.
        leg: length of a leg.
    """

    turns: NDArray[np.float64]
    hips: NDArray[np.float64]
    knees: NDArray[np.float64]
    ankles: NDArray[np.float64]
    toes: NDArray[np.float64] | None
    ankle_heights: NDArray[np.float64]
    toe_heights: NDArray[np.float64]
    leg: float


def _limbs(character: Character, rest: NDArray[np.float64]) -> _Limbs:
    places, world = np.full((24, 3), np.nan), np.full((24, 3), np.nan)
    for joint, node in character.joints.items():
        places[joint] = character.axes.T @ character.bind[node][:3, 3]
        world[joint] = character.world(node)[:3, 3]
    # The mesh may be bound in units of its own; the scene's are metres.
    unit = _leg(world) / _leg(places)
    places, soles = unit * places, unit * character.soles
    turns = np.tile(np.eye(3), (24, 1, 1))
    for chain in ((1, 4), (2, 5), (16, 18, 20), (17, 19, 21)):
        for joint in chain:
            after = joint + (2 if joint > 15 else 3)
            if np.isfinite(places[[joint, after]]).all():
                turns[joint] = _between(rest[after] - rest[joint], places[after] - places[joint])
            elif joint > 17:  # a hand without fingers continues the forearm
                turns[joint] = turns[joint - 2]
    for ankle in (7, 8):
        if np.isfinite(places[ankle + 3]).all():
            yaw = [np.arctan2(x[0], x[2]) for x in (p[ankle + 3] - p[ankle] for p in (rest, places))]
            turns[[ankle, ankle + 3]] = Rotation.from_euler("y", yaw[1] - yaw[0]).as_matrix()
    turns[[22, 23]] = turns[[20, 21]]
    has_toes = np.isfinite(places[[10, 11]]).all()
    return _Limbs(
        turns,
        hips=places[[1, 2]] - places[0],
        knees=places[[4, 5]] - places[[1, 2]],
        ankles=places[[7, 8]] - places[[4, 5]],
        toes=places[[10, 11]] - places[[7, 8]] if has_toes else None,
        ankle_heights=places[[7, 8], 1] - soles,
        toe_heights=places[[10, 11], 1] - soles,
        leg=_leg(places),
    )


def _between(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    return rotation_between(start[None], end[None])[0]


def _lowered(
    hips: NDArray[np.float64], pelvis: NDArray[np.float64], feet: NDArray[np.float64], limbs: _Limbs
) -> NDArray[np.float64]:
    """The middle of the hips (T, 3), lowered where a foot (T, 2, 3) is out of reach."""
    lowered = np.zeros(len(hips))
    for side in range(2):
        away = hips + np.einsum("tab,b->ta", pelvis, limbs.hips[side] - limbs.hips.mean(0)) - feet[:, side]
        reach = _REACH * (np.linalg.norm(limbs.knees[side]) + np.linalg.norm(limbs.ankles[side]))
        aside = away[:, 0] ** 2 + away[:, 2] ** 2
        lowered = np.maximum(lowered, away[:, 1] - np.sqrt(np.maximum(reach**2 - aside, 0)))
    moved = hips.copy()
    moved[:, 1] -= np.minimum(lowered, _LOWERED * limbs.leg)
    return moved


def _stand(
    turned: NDArray[np.float64],
    hips: NDArray[np.float64],
    ankle: NDArray[np.float64],
    limbs: _Limbs,
    side: int,
) -> None:
    """Turns a leg so that its ankle comes to a place (T, 3); rotations (T, 24, 3, 3) are changed."""
    thigh, shin = turned[:, 1 + side], turned[:, 4 + side]
    hip = hips + np.einsum("tab,b->ta", turned[:, 0], limbs.hips[side] - limbs.hips.mean(0))
    knee = np.einsum("tab,b->ta", thigh, limbs.knees[side])
    end = knee + np.einsum("tab,b->ta", shin, limbs.ankles[side])
    reach = _REACH * (np.linalg.norm(limbs.knees[side]) + np.linalg.norm(limbs.ankles[side]))
    new_knee, new_end = bend_leg(knee, end, ankle - hip, thigh[..., 2], np.full(len(end), reach))
    turned[:, 1 + side] = rotation_between(knee, new_knee) @ thigh
    turned[:, 4 + side] = rotation_between(end - knee, new_end - new_knee) @ shin


def _channels(
    character: Character, turned: NDArray[np.float64], pelvis: NDArray[np.float64]
) -> list[Channel]:
    """The animation of the character's nodes from the joints' global rotations and the hips' place."""
    nodes = character.file.tree["nodes"]
    world: dict[int, NDArray[np.float64]] = {}  # rotations of nodes in the scene, (T, 3, 3)
    for bone in character.bones:
        for node in reversed(character.chain(bone)):
            if node in character.bones:
                basis = character.axes.T @ rotation_of(character.bind[node])
                world[node] = turned[:, character.bones[node]] @ basis
            elif node not in world:
                fixed = rotation_of(character.local(node))
                base = world.get(character.parents.get(node, -1))
                world[node] = np.tile(fixed, (len(turned), 1, 1)) if base is None else base @ fixed

    channels: list[Channel] = []
    for node in character.bones:
        if "matrix" in nodes[node]:
            character.set_local(node, character.local(node))
        turns = world[node]
        if node in character.parents:
            turns = np.swapaxes(world[character.parents[node]], 1, 2) @ turns
        quaternions = Rotation.from_matrix(turns).as_quat()
        channels.append((node, "rotation", continuous(quaternions)))
    hips = character.joints[0]
    above = character.parents.get(hips)
    inverse = np.eye(4) if above is None else np.linalg.inv(character.world(above))
    channels.append((hips, "translation", pelvis @ inverse[:3, :3].T + inverse[:3, 3]))
    return channels
