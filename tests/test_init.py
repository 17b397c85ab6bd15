"""The public names, and what importing them and the command line costs."""

import inspect
import subprocess
import sys

import pytest

import fullframe

HEAVY = {
    "torch", "torchvision", "timm", "numba", "numpy", "scipy", "cv2", "onnxruntime", "av", "trimesh", "PIL",
    "safetensors", "lightning", "matplotlib", "viser",
}  # fmt: skip


def test_public_names() -> None:
    names = ["Camera", "Clip", "People", "Recoverer", "load_model", "recover", "recover_video"]
    assert sorted(fullframe.__all__) == names and set(names) <= set(dir(fullframe))
    # Also after the modules that define them are imported: none has the name of a public function.
    assert all(callable(getattr(fullframe, name)) for name in names)


def test_arguments_of_public_functions() -> None:
    camera = ["focal", "fov", "intrinsics"]
    models = ["model", "refine", "body", "body_path", "detector"]
    expected = {
        fullframe.recover: ["image", *camera, "boxes", "keypoints", *models],
        fullframe.recover_video: ["video", "overlay", "work", "smooth", "lock_feet", *camera, *models],
        fullframe.Recoverer: models,
    }
    for function, names in expected.items():
        assert list(inspect.signature(function).parameters) == names


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
