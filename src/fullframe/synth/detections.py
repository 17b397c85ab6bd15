"""Simulated detections: people before cameras, and what a 2D keypoint detector says of them. No pictures.

A thousand times as many people as can be drawn, so that the lifter learns what poses look like before it
sees a picture. All errors follow the built-in detector's on labelled photos: benchmarks/detector_noise.py
prints the numbers.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullframe.body.body_model import forward_kinematics, load_body, pose_feature
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.body.keypoint_regressor import KeypointRegressor
from fullframe.geometry.rotation import rotvec_to_matrix
from fullframe.synth.joints import NUM_BETAS
from fullframe.synth.poses import HEAD, LEGS, NECK, SPINE, Poses, crouch, lie, mirror, seat, stand

COCO = JOINT_SETS["coco17"]
_FLIP = list(COCO.flip_permutation)
_FACE, _SHOULDERS, _ELBOWS, _WRISTS, _HIPS, _KNEES, _ANKLES = (
    [0, 1, 2, 3, 4], [5, 6], [7, 8], [9, 10], [11, 12], [13, 14], [15, 16],
)  # fmt: skip
_GROUPS = (_FACE, _SHOULDERS, _ELBOWS, _WRISTS, _HIPS, _KNEES, _ANKLES)
_GROUP = torch.tensor([next(i for i, group in enumerate(_GROUPS) if joint in group) for joint in range(17)])
_CHAINS = ([5, 7, 9], [6, 8, 10], [11, 13, 15], [12, 14, 16])
"""Arms and legs."""

# SMPL's joints.
_LEFT_ARM, _RIGHT_ARM = [13, 16, 18, 20, 22], [14, 17, 19, 21, 23]
_LEFT_LEG, _RIGHT_LEG = [1, 4, 7, 10], [2, 5, 8, 11]

_KINDS = ("motion", "blended", "limbs", "standing", "sitting", "crouching", "lying")
_SHARES = (0.17, 0.17, 0.24, 0.19, 0.13, 0.05, 0.05)
_KIDS = 0.06
_TUMBLING = 0.03
"""Share of people whose orientation is anything."""

_OFFSET = 0.012
"""Standard deviation in metres of where detectors see a joint of this person, beside the body's joint."""

# Median error by confidence 0.05, 0.15, ... 0.85, as a share of the box's longer side, of joints that are
# neither exchanged nor lost, one row a group of _GROUPS.
_ERROR = torch.tensor(
    [
        [0.080, 0.055, 0.045, 0.026, 0.017, 0.010, 0.007, 0.006, 0.004],
        [0.090, 0.075, 0.060, 0.040, 0.034, 0.027, 0.019, 0.016, 0.016],
        [0.080, 0.045, 0.040, 0.020, 0.020, 0.012, 0.012, 0.011, 0.010],
        [0.080, 0.045, 0.035, 0.025, 0.016, 0.012, 0.011, 0.011, 0.010],
        [0.090, 0.075, 0.060, 0.045, 0.034, 0.029, 0.025, 0.021, 0.020],
        [0.090, 0.075, 0.040, 0.035, 0.026, 0.018, 0.016, 0.014, 0.012],
        [0.080, 0.055, 0.035, 0.022, 0.022, 0.018, 0.016, 0.015, 0.014],
    ]
)
_DEFINITION = torch.tensor([0.004, 0.012, 0.006, 0.006, 0.016, 0.008, 0.008])
"""How much of the error is the labels' own and the joint's definition, which is simulated apart."""
_ASTRAY = torch.tensor([0.85, 0.45, 0.25, 0.12, 0.07, 0.03, 0.008, 0.0, 0.0])
"""Share of joints that are elsewhere on or beside the person, by confidence."""
_SEEN_CONFIDENCE = torch.tensor([0.60, 0.64, 0.53, 0.51, 0.60, 0.57, 0.53])
_HIDDEN_CONFIDENCE = torch.tensor([0.36, 0.38, 0.27, 0.23, 0.30, 0.24, 0.20])
_ABSENT_CONFIDENCE = torch.tensor([0.27, 0.24, 0.17, 0.16, 0.12, 0.065, 0.046])
"""Median confidence of joints in view, of joints behind something, and of joints outside the picture."""


class SimulatedDetections(NamedTuple):
    """N people and what is detected of them.

    Attributes:
        keypoints: (N, 17, 3) COCO keypoints as detected: x, y from the crop's centre in halves of its height,
            and confidence; (0, 0, 0) where missing.
        bbox_info: (N, 3) (cx, cy, b) / f of the crop.
        pose: (N, 24, 3, 3) the root's in the camera frame.
        betas: (N, 11).
        translation: (N, 3) metres.
        joints: (N, 17, 3) the body's COCO joints in the camera frame without the translation, metres.
        visible: (N, 17) which of them are in the picture and not hidden by a thing.
    """

    keypoints: Tensor
    bbox_info: Tensor
    pose: Tensor
    betas: Tensor
    translation: Tensor
    joints: Tensor
    visible: Tensor


class FastBody(nn.Module):
    """COCO joints and SMPL's joints of the open body, as KeypointRegressor gives them, for large batches."""

    weights: Tensor  # (17, 24)
    template: Tensor  # (17 * 72,)
    dirs: Tensor  # (11 + 207, 17 * 72)
    joint_template: Tensor  # (24, 3)
    joint_dirs: Tensor  # (11, 72)

    def __init__(self) -> None:
        super().__init__()
        model = KeypointRegressor(load_body("open", num_betas=NUM_BETAS), "coco17")
        dirs = torch.cat((model.shape_dirs.flatten(0, 2).T, model.pose_dirs))
        for name, tensor in {
            "weights": model.weights, "template": model.template.flatten(), "dirs": dirs.contiguous(),
            "joint_template": model.joint_template,
            "joint_dirs": model.joint_dirs.flatten(0, 1).T.contiguous(),
        }.items():  # fmt: skip
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, betas: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Betas (N, 11) and local rotations (N, 24, 3, 3) to joints (N, 17, 3) and (N, 24, 3), metres."""
        rest = self.joint_template + (betas @ self.joint_dirs).unflatten(1, (24, 3))
        rotations, joints = forward_kinematics(rest, pose)
        feature = torch.cat((betas, pose_feature(pose)), dim=1)
        moments = torch.addmm(self.template, feature, self.dirs).unflatten(1, (17, 72))
        shift = joints - (rotations @ rest[..., None])[..., 0]
        return moments @ rotations.mT.flatten(1, 2) + self.weights @ shift, joints


class Simulator:
    """Draws people and detections, the same from the same seed.

    Args:
        seed: of everything.
        split: "train" or "val" of the motion capture.
        extra: (N, 24, 3) more poses to draw from, see Poses.
    """

    def __init__(self, seed: int, split: str = "train", extra: NDArray[np.floating] | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.poses = Poses(split, extra)
        self.body = FastBody()
        self._low = np.concatenate((np.full((1, 3), -10.0), self.poses.low))
        self._high = np.concatenate((np.full((1, 3), 10.0), self.poses.high))

    @torch.no_grad()
    def draw(self, count: int) -> SimulatedDetections:
        """About two thirds of `count` people: those who are in view."""
        betas = self._betas(count)
        pose = rotvec_to_matrix(torch.from_numpy(self._theta(count)).float())
        coco, joints = self.body(betas, pose)
        origin = self.body.joint_template[0] + betas @ self.body.joint_dirs[:, :3]
        # Rotations of the root leave the rest pelvis where it is.
        coco, joints = coco - origin[:, None], joints - origin[:, None]
        place = self._placed(joints)
        pose[:, 0] = place.rotation @ pose[:, 0]
        seen = coco + self._definition(coco)
        coco, seen, joints = (points @ place.rotation.mT for points in (coco, seen, joints))
        people = _People(coco, seen, joints, place.pelvis, place.border)
        keep = (place.valid & people.in_view()).nonzero()[:, 0]
        people = _People(*(tensor[keep] for tensor in people))
        keypoints, bbox_info, visible = self._detected(people)
        origin, betas = origin[keep], betas[keep]
        return SimulatedDetections(
            keypoints,
            bbox_info,
            pose[keep],
            betas,
            people.pelvis - origin,
            people.coco + origin[:, None],
            visible,
        )

    def _betas(self, count: int) -> Tensor:
        betas = torch.cat((self._normal(count, 10).clamp(-2.5, 2.5), torch.zeros(count, 1)), dim=1)
        kid = self._uniform(count) < _KIDS
        betas[kid, :10] *= 0.7
        betas[:, 10] = torch.where(kid, self._uniform(count, low=0.25, high=1.05), betas[:, 10])
        return betas

    # Poses ------------------------------------------------------------------------------------------------

    def _theta(self, count: int) -> NDArray[np.float64]:
        """Poses (N, 24, 3), y up and facing +z."""
        rng = self.rng
        theta = self._captured(count)
        kind = rng.choice(len(_KINDS), count, p=_SHARES)
        blended = np.flatnonzero(kind == _KINDS.index("blended"))
        share = rng.uniform(0, 1, len(blended))[:, None, None]
        theta[blended] += share * (self._captured(len(blended)) - theta[blended])
        # Limbs of different people; spine and head from another one too.
        mixed = np.flatnonzero(kind >= _KINDS.index("limbs"))
        for part in (_LEFT_ARM, _RIGHT_ARM, [*SPINE, NECK, HEAD]):
            theta[mixed[:, None], part] = self._captured(len(mixed))[:, part]
        limbs = np.flatnonzero(kind == _KINDS.index("limbs"))
        for part in (_LEFT_LEG, _RIGHT_LEG):
            some = limbs[rng.random(len(limbs)) < 0.6]
            theta[some[:, None], part] = self._captured(len(some))[:, part]
        for name, make in (("standing", stand), ("sitting", seat), ("crouching", crouch), ("lying", lie)):
            some = np.flatnonzero(kind == _KINDS.index(name))
            theta[some] = make(theta[some], rng)
        before = theta.copy()
        self._move_arms(theta)
        self._move_legs(theta)
        theta[:, [NECK, HEAD]] += rng.normal(size=(count, 2, 3)) * np.radians([8, 16, 5])
        sigma = np.full((24, 1), 0.09)
        sigma[[20, 21, 22, 23]], sigma[[13, 14, 10, 11]], sigma[0] = 0.2, 0.05, 0.05
        theta += rng.normal(size=theta.shape) * sigma * rng.uniform(0.2, 1.5, (count, 1, 1))
        # Motion capture may leave the limits, which hold 99.6 % of it; what is made up may not.
        np.clip(theta, np.minimum(self._low, before), np.maximum(self._high, before), out=theta)
        tumbling = np.flatnonzero(rng.random(count) < _TUMBLING)
        axis = rng.normal(size=(len(tumbling), 3))
        axis *= (rng.uniform(0, np.pi, len(tumbling)) / np.linalg.norm(axis, axis=1))[:, None]
        theta[tumbling, 0] = axis
        mirrored = rng.random(count) < 0.5
        theta[mirrored] = mirror(theta[mirrored])
        return theta

    def _captured(self, count: int) -> NDArray[np.float64]:
        theta = self.poses.captured(self.rng, count)
        some = self.rng.random(count) < 0.5
        theta[some] = mirror(theta[some])
        return theta

    def _move_arms(self, theta: NDArray[np.float64]) -> None:
        """Some arms hang, rest on something or do anything that joints allow."""
        rng = self.rng
        for shoulder, elbow, wrist, side in ((16, 18, 20, 1), (17, 19, 21, -1)):
            free = np.flatnonzero(rng.random(len(theta)) < 0.3)
            spread = rng.choice([0.25, 0.5, 0.8], len(free))[:, None]
            theta[free, shoulder] += rng.normal(size=(len(free), 3)) * spread
            bent = free[rng.random(len(free)) < 0.6]
            flexion = rng.uniform(0, 2.4, len(bent))
            theta[bent, elbow] = np.stack((0 * flexion, -side * flexion, 0 * flexion), 1)
            theta[free, elbow] += rng.normal(size=(len(free), 3)) * [0.25, 0.1, 0.1]
            theta[free, wrist] += rng.normal(size=(len(free), 3)) * 0.2

    def _move_legs(self, theta: NDArray[np.float64]) -> None:
        rng = self.rng
        for hip, knee, ankle, _ in LEGS:
            free = np.flatnonzero(rng.random(len(theta)) < 0.2)
            theta[free, hip] += rng.normal(size=(len(free), 3)) * [0.35, 0.2, 0.2]
            theta[free, knee, 0] += np.abs(rng.normal(size=len(free))) * 0.4
            theta[free, ankle] += rng.normal(size=(len(free), 3)) * 0.15

    # Cameras ----------------------------------------------------------------------------------------------

    def _placed(self, joints: Tensor, tries: int = 4) -> "_Placed":
        """Everyone on the ground before a camera of their own; a few tries, as not all draws are possible."""
        count = len(joints)
        # Width and height over the longer side.
        aspect = self._uniform(count, low=math.log(9 / 16), high=math.log(16 / 9)).exp()
        size = torch.stack((aspect.clamp(max=1), (1 / aspect).clamp(max=1)), 1)
        ordinary = (58 + 12 * self._normal(count)).clamp(25, 100)
        wide = torch.where(self._uniform(count) < 0.5, self._uniform(count, low=25, high=100), ordinary)
        size = size * torch.tan(torch.deg2rad(wide) / 2)[:, None] * 2  # tangents
        stature = _stature(joints)
        lowest = (joints[..., 1] - (stature / 1.7)[:, None] * 0.07).amin(1)
        shape = (count, tries)
        share = self._uniform(*shape, low=math.log(0.2), high=math.log(1.7)).exp()
        depth = stature[:, None] / (size[:, 1:] * share)
        spot = torch.stack(
            (self._uniform(*shape, low=-0.52, high=0.52), 0.02 + 0.13 * self._normal(*shape)), 2
        )
        ray = spot * size[:, None]
        pitch = torch.deg2rad((8 + 13 * self._normal(*shape)).clamp(-30, 65))
        roll = torch.deg2rad(self._normal(*shape) * torch.where(self._uniform(*shape) < 0.15, 20.0, 2.5))
        up = torch.stack((-roll.sin() * -pitch.cos(), roll.cos() * -pitch.cos(), -pitch.sin()), 2)
        height = -lowest[:, None] - ((ray * up[..., :2]).sum(2) + up[..., 2]) * depth
        # People who jump or hang may be anywhere.
        valid = (depth > 0.7) & (depth < 25) & (height > 0.15) & (height < 5)
        chosen = valid.float().argmax(1, keepdim=True)

        def choose(x: Tensor) -> Tensor:
            return x.gather(1, chosen)[:, 0]

        pitch, roll, depth = choose(pitch), choose(roll), choose(depth)
        ray = ray.gather(1, chosen[..., None].expand(-1, 1, 2))[:, 0]
        zero, one = torch.zeros(count), torch.ones(count)
        cp, sp, cr, sr = pitch.cos(), pitch.sin(), roll.cos(), roll.sin()
        tilt = torch.stack((one, zero, zero, zero, -cp, sp, zero, -sp, -cp), 1).unflatten(1, (3, 3))
        turn = torch.stack((cr, -sr, zero, sr, cr, zero, zero, zero, one), 1).unflatten(1, (3, 3)) @ tilt
        heading = self._uniform(count, low=-math.pi, high=math.pi)
        # Photos show more faces than backs.
        frontal = self._uniform(count) < 0.3
        heading = torch.where(frontal, 0.5 * self._normal(count), heading)
        c, s = heading.cos(), heading.sin()
        turn = turn @ torch.stack((c, zero, s, zero, one, zero, -s, zero, c), 1).unflatten(1, (3, 3))
        pelvis = torch.cat((ray, one[:, None]), 1) * depth[:, None]
        return _Placed(turn, pelvis, size / 2, valid.any(1))

    def _definition(self, coco: Tensor) -> Tensor:
        """Where this person's joints are detected, beside the body's joints: (N, 17, 3) in the body's frame.

        The detector's hips are higher and its knees lower than the body's; what else is wrong differs from
        person to person.
        """
        offset = _OFFSET * self._normal(len(coco), 17, 3)
        offset[:, _FACE] *= 0.6
        for hip, knee, ankle, top in ((11, 13, 15, 5), (12, 14, 16, 6)):
            trunk, shin = coco[:, top] - coco[:, hip], coco[:, ankle] - coco[:, knee]
            offset[:, hip] += 0.02 * trunk
            offset[:, knee] += 0.035 * shin
        return offset

    # Detection --------------------------------------------------------------------------------------------

    def _detected(self, people: "_People") -> tuple[Tensor, Tensor, Tensor]:
        """Keypoints (N, 17, 3) in the crop, bbox_info (N, 3), and which joints (N, 17) are not hidden."""
        count = len(people.coco)
        points = people.seen + people.pelvis[:, None]
        depth = points[..., 2].clamp(min=0.15)
        places = points[..., :2] / depth[..., None]  # tangents
        border = people.border[:, None]
        inside = (places.abs() < border).all(2)
        behind = self._behind(people, places, depth)
        low, high, blocked = self._view(people, places)
        inside &= ~blocked
        side = (high - low).amax(1)

        confidence = self._confidence(inside, behind)
        astray = self._uniform(count, 17) < _table(_ASTRAY.expand(7, -1), confidence)
        # Outside the picture: somewhere near its border, or nowhere in particular.
        inside_box = low[:, None] + self._uniform(count, 17, 2) * (high - low)[:, None]
        guess = places + 0.22 * side[:, None, None] * self._normal(count, 17, 2)
        guess = torch.where(self._uniform(count, 17, 1) < 0.35, inside_box, guess)
        guess = guess.maximum(low[:, None]).minimum(high[:, None])
        error = self._error(confidence) * side[:, None]
        found = places + error[..., None] * self._normal(count, 17, 2)
        found = torch.where((astray | ~inside)[..., None], guess, found)
        found = found.maximum(-border * 1.02).minimum(border * 1.02)
        found, confidence = self._confused(found, confidence, side)
        confidence = self._without_lost(confidence)
        keypoints, bbox_info = self._cropped(found, confidence, low, high)
        return keypoints, bbox_info, inside

    def _behind(self, people: "_People", places: Tensor, depth: Tensor) -> Tensor:
        """Joints (N, 17) behind the person's own trunk or head."""
        hips, shoulders = places[:, _HIPS].mean(1), places[:, _SHOULDERS].mean(1)
        trunk = shoulders - hips
        length = trunk.norm(dim=1).clamp(min=1e-6)
        along = ((places - hips[:, None]) * (trunk / length[:, None])[:, None]).sum(2)
        square = (places - hips[:, None]).square().sum(2) - along.square()
        radius = 0.11 / people.pelvis[:, 2].clamp(min=0.3)
        near = (along > -radius[:, None]) & (along < length[:, None] + radius[:, None])
        near &= square < radius.square()[:, None]
        # The trunk's depth is about its joints' mean.
        back = depth > depth[:, _HIPS + _SHOULDERS].mean(1, keepdim=True) + 0.08
        behind = near & back
        face = places.new_zeros(behind.shape, dtype=torch.bool)
        ears = people.coco[:, [3, 4]].mean(1)
        away = (people.coco[:, :5] - ears[:, None])[..., 2]
        face[:, :3] = away[:, :3] > 0.03
        face[:, 3:5] = (people.coco[:, 3:5, 2] - ears[:, None, 2]) > 0.05
        return behind | face

    def _view(self, people: "_People", places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A detector's box (low and high corner, (N, 2)), and which joints (N, 17) something hides."""
        count = len(places)
        points = torch.cat((people.joints, people.coco), 1) + people.pelvis[:, None]
        depth = points[..., 2:].clamp(min=0.15)
        flesh = torch.full((41, 1), 0.06)
        flesh[[22, 23, 10, 11]] = 0.09
        flesh[[15]] = 0.14
        shown, pad = points[..., :2] / depth, flesh / depth
        low, high = (shown - pad).amin(1), (shown + pad).amax(1)
        low, high = low.maximum(-people.border), high.minimum(people.border)
        high = high.maximum(low + 1e-3)
        extent = high - low
        # A desk, a wall or a frame within the frame: all beyond a line is hidden.
        blocked = torch.zeros(count, 17, dtype=torch.bool)
        for axis, sign, share in ((1, 1, 0.16), (0, 1, 0.03), (0, -1, 0.03)):
            hit = self._uniform(count) < share
            cut = self._uniform(count, low=0.3, high=0.95)
            edge = low[:, axis] + extent[:, axis] * (cut if sign > 0 else 1 - cut)
            beyond = hit[:, None] & ((places[..., axis] - edge[:, None]) * sign > 0)
            blocked |= beyond
            tight = hit & (self._uniform(count) < 0.7)
            if sign > 0:
                high[:, axis] = torch.where(tight, edge, high[:, axis])
            else:
                low[:, axis] = torch.where(tight, edge, low[:, axis])
        # Something round before the person.
        hit = self._uniform(count) < 0.25
        middle = low + extent * self._uniform(count, 2)
        radius = extent.amax(1) * self._uniform(count, low=0.05, high=0.25)
        blocked |= hit[:, None] & ((places - middle[:, None]).norm(dim=2) < radius[:, None])
        return low, high, blocked

    def _confidence(self, inside: Tensor, behind: Tensor) -> Tensor:
        """Confidences (N, 17); some people are seen better than others."""
        count = len(inside)
        person = 0.13 * self._normal(count, 1)
        noise = person + 0.10 * self._normal(count, 17)
        # One in eight is seen badly all over: small, dark, unusual.
        noise -= (self._uniform(count, 1) < 0.12) * self._uniform(count, 1, low=0.05, high=0.35)
        noise -= (self._uniform(count, 17) < 0.08) * self._uniform(count, 17, low=0.05, high=0.4)
        hidden = behind & (self._uniform(count, 17) < 0.8)
        base = torch.where(hidden, _HIDDEN_CONFIDENCE[_GROUP], _SEEN_CONFIDENCE[_GROUP])
        seen = (base + noise).clamp(0.03, 0.9)
        absent = _ABSENT_CONFIDENCE[_GROUP] * (0.6 * self._normal(count, 17) + person).exp()
        return torch.where(inside, seen, absent.clamp(0.01, 0.6))

    def _error(self, confidence: Tensor) -> Tensor:
        """Standard deviation (N, 17) of each coordinate, as a share of the box's longer side."""
        count = len(confidence)
        median = _table(_ERROR, confidence)
        # Labels differ by some of it, and the joint's definition, which is simulated apart.
        median = (median.square() - 0.6 * _DEFINITION[_GROUP].square()).clamp(min=4e-6).sqrt()
        spread = 0.4 * self._normal(count, 1) + 0.35 * self._normal(count, 17)
        return median / 1.18 * spread.exp()

    def _confused(self, places: Tensor, confidence: Tensor, side: Tensor) -> tuple[Tensor, Tensor]:
        """Left for right, and limbs that are another person's."""
        count = len(places)
        for joints, share in ((list(range(17)), 0.012), ([11, 12, 13, 14, 15, 16], 0.015),
                              ([13, 14, 15, 16], 0.025), ([15, 16], 0.015), ([7, 8, 9, 10], 0.012),
                              ([9, 10], 0.01)):  # fmt: skip
            other = torch.arange(17)
            other[joints] = torch.tensor([_FLIP[joint] for joint in joints])
            hit = (self._uniform(count) < share)[:, None]
            places = torch.where(hit[..., None], places[:, other], places)
            worse = confidence[:, other].clone()
            worse[:, joints] *= self._uniform(count, 1, low=0.45, high=1)
            confidence = torch.where(hit, worse, confidence)
        # Both of a pair at the same place: a leg found twice.
        for left, right in ((13, 14), (15, 16), (9, 10), (7, 8)):
            hit = self._uniform(count) < 0.012
            one = self._uniform(count) < 0.5
            source = torch.where(one[:, None], places[:, left], places[:, right])
            jitter = 0.012 * side[:, None] * self._normal(count, 2)
            for joint in (left, right):
                near = hit & (one == (joint == right))
                places[:, joint] = torch.where(near[:, None], source + jitter, places[:, joint])
                confidence[:, joint] = torch.where(near, 0.7 * confidence[:, joint], confidence[:, joint])
        # The next person's limb, as far away as neighbours are.
        middle = places.mean(1)
        shape = (places - middle[:, None]) / side[:, None, None]
        other = shape.roll(1, 0) * side[:, None, None] + middle[:, None]
        other = other + 0.25 * side[:, None, None] * self._normal(count, 1, 2)
        for chain in _CHAINS:
            hit = self._uniform(count) < 0.025
            start = self._uniform(count)
            for number, joint in enumerate(chain):
                taken = hit & (start < (0.25, 0.6, 1.0)[number])
                places[:, joint] = torch.where(taken[:, None], other[:, joint], places[:, joint])
                confidence[:, joint] = torch.where(taken, 0.75 * confidence[:, joint], confidence[:, joint])
        return places, confidence

    def _without_lost(self, confidence: Tensor) -> Tensor:
        """Other detectors leave out what they are unsure of, or have no face."""
        count = len(confidence)
        threshold = torch.where(
            self._uniform(count, 1) < 0.15, self._uniform(count, 1, low=0.05, high=0.35), 0.0
        )
        gone = confidence < threshold
        gone |= (self._uniform(count, 1) < 0.1) & (self._uniform(count, 17) < 0.2)
        gone[:, :5] |= self._uniform(count, 1) < 0.03
        gone |= self._uniform(count, 1) < 0.004
        return confidence.masked_fill(gone, 0.0)

    def _cropped(
        self, places: Tensor, confidence: Tensor, low: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keypoints in the crop of a box that is not quite right."""
        count = len(places)
        extent = high - low
        size = torch.maximum(extent[:, 0] * 4 / 3, extent[:, 1])
        bad = torch.where(self._uniform(count) < 0.15, 3.0, 1.0)
        center = (low + high) / 2 + 0.035 * (bad * size)[:, None] * self._normal(count, 2)
        size = size * self._uniform(count, low=1.0, high=1.3) * (0.06 * bad * self._normal(count)).exp()
        points = 2 * (places - center[:, None]) / size[:, None, None]
        points = points * (confidence > 0)[..., None]
        return torch.cat((points, confidence[..., None]), 2), torch.cat((center, size[:, None]), 1)

    def _uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


class _Placed(NamedTuple):
    rotation: Tensor  # (N, 3, 3) from the body's axes to the camera's
    pelvis: Tensor  # (N, 3)
    border: Tensor  # (N, 2) half of the picture, tangents
    valid: Tensor  # (N,)


class _People(NamedTuple):
    """In the camera frame, from the pelvis."""

    coco: Tensor  # (N, 17, 3) the body's
    seen: Tensor  # (N, 17, 3) as detectors define them
    joints: Tensor  # (N, 24, 3)
    pelvis: Tensor  # (N, 3)
    border: Tensor  # (N, 2)

    def in_view(self, share: float = 0.35) -> Tensor:
        """Whether enough of the joints are in the picture, the head or the thighs among them: (N,)."""
        points = self.joints + self.pelvis[:, None]
        near = points[..., 2].amin(1) > 0.25
        inside = ((points[..., :2] / points[..., 2:]).abs() < self.border[:, None]).all(2)
        legs = inside[:, [1, 2, 4, 5]].all(1)
        return near & (inside.float().mean(1) >= share) & (inside[:, HEAD] | legs)


def _stature(joints: Tensor) -> Tensor:
    """Roughly, from the head joint to the feet along the bones, (N,) metres."""
    chain = joints[:, [15, 12, 9, 6, 3, 0, 1, 4, 7]]
    return (chain[:, 1:] - chain[:, :-1]).norm(dim=2).sum(1) + 0.2


def _table(values: Tensor, confidence: Tensor) -> Tensor:
    """Rows (7, 9) of _GROUPS over confidences 0.05, 0.15, ... interpolated at confidences (N, 17)."""
    at = (confidence * 10 - 0.5).clamp(0, 7.999)
    low = at.long()
    flat = values.flatten()
    index = _GROUP * values.shape[1] + low
    return torch.lerp(flat[index], flat[index + 1], at - low)
