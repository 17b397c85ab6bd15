"""What became of an input of `fullframe run`, in words."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fullframe.io.text import plural

if TYPE_CHECKING:
    from fullframe.detect.own_people import GivenPeople
    from fullframe.recovery.video import VideoResult
    from fullframe.results.clip import Clip
    from fullframe.results.people import People


@dataclass(frozen=True)
class Outcome:
    """What became of an input: a message, the number of people and the files, or the reason of a failure; and
    the state of the input by which a change is noticed."""

    text: str
    people: int = 0
    files: list[str] = field(default_factory=list)
    failed: bool = False
    state: str = ""


def photo_summary(people: "People", given: "GivenPeople | None", exif_problem: str, files: list[Path]) -> str:
    number = plural(len(people), "person", "people") if len(people) or given else "no person found"
    if unreliable := int((~people.reliable).sum()):
        number += f" ({unreliable} unreliable)"
    number = "; ".join([number, *(given.notes if given else [])])
    source = people.camera.source
    if source == "diagonal" and exif_problem:
        source += f"; EXIF's is not used: {exif_problem}"
    camera = f"focal {people.camera.focal[0]:.0f} px ({source})"
    upright = f", turned upright (EXIF orientation {people.orientation})" if people.orientation != 1 else ""
    return f"{people.image}: {number}, {camera}{upright} -> {file_names(files)}"


def video_summary(video: str, result: "VideoResult", given: bool, written: list[Path]) -> str:
    clip = result.clip
    parts = [people_of(clip, given), f"focal {clip.camera.focal[0]:.0f} px ({clip.camera.source})"]
    if clip.camera_turns:
        parts.append(f"the camera turns by up to {clip.camera_angles.max():.0f} degrees")
    if result.skipped:
        parts.append(f"{plural(result.skipped, 'broken frame')} skipped")
    if not result.analysed:
        parts.append(f"stopped at frame {clip.num_frames} of {result.frames or '?'}")
    elif result.frames and clip.num_frames + result.skipped < 0.95 * result.frames:
        parts.append(f"the file ends early: it should have {plural(result.frames, 'frame')}")
    if result.drawn is not None and result.drawn < clip.num_frames:
        parts.append(f"the overlay ends after {plural(result.drawn, 'frame')}")
    if not result.complete:
        parts.append("re-run the command to resume")
    return f"{video}: {', '.join(parts)} -> {file_names(written)}"


def people_of(clip: "Clip", given: bool = False) -> str:
    number = len(set(clip.track_ids.tolist()))
    people = plural(number, "person", "people") if number or given else "no person found"
    text = f"{people} in {plural(clip.num_frames, 'frame')}"
    # Filled gaps, and clips without keypoints, are compared with nothing.
    compared = clip.reprojection == clip.reprojection
    if unreliable := int((compared & ~clip.reliable).sum()):
        text += f" ({unreliable} of {plural(int(compared.sum()), 'body', 'bodies')} unreliable)"
    return text


def late_entries(clip: "Clip") -> str:
    """When people come into the clip who are not there from its first frame on."""
    entries = {track: clip.times[clip.frames[rows[0]]] - clip.times[0] for track, rows in clip.tracks()}
    late = [f"person {track} enters at {time:.2f} s" for track, time in entries.items() if time > 0]
    more = f", and {len(late) - 5} more later" if len(late) > 5 else ""
    return ", ".join(late[:5]) + more


def file_names(files: list[Path]) -> str:
    return ", ".join(file.name for file in files) or "no files"
