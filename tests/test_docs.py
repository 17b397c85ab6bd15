"""The documentation: its code runs, its commands parse, and what it points to exists."""

import doctest
import functools
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import docs_hooks
import numpy as np
import pytest
from PIL import Image

from fullframe.cli import main as cli
from fullframe.models.checkpoint import find_weights
from fullframe.video.writer import VideoWriter

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs/guides").glob("*.md"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def commands(page: Path) -> list[list[str]]:
    """The lines of a page's sh blocks as arguments, with the variables that the page sets."""
    found, variables = [], {}
    for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        if match := re.fullmatch(r'([A-Z]+)="(.*)"', line):
            variables[match[1]] = match[2]
            continue
        for variable, value in variables.items():
            line = line.replace(f"${variable}", value)
        if arguments := shlex.split(line, comments=True):
            found.append(arguments)
    return found


COMMANDS = [
    pytest.param(arguments[1:], id=f"{name(page)}: {' '.join(arguments)[:80]}")
    for page in PAGES
    for arguments in commands(page)
    if arguments[0] == "fullframe"
]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_the_command_line_accepts(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def stub(command):
        @functools.wraps(command)
        def parsed(*args, **options):
            called.append(args)
            return 0

        return parsed

    monkeypatch.setattr(cli, "COMMANDS", {name: stub(command) for name, command in cli.COMMANDS.items()})
    monkeypatch.setattr(sys, "argv", ["fullframe", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert (exit_.value.code or 0) == 0
    assert called or "--help" in arguments
    if arguments[0] == "train":
        from fullframe.train.config import read_config

        config, settings = called[0]
        read_config(ROOT / config, settings)


@pytest.fixture
def folder(photo_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader, with the files that the pages name."""
    with Image.open(photo_path) as image:
        image.resize((525, 430)).save(tmp_path / "photo.jpg")
    for copy in ("a.jpg", "b.jpg"):
        shutil.copy(tmp_path / "photo.jpg", tmp_path / copy)
    (tmp_path / "photos").mkdir()
    shutil.copy(tmp_path / "photo.jpg", tmp_path / "photos/photo.jpg")
    pixels = np.asarray(Image.open(tmp_path / "photo.jpg"))[:, :524]
    with VideoWriter(tmp_path / "clip.mp4", (524, 430), fps=10) as writer:
        for frame in range(3):
            writer.write(pixels, frame / 10)
    for network in ("lite/cliff", "labels/cliff", "head/cliff", "head/ray", "third/ray"):
        (tmp_path / "runs" / network).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".safetensors", ".json"):
            weights = find_weights("cliff-lite").with_suffix(suffix)
            shutil.copy(weights, tmp_path / "runs" / f"{network}{suffix}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in GUIDES if blocks(p, "python")], ids=name)
def test_python_blocks_run(page: Path, folder: Path) -> None:
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{name(page)}, block {number}", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_a_page_points_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:src|benchmarks|configs|examples|tests|tools|docs)/[\w/.-]+\.\w+", text)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", text) if "://" not in link]
    modules = re.findall(r"\bfullframe(?:\.\w+)+", text)
    assert not [path for path in paths if not (ROOT / path).exists() and "<" not in path]
    assert not [link for link in links if not (page.parent / link).exists()]
    assert not [module for module in modules if not resolves(module)]


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module of fullframe, or an attribute of one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        try:
            functools.reduce(getattr, parts[count:], value)
        except AttributeError:
            return False
        return True
    return False


def test_the_reference_has_the_help_of_every_command() -> None:
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^\{\{ help (\S+) \}\}$", page, re.MULTILINE) == list(cli.COMMANDS)
    text = docs_hooks.on_page_markdown("before\n\n{{ help doctor }}\n\nafter")
    assert text.startswith("before\n\n```text\nusage: fullframe doctor") and text.endswith("```\n\nafter")


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    build = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run([sys.executable, *build], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Recoverer" in (tmp_path / "site/reference/api/index.html").read_text(encoding="utf-8")


def files_with_doctests() -> list[Path]:
    sources = sorted((ROOT / "src/fullframe").rglob("*.py"))
    return [
        path for path in sources if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]


@pytest.mark.parametrize("path", files_with_doctests(), ids=name)
def test_doctests(path: Path) -> None:
    module = path.relative_to(ROOT / "src").with_suffix("")
    result = doctest.testmod(importlib.import_module(".".join(module.parts)))
    assert result.attempted and not result.failed
