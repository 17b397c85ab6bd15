"""`fullframe run --ray`: photos and videos shared among the workers of a Ray cluster."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fullframe.cli.console import say, show_progress
from fullframe.cli.run_outcome import Outcome
from fullframe.cli.runner import Runner
from fullframe.io.text import plural

if TYPE_CHECKING:
    from fullframe.io.workdir import Shards
    from fullframe.recovery.photo import Recoverer
    from fullframe.video.frames import FrameFiles

SHARD = 8
"""Photos that a worker processes at a time."""
_OUTCOMES = "outcomes.json"


def run_shared(runner: Runner, address: str, models: tuple[Any, ...]) -> bool:
    """Write the results of all photos and videos on a Ray cluster; False if interrupted.

    What is done is recorded in a hidden folder of the results, which is removed once everything is done
    without a failure.

    Args:
        runner: with the request, and the people given.
        address: see io.ray_workers.
        models: arguments of Recoverer, for the workers.
    """
    from fullframe.io.ray_workers import ray_workers
    from fullframe.io.workdir import WorkDir

    request, found, folder = runner.request, [0, 0], runner.request.out / ".fullframe_ray"
    try:
        with (
            WorkDir(folder, _fingerprint(runner), restart=True) as work,
            ray_workers(address) as workers,
            show_progress() as progress,
        ):
            for stage, names, size in (("photos", request.photos, SHARD), ("videos", request.videos, 1)):
                shards = work.shards(stage, size=size, count=len(names))
                missing = [
                    (start, end)
                    for start, end in shards.spans
                    if not _is_whole(shards, start, names[start:end])
                ]
                done = [span for span in shards.spans if span not in missing]
                task = _SharedTask(replace(runner, recoverer=None), models, stage, names, shards)
                finished = 0
                for spans in (done, workers(task, missing)):
                    for start, end in spans:
                        for outcome in _load_outcomes(shards, start):
                            runner.report(outcome)
                            found = [found[0] + (not outcome.failed), found[1] + outcome.people]
                            if outcome.failed:  # is tried again by the same command
                                shards.invalidate([start])
                        finished += end - start
                        progress(stage, finished, len(names))
            if not runner.failures:
                work.remove()
    except KeyboardInterrupt:
        say("re-run the command to resume", "interrupted ", "yellow")
        return False
    if found[0]:
        say(f"{plural(found[1], 'person', 'people')} in {plural(found[0], 'input')} -> {request.out}")
    return True


def _fingerprint(runner: Runner) -> dict[str, Any]:
    """Everything that the results depend on, but the content of the inputs."""
    names = "\n".join([*runner.request.photos, *map(str, runner.request.videos)])
    return {
        "inputs": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
        "photos": runner.request.photo_kinds,
        "videos": runner.request.video_kinds,
        "rig": runner.request.rig,
        "height": repr(runner.recoverer.height),
        "camera": repr(runner.camera),
        "smooth": runner.smooth,
        "lock_feet": runner.lock_feet,
        "model": runner.recoverer.name,
        "weights": runner.recoverer.card.sha256 if runner.recoverer.card else None,
        "body": runner.recoverer.body.name,
        "detector": runner.recoverer.detector.name,
        "people": None if runner.own is None else runner.own.digest(),
    }


@dataclass
class _SharedTask:
    """Writes the results of some photos or videos, in any process."""

    runner: Runner
    models: tuple[Any, ...]
    stage: str
    names: "Sequence[str | FrameFiles]"
    shards: "Shards"

    def __call__(self, start: int, end: int) -> None:
        runner = replace(self.runner, recoverer=_load_recoverer(*self.models))
        write: Any = runner.photo_outcomes if self.stage == "photos" else runner.video_outcomes
        names = self.names[start:end]
        states = [_state(name) for name in names]
        outcomes = [
            vars(outcome) | {"state": state} for outcome, state in zip(write(names), states, strict=True)
        ]
        with self.shards.writing(start) as folder:
            (folder / _OUTCOMES).write_text(json.dumps(outcomes), encoding="utf-8")


_recoverers: "dict[str, Recoverer]" = {}


def _load_recoverer(*arguments: Any) -> "Recoverer":
    """Once in each process."""
    from fullframe.recovery.photo import Recoverer

    key = repr(arguments)
    if key not in _recoverers:
        _recoverers[key] = Recoverer(*arguments)
    return _recoverers[key]


def _load_outcomes(shards: "Shards", start: int) -> list[Outcome]:
    content = json.loads((shards.folder(start) / _OUTCOMES).read_text(encoding="utf-8"))
    return [Outcome(**values) for values in content]


def _is_whole(shards: "Shards", start: int, names: "Sequence[str | FrameFiles]") -> bool:
    """Whether a shard is done, of inputs as they are now, and its files are there; else it is removed."""
    if not shards.is_done(start):
        return False
    outcomes = _load_outcomes(shards, start)
    same = [outcome.state for outcome in outcomes] == [_state(name) for name in names]
    if same and all(os.path.exists(file) for outcome in outcomes for file in outcome.files):
        return True
    shards.invalidate([start])
    return False


def _state(name: "str | FrameFiles") -> str:
    """Changes with the files of an input."""
    from fullframe.io.workdir import file_state

    states = map(file_state, [name] if isinstance(name, str) else name.files)
    return hashlib.sha256("\n".join(states).encode()).hexdigest()
