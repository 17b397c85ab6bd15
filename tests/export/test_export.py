import json

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from fullframe.export import EXPORTERS
from fullframe.geometry.camera import Camera
from fullframe.results.people import People

IDS = [4, 0, 7]
TURN = np.array([1, -1, -1])  # camera frame to file axes


def some_people(number):
    """Random people; the body is a ball."""
    rng = np.random.default_rng(number)
    ball = trimesh.creation.icosphere(subdivisions=2)
    places = rng.uniform((-2, -1, 3), (2, 1, 9), (number, 1, 3))
    return People(
        boxes=rng.uniform(0, 500, (number, 4)),
        scores=rng.uniform(0, 1, number),
        track_ids=IDS[:number],
        keypoints=rng.uniform(0, 1, (number, 17, 3)) * (500, 500, 1),
        pose=Rotation.random(72, rng).as_matrix().reshape(3, 24, 3, 3)[:number],
        betas=rng.normal(size=(number, 10)),
        translation=places[:, 0],
        vertices=ball.vertices + places,
        joints=rng.normal(size=(number, 24, 3)) + places,
        faces=ball.faces,
        camera=Camera((900.0, 950.0), (310.0, 250.0), (640, 480), "intrinsics"),
        body="open",
        model="some model",
        image="holiday/beach.jpg",
        orientation=6,
    )  # fmt: skip


def written(suffix, people, tmp_path):
    path = tmp_path / f"people.{suffix}"
    EXPORTERS[suffix](people, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    return path


@pytest.mark.parametrize("number", [0, 1, 3])
def test_npz_is_lossless(number, tmp_path):
    people = some_people(number)
    again = People.load(written("npz", people, tmp_path))
    np.testing.assert_array_equal(again.vertices, people.vertices)
    assert again.camera == people.camera


@pytest.mark.parametrize("number", [0, 1, 3])
def test_obj(number, tmp_path):
    people = some_people(number)
    path = written("obj", people, tmp_path)
    text = path.read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert {"# units: metres", "# body: open", "# model: some model", f"# people: {number}"} <= set(comments)
    assert any(line.startswith("# axes: x right, y up") for line in comments)
    names = [line[2:] for line in text.splitlines() if line.startswith("o ")]
    assert names == [f"person_{i}" for i in IDS[:number]]
    if number == 0:
        assert all(line.startswith("#") or not line for line in text.splitlines())
        return
    scene = trimesh.load_scene(path, split_objects=True, group_material=False, process=False)
    assert len(scene.geometry) == number
    for i, vertices in zip(IDS, people.vertices, strict=False):
        mesh = scene.geometry[f"person_{i}"]
        np.testing.assert_allclose(mesh.vertices[mesh.faces], (vertices * TURN)[people.faces], atol=1e-5)
    assert len({tuple(mesh.visual.vertex_colors[0]) for mesh in scene.geometry.values()}) == number


@pytest.mark.parametrize("number", [0, 1, 3])
def test_ply(number, tmp_path):
    people = some_people(number)
    path = written("ply", people, tmp_path)
    header = path.read_bytes().split(b"end_header")[0].decode().splitlines()
    assert {"comment units: metres", "comment body: open", "comment model: some model"} <= set(header)
    assert any(line.startswith("comment axes: x right, y up") for line in header)
    each = people.vertices.shape[1]
    assert f"element vertex {number * each}" in header
    if number == 0:
        return
    mesh = trimesh.load_mesh(path, process=False)
    np.testing.assert_allclose(mesh.vertices, (people.vertices * TURN).reshape(-1, 3), atol=1e-5)
    assert len(mesh.split()) == number
    ids = mesh.metadata["_ply_raw"]["vertex"]["data"]["person"]
    np.testing.assert_array_equal(np.ravel(ids), np.repeat(IDS[:number], each))
    assert len(np.unique(mesh.visual.vertex_colors, axis=0)) == number


@pytest.mark.parametrize("number", [0, 1, 3])
def test_json(number, tmp_path):
    people = some_people(number)
    result = json.loads(written("json", people, tmp_path).read_text())
    assert result["body"] == "open" and result["model"] == "some model"
    assert result["image"] == "holiday/beach.jpg" and result["orientation"] == 6
    assert result["camera"] == {
        "focal": [900, 950], "principal_point": [310, 250], "size": [640, 480], "source": "intrinsics"
    }  # fmt: skip
    assert "y down" in result["conventions"]["axes"] and "metres" in result["conventions"]["units"]
    assert result["joint_names"][0] == "pelvis" and len(result["joint_names"]) == 24
    assert result["keypoint_names"][0] == "nose" and len(result["keypoint_names"]) == 17
    assert [person["track_id"] for person in result["people"]] == IDS[:number]
    for i, person in enumerate(result["people"]):
        pose = Rotation.from_rotvec(person["pose"]).as_matrix()
        np.testing.assert_allclose(pose, people.pose[i], atol=1e-5)
        for name, values in (
            ("score", people.scores),
            ("box", people.boxes),
            ("keypoints", people.keypoints),
            ("betas", people.betas),
            ("translation", people.translation),
            ("joints", people.joints),
        ):
            np.testing.assert_allclose(person[name], values[i], atol=1e-5)


def test_json_refuses_what_it_cannot_hold(tmp_path):
    people = some_people(1)
    people.joints[0, 3] = np.nan
    with pytest.raises(ValueError):
        EXPORTERS["json"](people, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", sorted(EXPORTERS))
def test_a_folder_that_does_not_exist(suffix, tmp_path):
    with pytest.raises(OSError):
        EXPORTERS[suffix](some_people(1), tmp_path / "no" / f"a.{suffix}")
