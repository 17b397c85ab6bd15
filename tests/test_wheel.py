"""The package as it is installed: what is in it, and that it runs a photo."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    call = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(call, check=True, capture_output=True)
    return folder


def names_in(packages: Path) -> tuple[set[str], set[str]]:
    """The names of the files in the wheel, and in the sdist without its top folder."""
    (wheel,), (sdist,) = packages.glob("*.whl"), packages.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sdist) as source:
        files = [member.name for member in source.getmembers() if member.isfile()]
        return set(archive.namelist()), {name.partition("/")[2] for name in files}


def test_contents(packages: Path) -> None:
    sources = (path for path in (ROOT / "src/fullframe").rglob("*") if path.is_file())
    expected = {
        path.relative_to(ROOT / "src").as_posix() for path in sources if "__pycache__" not in path.parts
    }
    wheel, sdist = names_in(packages)
    package = {name for name in wheel if ".dist-info/" not in name}
    assert package == expected
    assert "fullframe/assets/weights/cliff-lite.safetensors" in package and "fullframe/py.typed" in package
    assert {name.removeprefix("src/") for name in sdist if name.startswith("src/fullframe/")} == expected
    assert {"LICENSE", "README.md", "pyproject.toml"} <= sdist
    assert not [
        name for name in sdist if name.startswith(("benchmarks", "docs", "examples", "tests", "tools"))
    ]


def test_the_installed_wheel_runs_a_photo(packages: Path, photo_path: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment, so that nothing is downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    paths = sysconfig.get_paths(vars={"base": str(tmp_path / "venv"), "platbase": str(tmp_path / "venv")})
    python = Path(paths["scripts"]) / ("python.exe" if os.name == "nt" else "python")
    # Searched after the environment's own packages. The .pth of an editable fullframe there is not read.
    Path(paths["purelib"], "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        call = [str(python), *arguments]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (wheel,) = packages.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    assert Path(run("-c", "import fullframe; print(fullframe.__file__)").strip()).is_relative_to(tmp_path)
    run("-m", "fullframe", "run", str(photo_path), "-o", "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".jpg", ".npz", ".json"}
