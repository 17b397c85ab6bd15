"""The public names, and what importing them and the command line costs."""

import dataclasses
import inspect
import operator
import subprocess
import sys
from collections.abc import Callable

import pytest

import fullframe

HEAVY = {
    "torch", "torchvision", "timm", "numba", "numpy", "scipy", "cv2", "onnxruntime", "av", "trimesh", "PIL",
    "safetensors", "lightning_fabric", "matplotlib", "viser",
}  # fmt: skip


def test_public_names() -> None:
    names = ["Camera", "Clip", "People", "Recoverer", "load_model", "recover", "recover_video"]
    assert sorted(fullframe.__all__) == names and set(names) <= set(dir(fullframe))
    # Also after the modules that define them are imported: none has the name of a public function.
    assert all(callable(getattr(fullframe, name)) for name in names)


def parameters(function: Callable) -> str:
    """Names, kinds and defaults of the parameters, without annotations."""
    signature = inspect.signature(function)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=signature.empty))


CAMERA = "focal=None, fov=None, intrinsics=None, vertical_fov=None, camera=None"
MODELS = "model=None, refine=True, body='open', body_path=None, detector='builtin', height=None"
SIGNATURES = {
    "recover": f"(image, *, {CAMERA}, boxes=None, keypoints=None, {MODELS})",
    "recover_video": (
        f"(video, *, overlay=None, work=None, smooth=True, lock_feet=False, {CAMERA}, {MODELS})"
    ),
    "Recoverer": f"({MODELS})",
    "Recoverer.__call__": f"(self, image, *, {CAMERA}, boxes=None, scores=None, keypoints=None)",
    "Recoverer.stream": f"(self, photos, *, {CAMERA}, on_error=None)",
    "load_model": "(name_or_path, body=None)",
    "People.save": "(self, path)",
    "People.load": "(path)",
    "Clip.save": "(self, path)",
    "Clip.load": "(path)",
    "Clip.tracks": "(self)",
    "Clip.people": "(self, frame, body)",
    "Camera.from_focal": "(focal, size, source='focal')",
    "Camera.from_fov": "(degrees, size)",
    "Camera.from_intrinsics": "(intrinsics, size)",
    "Camera.from_diagonal": "(size)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_public_signatures(name: str) -> None:
    assert parameters(operator.attrgetter(name)(fullframe)) == SIGNATURES[name]


FIELDS = {
    "Camera": "focal principal_point size source distortion fisheye",
    "Clip": "times frames track_ids detected boxes scores keypoints pose betas translation "
    "camera body model contacts ground camera_rotation reprojection reliable uncertainty video",
    "People": "boxes scores track_ids keypoints pose betas translation vertices joints faces camera "
    "body model image orientation reprojection reliable uncertainty",
}


@pytest.mark.parametrize("name", FIELDS)
def test_public_attributes(name: str) -> None:
    assert [field.name for field in dataclasses.fields(getattr(fullframe, name))] == FIELDS[name].split()


@pytest.mark.parametrize(
    ("program", "allowed"),
    [
        ("import fullframe; dir(fullframe); fullframe.__version__", {"lazy_loader"}),
        (
            "import sys; sys.argv = ['fullframe', 'run', '--help']\n"
            "from fullframe.cli.main import main\n"
            "try: main()\n"
            "except SystemExit: pass",
            {"lazy_loader", "tyro", "rich"},
        ),
    ],
    ids=["import fullframe", "fullframe run --help"],
)
def test_only_light_packages_are_imported(program: str, allowed: set[str]) -> None:
    program += "\nimport sys; print('\\nmodules', *{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.rpartition("\nmodules ")[2].split())
    assert allowed <= imported and not imported & HEAVY
    if "tyro" not in allowed:
        assert not imported & {"tyro", "rich"}
