"""Photos and clips as GLB: every person a textured skin on the skeleton of a rig."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import PARENTS
from fullframe.export.glb import INDICES, VERTICES, Glb
from fullframe.export.mesh import AXES, intrinsics, perspective
from fullframe.export.rigs import RIGS, Rig, RiggedSkeleton, local_rest, on_rig, rigged
from fullframe.export.skin import cut_seams, four_joints, linear_color, paint, vertex_normals
from fullframe.export.tracks import Track, continuous, seen, tracks
from fullframe.geometry.camera import Camera
from fullframe.geometry.world import Y_UP, level_frame
from fullframe.io.atomic import atomic_path
from fullframe.render.colors import person_colors
from fullframe.results.clip import Clip, clip_of
from fullframe.results.people import People


def write_clip_glb(
    clip: Clip, body: BodyModel, path: Path, rig: str = "smpl", hide: bool = True
) -> list[Path]:
    """One GLB in metres, y up, with the clip's own times; of the rig vrm, files as `write_glb` says.

    The node "clip" holds everything that moves and stands the scene on the ground (y = 0) if that is known.
    In it are the camera, with the clip's vertical field of view, which turns as the clip's, and for each
    person a node "person_<id>" above the rig's bones. That node has scale 0 while the person is not seen:
    glTF itself animates no visibility, and viewers ignore the extension that does. Meshes hang on the scene,
    as skins move only with their joints.

    Skins have four joints a vertex and no pose blend shapes: vertices of the open body in poses of motion
    capture are 1.5 mm off on average, 18 mm at the 99th percentile, 4 cm at most, inside deep bends.

    Args:
        rig: a name of RIGS.
        hide: False shows people all the time, in their first and last pose when they are not seen.

    Raises:
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    if rig == "vrm":
        return _write_vrm(clip, body, path)
    level = level_frame(clip.ground)
    axes = "y up" + (", the ground is y = 0" if np.isfinite(clip.ground).all() else "")
    root: dict[str, Any] = {"name": "clip", "children": [], "translation": level.origin.tolist()}
    root["rotation"] = Rotation.from_matrix(level.rotation @ Y_UP.rotation.T).as_quat().tolist()
    file = Glb()
    scene = [file.add("nodes", root)]
    camera = _add_camera(file, clip.camera)
    root["children"].append(camera)
    if clip.camera_turns:
        turns = Rotation.from_matrix(Y_UP.rotation @ clip.camera_rotation @ Y_UP.rotation.T).as_quat()
        times, keys = np.unique(clip.times.astype(np.float32), return_index=True)
        add_motion(file, times, [(camera, "rotation", continuous(turns)[keys])])
    people = _SkinnedPeople(file, body, RIGS[rig])
    for track in tracks(clip, body, Y_UP):
        person = people.add(track)
        root["children"].append(person.node)
        scene.append(person.mesh)
        _animate(file, person, seen(clip, track.id) if hide else None)
    about = {"axes": axes, "rig": rig, "video": clip.video, **_about(clip)}
    file.add("scenes", {"nodes": scene, "extras": about})
    return _write(file, path)


def write_glb(people: People, body: BodyModel, path: str | Path, rig: str = "smpl") -> list[Path]:
    """One GLB in metres, y up, the camera in the origin: nodes as in that of a clip, in the photo's poses.

    Meshes hold the pose blend shapes of the photo's pose: posed by their four joints a vertex, they are the
    people's vertices to 1 mm on average.

    VRM is for one person a file: of the rig vrm two are written for each beside the path, of clips too:
    <stem>_<id>.vrm, a VRM 1.0 avatar, and <stem>_<id>.vrma, its motion or pose for any other avatar.

    Args:
        body: the people's.
        rig: a name of RIGS.

    Raises:
        ValueError: the body is not the people's, or a pose or translation is not finite.
    """
    clip = clip_of(people)
    if rig == "vrm":
        return _write_vrm(clip, body, Path(path))
    file = Glb()
    scene = [_add_camera(file, people.camera)]
    skinned = _SkinnedPeople(file, body, RIGS[rig])
    for (_, (row,)), track in zip(clip.tracks(), tracks(clip, body, Y_UP), strict=True):
        person = skinned.add(track, clip.pose[row])
        scene += [person.node, person.mesh]
    file.add(
        "scenes",
        {"nodes": scene, "extras": {"axes": AXES, "rig": rig, "image": people.image, **_about(clip)}},
    )
    return _write(file, Path(path))


def _about(clip: Clip) -> dict[str, Any]:
    """For a file's extras."""
    return {
        "units": "metres",
        "body": clip.body,
        "model": clip.model,
        "camera": intrinsics(clip.camera),
        "people": len(np.unique(clip.track_ids)),
    }


def _add_camera(file: Glb, camera: Camera) -> int:
    file.add("cameras", {"name": "camera", "type": "perspective", "perspective": perspective(camera)})
    return file.add("nodes", {"name": "camera", "camera": 0})


def _write(file: Glb, path: Path) -> list[Path]:
    with atomic_path(path) as temporary:
        temporary.write_bytes(file.content())
    return [Path(path)]


_FREE = {
    "avatarPermission": "everyone",
    "commercialUsage": "corporation",
    "creditNotation": "unnecessary",
    "allowRedistribution": True,
    "modification": "allowModificationRedistribution",
}


def _write_vrm(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """A .vrm and a .vrma for each person; see `write_glb`."""
    written = []
    for track in tracks(clip, body, level_frame(clip.ground)):
        stem = f"{path.stem}_{track.id}"
        avatar, motion = Glb(), Glb()
        person = _SkinnedPeople(avatar, body, RIGS["vrm"]).add(track)
        _animate(avatar, person)
        avatar.add("scenes", {"nodes": [person.node, person.mesh], "extras": _about(clip)})
        bones = {"humanBones": {name: {"node": person.bone(name)} for name in RIGS["vrm"].bones}}
        licence: dict[str, Any] = {
            "name": stem,
            "authors": ["fullframe"],
            "licenseUrl": "https://vrm.dev/licenses/1.0/",
        }
        if body.name == "open":  # CC0; without these VRM allows nothing but private use
            licence |= _FREE
        avatar.use_extension("VRMC_vrm", {"specVersion": "1.0", "meta": licence, "humanoid": bones})
        written += _write(avatar, path.with_name(f"{stem}.vrm"))

        person = _bones(motion, track, RIGS["vrm"], person.skeleton, person.lift)
        _animate(motion, person)
        motion.add("scenes", {"nodes": [person.node]})
        bones = {"humanBones": {name: {"node": person.bone(name)} for name in RIGS["vrm"].bones}}
        motion.use_extension("VRMC_vrm_animation", {"specVersion": "1.0", "humanoid": bones})
        written += _write(motion, path.with_name(f"{stem}.vrma"))
    return written


class _Person(NamedTuple):
    """A person in a file.

    Attributes:
        node: above the bones.
        joints: nodes of the 24 bones, and of the rig's root if it has one.
        mesh: the node with the mesh; -1 for none.
        track: in the rig.
        lift: metres by which the skeleton at rest was raised to stand on y = 0.
    """

    node: int
    joints: list[int]
    mesh: int
    track: Track
    skeleton: RiggedSkeleton
    lift: float

    def bone(self, name: str) -> int:
        return self.joints[RIGS["vrm"].bones.index(name)]


def _bones(file: Glb, track: Track, rig: Rig, skeleton: RiggedSkeleton, lift: float) -> _Person:
    """Puts a person's bones into a file, in the first pose; those of a VRM at rest, as it demands."""
    track = on_rig(track, skeleton)
    rotations, pelvis = track.rotations[0], track.pelvis[0]
    if rig is RIGS["vrm"]:
        rotations, pelvis = local_rest(skeleton), _raised(skeleton, lift)[0]
    nodes: list[dict[str, Any]] = [
        {"name": name, "translation": offset.tolist(), "rotation": rotation.tolist()}
        for name, offset, rotation in zip(rig.bones, skeleton.offsets, rotations, strict=True)
    ]
    nodes[0]["translation"] = pelvis.tolist()
    node: dict[str, Any] = {"name": f"person_{track.id}"}
    person = file.add("nodes", node)
    joints = [file.add("nodes", entry) for entry in nodes]
    for joint, parent in zip(joints[1:], PARENTS[1:], strict=True):
        nodes[parent].setdefault("children", []).append(joint)
    if rig.root:
        joints.append(file.add("nodes", {"name": rig.root, "children": joints[:1]}))
    node["children"] = [joints[-1] if rig.root else joints[0]]
    return _Person(person, joints, -1, track, skeleton, lift)


def _raised(skeleton: RiggedSkeleton, lift: float) -> NDArray[np.float64]:
    """The joints at rest (24, 3), standing on y = 0."""
    return skeleton.joints + np.array([0, lift, 0])


class _SkinnedPeople:
    """Puts people into a file; what all have in common is stored once."""

    def __init__(self, file: Glb, body: BodyModel, rig: Rig):
        self.file, self.body, self.rig = file, body, rig
        self.seams = cut_seams(body)
        self.shared: dict[str, int] = {}
        self.faces = -1

    def add(self, track: Track, pose: NDArray[np.float32] | None = None) -> _Person:
        """Puts a person into the file.

        Args:
            track: SMPL's.
            pose: (24, 3, 3) whose pose blend shapes the mesh shall have; default: the rest pose's.
        """
        skeleton = rigged(self.rig, track.rest)
        vertices = self._at_rest(track, skeleton, pose)
        lift = -float(vertices[:, 1].min())
        vertices[:, 1] += lift
        person = _bones(self.file, track, self.rig, skeleton, lift)
        # glTF stores matrices column by column. The inverse of (axes, place) is (axes^T, -axes^T place).
        inverse = np.tile(np.eye(4, dtype=np.float32), (len(person.joints), 1, 1))
        inverse[:24, :3, :3] = skeleton.rest
        inverse[:24, 3, :3] = -np.einsum("kab,ka->kb", skeleton.rest, _raised(skeleton, lift))
        name = f"person_{track.id}"
        skin = self.file.add(
            "skins", {"name": name, "joints": person.joints, "inverseBindMatrices": self.file.array(inverse)}
        )
        mesh = self.file.add("meshes", {"name": name, "primitives": [self._primitive(track.id, vertices)]})
        return person._replace(
            mesh=self.file.add("nodes", {"name": f"{name}_mesh", "mesh": mesh, "skin": skin})
        )

    def _at_rest(
        self, track: Track, skeleton: RiggedSkeleton, pose: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """The mesh in the rig's rest pose, (V, 3)."""
        turns = skeleton.turns
        if pose is None:
            parents = turns[list(PARENTS)]
            parents[0] = np.eye(3)
            pose = (np.swapaxes(parents, 1, 2) @ turns).astype(np.float32)
        with torch.inference_mode():
            betas = torch.from_numpy(track.betas[None])
            vertices = self.body.blended(betas, torch.from_numpy(pose[None]))[0].double().numpy()
        skin = four_joints(self.body)
        offsets = skeleton.joints - np.einsum("kab,kb->ka", turns, track.rest)
        weights, joints = skin.weights[..., None], skin.joints
        turned = np.einsum("vkab,vb->vka", turns[joints], vertices) + offsets[joints]
        return (weights * turned).sum(1).astype(np.float32)

    def _primitive(self, number: int, vertices: NDArray[np.float32]) -> dict[str, Any]:
        normals = vertex_normals(self.body, vertices)
        if not self.shared:
            skin, vertex = four_joints(self.body), self.seams.vertex
            self.shared["JOINTS_0"] = self.file.array(skin.joints[vertex], VERTICES)
            self.shared["WEIGHTS_0"] = self.file.array(skin.weights[vertex], VERTICES)
            if self.seams.uv is not None:
                self.shared["TEXCOORD_0"] = self.file.array(self.seams.uv, VERTICES)
            small = len(vertex) < 2**16
            indices = self.seams.faces.ravel().astype(np.uint16 if small else np.uint32)
            self.faces = self.file.array(indices, INDICES)
        attributes = {
            "POSITION": self.file.array(vertices[self.seams.vertex], VERTICES, bounds=True),
            "NORMAL": self.file.array(normals[self.seams.vertex], VERTICES),
        }
        return {
            "attributes": attributes | self.shared,
            "indices": self.faces,
            "material": self.file.add("materials", self._material(number)),
        }

    def _material(self, number: int) -> dict[str, Any]:
        color = person_colors([number])[0]
        surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.7}
        picture = paint(self.body, color)
        if picture is None:
            surface["baseColorFactor"] = [*linear_color(color), 1.0]
        else:
            view = self.file.view(picture)
            image = self.file.add(
                "images", {"name": f"person_{number}", "bufferView": view, "mimeType": "image/png"}
            )
            surface["baseColorTexture"] = {"index": self.file.add("textures", {"source": image})}
        return {"name": f"person_{number}", "pbrMetallicRoughness": surface}


def _animate(
    file: Glb, person: _Person, visible: tuple[NDArray[np.float64], NDArray[np.bool_]] | None = None
) -> None:
    """Puts a person's motion into the file's one animation."""
    track = person.track
    distinct, rows = np.unique(track.times.astype(np.float32), return_index=True)
    channels: list[Channel] = [(person.joints[0], "translation", track.pelvis[rows])]
    channels += [(person.joints[k], "rotation", track.rotations[rows, k]) for k in range(24)]
    add_motion(file, distinct, channels)
    if visible is not None:
        changes, there = visible
        if len(changes) > 1 or not there[0]:
            distinct, rows = np.unique(changes.astype(np.float32), return_index=True)
            scale = np.repeat(there[rows, None], 3, axis=1)
            add_motion(file, distinct, [(person.node, "scale", scale)], "STEP")


Channel = tuple[int, str, NDArray[Any]]
"""A node, "translation", "rotation" or "scale", and its values (T, 3) or (T, 4)."""


def add_motion(file: Glb, times: NDArray[np.float32], channels: list[Channel], how: str = "LINEAR") -> None:
    """Puts channels of the same times (T,), seconds that ascend, into the file's first animation."""
    if not file.tree.get("animations"):
        file.tree["animations"] = [{"name": "clip", "channels": [], "samplers": []}]
    animation = file.tree["animations"][0]
    keys = file.array(times, bounds=True)
    for node, path, values in channels:
        output = file.array(values.astype(np.float32))
        animation["samplers"].append({"input": keys, "output": output, "interpolation": how})
        target = {"sampler": len(animation["samplers"]) - 1, "target": {"node": node, "path": path}}
        animation["channels"].append(target)
