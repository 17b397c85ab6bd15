import pytest

from fullframe.body import JOINT_SETS, PARENTS

SMPL24_FLIP = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20, 23, 22)
J24_FLIP = (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13, 14, 15, 16, 17, 18, 19, 21, 20, 23, 22)
COCO_TO_J24 = (19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0)


def test_golden_flip_permutations() -> None:
    assert JOINT_SETS["smpl24"].flip_permutation == SMPL24_FLIP
    assert JOINT_SETS["j24"].flip_permutation == J24_FLIP


def test_golden_orders() -> None:
    j24 = JOINT_SETS["j24"].names
    assert JOINT_SETS["lsp14"].names == j24[:14]
    assert JOINT_SETS["coco17"].names == tuple(j24[i] for i in COCO_TO_J24)
    h36m = JOINT_SETS["h36m17"].names
    assert h36m.index("left_hip") == 1 and h36m.index("right_hip") == 4  # the left leg comes first
    assert [h36m[i] for i in (0, 7, 8, 9, 10)] == ["pelvis", "spine", "neck", "jaw", "head"]


@pytest.mark.parametrize("name", JOINT_SETS)
def test_a_joint_set_is_consistent(name: str) -> None:
    joint_set = JOINT_SETS[name]
    count = len(joint_set)
    assert joint_set.name == name
    assert name.endswith(str(count))
    assert len(set(joint_set.names)) == count
    flip = joint_set.flip_permutation
    assert tuple(flip[i] for i in flip) == tuple(range(count))
    bones = {frozenset(bone) for bone in joint_set.bones}
    assert len(bones) == len(joint_set.bones)
    assert {frozenset(flip[i] for i in bone) for bone in bones} == bones  # the skeleton is symmetric
    assert {i for bone in bones for i in bone} == set(range(count))


def test_parents_come_before_their_children() -> None:
    assert all(parent < joint for joint, parent in enumerate(PARENTS))
    assert JOINT_SETS["smpl24"].bones == tuple((parent, k) for k, parent in enumerate(PARENTS) if k)
