"""The command `fullframe doctor`: what is installed, what is missing and where to get it."""

import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator
from typing import NamedTuple

from fullframe.cli.console import say

PACKAGES = (
    "fullframe", "torch", "torchvision", "timm", "onnxruntime", "numba", "opencv-python-headless", "pillow",
    "trimesh", "safetensors",
)  # fmt: skip


class Finding(NamedTuple):
    """One line of the report: `ok` is True, False if broken, None if an optional part is missing."""

    topic: str
    name: str
    ok: bool | None
    text: str


def doctor() -> int:
    """Report what is installed and what is missing: versions, devices, bodies, weights, detectors."""
    broken, topic = 0, ""
    marks = {True: ("ok", "green"), False: ("broken", "red"), None: ("missing", "yellow")}
    for finding in diagnose():
        if finding.topic != topic:
            topic = finding.topic
            say(topic, style="bold")
        mark, style = marks[finding.ok]
        say(f"{finding.name}: {finding.text}", f"  {mark:<8}", style)
        broken += finding.ok is False
    return int(broken > 0)


def diagnose() -> Iterator[Finding]:
    """Check everything that `fullframe run` may need, without running a network."""
    yield from _versions()
    yield from _devices()
    yield from _bodies()
    yield from _weights()
    yield from _detectors()
    yield from _caches()


def _versions() -> Iterator[Finding]:
    yield Finding("versions", "python", True, platform.python_version())
    for package in PACKAGES:
        try:
            yield Finding("versions", package, True, importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("versions", package, False, f"not installed: pip install {package}")


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding(
        "devices", "cpu", True, f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield Finding("devices", f"cuda:{index}", True, torch.cuda.get_device_name(index))
    else:
        yield Finding("devices", "cuda", None, "not available; everything runs on the CPU")


def _bodies() -> Iterator[Finding]:
    from fullframe.body import load_body
    from fullframe.body.files import SMPL_FOLDER, find_smpl
    from fullframe.fit.prior import PosePrior

    for name, load in (("open", load_body), ("pose prior", PosePrior)):
        try:
            load()
            yield Finding("bodies", name, True, "built in")
        except Exception as error:
            yield Finding("bodies", name, False, f"{error}; reinstall fullframe")
    files = find_smpl()
    for file in files:
        try:
            yield Finding("bodies", load_body("smpl", file).name, True, str(file))
        except ValueError as error:
            yield Finding("bodies", "smpl", False, str(error))
    if not files:
        yield Finding(
            "bodies",
            "smpl",
            None,
            f"not found (optional): put SMPL_NEUTRAL.pkl from https://smpl.is.tue.mpg.de into {SMPL_FOLDER}, "
            "or give a file with --body smpl --body-path",
        )


def _weights() -> Iterator[Finding]:
    from fullframe.assets import WEIGHTS
    from fullframe.models import load_model

    found = sorted(WEIGHTS.glob("*.safetensors"))
    for path in found:
        try:
            load_model(path)
            yield Finding("weights", path.stem, True, f"built in: --model {path.stem}")
        except ValueError as error:
            yield Finding("weights", path.stem, False, f"{error}; reinstall fullframe")
    if not found:
        yield Finding("weights", "networks", False, f"{WEIGHTS} is empty: reinstall fullframe")


def _detectors() -> Iterator[Finding]:
    from fullframe.detect import builtin

    for name, problem in builtin.verify().items():
        yield Finding("detectors", name, problem is None, problem or "built in, checksum verified")
    for package in ("torchvision", "rtmlib", "transformers"):
        if importlib.util.find_spec(package):
            yield Finding(
                "detectors",
                package,
                True,
                f"installed; downloads its weights on first use (--detector {package})",
            )
        else:
            yield Finding("detectors", package, None, f"not installed (optional): pip install {package}")


def _caches() -> Iterator[Finding]:
    from fullframe.render.rasterize import cache_folder

    folder = cache_folder()
    if folder is None:
        text = (
            "no writable folder for compiled code, so that it is compiled at each start: set NUMBA_CACHE_DIR"
        )
        yield Finding("caches", "rasteriser", None, text)
    else:
        yield Finding("caches", "rasteriser", True, str(folder))
