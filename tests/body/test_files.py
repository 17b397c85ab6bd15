from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_smpl import synthetic_smpl, write_npz, write_pickle

from fullframe.body import BodyFileError, load_body
from fullframe.body.files import find_smpl, read_body

ARRAYS = synthetic_smpl()


@pytest.fixture(scope="module")
def smpl_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz", ARRAYS)


@pytest.mark.parametrize(
    ("file", "version", "name"),
    [
        ("basicModel_f_lbs_10_207_0_v1.0.0.pkl", "1.0", "smpl-female"),
        ("basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl", "1.1", "smpl-neutral"),
        ("SMPL_MALE.pkl", "1.1", "smpl-male"),
    ],
)
def test_official_pickles_are_the_npz_body(
    tmp_path: Path, smpl_npz: Path, file: str, version: str, name: str
) -> None:
    path = write_pickle(tmp_path / file, ARRAYS, version)
    body, expected = read_body(path), read_body(smpl_npz)
    assert body.name == name
    for key in ("template", "shape_dirs", "pose_dirs", "joint_regressor", "weights", "faces"):
        np.testing.assert_array_equal(getattr(body, key), getattr(expected, key))
    assert body.template.dtype == np.float32 and body.faces.dtype == np.int64


def test_the_gender_can_be_given_where_the_name_does_not_say_it(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "model.npz", ARRAYS)
    with pytest.raises(BodyFileError, match="does not say male, female or neutral"):
        load_body("smpl", path)
    assert load_body("smpl-male", path).name == "smpl-male"


def test_a_wrong_gender_is_refused(smpl_npz: Path) -> None:
    with pytest.raises(BodyFileError, match="asked for smpl-male, but the file's name says neutral"):
        load_body("smpl-male", smpl_npz)


def test_more_shape_directions_can_be_used(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "SMPL_NEUTRAL.npz", synthetic_smpl(num_betas=16))
    assert load_body("smpl", path).num_betas == 10
    last = torch.nn.functional.one_hot(torch.tensor([15]), 16).float()
    body = load_body("smpl", path, num_betas=16)
    moved = body(last, torch.eye(3).repeat(1, 24, 1, 1)).vertices[0].numpy()
    np.testing.assert_allclose(moved, body.data.template + body.data.shape_dirs[..., 15], atol=1e-5)
    with pytest.raises(BodyFileError, match="has 16 shape directions, not 17"):
        load_body("smpl", path, num_betas=17)


@pytest.mark.parametrize("key", ["v_template", "shapedirs", "J_regressor", "kintree_table", "weights", "f"])
def test_a_missing_key_is_named_with_the_file_and_the_remedy(tmp_path: Path, key: str) -> None:
    arrays = {k: v for k, v in ARRAYS.items() if k not in (key, "posedirs")}
    with pytest.raises(BodyFileError, match=r"SMPL_NEUTRAL\.npz: .*smpl\.is\.tue\.mpg\.de") as error:
        read_body(write_npz(tmp_path / "SMPL_NEUTRAL.npz", arrays))
    assert key in str(error.value) and "posedirs" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "posedirs",
            np.zeros((6890, 3, 206)),
            r"posedirs has shape \(6890, 3, 206\), expected \(6890, 3, 207\)",
        ),
        ("v_template", np.zeros((6890, 2)), "v_template has shape"),
        ("weights", np.zeros((24, 6890)), "weights has shape"),
        ("J_regressor", np.zeros((24, 6889)), "J_regressor has shape"),
        ("shapedirs", np.zeros((6890, 30)), "shapedirs has shape"),
        ("v_template", np.full((6890, 3), np.nan), "v_template holds values that are not finite"),
        ("f", np.array([[0, 1, 6890]]), "names vertices outside"),
        ("kintree_table", np.zeros((2, 24), int), "not SMPL's tree"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, key: str, value: np.ndarray, message: str) -> None:
    arrays = {**ARRAYS, "posedirs": np.zeros((6890, 3, 207), np.int8), key: value}
    with pytest.raises(BodyFileError, match=message):
        read_body(write_npz(tmp_path / "SMPL_NEUTRAL.npz", arrays))


def test_another_smpl_family_body_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "SMPL_NEUTRAL.npz", synthetic_smpl(num_vertices=96))
    with pytest.raises(BodyFileError, match="SMPL has 6890 vertices, this file has 96"):
        read_body(path)


@pytest.mark.parametrize(
    ("name", "content"), [("a.npz", b""), ("a.npz", b"text"), ("a.pkl", b""), ("a.pkl", b"x")]
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BodyFileError, match=name):
        load_body("smpl-neutral", path)


def test_missing_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(BodyFileError, match="no such body file"):
        load_body("smpl", tmp_path / "SMPL_NEUTRAL.pkl")
    (tmp_path / "SMPL_NEUTRAL.txt").touch()
    with pytest.raises(BodyFileError, match=r"ends in \.npz or \.pkl"):
        load_body("smpl", tmp_path / "SMPL_NEUTRAL.txt")
    with pytest.raises(BodyFileError, match="unknown body 'smplx'"):
        load_body("smplx")


def test_the_open_body_and_smpl_are_not_confused(smpl_npz: Path) -> None:
    with pytest.raises(BodyFileError, match="asked for open, but this file holds smpl-neutral"):
        load_body("open", smpl_npz)


def test_find_smpl_lists_neutral_first(tmp_path: Path) -> None:
    assert find_smpl(folder=tmp_path) == []
    for name in (
        "SMPL_FEMALE.pkl",
        "basicmodel_neutral_lbs_10_207_0_v1.1.0.pkl",
        "notes.txt",
        "SMPL_MALE.npz",
    ):
        (tmp_path / name).touch()
    assert [path.name[:8] for path in find_smpl(folder=tmp_path)] == ["basicmod", "SMPL_FEM", "SMPL_MAL"]
    assert [path.name for path in find_smpl("smpl-male", tmp_path)] == ["SMPL_MALE.npz"]


def test_smpl_without_its_extra_regressors(smpl_npz: Path) -> None:
    body = load_body("smpl", smpl_npz)
    vertices, joints = body(torch.zeros(1, 10), torch.eye(3).repeat(1, 24, 1, 1))
    torch.testing.assert_close(body.regress(vertices, "smpl24"), joints, atol=1e-5, rtol=0)
    coco = body.regress(vertices, "coco17")[0]
    picked = [332, 2800, 6260, 583, 4071]  # nose, left and right eye, left and right ear
    torch.testing.assert_close(coco[:5], vertices[0, picked])
    torch.testing.assert_close(coco[[5, 6, 11, 12]], joints[0, [16, 17, 1, 2]], atol=1e-5, rtol=0)
    with pytest.raises(BodyFileError, match=r"put J_regressor_h36m\.npy beside"):
        body.regress(vertices, "h36m17")
    with pytest.raises(BodyFileError, match=r"put J_regressor_extra\.npy beside"):
        body.regress(vertices, "j24")


def test_smpl_with_its_extra_regressors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_npz(tmp_path / "SMPL_NEUTRAL.npz", ARRAYS)
    h36m, extra = rng.dirichlet(np.ones(6890), 17), rng.dirichlet(np.ones(6890), 9)
    np.save(tmp_path / "J_regressor_h36m.npy", h36m)
    np.save(tmp_path / "J_regressor_extra.npy", extra)
    body = load_body("smpl", path)
    vertices, joints = body(torch.randn(1, 10), torch.eye(3).repeat(1, 24, 1, 1))
    expected = torch.from_numpy(np.float32(h36m)) @ vertices[0]
    torch.testing.assert_close(body.regress(vertices, "h36m17")[0], expected)
    # J24: hips, neck, head top, pelvis, thorax, spine, jaw and head are the extra rows.
    j24 = body.regress(vertices, "j24")[0]
    expected = torch.from_numpy(np.float32(extra)) @ vertices[0]
    torch.testing.assert_close(j24[[2, 3, 12, 13, 14, 15, 16, 17, 18]], expected)
    torch.testing.assert_close(j24[[0, 1, 6, 9]], joints[0, [8, 5, 21, 16]], atol=1e-5, rtol=0)
    torch.testing.assert_close(body.regress(vertices, "lsp14")[0], j24[:14])


def test_a_regressor_made_for_another_body_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "SMPL_NEUTRAL.npz", ARRAYS)
    np.save(tmp_path / "J_regressor_h36m.npy", np.zeros((17, 6700)))
    with pytest.raises(BodyFileError, match=r"\(17, 6700\) was made for another body"):
        load_body("smpl", path)
