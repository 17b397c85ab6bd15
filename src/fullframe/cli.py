"""The command `fullframe`: one function per subcommand."""

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)

OUTPUTS = ("overlay", "sheet", "npz", "json", "glb", "obj", "ply")


class UsageError(Exception):
    """What the user asked for cannot be done at all; the message says what to change."""


def run(
    photos: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO|FOLDER|GLOB")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    boxes: Path | None = None,
    keypoints: Path | None = None,
    model: str = "keypoint-fit",
    refine: bool = False,
    body: str = "open",
    body_path: Path | None = None,
    detector: str = "builtin",
    save: str = "overlay,sheet,npz,json",
) -> int:
    """Recover the people of photos as 3D meshes in the camera of the full frame.

    Args:
        photos: photos, folders of photos, or patterns such as 'holiday/*.jpg'.
        out: folder for the results; made if it does not exist.
        focal: focal length in px. Without --focal, --fov, --intrinsics: from EXIF, else the diagonal.
        fov: horizontal field of view in degrees.
        intrinsics: fx fy cx cy in px.
        boxes: person boxes instead of detected ones: COCO annotations or results (.json).
        keypoints: COCO-17 keypoints instead of detected ones: COCO annotations or results (.json).
        model: keypoint-fit, or a trained network (.safetensors).
        refine: fit the network's bodies to the 2D keypoints afterwards.
        body: open (built in) or smpl (needs --body-path).
        body_path: your SMPL file, .npz or .pkl.
        detector: builtin, torchvision, rtmlib or transformers.
        save: what to write, separated by commas: overlay, sheet, npz, json, glb, obj, ply.
    """
    kinds = _kinds(save)
    paths = find_photos(photos)
    if any(Path(pattern).is_dir() and Path(pattern).resolve() == out.resolve() for pattern in photos):
        # The next run would take the pictures written by this one for photos.
        raise UsageError(f"the output folder {out} is the folder of the photos; choose another with -o")
    _make_writable(out)

    # torch takes seconds to import: only now that the request makes sense.
    from fullframe.detect.coco_json import read_people
    from fullframe.image import read_photo
    from fullframe.recover import CameraOptions, Recoverer

    try:
        camera_options = CameraOptions(focal, fov, intrinsics)
        given = read_people(boxes, keypoints)
        with console.status("loading"):
            recoverer = Recoverer(model, refine, body, body_path, detector)
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error

    failed: dict[Path, str] = {}
    done = found = 0
    names = output_names(paths)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=len(paths) == 1) as progress:
        task = progress.add_task("photos", total=len(paths))
        try:
            for path in paths:
                try:
                    photo = read_photo(path)
                    people = recoverer(
                        photo, camera_options.camera(photo), image=str(path), **given.for_photo(path)
                    )
                    files = write_outputs(people, photo.pixels, out / names[path], kinds)
                except (ValueError, OSError, MemoryError) as error:
                    failed[path] = str(error) or type(error).__name__
                    progress.console.print(f"[red]failed[/] {path}: {failed[path]}", soft_wrap=True)
                else:
                    done, found = done + 1, found + len(people)
                    progress.console.print(_summary(path, people, files), soft_wrap=True)
                progress.advance(task)
        except KeyboardInterrupt:
            console.print(
                f"[yellow]stopped[/] after {done} of {len(paths)} photos; their files in {out} are whole"
            )
            return 130

    console.print(f"{_count(found, 'person', 'people')} in {_count(done, 'photo', 'photos')} -> {out}")
    if failed:
        console.print(f"[red]{len(failed)} of {len(paths)} photos failed:[/]")
        for path, reason in failed.items():
            console.print(f"  {path}: {reason}", soft_wrap=True)
        return 1
    return 0


def _kinds(save: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(part.strip() for part in save.split(",") if part.strip()))
    unknown = [kind for kind in kinds if kind not in OUTPUTS]
    if unknown or not kinds:
        raise UsageError(f"--save takes any of {','.join(OUTPUTS)}; got {save!r}")
    return kinds


def find_photos(patterns: Iterable[str]) -> list[Path]:
    """The photos that paths, folders and glob patterns name, in order and each once.

    Raises:
        UsageError: if a pattern matches nothing, or a folder holds no photo.
    """
    from fullframe.image import SUFFIXES

    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            inside = sorted(
                p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
            )
            if not inside:
                raise UsageError(f"{path}: no photos in this folder ({', '.join(sorted(SUFFIXES))})")
        elif path.exists() or not glob.has_magic(pattern):
            # A missing file is reported with the failures, so that it does not stop the others.
            inside = [path]
        else:
            inside = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
            if not inside:
                raise UsageError(f"{pattern}: no file matches")
        found.update(dict.fromkeys(inside))
    return list(found)


def output_names(paths: list[Path]) -> dict[Path, str]:
    """A file name stem for the results of each photo; photos of the same name stay apart."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        choices = (path.stem, f"{path.stem}_{path.suffix[1:]}", f"{path.parent.name}_{path.stem}")
        numbered = (f"{path.stem}_{i}" for i in range(2, len(paths) + 2))
        # Without regard to case, since some file systems have none.
        names[path] = next(name for name in (*choices, *numbered) if name.lower() not in taken)
        taken.add(names[path].lower())
    return names


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise UsageError(f"cannot make the output folder {folder}: {error.strerror}") from error
    if not writable:
        raise UsageError(f"the output folder {folder} is not writable; choose another with -o")


def write_outputs(people, pixels, stem: Path, kinds: Iterable[str]) -> list[Path]:
    """Write results of one photo: `<stem>_overlay.jpg`, `<stem>.npz`, ...; each whole or not at all."""
    import cv2

    from fullframe.export import EXPORTERS
    from fullframe.files import atomic_path
    from fullframe.render import overlay, sheet

    pictures = {"overlay": overlay, "sheet": sheet}
    files = []
    for kind in kinds:
        if kind in pictures:
            path = stem.with_name(f"{stem.name}_{kind}.jpg")
            picture = cv2.cvtColor(pictures[kind](pixels, people), cv2.COLOR_RGB2BGR)
            with atomic_path(path) as temporary:
                if not cv2.imwrite(str(temporary), picture, [cv2.IMWRITE_JPEG_QUALITY, 92]):
                    raise OSError(f"cannot write {path}")
        else:
            path = stem.with_name(f"{stem.name}.{kind}")
            EXPORTERS[kind](people, path)
        files.append(path)
    return files


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _summary(path: Path, people, files: list[Path]) -> str:
    number = _count(len(people), "person", "people") if len(people) else "no person found"
    camera = f"focal {people.camera.focal[0]:.0f} px ({people.camera.source})"
    upright = f", turned upright (EXIF orientation {people.orientation})" if people.orientation != 1 else ""
    return f"{path}: {number}, {camera}{upright} -> {', '.join(file.name for file in files)}"


def doctor() -> int:
    """Report what is found and what is missing: versions, devices, bodies, weights, detectors."""
    from fullframe.doctor import examine

    broken, topic = 0, ""
    for finding in examine():
        if finding.topic != topic:
            topic = finding.topic
            console.print(f"[bold]{topic}[/]")
        mark = {True: "[green]ok[/]     ", False: "[red]broken[/] ", None: "[yellow]absent[/] "}[finding.ok]
        console.print(f"  {mark}{finding.name}: {finding.text}", soft_wrap=True)
        broken += finding.ok is False
    return int(broken > 0)


def main() -> None:
    """Entry point of the command."""
    try:
        status = tyro.extras.subcommand_cli_from_dict(
            {"run": run, "doctor": doctor},
            prog="fullframe",
            description="3D human body meshes from photos, in the camera of the full frame.",
        )
    except UsageError as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        status = 2
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]")
        status = 130
    sys.exit(status)
