"""Run by a Python with bpy: the human of Blender's add-on Rigify with a box for each bone, as GLB.

python blender_rigify.py OUT.glb
"""

import sys

import bpy

import bmesh  # isort: skip - it comes with bpy

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.preferences.addon_enable(module="rigify")
bpy.ops.object.armature_human_metarig_add()
armature = bpy.context.object
boxes, data = bmesh.new(), bpy.data.meshes.new("boxes")
for bone in armature.data.bones:
    made = bmesh.ops.create_cube(boxes, size=max(0.04, bone.length / 2))
    for vertex in made["verts"]:
        vertex.co += (bone.head_local + bone.tail_local) / 2
boxes.to_mesh(data)
mesh = bpy.data.objects.new("boxes", data)
bpy.context.collection.objects.link(mesh)
for number, bone in enumerate(armature.data.bones):
    mesh.vertex_groups.new(name=bone.name).add(list(range(8 * number, 8 * number + 8)), 1.0, "REPLACE")
mesh.parent = armature
mesh.modifiers.new("armature", "ARMATURE").object = armature
bpy.ops.export_scene.gltf(filepath=sys.argv[1])
