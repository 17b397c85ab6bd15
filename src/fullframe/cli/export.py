"""The command `fullframe export`."""

from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import UsageError, console, say, usage_errors


def export(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    body: bool = False,
    keypoints: bool = False,
    int8: bool = False,
) -> int:
    """Export a network as an ONNX file, which other programs run without torch.

    The file takes crops and their places in the photo, and gives bodies. It is compared with torch on a photo
    before it is written.

    Args:
        model: cliff-lite, hmr-lite, imphmr-lite, or a trained network (.safetensors).
        out: file for the network, ending in .onnx.
        body: put the body into the file too: vertices and joints come out.
        keypoints: take 2D keypoints too, and give the bodies that fullframe run starts its fit from.
        int8: convolutions with 8 bits, calibrated on synthetic people: smaller, faster, less accurate.
    """
    if out.suffix != ".onnx":
        raise UsageError(f"{out}: the name of an ONNX file ends in .onnx")
    with usage_errors():
        from fullframe.body import load_body
        from fullframe.models import load_model
        from fullframe.models.onnx_export import export_onnx
        from fullframe.recovery.outputs import make_writable
        from fullframe.synth.calibration_crops import calibration_crops

        make_writable(out.parent)
        with console.status("exporting"):
            loaded = load_model(model)
            inside = load_body(loaded.card.body, None, loaded.network.num_betas) if body else None
            calibration = calibration_crops(loaded.network) if int8 else None
            differences = export_onnx(loaded, out, inside, keypoints, calibration)
    worst = ", ".join(f"{name} {value:.1g}" for name, value in differences.items())
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB; largest difference from torch on a photo: {worst}")
    return 0
