import sys
from dataclasses import replace

import numpy as np
import pytest

from fullframe.body.body_model import BodyModel
from fullframe.export.skin import four_joints
from fullframe.export.usd import write_clip_usd
from fullframe.geometry.camera import project_points


@pytest.fixture
def opened(make_clip, body, tmp_path):
    """A clip with its stage."""
    Usd = pytest.importorskip("pxr.Usd", reason="needs usd-core (pip install 'fullframe[usd]')")
    clip, path = make_clip(), tmp_path / "clip.usd"
    assert write_clip_usd(clip, body, path) == [path]
    assert list(tmp_path.iterdir()) == [path]
    return clip, Usd.Stage.Open(str(path))


def skinned(stage, track, code):
    """The world's vertices by UsdSkel's own evaluation."""
    from pxr import Usd, UsdGeom, UsdSkel

    cache = UsdSkel.Cache()
    root = UsdSkel.Root.Get(stage, f"/clip/person_{track}")
    cache.Populate(root, Usd.PrimDefaultPredicate)
    skeleton = cache.GetSkelQuery(UsdSkel.Skeleton.Get(stage, f"/clip/person_{track}/skeleton"))
    mesh = UsdGeom.Mesh.Get(stage, f"/clip/person_{track}/mesh")
    points = mesh.GetPointsAttr().Get()
    query = cache.GetSkinningQuery(mesh.GetPrim())
    assert query.ComputeSkinnedPoints(skeleton.ComputeSkinningTransforms(code), points, code)
    matrix = np.array(UsdGeom.XformCache(code).GetLocalToWorldTransform(root.GetPrim()))
    return np.array(points) @ matrix[:3, :3] + matrix[3, :3]


def test_skinned_vertices_are_the_bodys(opened, body):
    from pxr import UsdGeom

    clip, stage = opened
    skin = four_joints(body)
    weights = np.zeros_like(body.data.weights)
    np.add.at(weights, (np.arange(len(weights))[:, None], skin.joints), skin.weights)
    plain = BodyModel(replace(body.data, weights=weights, pose_dirs=np.zeros_like(body.data.pose_dirs)), 11)
    for frame in (0, 5, 11):
        people = clip.people(frame, plain)
        code = clip.times[frame] * stage.GetTimeCodesPerSecond()
        for track, vertices in zip(people.track_ids, people.vertices, strict=True):
            found = skinned(stage, track, code)
            above = vertices @ clip.ground[:3] + clip.ground[3]
            np.testing.assert_allclose(found[:, 1], above, atol=1e-4)
            # In the camera's view they lie on the video's pixels, principal point and all.
            lens = UsdGeom.Camera.Get(stage, "/clip/camera").GetCamera(code)
            frustum = lens.frustum
            matrix = np.array(frustum.ComputeViewMatrix() * frustum.ComputeProjectionMatrix())
            clip_space = np.c_[found, np.ones(len(found))] @ matrix
            pixels = (clip_space[:, :2] / clip_space[:, 3:] * (1, -1) + 1) / 2 * clip.camera.size
            np.testing.assert_allclose(pixels, project_points(vertices, clip.camera), atol=0.05)


def test_stage(opened):
    from pxr import Usd, UsdGeom, UsdSkel

    _, stage = opened
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetDefaultPrim().GetPath() == "/clip"
    assert stage.GetTimeCodesPerSecond() == pytest.approx(25)
    assert stage.GetEndTimeCode() == pytest.approx(11)
    assert stage.GetRootLayer().customLayerData["body"] == "open"
    joints = UsdSkel.Skeleton.Get(stage, "/clip/person_4/skeleton").GetJointsAttr().Get()
    assert len(joints) == 24 and joints[4] == "pelvis/left_hip/left_knee"
    assert UsdSkel.Topology(joints).Validate()[0]
    person = UsdGeom.Imageable(stage.GetPrimAtPath("/clip/person_7"))
    visible = [person.ComputeVisibility(Usd.TimeCode(frame)) != "invisible" for frame in range(12)]
    assert [frame for frame in range(12) if not visible[frame]] == [0, 1, 6]
    mesh = UsdGeom.Mesh.Get(stage, "/clip/person_7/mesh")
    st = UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").ComputeFlattened()
    assert len(st) == len(mesh.GetFaceVertexIndicesAttr().Get())


def test_one_frame_no_people_and_another_body(make_clip, body, smpl_body, tmp_path):
    Usd = pytest.importorskip("pxr.Usd", reason="needs usd-core (pip install 'fullframe[usd]')")
    for name, clip, model, number in (
        ("a", make_clip(frames=1, absent=(), ground=np.full(4, np.nan)), body, 2),
        ("b", make_clip().take(slice(0, 0)), body, 0),
        ("c", make_clip(body="smpl-neutral", num_betas=10), smpl_body, 2),
    ):
        stage = Usd.Stage.Open(str(write_clip_usd(clip, model, tmp_path / f"{name}.usd")[0]))
        people = [prim for prim in stage.Traverse() if prim.GetTypeName() == "SkelRoot"]
        assert len(people) == number


def test_without_usd_core(make_clip, body, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(ImportError, match=r"pip install 'fullframe\[usd\]'"):
        write_clip_usd(make_clip(), body, tmp_path / "a.usd")
    assert not list(tmp_path.iterdir())
