"""The command `fullframe`: one function per subcommand."""

import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from fullframe.evaluate.command import evaluate
from fullframe.synth.command import synth
from fullframe.train.command import train

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fullframe.people import People

console = Console(stderr=True, highlight=False)

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""File endings that a folder is searched for."""

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
        model: a trained network (.safetensors), or keypoint-fit (the default): bodies fitted to 2D keypoints.
        refine: fit the network's bodies to the 2D keypoints afterwards.
        body: open (built in) or smpl; smpl-neutral, -male, -female where the file's name does not say which.
        body_path: your SMPL file, .npz or .pkl; without it, the one that fullframe doctor finds.
        detector: builtin, torchvision, rtmlib or transformers.
        save: what to write, separated by commas: overlay, sheet, npz, json, glb, obj, ply.
    """
    if not photos:
        raise UsageError("name at least one photo, folder or pattern")
    kinds = _kinds(save)
    paths = find_photos(photos)
    if any(Path(pattern).is_dir() and Path(pattern).resolve() == out.resolve() for pattern in photos):
        # The next run would take the pictures written by this one for photos.
        raise UsageError(f"the output folder {out} is the folder of the photos; choose another with -o")
    files = {path: output_files(out / name, kinds) for path, name in output_names(paths).items()}
    inputs = {p.resolve() for p in (*paths, boxes, keypoints, body_path, Path(model)) if p is not None}
    for file in (file for each in files.values() for file in each.values()):
        if file.resolve() in inputs:
            raise UsageError(f"the result {file} would overwrite an input; choose another folder with -o")
    _make_writable(out)

    # torch takes seconds to import: only now that the request makes sense.
    from fullframe.detect.coco_json import read_people
    from fullframe.image import read_photo
    from fullframe.recovery import Recoverer, known_camera

    told: dict[str, Any] = {"focal": focal, "fov": fov, "intrinsics": intrinsics}
    try:
        known_camera((1, 1), **told)  # impossible values end the run before the first photo
        given = read_people(boxes, keypoints)
        with console.status("loading"):
            recoverer = Recoverer(model, refine, body, body_path, detector)
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename or error}: no such file") from error
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error

    failed: list[str] = []
    done = found = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=len(paths) == 1) as progress:
        task = progress.add_task("photos", total=len(paths))
        try:
            for path in paths:
                try:
                    photo = read_photo(path)
                    detections: dict[str, Any] = given.for_photo(path)
                    people = recoverer(photo, **told, **detections)
                    write_outputs(people, photo.pixels, files[path])
                except Exception as error:  # whatever is wrong with one photo must not stop the others
                    reason = str(error) or type(error).__name__
                    failed.append(reason if reason.startswith(str(path)) else f"{path}: {reason}")
                    _say(failed[-1], "failed ", "red")
                else:
                    done, found = done + 1, found + len(people)
                    _say(_summary(people, files[path].values()))
                progress.advance(task)
        except KeyboardInterrupt:
            _say(f"after {done} of {len(paths)} photos; their files in {out} are whole", "stopped ", "yellow")
            return 130

    _say(f"{_count(found, 'person', 'people')} in {_count(done, 'photo', 'photos')} -> {out}")
    if failed:
        _say(f"{len(failed)} of {len(paths)} photos failed:", style="red")
        for reason in failed:
            _say(f"  {reason}")
        return 1
    return 0


def _say(text: str, mark: str = "", style: str = "") -> None:
    """Print without reading markup: file names may hold brackets."""
    console.print(Text.assemble((mark, style), (text, "" if mark else style)), soft_wrap=True)


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
    found: dict[Path, Path] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if _is_photo(p))
            if not inside:
                raise UsageError(f"{path}: no photos in this folder ({', '.join(sorted(PHOTO_SUFFIXES))})")
        elif path.exists() or not glob.has_magic(pattern):
            # A missing file is reported with the failures, so that it does not stop the others.
            inside = [path]
        else:
            inside = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
            if not inside:
                raise UsageError(f"{pattern}: no file matches")
        found.update({p.resolve(): p for p in inside if p.resolve() not in found})
    return list(found.values())


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def output_names(paths: list[Path]) -> dict[Path, str]:
    """A file name stem for the results of each photo; photos of the same name stay apart."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        choices = (path.stem, f"{path.parent.resolve().name}_{path.stem}", f"{path.stem}_{path.suffix[1:]}")
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


def output_files(stem: Path, kinds: Iterable[str]) -> dict[str, Path]:
    """The files of one photo's results: `<stem>_overlay.jpg`, `<stem>_sheet.jpg`, `<stem>.npz`, ..."""
    pictures = ("overlay", "sheet")
    return {k: stem.with_name(f"{stem.name}_{k}.jpg" if k in pictures else f"{stem.name}.{k}") for k in kinds}


def write_outputs(people: "People", pixels: "NDArray[np.uint8]", files: dict[str, Path]) -> None:
    """Write results of one photo, each file whole or not at all."""
    import cv2

    from fullframe.export import EXPORTERS
    from fullframe.files import atomic_path
    from fullframe.render import overlay, sheet

    pictures = {"overlay": overlay, "sheet": sheet}
    for kind, path in files.items():
        if kind in pictures:
            picture = cv2.cvtColor(pictures[kind](pixels, people), cv2.COLOR_RGB2BGR)
            with atomic_path(path) as temporary:
                if not cv2.imwrite(str(temporary), picture, [cv2.IMWRITE_JPEG_QUALITY, 92]):
                    raise OSError(f"cannot write {path}")
        else:
            EXPORTERS[kind](people, path)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _summary(people: "People", files: Iterable[Path]) -> str:
    number = _count(len(people), "person", "people") if len(people) else "no person found"
    camera = f"focal {people.camera.focal[0]:.0f} px ({people.camera.source})"
    upright = f", turned upright (EXIF orientation {people.orientation})" if people.orientation != 1 else ""
    return f"{people.image}: {number}, {camera}{upright} -> {', '.join(file.name for file in files)}"


def doctor() -> int:
    """Report what is found and what is missing: versions, devices, bodies, weights, detectors."""
    from fullframe.doctor import examine

    broken, topic = 0, ""
    for finding in examine():
        if finding.topic != topic:
            topic = finding.topic
            _say(topic, style="bold")
        marks = {True: ("ok", "green"), False: ("broken", "red"), None: ("absent", "yellow")}
        mark, style = marks[finding.ok]
        _say(f"{finding.name}: {finding.text}", f"  {mark:<7}", style)
        broken += finding.ok is False
    return int(broken > 0)


def convert_checkpoint(
    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE.pt")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
) -> int:
    """Turn a checkpoint released by CLIFF's authors into a network that --model takes.

    Args:
        checkpoint: res50-... or hr48-... as downloaded. Nothing in it is executed.
        out: the network's file, ending in .safetensors; its card is written beside it.
    """
    from fullframe.models import official

    try:
        card = official.save_official(checkpoint, out)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    _say(f"{out}: {card.options['encoder']}, predicts {card.body}; use it with --model {out} --body smpl")
    return 0


def main() -> None:
    """Entry point of the command."""
    try:
        status = tyro.extras.subcommand_cli_from_dict(
            {
                "run": run,
                "synth": synth,
                "train": train,
                "evaluate": evaluate,
                "convert-checkpoint": convert_checkpoint,
                "doctor": doctor,
            },
            prog="fullframe",
            description="3D human body meshes from photos, in the camera of the full frame.",
        )
    except UsageError as error:
        _say(str(error), "error: ", "red")
        status = 2
    except KeyboardInterrupt:
        _say("stopped", style="yellow")
        status = 130
    sys.exit(status)
