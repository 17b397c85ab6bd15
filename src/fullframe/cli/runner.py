"""Recovers the inputs of `fullframe run`, writes their files, and says what became of each."""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullframe.cli.console import Interrupt, console, out_of_memory, say, show_progress
from fullframe.cli.run_outcome import (
    Outcome,
    file_names,
    late_entries,
    people_of,
    photo_summary,
    video_summary,
)
from fullframe.cli.run_request import Request
from fullframe.io.progress import Progress, silent
from fullframe.io.text import plural
from fullframe.recovery.inputs import left_out_summary
from fullframe.recovery.outputs import photo_files, video_files, write_clip, write_photo

if TYPE_CHECKING:
    from fullframe.detect.own_people import GivenPeople, OwnPeople
    from fullframe.io.image import Photo
    from fullframe.recovery.photo import CameraOptions
    from fullframe.recovery.video import VideoResult
    from fullframe.results.people import People
    from fullframe.video.frames import FrameFiles


@dataclass
class Runner:
    """Processes the inputs one after another; a failed one does not stop the others."""

    request: Request
    recoverer: Any  # a Recoverer; None on the way to a worker, which loads its own
    camera: "CameraOptions"
    smooth: bool
    lock_feet: bool
    own: "OwnPeople | None"
    failures: list[str] = field(default_factory=list)
    given: "dict[str, GivenPeople]" = field(default_factory=dict)  # of each photo

    def run_photos(self) -> bool:
        """Write the results of all photos; False if interrupted."""
        photos = self.request.photos
        done = found = 0
        with show_progress(disable=len(photos) < 2) as progress:
            try:
                for number, outcome in enumerate(self.photo_outcomes(photos), 1):
                    self.report(outcome)
                    done, found = done + (not outcome.failed), found + outcome.people
                    progress("photos", number, len(photos))
            except KeyboardInterrupt:
                finished = f"after {done} of {plural(len(photos), 'photo')}"
                say(f"{finished}; their results are in {self.request.out}", "interrupted ", "yellow")
                return False
        if done:
            say(f"{plural(found, 'person', 'people')} in {plural(done, 'photo')} -> {self.request.out}")
        return True

    def photo_outcomes(self, photos: Sequence[str]) -> Iterator[Outcome]:
        """Write the results of photos, one after the other."""
        from fullframe.recovery.photo import recover_photos

        for path, result in recover_photos(self.recoverer, photos, self._read_photo):
            try:
                if isinstance(result, Exception):
                    raise result
                photo, people = result
                written = self._write_photo(path, photo, people)
            except Exception as error:
                yield self._failure(path, error)
            else:
                text = photo_summary(people, self.given.get(path), photo.exif_problem, written)
                if note := self._missing_people(set(people.track_ids.tolist())):
                    text += f"\n{path}: {note}"
                yield Outcome(text, len(people), [str(file) for file in written])

    def _read_photo(self, path: str) -> "tuple[Photo, dict[str, Any]]":
        from fullframe.io.image import read_photo

        photo = read_photo(path)
        arguments: dict[str, Any] = {"camera_options": self.camera}
        if self.own is not None:
            self.given[path] = self.own.for_photo(photo)
            arguments |= self.given[path].arguments()
        return photo, arguments

    def _write_photo(self, path: str, photo: "Photo", people: "People") -> list[Path]:
        files = photo_files(self.request.stems[path], self.request.photo_kinds)
        return write_photo(people, self.recoverer.body, photo.pixels, files, self.request.rig)

    def run_videos(self) -> bool:
        """Write the results of all videos; False if interrupted."""
        from fullframe.video.prefetch import limit_malloc_arenas

        videos = self.request.videos
        if videos:
            limit_malloc_arenas()
        message = (
            "finishing and writing the frames analysed so far; press Ctrl-C again to quit now. "
            "Re-run the command to resume"
        )
        with Interrupt(message) as interrupt:
            for number, video in enumerate(videos, 1):
                try:
                    complete = self._run_video(video, interrupt)
                except KeyboardInterrupt:
                    say(f"{video}: re-run the command to resume", "interrupted ", "yellow")
                    return False
                except Exception as error:
                    self.report(self._failure(str(video), error))
                else:
                    if not complete:
                        return False
                if interrupt.requested and number < len(videos):
                    say(f"{plural(len(videos) - number, 'video')} not processed", "interrupted ", "yellow")
                    return False
        return True

    def _run_video(self, video: "str | FrameFiles", interrupt: Interrupt) -> bool:
        """Write the results of a video; False if an interrupt left frames out."""
        with show_progress() as progress:
            result, written = self._recover_video(video, lambda: interrupt.requested, progress)
        self.report(self._video_outcome(video, result, written))
        return result.complete

    def _recover_video(
        self, video: "str | FrameFiles", stop: Callable[[], bool], progress: Progress
    ) -> "tuple[VideoResult, list[Path]]":
        """Write `<stem>_overlay.mp4`, `<stem>.npz`, ...

        Unfinished results are kept in a hidden folder beside the files.
        """
        from fullframe.recovery.video import process

        stem = self.request.stems[str(video)]
        files = video_files(stem, self.request.video_kinds)
        overlay = files.pop("overlay", None)
        work = stem.with_name(f".{stem.name}_work")
        written: list[Path] = []

        def finish(result: "VideoResult") -> None:
            progress("writing files", 0, None)
            written.extend(write_clip(result.clip, self.recoverer.body, files, self.request.rig))

        result = process(
            self.recoverer, video, self.camera, overlay=overlay, work=work, restart=True,
            smooth=self.smooth, lock_feet=self.lock_feet, stop=stop,
            progress=progress, own=self.own, own_is_for_this_alone=len(self.request.videos) == 1,
            finish=finish,
        )  # fmt: skip
        if overlay is not None and result.drawn:
            written.insert(0, overlay)
        return result, written

    def _video_outcome(
        self, video: "str | FrameFiles", result: "VideoResult", written: list[Path]
    ) -> Outcome:
        text = video_summary(str(video), result, self.own is not None, written)
        tracks = set(result.clip.track_ids.tolist())
        for note in (late_entries(result.clip), self._missing_people(tracks)):
            if note:
                text += f"\n{video}: {note}"
        return Outcome(text, len(tracks), [str(file) for file in written])

    def video_outcomes(self, videos: "Sequence[str | FrameFiles]") -> Iterator[Outcome]:
        """Write the results of videos, one after the other."""
        for video in videos:
            try:
                outcome = self._video_outcome(video, *self._recover_video(video, lambda: False, silent))
            except Exception as error:
                outcome = self._failure(str(video), error)
            yield outcome

    def run_live(self, source: str) -> None:
        """Recover the people in front of a camera, shown in the browser, until Ctrl-C or the stream's end."""
        from fullframe.recovery.live import watch
        from fullframe.view.mjpeg_server import MjpegServer

        stem = self.request.out / f"live_{datetime.now():%Y%m%d_%H%M%S}"
        files = video_files(stem, self.request.video_kinds)
        overlay = files.pop("overlay", None)
        message = "writing what was recorded; press Ctrl-C again to quit now"
        with Interrupt(message) as interrupt, MjpegServer() as server:
            say(f"live at {server.address}, on this computer only; Ctrl-C stops and writes the results to "
                f"{self.request.out}")  # fmt: skip
            clip = watch(
                self.recoverer, source, overlay=overlay, show=server.show, stop=lambda: interrupt.requested,
                smooth=self.smooth, lock_feet=self.lock_feet, camera_options=self.camera,
            )  # fmt: skip
            with console.status("writing files"):
                written = write_clip(clip, self.recoverer.body, files, self.request.rig)
        if overlay is not None:
            written.insert(0, overlay)
        say(f"{source}: {people_of(clip)} -> {file_names(written)}")

    def _missing_people(self, tracks: set[int]) -> str:
        """The people whose height is given but who are not there; empty if there are none."""
        height = self.recoverer.height
        missing = sorted(set(height) - tracks) if isinstance(height, Mapping) else []
        if not missing:
            return ""
        there = ", ".join(map(str, sorted(tracks))) or "none"
        return f"--height names {', '.join(map(str, missing))}, who is not there; track ids are {there}"

    def report(self, outcome: Outcome) -> None:
        if outcome.failed:
            self.failures.append(outcome.text)
            say(outcome.text, "failed ", "red")
        else:
            say(outcome.text)

    def _failure(self, name: str, error: Exception) -> Outcome:
        reason = out_of_memory(error) or str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"no space left in {self.request.out}: free some and re-run the command"
        return Outcome(reason if reason.startswith(name) else f"{name}: {reason}", failed=True)

    def report_failures(self) -> int:
        """Repeat all failures at the end, and name the files left out; returns the exit status."""
        if self.failures:
            photos, videos = self.request.photos, self.request.videos
            what = "photos" if not videos else "videos" if not photos else "inputs"
            say(f"{len(self.failures)} of {len(photos) + len(videos)} {what} failed:", style="red")
            for reason in self.failures:
                say(f"  {reason}")
        if self.request.left_out:
            say(left_out_summary(self.request.left_out), style="yellow")
        return 1 if self.failures else 0
