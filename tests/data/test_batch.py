import dataclasses

import numpy as np
import pytest
import torch

from fullframe.data.batch import Batch, Example, collate

CROP = (16, 12)


def full_example() -> Example:
    rng = np.random.default_rng(0)
    return Example(
        rng.integers(0, 256, (*CROP, 3), dtype=np.uint8),
        rng.normal(size=3).astype(np.float32),
        keypoints={"coco17": np.ones((17, 3), np.float32), "smpl24": np.ones((24, 3), np.float32)},
        joints={"coco17": np.ones((17, 4), np.float32), "smpl24": np.ones((24, 4), np.float32)},
        pose=rng.normal(size=(24, 3, 3)).astype(np.float32),
        betas=np.ones(11, np.float32),
    )


def bare_example() -> Example:
    return Example(
        np.ones((*CROP, 3), np.uint8),
        np.zeros(3, np.float32),
        keypoints={"lsp14": np.ones((14, 3), np.float32)},
        source=1,
    )


def test_collate_pads_unknown_labels_with_zeros() -> None:
    full, bare = full_example(), bare_example()
    short = dataclasses.replace(full, betas=np.ones(10, np.float32))
    batch = collate([full, bare, short], num_betas=11)
    assert len(batch) == 3 and batch.crops.shape == (3, *CROP, 3) and batch.crops.dtype == torch.uint8
    assert batch.has_pose.tolist() == batch.has_betas.tolist() == [1, 0, 1]
    assert batch.betas[2].tolist() == [1] * 10 + [0]
    assert set(batch.keypoints) == {"smpl24", "coco17", "lsp14"} and set(batch.joints) == {"smpl24", "coco17"}
    assert batch.keypoints["lsp14"][:, :, 2].sum(1).tolist() == [0, 14, 0]
    assert batch.joints["smpl24"].shape == (3, 24, 4) and not batch.joints["smpl24"][1].any()
    assert batch.source.tolist() == [0, 1, 0] and batch.source.dtype == torch.int64
    assert torch.equal(batch.pose[0], torch.from_numpy(full.pose))


def test_collate_refuses_no_examples_and_more_betas_than_the_network_has() -> None:
    with pytest.raises(ValueError, match="11 betas"):
        collate([full_example()], num_betas=10)
    with pytest.raises(ValueError, match="at least one"):
        collate([], num_betas=10)


def test_joined_batches_equal_one_batch() -> None:
    examples = [full_example(), bare_example()]
    whole = collate(examples, num_betas=11)
    joined = Batch.joined([collate([example], num_betas=11) for example in examples])
    for name, value in vars(whole).items():
        other = getattr(joined, name)
        sets = value if isinstance(value, dict) else {"": value}
        for key, tensor in sets.items():
            assert torch.equal(tensor, other[key] if key else other), (name, key)
    assert torch.equal(whole.take(torch.tensor([1])).bbox_info, whole.bbox_info[1:])
