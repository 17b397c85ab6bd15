"""The command `fullframe synth`."""

from pathlib import Path
from typing import Annotated, Literal

import tyro


def synth(
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    frames: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100,
    seed: int = 1,
    split: Literal["train", "val"] = "train",
    backgrounds: Path | None = None,
    labels: Path | None = None,
) -> int:
    """Make full-frame pictures of synthetic people with exact labels.

    Writes <out>/frames/*.jpg and <out>/labels_<split>_<seed>.npz in the form of SPIN's and CLIFF's training
    lists (a row for each person). Stopped and started again, it goes on where it was.

    Args:
        out: folder for the result.
        frames: how many pictures.
        seed: another seed gives other people.
        split: train or val: the poses come from different motion capture.
        backgrounds: folder of photos without people; without it, places are made up.
        labels: people in photos, as fullframe annotate writes them, from whom half of the captured poses are
            taken; without it, all are motion capture.
    """
    from importlib.metadata import version

    from rich.progress import track

    from fullframe.cli.console import UsageError, console
    from fullframe.data.formats.spin_npz import write_spin_npz
    from fullframe.io.atomic import claim, digest
    from fullframe.synth.people import SyntheticPeople

    if frames < 1 or seed < 0:
        raise UsageError(f"frames must be at least 1 and seed not negative, got {frames} and {seed}")
    try:
        people = SyntheticPeople(split, seed, backgrounds=backgrounds, labels=labels)
        folder = out / "frames"
        # Frames of other seeds and splits have other names, those with other backgrounds and poses do not.
        made_by = {
            "fullframe": version("fullframe"),
            "backgrounds": str(backgrounds.resolve()) if backgrounds else None,
            "labels": digest(labels) if labels else None,
        }
        claim(folder, made_by)
        samples = [
            sample
            for index in track(range(frames), "frames", console=console)
            for sample in people.frame(index, folder / f"{split}_{seed}_{index:06d}.jpg")
        ]
        write_spin_npz(out / f"labels_{split}_{seed}.npz", samples, folder)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    console.print(f"{len(samples)} people in {frames} frames -> {out}")
    return 0
