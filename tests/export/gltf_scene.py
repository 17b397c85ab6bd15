"""A slow, independent reader of GLB files."""

import numpy as np
import pygltflib
from scipy.spatial.transform import Rotation

_DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_SIZES = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}


class Scene:
    """A slow, independent evaluation of a GLB by the words of glTF 2.0; times are seconds."""

    def __init__(self, path):
        self.file = pygltflib.GLTF2().load(str(path))
        self.blob = self.file.binary_blob()
        self.parents = {child: i for i, node in enumerate(self.file.nodes) for child in node.children or []}

    def node(self, name):
        return next(i for i, node in enumerate(self.file.nodes) if node.name == name)

    def array(self, index):
        accessor = self.file.accessors[index]
        view = self.file.bufferViews[accessor.bufferView]
        shape = (accessor.count, *_SIZES[accessor.type])
        dtype = np.dtype(_DTYPES[accessor.componentType])
        values = np.frombuffer(self.blob, dtype, int(np.prod(shape)), view.byteOffset).reshape(shape)
        if accessor.min:
            flat = values.reshape(len(values), -1)
            np.testing.assert_array_equal(flat.min(0), np.array(accessor.min, dtype))
            np.testing.assert_array_equal(flat.max(0), np.array(accessor.max, dtype))
        return values

    def bytes_of(self, view):
        view = self.file.bufferViews[view]
        return self.blob[view.byteOffset : view.byteOffset + view.byteLength]

    def moved(self, node, path, time):
        """What the animation makes of a node's translation, rotation or scale; None if it has none."""
        for animation in self.file.animations:
            for channel in animation.channels:
                if (channel.target.node, channel.target.path) == (node, path):
                    sampler = animation.samplers[channel.sampler]
                    times, values = self.array(sampler.input), self.array(sampler.output).astype(float)
                    after = np.searchsorted(times, time, side="right")
                    if after == 0 or after == len(times):
                        return values[max(after - 1, 0)]
                    a, b = values[after - 1 : after + 1]
                    if sampler.interpolation == "STEP":
                        return a
                    share = (time - times[after - 1]) / (times[after] - times[after - 1])
                    if path != "rotation":
                        return a + share * (b - a)
                    dot = min(a @ b, 1.0)
                    assert dot >= 0
                    angle = np.arccos(dot)
                    if angle < 1e-5:
                        return a
                    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
        return None

    def world(self, node, time):
        """The node's (4, 4) transform to the scene."""
        entry = self.file.nodes[node]
        if entry.matrix:
            local = np.array(entry.matrix, float).reshape(4, 4).T
            return self.world(self.parents[node], time) @ local if node in self.parents else local

        def value(path, default):
            moved = self.moved(node, path, time)
            return np.array(getattr(entry, path) or default, float) if moved is None else moved

        local = np.eye(4)
        rotation = Rotation.from_quat(value("rotation", [0, 0, 0, 1])).as_matrix()
        local[:3, :3] = rotation * value("scale", [1, 1, 1])
        local[:3, 3] = value("translation", [0, 0, 0])
        return self.world(self.parents[node], time) @ local if node in self.parents else local

    def skinned(self, mesh_node, time):
        """The vertices (V, 3) of a node with a skin, in the scene."""
        node = self.file.nodes[mesh_node]
        skin = self.file.skins[node.skin]
        inverse = self.array(skin.inverseBindMatrices).swapaxes(1, 2).astype(float)
        joints = np.stack([self.world(joint, time) for joint in skin.joints]) @ inverse
        attributes = self.file.meshes[node.mesh].primitives[0].attributes
        vertices = self.array(attributes.POSITION).astype(float)
        weights, which = self.array(attributes.WEIGHTS_0), self.array(attributes.JOINTS_0)
        blended = np.einsum("vk,vkab->vab", weights, joints[which])
        return np.einsum("vab,vb->va", blended[:, :3, :3], vertices) + blended[:, :3, 3]
