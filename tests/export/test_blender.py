"""What Blender itself reads from our files, and FBX that it writes for us.

Needs a Python with Blender's module: FULLFRAME_BPY names it, as in

    uv venv -p 3.11 /tmp/bpy && uv pip install -p /tmp/bpy bpy
    FULLFRAME_BPY=/tmp/bpy/bin/python pytest tests/export/test_blender.py
"""

import json
import os
import stat
import subprocess
from pathlib import Path

import numpy as np
import pytest
from characters import stylized
from scipy.spatial.transform import Rotation

from fullframe.body.joint_sets import PARENTS
from fullframe.cli.console import UsageError
from fullframe.cli.main import COMMANDS
from fullframe.export import RIGS, write_clip_bvh, write_clip_glb, write_glb
from fullframe.export.character import JOINTS, CharacterError, read_character
from fullframe.export.fbx import BlenderError, blender_command, write_clip_fbx
from fullframe.export.retarget import retarget
from fullframe.export.tracks import joints
from fullframe.geometry.world import Y_UP, Z_UP, level_frame

FPS = 30
TIMES = np.arange(12) / FPS
SKELETONS = sorted(RIGS)


@pytest.fixture(scope="module")
def bpy() -> str:
    python = os.environ.get("FULLFRAME_BPY", "")
    if not python:
        pytest.skip("needs Blender's module: set FULLFRAME_BPY to a Python with bpy")
    return python


@pytest.fixture
def fake_blender(tmp_path, monkeypatch):
    """Puts a program blender on the PATH that runs shell code with the arguments of the script."""

    def install(code: str) -> None:
        program = tmp_path / "bin/blender"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nwhile [ "$1" != --python ]; do shift; done\nshift\n{code}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    return install


def as_blender_reads(python: str, files: list[Path], out: Path) -> dict:
    """By file name; all in one process, as Blender takes long to start."""
    script = Path(__file__).with_name("blender_read.py")
    done = subprocess.run(
        [python, str(script), str(FPS), str(out), *map(str, files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def moved(armature: dict, rig: str) -> np.ndarray:
    """Where the 24 bones are, frames x 24 x 3."""
    return np.array([armature["moved"][bone] for bone in RIGS[rig].bones]).swapaxes(0, 1)


def of_track(files: dict, name: str, track: int) -> dict:
    armatures = files[name]["armatures"]
    return armatures.get(f"person_{track}") or next(iter(armatures.values()))


def in_blender(clip, body):
    """The joints of a clip in Blender's axes, metres."""
    level = level_frame(clip.ground)
    return (joints(clip, body) @ level.rotation.T + level.origin) @ Z_UP.T


@pytest.mark.slow
def test_blender_finds_the_clip_in_every_file(make_clip, body, tmp_path, bpy):
    """Joints over time, axes, scale, frame rate and hierarchy of each GLB, VRM and BVH."""
    clip = make_clip(times=TIMES)
    places = in_blender(clip, body)
    files = {}
    for rig in SKELETONS:
        for path in write_clip_glb(clip, body, tmp_path / f"{rig}.glb", rig):
            if path.suffix != ".vrma":
                files[path.name] = path, rig
        for path in write_clip_bvh(clip, body, tmp_path / f"{rig}.bvh", rig):
            files[path.name] = path, rig
    found = as_blender_reads(bpy, [path for path, _ in files.values()], tmp_path / "out.json")
    for name, (path, rig) in files.items():
        assert found[name]["fps"] == FPS and found[name]["whole"]
        tracks = (4, 7) if name.endswith(".glb") else (int(path.stem.rpartition("_")[2]),)
        assert len(found[name]["armatures"]) == len(tracks)
        if path.suffix == ".glb":
            np.testing.assert_allclose(found[name]["cameras"], [[0, 0, 1.6]], atol=1e-6)
            assert len(found[name]["meshes"]) == 2
        for track in tracks:
            armature = of_track(found, name, track)
            rows = np.flatnonzero(clip.track_ids == track)
            start = clip.frames[rows[0]] if path.suffix == ".vrm" else 0
            scale = 100 if path.suffix == ".bvh" else 1
            now = moved(armature, rig)[clip.frames[rows] - start]
            np.testing.assert_allclose(now / scale, places[rows], atol=1e-4)
            parents = [armature["parents"][bone] for bone in RIGS[rig].bones]
            assert parents[1:] == [RIGS[rig].bones[parent] for parent in PARENTS[1:]]
            if path.suffix != ".bvh" and track == 4:  # feet on the ground, head up, at rest and in the clip
                low, high = (np.array(x) for x in found[name]["meshes"]["person_4_mesh"][0])
                assert 0.8 < (high - low)[2] < 2.2


@pytest.mark.slow
def test_blender_finds_photos_and_characters(make_clip, body, tmp_path, bpy):
    clip = make_clip(times=TIMES, absent=())
    people = clip.people(3, body)
    files = [write_glb(people, body, tmp_path / f"{rig}.glb", rig)[0] for rig in ("smpl", "mixamo", "unreal")]
    out = tmp_path / "moving.glb"
    (tmp_path / "characters").mkdir()
    path, _ = stylized(tmp_path / "characters", body)["unreal"]
    character = read_character(path)
    retarget(clip, body, character, out, 4)
    found = as_blender_reads(bpy, [*files, out], tmp_path / "out.json")
    places = people.joints @ Y_UP.rotation.T @ Z_UP.T
    for file in files:
        for row, track in enumerate(people.track_ids):
            armature = of_track(found, file.name, track)
            np.testing.assert_allclose(moved(armature, file.stem)[0], places[row], atol=1e-4)
    # The character's arms point where the person's do.
    (armature,) = found["moving.glb"]["armatures"].values()
    wanted = in_blender(clip, body)[clip.track_ids == 4]
    for a, b in ((16, 18), (18, 20), (17, 19), (19, 21)):
        ends = [np.array(armature["moved"][RIGS["unreal"].bones[joint]]) for joint in (a, b)]
        for frame in range(12):
            bones = ends[1][frame] - ends[0][frame], wanted[frame, b] - wanted[frame, a]
            turn, _ = Rotation.align_vectors([bones[0]], [bones[1]])
            assert np.degrees(turn.magnitude()) < 0.1


RIGIFY = {
    "pelvis": "spine", "neck": "spine.004", "head": "spine.006",
    **{f"{side}_{joint}": f"{bone}.{side[0].upper()}" for side in ("left", "right") for joint, bone in {
        "hip": "thigh", "knee": "shin", "ankle": "foot", "foot": "toe", "collar": "shoulder",
        "shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand", "hand": "f_middle.01",
    }.items()},
}  # fmt: skip


@pytest.mark.slow
def test_a_third_party_rig(make_clip, body, tmp_path, bpy):
    """The human of Blender's add-on Rigify, with a map, moves as the person, and Blender reads it again."""
    rigify, out = tmp_path / "rigify.glb", tmp_path / "moving.glb"
    script = Path(__file__).with_name("blender_rigify.py")
    done = subprocess.run([bpy, str(script), str(rigify)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    clip = make_clip(times=TIMES, num_people=1)
    with pytest.raises(CharacterError, match="no bone known as pelvis"):
        read_character(rigify)
    character = read_character(rigify, RIGIFY)
    assert "jaw" in character.unmapped and "spine.002" not in character.unmapped
    retarget(clip, body, character, out, 4)
    found = as_blender_reads(bpy, [out], tmp_path / "out.json")
    (armature,) = found["moving.glb"]["armatures"].values()
    wanted = in_blender(clip, body)
    bones = {joint: RIGIFY[name] for joint, name in enumerate(JOINTS) if name in RIGIFY}
    for a, b in ((16, 18), (18, 20), (17, 19), (19, 21)):
        for frame in range(12):
            bone = np.subtract(*(armature["moved"][bones[joint]][frame] for joint in (b, a)))
            turn, _ = Rotation.align_vectors([bone], [wanted[frame, b] - wanted[frame, a]])
            assert np.degrees(turn.magnitude()) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("rig", ["mixamo", "unreal"])
def test_fbx(make_clip, body, tmp_path, bpy, fake_blender, rig):
    """The command writes it through a process of Blender's; read back, joints are where the clip's are."""
    clip = make_clip(times=TIMES)
    clip.save(tmp_path / "clip.npz")
    fake_blender(f'script="$1"; shift; exec "{bpy}" "$script" "$@"')
    out = tmp_path / "clip.fbx"
    assert COMMANDS["convert"](tmp_path / "clip.npz", out, rig=rig) == 0
    found = as_blender_reads(bpy, [out], tmp_path / "out.json")
    assert found["clip.fbx"]["fps"] == FPS and found["clip.fbx"]["last"] - found["clip.fbx"]["first"] == 11
    np.testing.assert_allclose(found["clip.fbx"]["cameras"], [[0, 0, 1.6]], atol=1e-4)
    places = in_blender(clip, body)
    for track in (4, 7):
        rows = np.flatnonzero(clip.track_ids == track)
        now = moved(of_track(found, "clip.fbx", track), rig)
        np.testing.assert_allclose(now[clip.frames[rows]], places[rows], atol=1e-3)
        np.testing.assert_allclose(now[: clip.frames[rows[0]]], now[[0]].repeat(clip.frames[rows[0]], 0))
    (mesh, *_), _ = found["clip.fbx"]["meshes"].values()
    assert 0.8 < mesh[1][2] - mesh[0][2] < 2.2


def test_without_blender(make_clip, body, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    make_clip().save(tmp_path / "clip.npz")
    with pytest.raises(UsageError, match=r"install it from https://www.blender.org.*pip install bpy"):
        COMMANDS["convert"](tmp_path / "clip.npz", tmp_path / "a.fbx")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.npz"]


def test_blenders_module_goes_first(monkeypatch):
    import sys

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert blender_command() == [sys.executable]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("echo 'no device' >&2; exit 3", "wrote no FBX: no device"),
        ("exit 0", "wrote no FBX: it said nothing"),
    ],
)
def test_a_blender_that_fails(make_clip, body, tmp_path, fake_blender, code, reason):
    fake_blender(code)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(BlenderError, match=reason):
        write_clip_fbx(make_clip(), body, folder / "a.fbx")
    assert not list(folder.iterdir())


def test_what_is_not_converted(make_clip, body, tmp_path, fake_blender):
    fake_blender("exit 1")
    make_clip().save(tmp_path / "clip.npz")
    make_clip().take(slice(0, 0)).save(tmp_path / "nobody.npz")
    for name, out, rig, reason in (
        ("clip.npz", "a.obj", "smpl", "only .fbx"),
        ("clip.npz", "a.fbx", "vrm", "VRM is not FBX"),
        ("nobody.npz", "a.fbx", "smpl", "nobody is in this clip"),
        ("none.npz", "a.fbx", "smpl", "none.npz"),
    ):
        with pytest.raises(UsageError, match=reason):
            COMMANDS["convert"](tmp_path / name, tmp_path / out, rig=rig)
    assert not list(tmp_path.glob("a.*"))
