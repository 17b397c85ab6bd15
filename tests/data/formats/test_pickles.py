import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import write_pickle, write_python2_pickle, write_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fullframe.data.formats.pickles import read_pickle, read_table

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
    write_pickle(tmp_path / "a.pkl", CONTENT, protocol)
    same(read_pickle(tmp_path / "a.pkl", "the net"), CONTENT)


def test_python_2(tmp_path: Path) -> None:
    content = {"betas": [np.ones(10)], "genders": ["m"], "n": 3}
    write_python2_pickle(tmp_path / "a.pkl", content)
    same(read_pickle(tmp_path / "a.pkl", "the net"), content)


def test_tensors(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    content = {
        "plain": base,
        "view": base.T[1:, 1:],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "whole": torch.tensor([3, 4]),
        "learned": torch.zeros(1, 3, requires_grad=True),
    }
    write_pickle(tmp_path / "a.pkl", content)
    found = read_pickle(tmp_path / "a.pkl", "the net")
    for key, tensor in content.items():
        np.testing.assert_array_equal(found[key], tensor.detach().numpy())


class Reduce:
    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    for content in (Reduce(os.mkdir, str(tmp_path / "hacked")), Reduce(eval, "1")):
        write_pickle(tmp_path / "a.pkl", {"betas": [content]}, protocol)
        with pytest.raises(ValueError, match=r"a.pkl: refused: the pickle asks for .*nothing was run"):
            read_pickle(tmp_path / "a.pkl", "the net")
    assert not (tmp_path / "hacked").exists()


def test_code_inside_a_tensor_is_refused(tmp_path: Path) -> None:
    hostile = pickle.dumps(Reduce(os.mkdir, str(tmp_path / "hacked")), 2)
    storage = Reduce(torch.storage._load_from_bytes, hostile)
    write_pickle(
        tmp_path / "a.pkl", {"t": Reduce(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, {})}
    )
    with pytest.raises(ValueError, match=r"a.pkl: "):
        read_pickle(tmp_path / "a.pkl", "the net")
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
    write_pickle(tmp_path / "a.pkl", {"t": made})
    with pytest.raises(ValueError, match="a tensor larger than its content"):
        read_pickle(tmp_path / "a.pkl", "the net")


def test_loops_and_shared_lists(tmp_path: Path) -> None:
    shared: list = [1]
    for _ in range(60):  # 2 ** 60 items, if each reference were followed anew
        shared = [shared, shared]
    write_pickle(tmp_path / "a.pkl", {"shared": shared})
    found = read_pickle(tmp_path / "a.pkl", "the net")["shared"]
    assert found[0] is found[1]
    loop: list = []
    loop.append(loop)
    write_pickle(tmp_path / "b.pkl", {"loop": loop})
    with pytest.raises(ValueError, match=r"b.pkl: the pickle holds a list inside itself"):
        read_pickle(tmp_path / "b.pkl", "the net")


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_give_a_clear_error_or_a_value(tmp_path: Path, data) -> None:
    whole = bytearray(pickle.dumps(CONTENT, 2))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.pkl"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        read_pickle(path, "the net")
    except ValueError as error:
        assert str(error).startswith(str(path)) and "the net" in str(error)


def test_missing_and_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a.pkl is missing.*the net"):
        read_pickle(tmp_path / "a.pkl", "the net")
    (tmp_path / "a.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a.pkl: .*the net"):
        read_pickle(tmp_path / "a.pkl", "the net")


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
    rows = read_table(tmp_path / "a.pkl", ("l", "a", "n", "absent"), "the net")
    assert [set(row) for row in rows] == [{"a", "n", "l"}] * 3
    for key in ("a", "n", "l"):
        assert [row[key] for row in rows] == columns[key]
