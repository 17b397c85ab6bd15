import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from fullframe.io.npz import read_npz, require_regular_file


def test_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.arange(3), b=np.eye(2), c=np.array("text"), d=np.array([None], object))
    assert set(read_npz(path, ("a",), ("b", "missing"))) == {"a", "b"}
    np.testing.assert_array_equal(read_npz(path, ("a",))["a"], np.arange(3))
    assert str(read_npz(path, ("c",))["c"]) == "text"
    with pytest.raises(ValueError, match=r"a.npz: .*lacks x; it has a, b, c, d"):
        read_npz(path, ("x", "a"))
    with pytest.raises(ValueError, match=r"a.npz: .*allow_pickle"):
        read_npz(path, optional=None)


def test_sizes_are_checked_before_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, small=np.arange(3), large=np.zeros(30_000_000, np.uint8))
    assert path.stat().st_size < 100_000
    assert set(read_npz(path, ("small",), limit=1_000_000)) == {"small"}
    with pytest.raises(ValueError, match=r"bomb.npz: .*its arrays have 30 MB, the limit is 1 MB"):
        read_npz(path, ("large",), limit=1_000_000)


def test_a_header_cannot_ask_for_more_than_the_member_has(tmp_path: Path) -> None:
    path, header = tmp_path / "a.npz", BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**13,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"a.npz: not a usable .npz file"):
        read_npz(path, ("x",))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", b"\x93NUMPY\x01\x00"])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz: not a usable .npz file"):
        read_npz(tmp_path / "a.npz")


def test_damaged_members(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=1000))
    content = bytearray(path.read_bytes())
    content[500:510] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz: not a usable .npz file"):
        read_npz(path, ("a",))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path, tmp_path / "pipe.npz"):
        with pytest.raises(ValueError, match=f"{path.name}: not a regular file"):
            read_npz(path)
    loop = tmp_path / "loop.npz"
    loop.symlink_to(loop)
    with pytest.raises(ValueError, match=r"loop.npz: its symbolic links form a loop"):
        require_regular_file(loop)
    with pytest.raises(FileNotFoundError):
        require_regular_file(tmp_path / "missing.npz")
