import os
import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import write_pickle as write_any_pickle
from dataset_files import write_python2_pickle, write_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix
from synthetic_smpl import synthetic_smpl, write_pickle

from fullframe.body.files import BodyFileError, read_body
from fullframe.io import pickle_scan
from fullframe.io.pickles import read_pickle, read_table

SMALL = synthetic_smpl(num_vertices=48)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("python", [2, 3])
def test_reads_what_was_written(tmp_path: Path, version: str, python: int) -> None:
    content = read_pickle(write_pickle(tmp_path / "body.pkl", SMALL, version, python))
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
    content = read_pickle(path)
    np.testing.assert_array_equal(content["a"], array)
    assert content["n"] == 2.5


class Reduce:
    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def hostile_pickles(target: str) -> dict[str, bytes]:
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
    """Pickles as an array whose state is arbitrary."""

    def __init__(self, reconstruct, state):
        self.reduced = (reconstruct, (np.ndarray, (0,), b"b"), state)

    def __reduce__(self):
        return self.reduced


def giant_sparse() -> bytes:
    matrix = csc_matrix((1, 1))
    matrix._shape = (10**7, 10**7)
    return pickle.dumps({"J_regressor": matrix})


@pytest.mark.parametrize("kind", sorted(hostile_pickles("/nowhere")))
def test_hostile_pickles_are_refused_and_run_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "victim"
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile_pickles(str(target))[kind])
    with pytest.raises(BodyFileError, match="pickle") as error:
        read_body(path)
    if kind in ("os.system", "builtins.eval", "shutil.rmtree", "stack global"):
        assert "nothing was run" in str(error.value)
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_message_names_what_the_pickle_requests(tmp_path: Path) -> None:
    path = tmp_path / "hostile.pkl"
    path.write_bytes(hostile_pickles("/nowhere")["builtins.eval"])
    with pytest.raises(ValueError, match=r"builtins\.eval"):
        read_pickle(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_pickles_give_an_error_or_a_dictionary(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "damaged.pkl"
    whole = bytearray(write_pickle(path, SMALL, "1.0").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        assert isinstance(read_pickle(path), dict)
    except ValueError as error:
        assert str(error)


def test_a_length_beyond_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short.pkl"
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"abc.")
    with pytest.raises(ValueError):
        read_pickle(path)


CONTENT = {
    "name": "downtown",
    "lists": [np.arange(6.0).reshape(2, 3), [np.zeros((0, 3)), {"deep": (1, None, True)}]],
    "words": np.array(["left", "right knee"]),
    "bytes": np.array([b"m", b"fem"]),
    "objects": np.array([np.ones(2), "text", [1, 2]], dtype=object),
    "flags": np.array([True, False]),
    "scalar": np.float32(2.5),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
}


def same(a, b) -> None:
    assert type(a) is type(b) or np.isscalar(a)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for x, y in zip(a, b, strict=True):
            same(x, y)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        same(a.tolist(), b.tolist())
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_nested_content_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    write_any_pickle(tmp_path / "a.pkl", CONTENT, protocol)
    same(read_pickle(tmp_path / "a.pkl", "see the net"), CONTENT)


def test_python_2(tmp_path: Path) -> None:
    content = {"betas": [np.ones(10)], "genders": ["m"], "n": 3}
    write_python2_pickle(tmp_path / "a.pkl", content)
    same(read_pickle(tmp_path / "a.pkl", "see the net"), content)


def test_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    content = {
        "plain": base,
        "view": base.T[1:, 1:],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "whole": torch.tensor([3, 4]),
        "learned": torch.zeros(1, 3, requires_grad=True),
    }
    write_any_pickle(tmp_path / "a.pkl", content)
    found = read_pickle(tmp_path / "a.pkl", "see the net")
    for key, tensor in content.items():
        np.testing.assert_array_equal(found[key], tensor.detach().numpy())


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    for content in (Reduce(os.mkdir, str(tmp_path / "hacked")), Reduce(eval, "1")):
        write_any_pickle(tmp_path / "a.pkl", {"betas": [content]}, protocol)
        with pytest.raises(ValueError, match=r"a.pkl: refused: the pickle asks for .*nothing was run"):
            read_pickle(tmp_path / "a.pkl", "see the net")
    assert not (tmp_path / "hacked").exists()


def test_code_inside_a_tensor_is_refused(tmp_path: Path) -> None:
    hostile = pickle.dumps(Reduce(os.mkdir, str(tmp_path / "hacked")), 2)
    storage = Reduce(torch.storage._load_from_bytes, hostile)
    write_any_pickle(
        tmp_path / "a.pkl", {"t": Reduce(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, {})}
    )
    with pytest.raises(ValueError, match=r"a.pkl: "):
        read_pickle(tmp_path / "a.pkl", "see the net")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    ("offset", "size", "stride"), [(0, (9,), (1,)), (3, (1,), (1,)), (0, (2,), (5,)), (-1, (1,), (1,))]
)
def test_a_tensor_cannot_reach_beyond_its_content(tmp_path: Path, offset, size, stride) -> None:
    whole = torch.zeros(3)
    storage = whole.untyped_storage()
    (load, args), *_ = [
        torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True).__reduce__()
    ]
    made = Reduce(torch._utils._rebuild_tensor_v2, Reduce(load, *args), offset, size, stride, False, {})
    write_any_pickle(tmp_path / "a.pkl", {"t": made})
    with pytest.raises(ValueError, match="a tensor larger than its content"):
        read_pickle(tmp_path / "a.pkl", "see the net")


def test_loops_and_shared_lists(tmp_path: Path) -> None:
    shared: list = [1]
    for _ in range(15):
        shared = [shared, shared]
    write_any_pickle(tmp_path / "a.pkl", {"shared": shared})
    found = read_pickle(tmp_path / "a.pkl", "see the net")["shared"]
    assert found[0] is found[1]
    loop: list = []
    loop.append(loop)
    write_any_pickle(tmp_path / "b.pkl", {"loop": loop})
    with pytest.raises(ValueError, match=r"b.pkl: the pickle holds a list inside itself"):
        read_pickle(tmp_path / "b.pkl", "see the net")


def nested(depth: int, end: bytes = b".", start: bytes = b"") -> bytes:
    """A tuple that holds the one before twice, and that one the one before it, `depth` deep."""
    return start + b"I1\n" + b"2\x86" * depth + end


def sparse(rows: int) -> csc_matrix:
    return csc_matrix((rows, 10_000))


LABORIOUS = {
    "tuples as a key": nested(40, b"I2\ns.", b"}"),
    "tuples as keys": nested(40, b"I2\nu.", b"}("),
    "tuples as the keys of DICT": nested(40, b"I2\nd.", b"("),
    "tuples in a set": nested(40, b"\x90.", b"\x8f("),
    "tuples in a frozen set": nested(40, b"\x91.", b"("),
    "tuples as a name": b"\x8c\x02os" + nested(40, b"\x93."),
    "tuples as a dtype": b"}S'a'\ncnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n("
    + nested(40, b"tRS'12345678'\ntRs."),
    "tuples as a shape": b"cnumpy.core.multiarray\n_reconstruct\n)R("
    + nested(40, b"cnumpy\ndtype\n(S'f8'\ntRI0\nS''\ntb."),
    "tuples as a value": nested(40),
    "lists as a value": nested(60).replace(b"2\x86", b"q\x00(h\x00h\x00l"),
    "3 million tuples": b"I1\n" + b"\x85" * 3_000_000 + b".",
    "3 million lists": b"(" * 3_000_000 + b"l" * 3_000_000 + b".",
    "a memo of 2^32 entries": b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b".",
    "sparse matrices": pickle.dumps([sparse(900 + i) for i in range(30)]),
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
}


@pytest.mark.parametrize("kind", sorted(LABORIOUS))
def test_pickles_that_take_forever_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(LABORIOUS[kind])
    with pytest.raises(ValueError, match=r"a.pkl: "):
        read_pickle(path)


def test_the_number_of_operations_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_scan, "_MAX_OPERATIONS", 1000)
    write_any_pickle(tmp_path / "a.pkl", [[]] * 400)
    read_pickle(tmp_path / "a.pkl")
    write_any_pickle(tmp_path / "a.pkl", [[] for _ in range(1000)])
    with pytest.raises(ValueError, match="more than 1000 operations"):
        read_pickle(tmp_path / "a.pkl")


def test_a_tensor_of_few_numbers_cannot_become_large(tmp_path: Path) -> None:
    write_any_pickle(tmp_path / "a.pkl", {"t": torch.ones(1).expand(10**9)})
    with pytest.raises(ValueError, match="a tensor larger than its content"):
        read_pickle(tmp_path / "a.pkl")


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_a_clear_error_or_a_value(tmp_path: Path, data) -> None:
    whole = bytearray(pickle.dumps(CONTENT, 2))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.pkl"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        read_pickle(path, "see the net")
    except ValueError as error:
        assert str(error).startswith(str(path)) and "the net" in str(error)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a.pkl"):
        read_pickle(tmp_path / "a.pkl", "see the net")
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a.pkl: .*the net"):
        read_pickle(tmp_path / "a.pkl", "see the net")


@pytest.mark.parametrize("since_1_3", [False, True])
def test_columns_of_a_table(tmp_path: Path, since_1_3: bool) -> None:
    columns = {
        "a": ["x", "y", "z"],
        "n": [1.5, 2.5, 3.5],
        "l": [[1], [], [2, 3]],
        "big": [0, 1, 2],
        "m": [4.0] * 3,
    }
    write_table(tmp_path / "a.pkl", columns, since_1_3)
    rows = read_table(tmp_path / "a.pkl", ("l", "a", "n", "absent"), "see the net")
    assert [set(row) for row in rows] == [{"a", "n", "l"}] * 3
    for key in ("a", "n", "l"):
        assert [row[key] for row in rows] == columns[key]
