"""The commands `fullframe annotate` and `fullframe review`."""

from pathlib import Path
from typing import Annotated

import tyro


def annotate(
    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[ANNOTATIONS.json] IMAGES")
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    method: str = "cliff",
    model: str | None = None,
    detector: str = "builtin",
    body: str | None = None,
    body_path: Path | None = None,
    ray: str | None = None,
) -> int:
    """Label the people of your photos with bodies, from 2D keypoints.

    Writes the labels in the form of those that CLIFF's authors released, and beside them <out>_people.npz
    with everyone's quality and the page <out>.html. The same command goes on where it was stopped.

    Args:
        inputs: COCO keypoint annotations, and the folder that their file names are relative to. Without
            annotations, or where they have no keypoints, a detector finds people and keypoints.
        out: file for the labels, ending in .npz.
        method: cliff (a network fine-tuned to everyone), eft (to one person at a time), smplify (bodies
            fitted to the keypoints, from the network's or without --model from scratch), none (the network
            as it is).
        model: a trained network (.safetensors) to start from; else cliff-lite, and none for smplify.
        detector: builtin, torchvision, rtmlib or transformers.
        body: open or smpl (smpl-neutral, -male, -female), for smplify without --model; else the model's.
        body_path: your SMPL file, .npz or .pkl; without it, the one that fullframe doctor finds.
        ray: share the work on a Ray cluster: local (the cores of this computer), auto (the cluster that it
            belongs to), or host:port of one. The labels are the same.
    """
    from fullframe.cli.console import UsageError, count, progress_bar, say

    if not 1 <= len(inputs) <= 2:
        raise UsageError("give the folder of photos, and before it the annotations (.json) if there are any")
    from fullframe.annotate.annotation import annotate as make_labels

    *annotations, images = inputs
    try:
        with progress_bar() as progress:
            task = progress.add_task("loading", total=None)

            def advance(stage: str, done: int, total: int) -> None:
                progress.update(task, description=stage.replace("_", " "), completed=done, total=total)

            given = annotations[0] if annotations else None
            labels, problems, files = make_labels(
                images, out, given, method=method, model=model, detector=detector, body=body,
                body_path=body_path, ray=ray, advance=advance,
            )  # fmt: skip
    except KeyboardInterrupt:
        say(f"what is done is kept beside {out}; the same command goes on", "stopped ", "yellow")
        return 130
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error
    for problem in problems[:10]:
        say(problem, "problem ", "yellow")
    if len(problems) > 10:
        say(f"and {len(problems) - 10} more in {files[-1]}", "problem ", "yellow")
    unreliable = int((~labels.reliable).sum())
    say(
        f"{count(len(labels), 'person', 'people')} labelled, {unreliable} of them unreliable; "
        f"{count(len(problems), 'problem', 'problems')} -> {', '.join(str(file) for file in files)}"
    )
    return 0


def review(
    labels: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="LABELS.npz")],
    images: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[IMAGES]")] = None,
    /,
    body_path: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> int:
    """Accept, reject and correct labels in the browser. Ctrl-C ends it.

    Every verdict and every correction is at once in <labels>_review.jsonl, and the same command goes on from
    there. The labels themselves are not changed; a button writes the accepted people to
    <labels>_accepted.npz.

    Args:
        labels: what `fullframe annotate` wrote.
        images: the folder of the photos; by itself the one that was labelled, while <labels>_work is there.
        body_path: your SMPL file, .npz or .pkl, for labels of SMPL; else the one fullframe doctor finds.
        host: who may review: 127.0.0.1, this computer only; 0.0.0.0, the whole network. There is no password.
        port: the next free one is taken if it is not free.
    """
    from fullframe.cli.console import UsageError

    try:
        from fullframe.annotate.review import Review
        from fullframe.annotate.review_page import serve_review
    except ImportError as error:
        raise UsageError(
            f"the browser page needs one more package ({error}): pip install 'fullframe[view]'"
        ) from error
    try:
        reviewed = Review(labels, body_path)
        serve_review(reviewed, images or reviewed.images(), host, port)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    return 0
