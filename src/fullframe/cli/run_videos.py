"""Videos, one after another, and cameras."""

import signal
import threading
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fullframe.cli.console import console, count, say
from fullframe.cli.outputs import video_files
from fullframe.export import CLIP_EXPORTERS
from fullframe.recover.frame_results import Work
from fullframe.recover.live import watch
from fullframe.recover.photo import Recoverer
from fullframe.recover.video import Result, process
from fullframe.results.clip import Clip
from fullframe.video.prefetch import limit_malloc_arenas
from fullframe.view.mjpeg_server import Page

STOPPING = (
    "what was analysed is finished and written; Ctrl-C again leaves at once, and the same command goes on"
)


class Interrupt:
    """Within, the first Ctrl-C is only noted, and a line is said; the second ends the program as usual.

    Call it to ask whether there was one.
    """

    def __init__(self, line: str) -> None:
        self._line = line
        self._noted = False
        self._before: Any = None

    def __call__(self) -> bool:
        return self._noted

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._noted:
            raise KeyboardInterrupt
        self._noted = True
        say(self._line, "stopping: ", "yellow")

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


def run_video(
    recoverer: Recoverer,
    video: str,
    stem: Path,
    kinds: tuple[str, ...],
    *,
    interrupt: Interrupt,
    smooth: bool,
    lock_feet: bool,
    **told: Any,
) -> tuple[bool, str]:
    """Recover the people of a video and write the files `<stem>_overlay.mp4`, `<stem>.npz`, ...

    What is found is kept in a hidden folder beside them until all is written.

    Args:
        stem: of the files, with their folder.
        interrupt: tells whether to stop.
        told: the camera, as for `fullframe.recover_video`.

    Returns:
        Whether all is written and nothing was left out because of Ctrl-C, and a line for the user.
    """
    limit_malloc_arenas()
    files = video_files(stem, kinds)
    overlay = files.pop("overlay", None)
    work = stem.with_name(f".{stem.name}_work")
    with _Bars() as bars:
        result = process(
            recoverer,
            video,
            overlay=overlay,
            work=work,
            smooth=smooth,
            lock_feet=lock_feet,
            stop=interrupt,
            progress=bars,
            **told,
        )
        written = _export(result.clip, recoverer, files)
    if result.complete:
        Work.clear(work)
    if overlay is not None and result.drawn:
        written.insert(0, overlay)
    return result.complete, _summary(video, result, written)


def run_live(
    recoverer: Recoverer, source: str, out: Path, kinds: tuple[str, ...], *, smooth: bool, lock_feet: bool,
    **told: Any,
) -> str:  # fmt: skip
    """Recover the people in front of a camera, shown in the browser, until Ctrl-C or the end of the stream.

    Returns:
        A line for the user.
    """
    files = video_files(out / f"live_{datetime.now():%Y%m%d_%H%M%S}", kinds)
    overlay = files.pop("overlay", None)
    with Interrupt("writing what was recorded; Ctrl-C again leaves at once") as interrupt, Page() as page:
        say(f"live at {page.address}, on this computer only; Ctrl-C ends it and writes the results to {out}")
        clip = watch(
            recoverer, source, overlay=overlay, show=page.show, stop=interrupt, smooth=smooth,
            lock_feet=lock_feet, **told,
        )  # fmt: skip
        written = _export(clip, recoverer, files)
    if overlay is not None:
        written.insert(0, overlay)
    return f"{source}: {_people(clip)} -> {_names(written)}"


def _export(clip: Clip, recoverer: Recoverer, files: dict[str, Path]) -> list[Path]:
    written: list[Path] = []
    for kind, path in files.items():
        with console.status(f"writing {kind}"):
            written += CLIP_EXPORTERS[kind](clip, recoverer.body, path)
    return written


def _summary(video: str, result: Result, written: list[Path]) -> str:
    clip = result.clip
    parts = [_people(clip), f"focal {clip.camera.focal[0]:.0f} px ({clip.camera.source})"]
    if result.skipped:
        parts.append(f"{count(result.skipped, 'broken frame', 'broken frames')} skipped")
    if not result.analysed:
        parts.append(f"stopped at frame {clip.num_frames} of {result.frames or '?'}")
    elif result.frames and clip.num_frames + result.skipped < 0.95 * result.frames:
        parts.append(f"the file ends early: it says it has {result.frames} frames")
    if result.drawn is not None and result.drawn < clip.num_frames:
        parts.append(f"the overlay stops after {result.drawn}")
    if not result.complete:
        parts.append("the same command goes on")
    return f"{video}: {', '.join(parts)} -> {_names(written)}"


def _people(clip: Clip) -> str:
    number = len(set(clip.track_ids.tolist()))
    people = count(number, "person", "people") if number else "no person found"
    return f"{people} in {count(clip.num_frames, 'frame', 'frames')}"


def _names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files) or "nothing to write"


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} frames/s" if task.speed else "")


class _Bars(Progress):
    """A bar for each part of the work on a video; call it as `fullframe.recover.video.Progress` says."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed())
        super().__init__(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._bars: dict[str, Any] = {}

    def __call__(self, doing: str, done: int, total: int | None) -> None:
        if doing not in self._bars:
            self._bars[doing] = self.add_task(doing, total=total)
        self.update(self._bars[doing], completed=done)
