"""The command `fullframe synth`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

_MOST = 10**9


def synth(
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    frames: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100,
    seed: int = 1,
    split: Literal["train", "val"] = "train",
    backgrounds: Path | None = None,
    labels: Path | None = None,
) -> int:
    """Render full frames of synthetic people with exact labels.

    Writes <out>/frames/*.jpg and <out>/labels_<split>_<seed>.npz in the form of SPIN's and CLIFF's training
    lists (a row for each person). The same command resumes after an interruption.

    Args:
        out: folder for the result.
        frames: number of images.
        seed: another seed gives other people.
        split: train or val: the poses come from different motion capture.
        backgrounds: folder of photos without people; without it, backgrounds are procedural.
        labels: labels of photos from fullframe annotate, from which half of the captured poses are taken;
            without them, all are motion capture.
    """
    from fullframe.cli.console import UsageError, say, show_progress
    from fullframe.data.formats.spin_npz import write_spin_npz
    from fullframe.io.atomic import digest
    from fullframe.io.workdir import WorkDir
    from fullframe.synth.synthetic_people import SyntheticPeople

    if not 1 <= frames <= _MOST or not 0 <= seed <= _MOST:
        raise UsageError(
            f"frames must be at least 1 and seed not negative, both at most {_MOST}; got "
            f"{str(frames)[:100]} and {str(seed)[:100]}"
        )
    try:
        people = SyntheticPeople(split, seed, backgrounds=backgrounds, labels=labels)
        folder = out / "frames"
        # Frames of other seeds and splits have other names, those with other backgrounds and poses do not.
        request = {
            "backgrounds": str(backgrounds.resolve()) if backgrounds else None,
            "labels": digest(labels) if labels else None,
        }
        samples = []
        with WorkDir(folder, request), show_progress() as progress:
            for index in range(frames):
                samples += people.frame(index, folder / f"{split}_{seed}_{index:06d}.jpg")
                progress("rendering frames", index + 1, frames)
        write_spin_npz(out / f"labels_{split}_{seed}.npz", samples, folder)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    say(f"{len(samples)} people in {frames} frames -> {out}")
    return 0
