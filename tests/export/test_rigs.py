"""The rigs in GLB and BVH: names, rest poses and axes, and the same motion whatever the rig."""

import shutil
import typing

import bvhio
import numpy as np
import pytest
from gltf_scene import Scene

from fullframe.body.joint_sets import JOINT_SETS, PARENTS
from fullframe.cli.run_request import Rig
from fullframe.export import RIGS, write_clip_bvh, write_clip_glb, write_glb
from fullframe.export.rigs import rigged
from fullframe.export.tracks import joints
from fullframe.geometry.world import Z_UP, level_frame

SMPL = JOINT_SETS["smpl24"].names
LEFT, UP, FRONT = np.eye(3)


@pytest.fixture
def scene(tmp_path):
    """Opens a file of any suffix."""

    def read(path):
        return Scene(shutil.copy(path, tmp_path / f"{path.name}.copy.glb"))

    return read


def rest_of(body):
    return body.data.joint_regressor @ body.data.template


def test_the_command_offers_the_rigs():
    assert set(typing.get_args(Rig)) == set(RIGS)


@pytest.mark.parametrize("rig", RIGS)
def test_names(rig):
    bones = RIGS[rig].bones
    assert len(set(bones)) == 24
    sides = {"smpl": ("left", "right"), "unreal": ("_l", "_r"), "vrm": ("left", "right")}
    left, right = sides.get(rig, ("Left", "Right"))
    for joint, name in enumerate(bones):
        mirrored = SMPL[joint].replace("left", "right")
        assert bones[SMPL.index(mirrored)] == name.replace(left, right)
        assert (left in name) == ("left" in SMPL[joint])


def test_names_are_those_of_the_programs():
    of = {rig: dict(zip(SMPL, RIGS[rig].bones, strict=True)) for rig in RIGS}
    assert of["mixamo"]["pelvis"] == "mixamorig:Hips"
    assert of["mixamo"]["left_knee"] == "mixamorig:LeftLeg"
    assert of["mixamo"]["right_elbow"] == "mixamorig:RightForeArm"
    assert of["unreal"]["left_shoulder"] == "upperarm_l" and of["unreal"]["right_foot"] == "ball_r"
    assert of["vrm"]["left_shoulder"] == "leftUpperArm" and of["vrm"]["spine3"] == "upperChest"


@pytest.mark.parametrize("rig", RIGS)
def test_bases_are_rotations(body, rig):
    skeleton = rigged(RIGS[rig], rest_of(body))
    for matrices in (skeleton.bases, skeleton.rest, skeleton.turns):
        np.testing.assert_allclose(
            matrices @ np.swapaxes(matrices, 1, 2), np.tile(np.eye(3), (24, 1, 1)), atol=1e-6
        )
        np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-6)


@pytest.mark.parametrize(("rig", "sink"), [("mixamo", 0), ("vrm", 0), ("unreal", 45)])
def test_rest_pose(body, rig, sink):
    """Straight arms at the rig's angle, straight legs, parallel feet; bones keep their lengths."""
    rest = rest_of(body)
    found = rigged(RIGS[rig], rest).joints
    for side, sign in (("left", 1), ("right", -1)):
        place = {name: found[SMPL.index(f"{side}_{name}")] for name in (
            "shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot"
        )}  # fmt: skip
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand")):
            bone = place[b] - place[a]
            wanted = np.array([sign * np.cos(np.radians(sink)), -np.sin(np.radians(sink)), 0])
            np.testing.assert_allclose(bone / np.linalg.norm(bone), wanted, atol=1e-6)
        for a, b in (("hip", "knee"), ("knee", "ankle")):
            bone = place[b] - place[a]
            np.testing.assert_allclose(bone / np.linalg.norm(bone), -UP, atol=1e-6)
        foot = place["foot"] - place["ankle"]
        assert abs(foot[0]) < 1e-6 < foot[2]
    for joint in range(1, 24):
        lengths = [np.linalg.norm(x[joint] - x[PARENTS[joint]]) for x in (rest, found)]
        assert lengths[0] == pytest.approx(lengths[1])


def test_local_axes(body):
    """Mixamo's bones point along y, Unreal's along x, against it in the right arm and the left leg."""
    skeletons = {rig: rigged(RIGS[rig], rest_of(body)) for rig in RIGS}

    def axis(rig, joint, which):
        return skeletons[rig].rest[SMPL.index(joint), :, which]

    def bone(rig, joint, end):
        places = skeletons[rig].joints
        along = places[SMPL.index(end)] - places[SMPL.index(joint)]
        return along / np.linalg.norm(along)

    for joint, end in (("left_shoulder", "left_elbow"), ("right_hip", "right_knee"), ("spine1", "spine2")):
        np.testing.assert_allclose(axis("mixamo", joint, 1), bone("mixamo", joint, end), atol=1e-6)
    np.testing.assert_allclose(axis("mixamo", "left_elbow", 2), -UP, atol=1e-6)
    np.testing.assert_allclose(axis("mixamo", "left_elbow", 0), -FRONT, atol=1e-6)
    np.testing.assert_allclose(axis("mixamo", "right_elbow", 0), FRONT, atol=1e-6)
    np.testing.assert_allclose(axis("mixamo", "left_knee", 0), -LEFT, atol=1e-6)
    np.testing.assert_allclose(skeletons["mixamo"].rest[0], np.eye(3), atol=1e-6)
    for joint, end, sign in (
        ("left_shoulder", "left_elbow", 1), ("right_shoulder", "right_elbow", -1),
        ("left_hip", "left_knee", -1), ("right_hip", "right_knee", 1), ("spine1", "spine2", 1),
    ):  # fmt: skip
        np.testing.assert_allclose(axis("unreal", joint, 0), sign * bone("unreal", joint, end), atol=1e-6)
    for rig in ("smpl", "vrm"):
        np.testing.assert_allclose(skeletons[rig].rest, np.tile(np.eye(3), (24, 1, 1)), atol=1e-6)


@pytest.mark.parametrize("rig", ["mixamo", "unreal"])
def test_a_clips_glb(make_clip, body, tmp_path, scene, rig):
    """The bones are where the clip's joints are, and at rest where the rig wants them."""
    clip = make_clip()
    (path,) = write_clip_glb(clip, body, tmp_path / "clip.glb", rig)
    found = scene(path)
    level = level_frame(clip.ground)
    places = joints(clip, body) @ level.rotation.T + level.origin
    for skin in found.file.skins:
        names = [found.file.nodes[joint].name for joint in skin.joints]
        assert names[:24] == list(RIGS[rig].bones) and names[24:] == (
            [RIGS[rig].root] if RIGS[rig].root else []
        )
        inverse = found.array(skin.inverseBindMatrices).swapaxes(1, 2).astype(float)
        rest = np.linalg.inv(inverse)
        track = int(skin.name.removeprefix("person_"))
        betas = clip.betas[clip.track_ids == track][0]
        skeleton = rigged(RIGS[rig], rest_joints(body, betas))
        np.testing.assert_allclose(rest[:24, :3, :3], skeleton.rest, atol=1e-5)
        np.testing.assert_allclose(
            np.diff(rest[:24, :3, 3], axis=0), np.diff(skeleton.joints, axis=0), atol=1e-5
        )
        mesh = found.file.meshes[found.file.nodes[found.node(f"person_{track}_mesh")].mesh]
        vertices = found.array(mesh.primitives[0].attributes.POSITION)
        assert vertices[:, 1].min() == pytest.approx(0, abs=1e-6)  # it stands
        for frame in (2, 5, 11):
            rows = (clip.frames == frame) & (clip.track_ids == track)
            now = [found.world(joint, clip.times[frame])[:3, 3] for joint in skin.joints[:24]]
            np.testing.assert_allclose(now, places[rows][0], atol=1e-4)


def rest_joints(body, betas):
    directions = body.data.shape_dirs[..., : len(betas)] @ betas
    return body.data.joint_regressor @ (body.data.template + directions)


@pytest.mark.parametrize(("rig", "percentile"), [("smpl", 2), ("mixamo", 3), ("unreal", 12)])
def test_a_photos_glb(make_clip, body, tmp_path, scene, rig, percentile):
    """Bodies are skinned where the photo's are, to millimetres, and the camera is in the origin."""
    people = make_clip().people(3, body)
    (path,) = write_glb(people, body, tmp_path / "photo.glb", rig)
    found = scene(path)
    assert not found.file.animations and len(found.file.skins) == len(people) == 2
    corners = np.stack((body.faces.numpy().ravel(), body.uv[1].ravel()), axis=1)
    vertex = np.unique(corners, axis=0)[:, 0]
    for skin, track, vertices, places in zip(
        found.file.skins, people.track_ids, people.vertices, people.joints, strict=True
    ):
        assert [found.file.nodes[joint].name for joint in skin.joints][:24] == list(RIGS[rig].bones)
        now = [found.world(joint, 0)[:3, 3] for joint in skin.joints[:24]]
        np.testing.assert_allclose(now, places * (1, -1, -1), atol=1e-5)
        skinned = found.skinned(found.node(f"person_{track}_mesh"), 0)
        off = 1000 * np.linalg.norm(skinned - vertices[vertex] * (1, -1, -1), axis=1)
        assert off.mean() < 1 and np.percentile(off, 99) < percentile
    np.testing.assert_array_equal(found.world(found.node("camera"), 0), np.eye(4))
    about = found.file.scenes[0].extras
    assert about["rig"] == rig and about["image"] == people.image and "y up" in about["axes"]
    assert about["camera"]["principal_point_px"] == [650, 350]


@pytest.mark.parametrize("rig", RIGS)
def test_bvh(make_clip, body, tmp_path, rig):
    """Another reader finds the clip's joints in each rig's axes, and its rest pose in the offsets."""
    clip = make_clip(times=np.arange(12) / 30, absent=())
    frame = level_frame(clip.ground)
    up = Z_UP if rig == "unreal" else np.eye(3)
    places = 100 * (joints(clip, body) @ frame.rotation.T + frame.origin) @ up.T
    names = RIGS[rig].bones
    for file, (_, rows) in zip(
        write_clip_bvh(clip, body, tmp_path / "a.bvh", rig), clip.tracks(), strict=True
    ):
        root = bvhio.readAsHierarchy(str(file))
        for number, row in enumerate(rows):
            root.loadPose(number, recursive=True)
            by_name = {joint.Name: joint.PositionWorld.to_tuple() for joint, *_ in root.layout()}
            np.testing.assert_allclose([by_name[name] for name in names], places[row], atol=0.02)
        skeleton = rigged(RIGS[rig], rest_joints(body, clip.betas[rows[0]]))
        offsets = {
            joint.Name: joint.Offset.to_tuple() for joint, *_ in bvhio.readAsBvh(str(file)).Root.layout()
        }
        for joint in range(1, 24):
            bone = 100 * (skeleton.joints[joint] - skeleton.joints[PARENTS[joint]]) @ up.T
            np.testing.assert_allclose(offsets[names[joint]], bone, atol=1e-3)


@pytest.mark.parametrize("photo", [True, False])
def test_vrm(make_clip, body, tmp_path, scene, photo):
    """For each person an avatar that stands in a T-pose on y = 0, and its motion without a mesh."""
    clip = make_clip(absent=())
    if photo:
        files = write_glb(clip.people(3, body), body, tmp_path / "a.glb", "vrm")
        places = clip.people(3, body).joints * (1, -1, -1)
    else:
        files = write_clip_glb(clip, body, tmp_path / "a.glb", "vrm")
        level = level_frame(clip.ground)
        places = (joints(clip, body) @ level.rotation.T + level.origin)[clip.frames == 3]
    assert [file.name for file in files] == ["a_4.vrm", "a_4.vrma", "a_7.vrm", "a_7.vrma"]
    for number, path in enumerate(files):
        found = scene(path)
        name = "VRMC_vrm" if path.suffix == ".vrm" else "VRMC_vrm_animation"
        assert found.file.extensionsUsed == [name]
        extension = found.file.extensions[name]
        assert extension["specVersion"] == "1.0"
        bones = {bone: entry["node"] for bone, entry in extension["humanoid"]["humanBones"].items()}
        assert set(bones) == set(RIGS["vrm"].bones)
        order = [bones[bone] for bone in RIGS["vrm"].bones]
        for joint in range(24):
            node = found.file.nodes[order[joint]]
            assert node.rotation == pytest.approx([0, 0, 0, 1], abs=1e-6) and not node.scale
            if joint:
                assert found.parents[order[joint]] == order[PARENTS[joint]]
        now = [found.world(node, 0 if photo else clip.times[3])[:3, 3] for node in order]
        np.testing.assert_allclose(now, places[number // 2], atol=1e-4)
        moved = {(channel.target.path, channel.target.node) for channel in found.file.animations[0].channels}
        assert {node for path, node in moved if path == "translation"} == {bones["hips"]}
        assert not any(path == "scale" for path, _ in moved)
        if path.suffix == ".vrm":
            assert extension["meta"]["authors"] and extension["meta"]["licenseUrl"].startswith(
                "https://vrm.dev"
            )
            found.file.animations = []
            rest = found.skinned(found.node(f"person_{4 if number < 2 else 7}_mesh"), 0)
            assert rest[:, 1].min() == pytest.approx(0, abs=1e-5)
            tall, wide = np.ptp(rest[:, 1]), np.ptp(rest[:, 0])
            assert 1.2 < tall < 2.2 and wide > 0.9 * tall
        else:
            assert not found.file.meshes and not found.file.skins


def test_avatars_of_smpl_are_not_redistributable(make_clip, smpl_body, tmp_path, scene):
    path = write_clip_glb(make_clip(body="smpl-neutral", num_betas=10), smpl_body, tmp_path / "a.glb", "vrm")[
        0
    ]
    meta = scene(path).file.extensions["VRMC_vrm"]["meta"]
    assert set(meta) == {"name", "authors", "licenseUrl"}


def test_nobody(make_clip, body, tmp_path):
    clip = make_clip().take(slice(0, 0))
    for rig in RIGS:
        files = write_clip_glb(clip, body, tmp_path / f"{rig}.glb", rig)
        assert len(files) == (rig != "vrm")
        assert write_clip_bvh(clip, body, tmp_path / "a.bvh", rig) == []


@pytest.mark.parametrize("rig", RIGS)
def test_all_begin_with_the_clip(make_clip, body, tmp_path, rig):
    """Who enters late is held in the first pose until then; BVH of one clip have one time line."""
    clip = make_clip()
    texts = [file.read_text().splitlines() for file in write_clip_bvh(clip, body, tmp_path / "a.bvh", rig)]
    first, late = (text[text.index("MOTION") + 1 :] for text in texts)
    assert first[1] == late[1] and first[0] == late[0]  # the same rate and number of frames
    entry = int(clip.times[clip.frames[clip.track_ids == 7][0]] * 30)
    assert len(set(late[2 : 2 + entry + 1])) == 1 < len(set(late[2:]))
