"""Reads what torch.save wrote, without running anything in it and within the size of the file."""

import zipfile
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fullframe.io.pickle_scan import scan

_ALSO = frozenset({"BINPERSID"})  # names a tensor's storage
_PLAIN = (Tensor, torch.nn.Parameter)


def load_torch(content: bytes | memoryview) -> Any:
    """Tensors and plain values from the bytes of a file of torch.save, in either of its formats, on the CPU.

    Raises:
        ValueError: it is damaged, holds anything else, would unpack to more than the file, or has tensors
            that do not have each of their numbers in memory.
    """
    try:
        _check_opcodes(content)
        found = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # zipfile, pickle and torch each have their own ways to fail
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise ValueError(
            f"damaged, or not tensors and plain values alone; nothing was run ({reason})"
        ) from error
    if odd := _odd_tensor(found, "", set()):
        raise ValueError(
            f"{odd} is not a plain tensor of numbers but meta, quantised, sparse, nested, complex or repeated"
        )
    return found


def check_tensors(found: Any, wanted: Mapping[str, Tensor], what: str) -> None:
    """Raises ValueError unless `found` are finite tensors of the names, shapes and kinds of number wanted."""
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"its {what} is not made of named tensors")
    if different := sorted(map(str, wanted.keys() ^ found.keys())):
        raise ValueError(f"its {what} has other tensors: {', '.join(different[:5])}")
    for name, tensor in wanted.items():
        if found[name].shape != tensor.shape:
            raise ValueError(f"its {what}'s {name} is {list(found[name].shape)}, not {list(tensor.shape)}")
        if found[name].is_floating_point() != tensor.is_floating_point():
            raise ValueError(f"its {what}'s {name} is of type {found[name].dtype}, not {tensor.dtype}")
        if not found[name].isfinite().all():
            raise ValueError(f"its {what}'s {name} is not finite")


def check_adam(found: Any, optimizer: Optimizer) -> None:
    """Raises ValueError unless `found` is a state of Adam or AdamW that this optimizer can load."""
    wanted = optimizer.state_dict()["param_groups"]
    groups, states = (found.get(k) if isinstance(found, dict) else None for k in ("param_groups", "state"))
    if (
        not isinstance(states, dict)
        or not isinstance(groups, list)
        or [g.get("params") if isinstance(g, dict) else None for g in groups] != [g["params"] for g in wanted]
    ):
        raise ValueError("its optimizer is of other parameters")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, state in states.items():
        if number not in range(len(weights)):
            raise ValueError("its optimizer is of other parameters")
        moments = dict.fromkeys(("exp_avg", "exp_avg_sq"), weights[number].detach())
        check_tensors(state, {"step": torch.zeros(()), **moments}, f"optimizer's parameter {number}")


def _check_opcodes(content: bytes | memoryview) -> None:
    if not zipfile.is_zipfile(BytesIO(content)):
        stream = BytesIO(content)
        for _ in range(5):  # the format before torch 1.6: magic number, version, system, content, keys
            scan(stream, _ALSO)
        return
    with zipfile.ZipFile(BytesIO(content)) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > len(content):
            raise ValueError("it unpacks to more than it has; torch does not compress")
        pickles = [info for info in infos if info.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl, or several")
        scan(BytesIO(archive.read(pickles[0])), _ALSO)


def _odd_tensor(value: Any, name: str, seen: set[int]) -> str:
    """The name of a tensor on which work could take more than its file; "" if there is none."""
    if isinstance(value, Tensor):
        return "" if _is_plain(value) else name or "the content"
    if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
        return ""
    seen.add(id(value))  # what is shared is looked at once
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return next(
        (odd for key, item in items if (odd := _odd_tensor(item, f"{name}.{key}".lstrip("."), seen))), ""
    )


def _is_plain(tensor: Tensor) -> bool:
    return (
        type(tensor) in _PLAIN
        and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested or tensor.is_complex())
        and tensor.layout is torch.strided
        and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
    )
