"""Run by Blender or a Python with bpy, never imported: a GLB with people to FBX.

python blender_fbx.py CLIP.glb OUT.fbx FRAMES_PER_SECOND y|z
"""

import sys

import bpy

glb, fbx, rate, up = sys.argv[-4:]
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps, scene.render.fps_base = int(rate), 1.0
bpy.ops.import_scene.gltf(filepath=glb)
ends = [action.curve_frame_range for action in bpy.data.actions]
scene.frame_start = 0
scene.frame_end = max((round(last) for _, last in ends), default=0)
bpy.ops.export_scene.fbx(
    filepath=fbx,
    object_types={"ARMATURE", "MESH", "CAMERA", "EMPTY"},
    axis_up=up.upper(),
    axis_forward="Y" if up == "z" else "-Z",  # with z up as 3ds Max: people at rest face -y
    apply_scale_options="FBX_SCALE_UNITS",  # numbers in metres, and the file says so: no bone is scaled
    add_leaf_bones=False,
    bake_anim=True,
    bake_anim_use_all_actions=False,
    bake_anim_use_nla_strips=False,
    bake_anim_simplify_factor=0.0,
    path_mode="COPY",
    embed_textures=True,
)
