"""A clip as one stage of OpenUSD: skeletons, skinned bodies and the camera."""

from pathlib import Path
from typing import Any

import numpy as np

from fullframe.body.body_model import BodyModel
from fullframe.body.joint_sets import JOINT_SETS, PARENTS
from fullframe.export.skin import four_joints, linear_color, rest_mesh
from fullframe.export.tracks import Track, seen, tracks
from fullframe.geometry.camera import Camera
from fullframe.geometry.world import Y_UP, level_frame
from fullframe.io.atomic import atomic_path
from fullframe.render.colors import person_colors
from fullframe.results.clip import Clip


def write_clip_usd(clip: Clip, body: BodyModel, path: Path) -> list[Path]:
    """One binary .usd in metres, y up, with the clip's own times, timeCodesPerSecond time codes to a second.

    The prim /clip stands the scene on the ground (y = 0) if that is known. In it are the camera, with all of
    the clip's intrinsics, and for each person /clip/person_<id>, a SkelRoot that is invisible while the
    person is not seen: a skeleton of 24 joints, its animation, and the mesh with texture coordinates.

    Raises:
        ImportError: usd-core is not installed.
        ValueError: the body is not the clip's, or a pose or translation is not finite.
    """
    try:
        from pxr import Gf, Usd, UsdGeom
    except ImportError as error:
        raise ImportError("writing USD needs usd-core: pip install 'fullframe[usd]'") from error
    level = level_frame(clip.ground)
    with atomic_path(path) as temporary:
        stage = Usd.Stage.CreateNew(str(temporary))
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        stage.SetTimeCodesPerSecond(clip.fps)
        stage.SetFramesPerSecond(clip.fps)
        if clip.num_frames:
            stage.SetStartTimeCode(_code(clip.times[0], clip.fps))
            stage.SetEndTimeCode(_code(clip.times[-1], clip.fps))
        stage.GetRootLayer().customLayerData = {
            "generator": "fullframe", "body": clip.body, "model": clip.model, "video": clip.video
        }  # fmt: skip
        root = UsdGeom.Xform.Define(stage, "/clip")
        stage.SetDefaultPrim(root.GetPrim())
        matrix = np.eye(4)  # USD multiplies rows from the left: the offset is the last row
        matrix[:3, :3], matrix[3, :3] = (level.rotation @ Y_UP.rotation.T).T, level.origin
        root.AddTransformOp().Set(Gf.Matrix4d(matrix.tolist()))
        _camera(stage, clip.camera)
        for track in tracks(clip, body, Y_UP):
            person = _person(stage, body, track, clip.fps)
            visibility = UsdGeom.Imageable(person).CreateVisibilityAttr()
            for time, there in zip(*seen(clip, track.id), strict=True):
                visibility.Set("inherited" if there else "invisible", _code(time, clip.fps))
        stage.GetRootLayer().Save()
        del stage
    return [Path(path)]


def _code(time: float, rate: float) -> float:
    """A time code; frames of even times fall on whole ones, where programs look, and not a hair beside."""
    return round(float(time * rate), 6)


def _camera(stage: Any, camera: Camera) -> None:
    from pxr import Gf, UsdGeom

    # Only the ratios matter; 36 mm is the width of a full-frame sensor. Offsets are to the right and up.
    (width, height), (fx, fy), (cx, cy) = camera.size, camera.focal, camera.principal_point
    focal = 36 * fx / width
    lens = UsdGeom.Camera.Define(stage, "/clip/camera")
    lens.CreateFocalLengthAttr(focal)
    lens.CreateHorizontalApertureAttr(36.0)
    lens.CreateVerticalApertureAttr(focal * height / fy)
    lens.CreateHorizontalApertureOffsetAttr(focal * (width / 2 - cx) / fx)
    lens.CreateVerticalApertureOffsetAttr(focal * (cy - height / 2) / fy)
    lens.CreateClippingRangeAttr(Gf.Vec2f(0.01, 1000))


def _person(stage: Any, body: BodyModel, track: Track, rate: float) -> Any:
    from pxr import Gf, Sdf, UsdGeom, UsdShade, UsdSkel, Vt

    path = f"/clip/person_{track.id}"
    root = UsdSkel.Root.Define(stage, path)
    names = list(JOINT_SETS["smpl24"].names)
    for joint in range(1, 24):
        names[joint] = f"{names[PARENTS[joint]]}/{names[joint]}"
    bones = track.rest.copy()
    bones[1:] -= track.rest[list(PARENTS[1:])]

    skeleton = UsdSkel.Skeleton.Define(stage, f"{path}/skeleton")
    skeleton.CreateJointsAttr(names)
    skeleton.CreateBindTransformsAttr([Gf.Matrix4d(1).SetTranslate(p) for p in track.rest.tolist()])
    skeleton.CreateRestTransformsAttr([Gf.Matrix4d(1).SetTranslate(p) for p in bones.tolist()])

    animation = UsdSkel.Animation.Define(stage, f"{path}/skeleton/animation")
    animation.CreateJointsAttr(names)
    animation.CreateScalesAttr(Vt.Vec3hArray(24, Gf.Vec3h(1, 1, 1)))
    translations, rotations = animation.CreateTranslationsAttr(), animation.CreateRotationsAttr()
    for time, pelvis, quaternions in zip(track.times, track.pelvis, track.rotations, strict=True):
        code = _code(time, rate)
        offsets = np.concatenate((pelvis[None], bones[1:])).astype(np.float32)
        translations.Set(Vt.Vec3fArray.FromNumpy(offsets), code)
        turns = [Gf.Quatf(w, x, y, z) for x, y, z, w in quaternions.tolist()]
        rotations.Set(Vt.QuatfArray(turns), code)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([animation.GetPath()])

    mesh = UsdGeom.Mesh.Define(stage, f"{path}/mesh")
    vertices, normals = rest_mesh(body, track.betas)
    faces = body.faces.numpy().astype(np.int32)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(vertices))
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(normals))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray(len(faces), 3))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel()))
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack((vertices.min(0), vertices.max(0)))))
    if body.uv is not None:
        coordinates, uv_faces = body.uv
        st = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar(
            "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying
        )
        st.Set(Vt.Vec2fArray.FromNumpy(coordinates))
        st.SetIndices(Vt.IntArray.FromNumpy(uv_faces.astype(np.int32).ravel()))
    skin = four_joints(body)
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    binding.CreateJointIndicesPrimvar(False, 4).Set(
        Vt.IntArray.FromNumpy(skin.joints.astype(np.int32).ravel())
    )
    binding.CreateJointWeightsPrimvar(False, 4).Set(Vt.FloatArray.FromNumpy(skin.weights.ravel()))
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])

    color = Gf.Vec3f(*linear_color(person_colors([track.id])[0]))
    mesh.CreateDisplayColorAttr([color])
    material = UsdShade.Material.Define(stage, f"{path}/material")
    shader = UsdShade.Shader.Define(stage, f"{path}/material/surface")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(color)
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.7)
    material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
    return root
