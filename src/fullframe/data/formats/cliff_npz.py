"""CLIFF's released pseudo ground truth for COCO and MPII (Li et al., ECCV 2022, annotator of section 3.3)."""

from pathlib import Path

from fullframe.data.formats.samples import SampleSequence
from fullframe.data.formats.spin_npz import read_list

WHERE = "https://github.com/huawei-noah/noah-research/tree/master/CLIFF (cliffGT_v1)"


class CLIFFLabels(SampleSequence):
    """The people of a file of labels: `j24` keypoints; pose, betas and translation of neutral SMPL, or of the
    body that the file names, as those of `fullframe annotate` do.

    The camera is the one that the labels were made with: focal_l, the image's diagonal. 3D joints are not
    read, since in places those stored do not fit the keypoints; SMPL's pose, betas and translation give them.

    Args:
        path: coco2014part_cliffGT.npz or mpii_cliffGT.npz.
        images: the folder that imgname is relative to.

    Raises:
        FileNotFoundError: the file or the folder is missing.
        ValueError: the file is damaged or lacks a key.
    """

    def __init__(self, path: str | Path, images: str | Path) -> None:
        keys = ("part", "pose", "shape", "global_t", "focal_l")
        ours = ("body", "has_trans", "box", "focal", "cam_center", "img_w", "img_h", "name")
        labels = read_list(Path(path), Path(images), 4 / 3, (*keys, "has_smpl", *ours), WHERE)
        if missing := [key for key in keys if key not in labels.arrays]:
            raise ValueError(f"{path}: not CLIFF's labels, it lacks {', '.join(missing)}; see {WHERE}")
        super().__init__([labels])
