from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import trimesh
from gltf_scene import Scene
from scipy.spatial.transform import Rotation

from fullframe.assets import MOTION
from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS
from fullframe.export.gltf import write_clip_glb
from fullframe.export.skin import four_joints
from fullframe.geometry.camera import project_points
from fullframe.render.colors import person_colors


def plain(body, num_betas=11):
    """The body with four joints a vertex and without pose blend shapes: what a skin can show."""
    skin = four_joints(body)
    weights = np.zeros_like(body.data.weights)
    np.add.at(weights, (np.arange(len(weights))[:, None], skin.joints), skin.weights)
    data = replace(body.data, weights=weights, pose_dirs=np.zeros_like(body.data.pose_dirs))
    return BodyModel(data, num_betas)


def scene_of(clip, body, tmp_path):
    path = tmp_path / "clip.glb"
    assert write_clip_glb(clip, body, path) == [path]
    assert list(tmp_path.iterdir()) == [path]
    return Scene(path)


def test_what_a_skin_leaves_out(body):
    """Without pose blend shapes and with four joints, vertices move by as much as the docstring states."""
    theta = np.load(MOTION)["theta"][::100].astype(float)
    pose = Rotation.from_rotvec(theta.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    inputs = torch.zeros(len(pose), 11), torch.from_numpy(pose).float()
    off = 1000 * (body(*inputs).vertices - plain(body)(*inputs).vertices).norm(dim=-1).numpy()
    assert 1 < off.mean() < 2 and 14 < np.percentile(off, 99) < 22 and off.max() < 50


@pytest.mark.parametrize("known", [True, False])
def test_skinned_vertices_are_the_bodys(make_clip, body, tmp_path, known):
    clip = make_clip()
    if not known:
        clip.ground[:] = np.nan
    scene = scene_of(clip, body, tmp_path)
    to_camera = np.linalg.inv(scene.world(scene.node("camera"), 0))
    corners = np.stack((body.faces.numpy().ravel(), body.uv[1].ravel()), axis=1)
    vertex = np.unique(corners, axis=0)[:, 0]
    for frame in (0, 4, 11):
        people = clip.people(frame, plain(body))
        for track, vertices in zip(people.track_ids, people.vertices, strict=True):
            found = scene.skinned(scene.node(f"person_{track}_mesh"), clip.times[frame])
            in_camera = found @ to_camera[:3, :3].T + to_camera[:3, 3]
            np.testing.assert_allclose(in_camera, vertices[vertex] * (1, -1, -1), atol=1e-4)
            if known:
                above = vertices[vertex] @ clip.ground[:3] + clip.ground[3]
                np.testing.assert_allclose(found[:, 1], above, atol=1e-4)


def test_the_camera_sees_what_the_videos_did(make_clip, body, tmp_path):
    """Through the file's camera people lie on the same pixels, but for the shift that glTF does not know."""
    clip = make_clip()
    scene = scene_of(clip, body, tmp_path)
    lens = scene.file.cameras[0].perspective
    view = np.linalg.inv(scene.world(scene.node("camera"), 0.08))
    points = scene.skinned(scene.node("person_4_mesh"), 0.08) @ view[:3, :3].T + view[:3, 3]
    size, center = np.array(clip.camera.size), np.array(clip.camera.principal_point)
    depth = -points[:, 2] * np.tan(lens.yfov / 2)
    seen = points[:, :2] / depth[:, None] / (lens.aspectRatio, 1)  # -1 to 1, y up
    pixels = (seen * (1, -1) + 1) / 2 * size + (center - size / 2)
    people = clip.people(2, plain(body))
    wanted = project_points(people.vertices[0], clip.camera)
    np.testing.assert_allclose(pixels.min(0), wanted.min(0), atol=0.05)
    np.testing.assert_allclose(pixels.max(0), wanted.max(0), atol=0.05)


def test_people_move_between_frames(make_clip, body, tmp_path):
    clip = make_clip(times=np.array([0, 0.04, 0.1, 0.11, 0.2, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 1.5]))
    scene = scene_of(clip, body, tmp_path)
    mesh = scene.node("person_4_mesh")
    early, middle, late = (scene.skinned(mesh, time).mean(0) for time in (0.9, 1.2, 1.5))
    np.testing.assert_allclose(middle, (early + late) / 2, atol=0.02)
    assert np.linalg.norm(late - early) > 0.01


def test_people_are_visible_only_while_present(make_clip, body, tmp_path):
    clip = make_clip()
    scene = scene_of(clip, body, tmp_path)
    mesh = scene.node("person_7_mesh")
    for frame in range(12):
        size = np.ptp(scene.skinned(mesh, clip.times[frame] + 0.01), axis=0).max()
        assert (size > 0.5) == (frame not in (0, 1, 6))
    assert scene.moved(scene.node("person_4"), "scale", 0) is None


def test_skeleton_and_skin(make_clip, body, tmp_path):
    scene = scene_of(make_clip(), body, tmp_path)
    assert len(scene.file.skins) == 2 and len(scene.file.animations) == 1
    for skin in scene.file.skins:
        assert [scene.file.nodes[joint].name for joint in skin.joints] == list(JOINT_SETS["smpl24"].names)
    attributes = scene.file.meshes[0].primitives[0].attributes
    np.testing.assert_allclose(scene.array(attributes.WEIGHTS_0).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(scene.array(attributes.NORMAL), axis=1), 1, atol=1e-5)
    # Both people share what the body gives.
    other = scene.file.meshes[1].primitives[0]
    assert (other.attributes.WEIGHTS_0, other.indices) == (
        attributes.WEIGHTS_0, scene.file.meshes[0].primitives[0].indices
    )  # fmt: skip
    rest = scene.array(attributes.POSITION)
    assert np.ptp(rest[:, 0]) > 1.3 and np.ptp(rest[:, 1]) > 1.4  # a T-pose, upright


def test_texture(make_clip, body, tmp_path):
    """Everybody wears their own colour; head and hands are paler, feet darker."""
    scene = scene_of(make_clip(), body, tmp_path)
    for number, mesh in zip((4, 7), scene.file.meshes, strict=True):
        primitive = mesh.primitives[0]
        material = scene.file.materials[primitive.material].pbrMetallicRoughness
        image = scene.file.images[scene.file.textures[material.baseColorTexture.index].source]
        png = np.frombuffer(scene.bytes_of(image.bufferView), np.uint8)
        picture = cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1]
        uv = scene.array(primitive.attributes.TEXCOORD_0)
        faces = scene.array(primitive.indices).reshape(-1, 3)
        pixels = np.floor(uv[faces].mean(1) * picture.shape[0]).astype(int)
        found = picture[pixels[:, 1], pixels[:, 0]].mean(1)
        names = np.array(body.part_names)[body.parts[body.faces[:, 0].numpy()]]
        color = person_colors([number])[0].mean()
        assert np.median(found[names == "torso"]) == pytest.approx(color, abs=1)
        assert np.median(found[names == "head"]) > color + 10
        assert np.median(found[names == "left_foot"]) < 0.6 * color


def test_other_readers(make_clip, body, tmp_path):
    clip = make_clip()
    write_clip_glb(clip, body, tmp_path / "clip.glb")
    scene = trimesh.load_scene(tmp_path / "clip.glb")
    assert set(scene.geometry) == {"person_4", "person_7"}
    assert all(mesh.visual.material.baseColorTexture.size == (512, 512) for mesh in scene.geometry.values())
    assert scene.metadata["camera"]["principal_point_px"] == [650, 350]
    assert scene.metadata["units"] == "metres" and scene.metadata["body"] == "open"


def test_a_body_without_texture(make_clip, smpl_body, tmp_path):
    clip = make_clip(body="smpl-neutral", num_betas=10)
    scene = scene_of(clip, smpl_body, tmp_path)
    people = clip.people(3, plain(smpl_body, 10))
    view = np.linalg.inv(scene.world(scene.node("camera"), 0))
    found = scene.skinned(scene.node("person_4_mesh"), clip.times[3]) @ view[:3, :3].T + view[:3, 3]
    np.testing.assert_allclose(found, people.vertices[0] * (1, -1, -1), atol=1e-4)
    factor = np.array(scene.file.materials[0].pbrMetallicRoughness.baseColorFactor[:3])
    encoded = np.where(factor <= 0.0031308, factor * 12.92, 1.055 * factor ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(encoded * 255, person_colors([4])[0], atol=0.01)


def test_one_frame_and_no_people(make_clip, body, tmp_path):
    scene = scene_of(make_clip(frames=1, absent=()), body, tmp_path)
    assert np.ptp(scene.skinned(scene.node("person_7_mesh"), 0)[:, 1]) > 0.8
    scene = scene_of(make_clip().take(slice(0, 0)), body, tmp_path)
    assert [node.name for node in scene.file.nodes] == ["clip", "camera"]
    assert not scene.file.meshes and not scene.file.animations and not scene.file.buffers


def test_equal_times_of_broken_videos(make_clip, body, tmp_path):
    """glTF wants times that grow; of frames with one time the first is kept."""
    times = np.arange(12) / 25
    times[5] = times[4]
    scene = scene_of(make_clip(times=times), body, tmp_path)
    for sampler in scene.file.animations[0].samplers:
        assert (np.diff(scene.array(sampler.input)) > 0).all()
        assert len(scene.array(sampler.input)) == len(scene.array(sampler.output))


def test_a_minute_of_five_people_is_a_few_megabytes(make_clip, body, tmp_path):
    one = make_clip(frames=300, num_people=1)
    write_clip_glb(one, body, tmp_path / "a.glb")
    write_clip_glb(make_clip(frames=600, num_people=1), body, tmp_path / "b.glb")
    small, large = ((tmp_path / f"{name}.glb").stat().st_size for name in "ab")
    assert 5 * (small + (large - small) * 5) < 8e6  # five times 1800 frames


def test_a_camera_that_turns(make_clip, body, tmp_path):
    """It sees everybody where the frames do."""
    clip = make_clip()
    corners = np.stack((body.faces.numpy().ravel(), body.uv[1].ravel()), axis=1)
    vertex = np.unique(corners, axis=0)[:, 0]
    turns = Rotation.from_rotvec(np.linspace(0, 0.8, clip.num_frames)[:, None] * (0.1, 1, 0)).as_matrix()
    clip.camera_rotation = turns
    scene = scene_of(clip, body, tmp_path)
    for row in (0, len(clip) - 1):
        frame, track = int(clip.frames[row]), int(clip.track_ids[row])
        camera = scene.world(scene.node("camera"), clip.times[frame])
        vertices = scene.skinned(scene.node(f"person_{track}_mesh"), clip.times[frame])
        seen = (vertices - camera[:3, 3]) @ camera[:3, :3] * (1, -1, -1)
        people = clip.people(frame, plain(body))
        true = people.vertices[people.track_ids == track][0]
        np.testing.assert_allclose(seen, true[vertex], atol=1e-4)
