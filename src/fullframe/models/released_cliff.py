"""CLIFF's released checkpoints (Li et al., ECCV 2022): read, and written in our format."""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from fullframe.io.torch_file import load_torch
from fullframe.models.checkpoint import Card, CheckpointError, save_checkpoint, shorten
from fullframe.models.cliff import CLIFF

BODY = "smpl-neutral"
CROP = (256, 192)
"""Height and width that all released weights were trained with."""

_MAX_BYTES = 1 << 30  # the largest released file has 0.4 GB

# A tensor that only one of the two encoders has.
_SIGNS = {
    "hrnet_w48": "encoder.stage4.0.branches.0.0.conv1.weight",
    "resnet50": "encoder.layer4.0.conv1.weight",
}
_METRICS = ("PA-MPJPE", "MPJPE", "MVE")
_REMEDY = (
    "get res50-PA45.7_MJE72.0_MVE85.3_3dpw.pt or hr48-PA43.0_MJE69.0_MVE81.2_3dpw.pt from the links in "
    "https://github.com/huawei-noah/noah-research/tree/master/CLIFF"
)


def save_official(checkpoint: str | Path, out: str | Path) -> Card:
    """Read one of CLIFF's released checkpoints and write it as `<name>.safetensors` with its card.

    Raises:
        CheckpointError: see read_official.
        ValueError: see save_checkpoint.
    """
    return save_checkpoint(
        read_official(checkpoint),
        out,
        body=BODY,
        data=f"as released by CLIFF's authors in {Path(checkpoint).name}",
        licence="MIT (CLIFF); it predicts SMPL, whose licence allows non-commercial research only",
        metrics=metrics_in_name(Path(checkpoint).name),
    )


def read_official(path: str | Path) -> CLIFF:
    """CLIFF with the weights of a released checkpoint, in evaluation mode. Nothing in the file is executed.

    It sees 256 x 192 crops and the bounding-box info scaled by Human3.6M's statistics, and predicts neutral
    SMPL.

    Raises:
        CheckpointError: the file is missing, damaged, or holds more than tensors and plain values; or its
            tensors are not exactly those of CLIFF with a ResNet-50 or an HRNet-W48.
    """
    path = Path(path)
    tensors = _read(path)
    encoder = next((name for name, sign in _SIGNS.items() if sign in tensors), None)
    if encoder is None:
        raise CheckpointError(
            f"{path}: neither a ResNet-50 nor an HRNet-W48 CLIFF, it lacks {' and '.join(_SIGNS.values())}; "
            f"{_REMEDY}"
        )
    model = CLIFF(encoder, CROP, bbox_norm="h36m", crop_method="cliff").eval()
    state = model.state_dict()
    names = {_official_name(name): name for name in state}
    wanted = {official: state[name] for official, name in names.items()}
    problems = _differences(tensors, wanted)
    if problems:
        raise CheckpointError(
            f"{path}: not a released CLIFF with {encoder}: {'; '.join(problems)}; {_REMEDY}"
        )
    fitting = {names[official]: tensors[official].reshape(wanted[official].shape) for official in names}
    model.load_state_dict(fitting)
    return model


def metrics_in_name(name: str) -> dict[str, float]:
    """The results in a released file's name, in mm.

    >>> metrics_in_name("hr48-PA43.0_MJE69.0_MVE81.2_3dpw.pt")
    {'3dpw PA-MPJPE mm': 43.0, '3dpw MPJPE mm': 69.0, '3dpw MVE mm': 81.2}
    """
    found = re.fullmatch(r".*?PA([\d.]+)_MJE([\d.]+)_MVE([\d.]+)_(\w+)\.pt", name)
    if not found:
        return {}
    *values, data = found.groups()
    return {f"{data} {metric} mm": float(value) for metric, value in zip(_METRICS, values, strict=True)}


def _official_name(name: str) -> str:
    """Our name of a tensor to the released files'; inside, timm names both encoders as they do."""
    return name.replace("encoder.net.", "encoder.").removeprefix("regressor.")


def _read(path: Path) -> dict[str, Tensor]:
    """The state dictionary, without the prefix that training on several GPUs leaves."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {_REMEDY}")
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: larger than any released network; {_REMEDY}")
    try:
        content = load_torch(path.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{path}: refused: {error}; {_REMEDY}") from error
    state = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path}: no state dictionary under the key 'model'; {_REMEDY}")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _differences(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being exactly those wanted; mean parameters may have a leading 1."""
    misshapen = [
        f"{name} {list(tensors[name].shape)} for {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape not in (tensor.shape, (1, *tensor.shape))
    ]
    broken = [name for name in wanted if name in tensors and not tensors[name].isfinite().all()]
    reasons = {
        "missing": [name for name in wanted if name not in tensors],
        "unexpected": [name for name in tensors if name not in wanted],
        "of another shape": misshapen,
        "not finite": broken,
    }
    return [f"{reason}: {shorten(names, most=20)}" for reason, names in reasons.items() if names]
