"""Recovered motion on characters of other proportions, rest poses and conventions."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from characters import rest_turns, stylized, write_character
from gltf_scene import Scene
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import JOINT_SETS
from fullframe.cli.main import COMMANDS
from fullframe.export.character import CharacterError, read_character, read_names
from fullframe.export.glb import Glb
from fullframe.export.retarget import retarget
from fullframe.export.rigs import RIGS
from fullframe.export.tracks import joints
from fullframe.geometry.camera import Camera
from fullframe.motion.skeleton import skeletons, soles
from fullframe.results.clip import Clip

NAMES = JOINT_SETS["smpl24"].names
CAMERA = Camera.from_focal(800, (640, 480))
LIMBS = ((16, 18), (18, 20), (17, 19), (19, 21))
FRAMES = 40
HEIGHT = 1.3  # metres of the camera above the ground


@pytest.fixture(scope="module")
def characters(tmp_path_factory, body):
    return stylized(tmp_path_factory.mktemp("characters"), body)


@pytest.fixture(scope="module")
def squats(body) -> Clip:
    """A person turned by 40 degrees squats and waves with both feet on the ground, then lifts the right."""
    share = np.linspace(0, 1, FRAMES)
    bend = 0.9 * np.sin(2 * np.pi * share.clip(0, 0.5)) ** 2
    lift = 1.2 * np.sin(2 * np.pi * (share - 0.5).clip(0, 1)) ** 2
    vectors = np.zeros((FRAMES, 24, 3))
    vectors[:, [1, 2], 0] = -bend[:, None]
    vectors[:, [4, 5], 0] = 2 * bend[:, None]
    vectors[:, [7, 8], 0] = -bend[:, None]
    vectors[:, 2, 0] -= lift
    vectors[:, 5, 0] += 1.3 * lift
    vectors[:, 3, 0], vectors[:, 15, 1] = 0.3 * bend, 0.5 * np.sin(6 * share)
    vectors[:, 16, 2], vectors[:, 17, 2] = -1.2 + share, 1.2 - 2 * share
    vectors[:, 18, 1] = -1.5 * share
    pose = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    pose[:, 0] = np.diag([1, -1, -1]) @ Rotation.from_euler("y", 40, degrees=True).as_matrix()
    betas = np.tile(np.linspace(0.5, -0.5, 11), (FRAMES, 1)).astype(np.float32)
    clip = Clip(
        times=np.arange(FRAMES) / 30,
        frames=np.arange(FRAMES),
        track_ids=np.full(FRAMES, 3),
        detected=np.ones(FRAMES, bool),
        boxes=np.zeros((FRAMES, 4)),
        scores=np.ones(FRAMES),
        keypoints=np.zeros((FRAMES, 17, 3)),
        pose=pose,
        betas=betas,
        translation=np.zeros((FRAMES, 3)),
        camera=CAMERA,
        body="open",
        model="made",
        contacts=np.stack((np.ones(FRAMES, bool), lift < 0.01), axis=1),
        ground=np.array([0, -1.0, 0, HEIGHT]),
    )
    ball = soles(body, clip)[:, 0, 1]
    clip.translation = (np.array([0.4, HEIGHT, 5.0]) - ball).astype(np.float32)
    return clip


def put_on(clip, body, path, tmp_path, names=None):
    character = read_character(path, names)
    out = tmp_path / f"moved_{path.name}"
    retarget(clip, body, character, out, 3)
    return character, Scene(out)


def y_up(points):
    return points * (1, -1, -1) + (0, HEIGHT, 0)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", ["mixamo", "unreal", "vrm"])
def test_a_character_moves_as_the_person(characters, squats, body, tmp_path, name):
    path, made = characters[name]
    character, scene = put_on(squats, body, path, tmp_path)
    assert len(character.joints) == 21  # all but the spine's, which are found between the others
    wanted = y_up(joints(squats, body))
    rotations = skeletons(body, squats.betas, squats.pose, squats.translation).rotations
    turned = np.diag([1, -1, -1]) @ rotations
    still = {
        joint: character.axes.T @ character.bind[node][:3, :3] for joint, node in character.joints.items()
    }
    still = {joint: matrix / np.linalg.norm(matrix, axis=0) for joint, matrix in still.items()}
    leg = np.linalg.norm(made["joints"][[4, 7]] - made["joints"][[1, 4]], axis=1).sum()
    ratio = leg / sum(np.linalg.norm(wanted[0, b] - wanted[0, a]) for a, b in ((1, 4), (4, 7)))
    hips = []
    for frame in range(0, FRAMES, 3):
        time = squats.times[frame]
        now = {joint: scene.world(node, time) for joint, node in character.joints.items()}
        place = {joint: matrix[:3, 3] for joint, matrix in now.items()}
        # Arms point where the person's do; torso, head and feet are turned as theirs from an upright pose.
        for a, b in LIMBS:
            angle = unit(place[b] - place[a]) @ unit(wanted[frame, b] - wanted[frame, a])
            assert np.degrees(np.arccos(min(angle, 1))) < 0.1
        for joint in (0, 12, 15):
            found = now[joint][:3, :3] / np.linalg.norm(now[joint][:3, :3], axis=0)
            off = Rotation.from_matrix(found @ still[joint].T @ turned[frame, joint].T).magnitude()
            assert np.degrees(off) < 0.1
        hips.append((place[1] + place[2])[1] / 2)
    # The height of the hips follows, scaled by the legs, but for the soles of shoes.
    theirs = wanted[::3, 1:3, 1].mean(1)
    np.testing.assert_allclose(np.array(hips) - hips[0], ratio * (theirs - theirs[0]), atol=0.02)
    assert hips[0] == pytest.approx(ratio * theirs[0], abs=0.05)
    # Nothing else changed: the mesh, its skin and what it looks like.
    trees = [Glb.read(file).tree for file in (path, tmp_path / f"moved_{path.name}")]
    for part in ("meshes", "skins", "materials", "scenes"):
        assert trees[0][part] == trees[1][part]


@pytest.mark.parametrize("name", ["mixamo", "unreal", "vrm"])
def test_feet_that_stand_stay(characters, squats, body, tmp_path, name):
    """The left foot stays in place on the ground, the right one as long as it stands; nothing sinks in."""
    path, _ = characters[name]
    rng = np.random.default_rng(0)
    sliding = squats.take(slice(None))
    sliding.translation = squats.translation + rng.normal(0, 0.01, (FRAMES, 3)).astype(np.float32)
    character, scene = put_on(sliding, body, path, tmp_path)
    skin = scene.file.skins[0]
    attributes = scene.file.meshes[0].primitives[0].attributes
    joint_of = np.array(skin.joints)[scene.array(attributes.JOINTS_0)]
    owner = joint_of[np.arange(len(joint_of)), scene.array(attributes.WEIGHTS_0).argmax(1)]
    mesh = scene.node("body")
    toes = {side: owner == character.joints[10 + side] for side in range(2)}
    places, lowest = [], []
    for frame in range(0, FRAMES, 4):
        vertices = scene.skinned(mesh, sliding.times[frame])
        places.append([vertices[toes[side]].mean(0) for side in range(2)])
        lowest.append(vertices[:, 1].min())
    places = np.array(places)
    assert np.linalg.norm(places[:, 0] - places[0, 0], axis=1).max() < 0.005
    standing = sliding.contacts[::4, 1]
    assert np.linalg.norm(places[standing, 1] - places[0, 1], axis=1).max() < 0.005
    assert places[~standing, 1, 1].max() > places[0, 1, 1] + 0.1
    assert np.abs(lowest).max() < 0.03


def test_bones_of_other_names(body, squats, tmp_path):
    path = tmp_path / "odd.glb"
    odd = tuple(f"Bip01 {name}" for name in NAMES)
    write_character(path, body, odd, outfit=3, turns=rest_turns(30))
    with pytest.raises(CharacterError, match=r"no bone known as pelvis.*Bip01 pelvis"):
        read_character(path)
    names = {name: f"Bip01 {name}" for name in NAMES if "hand" not in name}
    (tmp_path / "names.json").write_text(json.dumps(names))
    character, scene = put_on(squats, body, path, tmp_path, read_names(tmp_path / "names.json"))
    assert character.unmapped == ["Bip01 left_hand", "Bip01 right_hand"]
    moved = {channel.target.node for channel in scene.file.animations[0].channels}
    assert {scene.file.nodes[node].name for node in moved} == set(names.values())


def test_rigs_of_our_own(make_clip, squats, body, tmp_path):
    """Whatever rig fullframe writes, saved in the midst of a motion, it reads again."""
    from fullframe.export import write_clip_glb

    for rig in ("smpl", "mixamo", "unreal", "vrm"):
        file = write_clip_glb(make_clip(num_people=1), body, tmp_path / f"{rig}.glb", rig)[0]
        character = read_character(file)
        assert [character.name(node) for node in character.joints.values()] == [
            bone for joint, bone in enumerate(RIGS[rig].bones) if joint not in (3, 6, 9)
        ]
        np.testing.assert_array_equal(character.axes, np.eye(3))
        assert set(character.unmapped) == ({"root"} if rig == "unreal" else set())


def changed(path, tmp_path, change):
    """A copy of a character's file with a changed tree."""
    file = Glb.read(path)
    change(file.tree)
    copy = tmp_path / "changed.glb"
    copy.write_bytes(file.content())
    return copy


def _no_skin(tree):
    del tree["skins"]
    for node in tree["nodes"]:
        node.pop("skin", None)


def _scaled(tree):
    node = next(node for node in tree["nodes"] if node["name"] == "mixamorigLeftUpLeg")
    node["scale"] = [1, 1.5, 1]


def _mirrored(tree):
    next(node for node in tree["nodes"] if node["name"] == "mixamorigSpine")["scale"] = [-1, 1, 1]


def _no_hips(tree):
    next(node for node in tree["nodes"] if node["name"] == "mixamorigHips")["name"] = "thing"


def _twice(tree):
    count = len(tree["nodes"])
    joints = tree["skins"][0]["joints"]
    for joint in joints:
        tree["nodes"].append({"name": tree["nodes"][joint]["name"]})
    tree["skins"].append({"joints": list(range(count, count + len(joints)))})


def _loop(tree):
    tree["nodes"][tree["skins"][0]["joints"][-1]]["children"] = [tree["skins"][0]["joints"][0]]


def _compressed(tree):
    del tree["accessors"][0]["bufferView"]


def _negative_stride(tree):
    tree["bufferViews"][0]["byteStride"] = -64


def _outside(tree):
    tree["buffers"].append({"uri": "character.bin", "byteLength": 10})


def _joints_beyond(tree):
    tree["skins"][0]["joints"][0] = 999


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_no_skin, "has no skin"),
        (_scaled, r"mixamorigLeftUpLeg is scaled by 1, 1.5, 1.*Apply the scale"),
        (_mirrored, "mixamorigSpine is scaled .* or mirrored"),
        (_no_hips, r"no bone known as pelvis.*--map"),
        (_twice, "has 2 skeletons"),
        (_loop, "damaged GLB"),
        (_compressed, "without compression"),
        (_negative_stride, "without compression"),
        (_outside, "as one GLB"),
        (_joints_beyond, "damaged GLB"),
    ],
)
def test_characters_that_cannot_move(characters, tmp_path, change, reason):
    path = changed(characters["mixamo"][0], tmp_path, change)
    with pytest.raises(CharacterError, match=reason) as error:
        read_character(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("last", "reason"), [([0], "a node lies above itself"), ([], "no bone known")], ids=["cycle", "chain"]
)
def test_deep_hierarchies_of_nodes(tmp_path, last, reason):
    count = 200_000
    file = Glb()
    file.tree["nodes"] = [{"children": [i + 1]} for i in range(count - 1)] + [{"children": last}]
    file.tree["skins"] = [{"joints": [0]}]
    (tmp_path / "a.glb").write_bytes(file.content())
    with pytest.raises(CharacterError, match=reason):
        read_character(tmp_path / "a.glb")


@pytest.mark.parametrize("content", [b"", b"glTF", b"solid nothing", b"glTF\x01\0\0\0\x0c\0\0\0"])
def test_files_that_are_not_glb(tmp_path, content):
    (tmp_path / "a.glb").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.glb is not a readable GLB"):
        read_character(tmp_path / "a.glb")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"nose": "mixamorigHead"}, "unknown joints: nose"),
        ({"head": "Kopf"}, "does not have, or has twice: Kopf.*mixamorigHead"),
        ({"head": "mixamorigNeck", "neck": "mixamorigNeck"}, "more than one joint"),
    ],
)
def test_maps_that_are_wrong(characters, names, reason):
    with pytest.raises(CharacterError, match=reason):
        read_character(characters["mixamo"][0], names)


@pytest.mark.parametrize("text", ["no json", "[1]", '{"pelvis": 3}'])
def test_maps_that_are_not_maps(tmp_path, text):
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(CharacterError, match="names.json"):
        read_names(tmp_path / "names.json")


def test_the_command(characters, squats, body, tmp_path, capsys):
    squats.save(tmp_path / "clip.npz")
    path, _ = characters["unreal"]
    assert COMMANDS["retarget"](tmp_path / "clip.npz", path, out=tmp_path / "out.glb") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "bones that keep their place: forearm_twist" in said and "the motion of person 3" in said
    assert Scene(tmp_path / "out.glb").file.animations


def test_mistakes_of_the_command(characters, squats, tmp_path):
    from fullframe.cli.console import UsageError

    path, _ = characters["mixamo"]
    squats.save(tmp_path / "clip.npz")
    squats.take(slice(0, 0)).save(tmp_path / "nobody.npz")
    run = COMMANDS["retarget"]
    for clip, options, reason in (
        ("clip.npz", {"out": tmp_path / "a.fbx"}, "as .glb or .vrm"),
        ("clip.npz", {"out": path}, "overwrite the character"),
        ("nobody.npz", {"out": tmp_path / "a.glb"}, "nobody is in this clip"),
        ("none.npz", {"out": tmp_path / "a.glb"}, "none.npz"),
        ("clip.npz", {"out": tmp_path / "a.glb", "track": 7}, "no person 7: its people are 3"),
        ("clip.npz", {"out": tmp_path / "no/a.glb"}, "no/"),
    ):
        with pytest.raises(UsageError, match=reason):
            run(tmp_path / clip, path, **options)
    assert not list(tmp_path.glob("a.*"))


def test_a_character_from_elsewhere(squats, body, tmp_path):
    """A rigged character of your own: FULLFRAME_CHARACTER names its GLB."""
    path = os.environ.get("FULLFRAME_CHARACTER", "")
    if not path:
        pytest.skip("needs a character: set FULLFRAME_CHARACTER to a GLB")
    character, scene = put_on(squats, body, Path(path), tmp_path)
    wanted = y_up(joints(squats, body))
    for frame in range(0, FRAMES, 8):
        place = {
            joint: scene.world(node, squats.times[frame])[:3, 3] for joint, node in character.joints.items()
        }
        for a, b in LIMBS:
            assert unit(place[b] - place[a]) @ unit(wanted[frame, b] - wanted[frame, a]) > 0.999
