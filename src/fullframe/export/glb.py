"""GLB files (glTF 2.0, Khronos 2021): one JSON text and one block of numbers.

Written and read with json and struct: the libraries that know skins only mirror that JSON as Python objects,
and drop what they do not know.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.io.npz import require_regular_file

COMPONENTS = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121, "int16": 5122, "int8": 5120}
SHAPES: dict[str, tuple[int, ...]] = {"SCALAR": (), "VEC2": (2,), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}
VERTICES, INDICES = 34962, 34963  # ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER
_DTYPES = {code: np.dtype(name) for name, code in COMPONENTS.items()}
_TYPES = {shape: name for name, shape in SHAPES.items()}


class Glb:
    """The two halves of a GLB: `tree`, the JSON, and `binary`.

    A new one has no entries; `read` gives that of a file.
    """

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {"asset": {"version": "2.0", "generator": "fullframe"}, "scene": 0}
        self.binary = bytearray()

    @classmethod
    def read(cls, path: Path) -> "Glb":
        """Reads a file; everything in it is kept.

        Raises:
            ValueError: it is no GLB of version 2.
            OSError: it cannot be read.
        """
        require_regular_file(path)
        content = Path(path).read_bytes()
        file = cls()
        try:
            magic, version, length = struct.unpack_from("<4sII", content)
            if magic != b"glTF":
                raise ValueError("it does not begin as a GLB")
            if version != 2:
                raise ValueError(f"it has version {version} of glTF, not 2")
            if length > len(content):
                raise ValueError(f"it has {len(content)} of {length} bytes")
            place = 12
            chunks: dict[bytes, bytes] = {}
            while place + 8 <= length:
                size, kind = struct.unpack_from("<I4s", content, place)
                if place + 8 + size > len(content):
                    raise ValueError("a part of it is cut off")
                chunks.setdefault(kind, content[place + 8 : place + 8 + size])
                place += 8 + size
            tree = json.loads(chunks[b"JSON"])
            if not isinstance(tree, dict):
                raise ValueError("its JSON is no object")
        except (ValueError, KeyError, struct.error, RecursionError) as error:
            raise ValueError(
                f"{path} is not a readable GLB ({error}); export the character as GLB, glTF's binary file."
            ) from error
        file.tree = tree
        file.binary = bytearray(chunks.get(b"BIN\0", b""))
        return file

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Puts an entry into one of the tree's lists and returns its index."""
        entries: list[dict[str, Any]] = self.tree.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def use_extension(self, name: str, content: dict[str, Any]) -> None:
        self.tree.setdefault("extensionsUsed", []).append(name)
        self.tree.setdefault("extensions", {})[name] = content

    def view(self, content: bytes, target: int | None = None) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        self.binary += content
        return self.add("bufferViews", view | ({"target": target} if target else {}))

    def array(self, values: NDArray[Any], target: int | None = None, bounds: bool = False) -> int:
        """An accessor of one item per entry of the first axis; bounds are glTF's min and max."""
        entry: dict[str, Any] = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": COMPONENTS[values.dtype.name],
            "count": len(values),
            "type": _TYPES[values.shape[1:]],
        }
        if bounds:
            flat = values.reshape(len(values), -1)
            entry |= {"min": flat.min(0).tolist(), "max": flat.max(0).tolist()}
        return self.add("accessors", entry)

    def values(self, accessor: int) -> NDArray[np.float64]:
        """The numbers of an accessor, one item per entry of the first axis; normalised integers as shares.

        Raises:
            ValueError: they are compressed, lie outside the file, or are not finite.
        """
        try:
            entry = self.tree["accessors"][accessor]
            view = self.tree["bufferViews"][entry["bufferView"]]
            dtype, shape = _DTYPES[entry["componentType"]], SHAPES[entry["type"]]
            count, size = int(entry["count"]), int(np.prod(shape, dtype=int)) * dtype.itemsize
            stride = int(view.get("byteStride", size))
            start = int(view.get("byteOffset", 0)) + int(entry.get("byteOffset", 0))
            if view["buffer"] != 0 or "sparse" in entry or "extensions" in view:
                raise ValueError("compressed or outside the file")
            if count < 0 or start < 0 or stride < size:
                raise ValueError("damaged")
            # Matrices of bytes and shorts are padded, but nobody writes them so.
            raw = np.frombuffer(self.binary, np.uint8, (count - 1) * stride + size if count else 0, start)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"accessor {accessor} cannot be read ({error})") from error
        items = np.lib.stride_tricks.as_strided(raw, (count, size), (stride, 1))
        found = np.ascontiguousarray(items).view(dtype).reshape(count, *shape).astype(np.float64)
        if not np.isfinite(found).all():
            raise ValueError(f"accessor {accessor} holds numbers that are not finite")
        if entry.get("normalized") and dtype.kind in "iu":
            found = np.maximum(found / np.iinfo(dtype).max, -1)
        return found

    def content(self) -> bytes:
        """The file."""
        chunks = b""
        if self.binary:
            self.binary += b"\0" * (-len(self.binary) % 4)
            self.tree["buffers"] = [{"byteLength": len(self.binary)}, *self.tree.get("buffers", [])[1:]]
            chunks = struct.pack("<I4s", len(self.binary), b"BIN\0") + bytes(self.binary)
        text = json.dumps(self.tree, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + chunks
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
