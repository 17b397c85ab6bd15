"""Run by a Python with bpy: what Blender reads from files, as JSON.

python blender_read.py FPS OUT.json FILE...; a BVH whose name begins with unreal has z up.
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np


def read(file: Path, fps: int) -> dict:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.fps = fps
    if file.suffix == ".bvh":
        up = {"axis_up": "Z", "axis_forward": "Y"} if file.stem.startswith("unreal") else {}
        bpy.ops.import_anim.bvh(filepath=str(file), update_scene_fps=True, **up)
    elif file.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(file))
    else:
        bpy.ops.import_scene.gltf(filepath=str(file))
    armatures = [thing for thing in scene.objects if thing.type == "ARMATURE"]
    meshes = [thing for thing in scene.objects if thing.type == "MESH" and thing.find_armature()]
    keys = [key for action in bpy.data.actions for key in action.curve_frame_range]
    first, last = (round(min(keys)), round(max(keys))) if keys else (0, 0)
    armature_entries = {
        armature.name: {
            "rest": {b.name: list(armature.matrix_world @ b.head_local) for b in armature.data.bones},
            "parents": {b.name: b.parent.name if b.parent else "" for b in armature.data.bones},
            "moved": {b.name: [] for b in armature.data.bones},
            "scale": [],
        }
        for armature in armatures
    }
    mesh_entries = {mesh.name: [] for mesh in meshes}
    for frame in range(first, last + 1):
        scene.frame_set(frame)
        view = bpy.context.evaluated_depsgraph_get()
        for armature in armatures:
            posed = armature.evaluated_get(view)
            entry = armature_entries[armature.name]
            entry["scale"].append(list(posed.matrix_world.to_scale()))
            for bone in posed.pose.bones:
                entry["moved"][bone.name].append(list(posed.matrix_world @ bone.head))
        for mesh in meshes:
            posed = mesh.evaluated_get(view)
            points = np.empty(3 * len(posed.data.vertices), np.float32)
            posed.data.vertices.foreach_get("co", points)
            matrix = np.array(posed.matrix_world)
            placed = points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
            mesh_entries[mesh.name].append([placed.min(0).tolist(), placed.max(0).tolist()])
    return {
        "fps": scene.render.fps / scene.render.fps_base,
        "first": first,
        "last": last,
        "whole": all(abs(key - round(key)) < 1e-3 for key in keys),
        "cameras": [
            list(thing.matrix_world.translation) for thing in scene.objects if thing.type == "CAMERA"
        ],
        "armatures": armature_entries,
        "meshes": mesh_entries,
    }


fps, out, files = int(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
out.write_text(json.dumps({file.name: read(file, fps) for file in files}))
