"""Size and speed of the networks on a CPU: `python benchmarks/models.py`.

Prints a table of every encoder under one model: parameters, size of an fp16 checkpoint, and the time of a
forward pass. The time is the smallest of the repeats: the rest is what else the machine does.
"""

import tempfile
import time
from pathlib import Path

import torch
import tyro

from fullframe.models import ENCODERS, create_model, save_checkpoint
from fullframe.models.batchnorm import fuse_conv_bn
from fullframe.models.crop_regressor import CropRegressor


def milliseconds(model: CropRegressor, batch: int, repeats: int) -> float:
    """Smallest time of a forward pass."""
    crops = model.prepare(torch.randint(0, 256, (batch, *model.crop, 3), dtype=torch.uint8))
    bbox_info = torch.zeros(batch, 3)
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):  # the first one allocates
            start = time.perf_counter()
            model(crops, bbox_info)
            times.append(time.perf_counter() - start)
    return 1e3 * min(times[1:])


def megabytes(model: CropRegressor) -> float:
    """Size of the fp16 checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_checkpoint(
            model, path, body="open", data="random", licence="Apache-2.0", metrics={}, dtype="fp16"
        )
        return path.stat().st_size / 1e6


def main(
    model: str = "cliff",
    crop: tuple[int, int] = (256, 192),
    threads: int = 1,
    repeats: int = 10,
) -> None:
    """Print the table.

    Args:
        model: key of MODELS.
        crop: height and width, px.
        threads: of torch.
        repeats: per encoder and batch size.
    """
    torch.set_num_threads(threads)
    print(f"{model}, {crop[0]} x {crop[1]} px, {threads} thread(s), best of {repeats}\n")
    print("| encoder | features | parameters | fp16 file, MB | 1 person, ms | 8 people, ms |")
    print("|---|---|---|---|---|---|")
    for name, info in ENCODERS.items():
        net = create_model(model, encoder=name, crop=crop).eval()
        parameters = sum(p.numel() for p in net.parameters())
        size = megabytes(net)
        fuse_conv_bn(net.encoder.net)  # as Recoverer does
        one, eight = (milliseconds(net, batch, repeats) for batch in (1, 8))
        print(
            f"| {name} | {info.features} | {parameters:,} | {size:.1f} | {one:.0f} | {eight:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    tyro.cli(main)
