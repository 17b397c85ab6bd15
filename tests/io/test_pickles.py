import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_smpl import synthetic_smpl, write_pickle

from fullframe.io.pickles import load_smpl_pickle

SMALL = synthetic_smpl(num_vertices=48)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("python", [2, 3])
def test_reads_what_was_written(tmp_path: Path, version: str, python: int) -> None:
    content = load_smpl_pickle(write_pickle(tmp_path / "body.pkl", SMALL, version, python))
    for key, expected in SMALL.items():
        np.testing.assert_array_equal(content[key], expected)
        assert isinstance(content[key], np.ndarray)
    assert content["bs_style"] == "lbs"


def test_needs_neither_chumpy_nor_scipy_to_be_importable(tmp_path: Path) -> None:
    data = write_pickle(tmp_path / "body.pkl", SMALL, "1.0").read_bytes()
    assert b"chumpy.reordering\nSelect" in data
    assert b"scipy.sparse.csc\ncsc_matrix" in data
    with pytest.raises(ModuleNotFoundError):
        pickle.loads(data, encoding="latin1")


@pytest.mark.parametrize(
    "array",
    [np.arange(6, dtype=">i4").reshape(2, 3), np.asfortranarray(np.eye(3)), np.zeros((0, 3), np.uint8)],
)
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_arrays_of_every_protocol_and_layout(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    path = tmp_path / "array.pkl"
    path.write_bytes(pickle.dumps({"a": array, "n": np.float32(2.5)}, protocol))
    content = load_smpl_pickle(path)
    np.testing.assert_array_equal(content["a"], array)
    assert content["n"] == 2.5


class Reduce:
    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def hostile_pickles(target: str) -> dict[str, bytes]:
    import os
    import shutil

    dtype = np.dtype("f8")
    reconstruct = np.zeros(1).__reduce__()[0]
    call = f"open({target!r}, 'w')"
    return {
        "os.system": pickle.dumps({"f": Reduce(os.system, f"touch {target}")}),
        "posix.system": b"cposix\nsystem\n(S'touch " + target.encode() + b"'\ntR.",
        "builtins.eval": pickle.dumps({"f": Reduce(eval, call)}),
        "builtins.getattr": pickle.dumps({"f": Reduce(getattr, Reduce(__import__, "os"), "system")}),
        "shutil.rmtree": pickle.dumps(Reduce(shutil.rmtree, target)),
        "numpy.load": pickle.dumps(Reduce(np.load, target)),
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "instance": b"(S'touch " + target.encode() + b"'\nios\nsystem\n.",
        # Allowed names put to another use.
        "reconstructor abused": b"ccopy_reg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
        "codec": b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        "dtype called on text": b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.",
        "reduce of a result": b"cnumpy\ndtype\n)R)R.",
        "build on a class": b"cnumpy\nndarray\n}S'x'\nI1\nsb.",
        "build on a dictionary": b"}}S'x'\nI1\nsb.",
        "persistent id": b"Psomething\n.",
        "extension": b"\x82\x01.",
        "array of objects": pickle.dumps({"a": np.array([Reduce(os.system, f"touch {target}")], object)}),
        "giant array": pickle.dumps({"a": Forged(reconstruct, (1, (10**12,), dtype, False, b"\0" * 8))}),
        "overflowing array": pickle.dumps({"a": Forged(reconstruct, (1, (2**32, 2**32), dtype, False, b""))}),
        "negative array": pickle.dumps({"a": Forged(reconstruct, (1, (-1,), dtype, False, b"\0" * 8))}),
        "giant sparse matrix": giant_sparse(),
        "endless nesting": b"}S'a'\n" + b"cchumpy.ch\nCh\n)\x81p0\n}S'x'\ng0\nsbs.",
        "not a dictionary": pickle.dumps([1, 2, 3]),
    }


class Forged:
    """Pickles as an array whose state says whatever it likes."""

    def __init__(self, reconstruct, state):
        self.reduced = (reconstruct, (np.ndarray, (0,), b"b"), state)

    def __reduce__(self):
        return self.reduced


def giant_sparse() -> bytes:
    from scipy.sparse import csc_matrix

    matrix = csc_matrix((1, 1))
    matrix._shape = (10**7, 10**7)
    return pickle.dumps({"J_regressor": matrix})


@pytest.mark.parametrize("kind", sorted(hostile_pickles("/nowhere")))
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "victim"
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile_pickles(str(target))[kind])
    with pytest.raises(ValueError, match="pickle") as error:
        load_smpl_pickle(path)
    if kind in ("os.system", "builtins.eval", "shutil.rmtree", "stack global"):
        assert "nothing was run" in str(error.value)
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_message_names_what_the_pickle_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile_pickles("/nowhere")["builtins.eval"])
    with pytest.raises(ValueError, match=r"builtins\.eval"):
        load_smpl_pickle(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_pickles_give_an_error_or_a_dictionary(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged.pkl"
    whole = bytearray(write_pickle(path, SMALL, "1.0").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        assert isinstance(load_smpl_pickle(path), dict)
    except ValueError as error:
        assert str(error)


def test_a_length_beyond_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short.pkl"
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.")
    with pytest.raises(ValueError):
        load_smpl_pickle(path)
