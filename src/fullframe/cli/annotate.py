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
    method: str = "fit",
    model: str | None = None,
    detector: str = "builtin",
    body: str | None = None,
    body_path: Path | None = None,
    ray: str | None = None,
) -> int:
    """Label the people of your photos with bodies, from 2D keypoints.

    Writes the labels in the format of those that CLIFF's authors released, and beside them <out>_people.npz
    with scores of their quality and the page <out>.html. After an interruption the same command resumes.

    Args:
        inputs: COCO keypoint annotations, and the folder that their file names are relative to. Without
            annotations, or where they have no keypoints, a detector finds people and keypoints.
        out: file for the labels, ending in .npz.
        method: fit (as fullframe run: bodies fitted to the keypoints, from a network's and a lifter's), cliff
            (CLIFF's annotator: a network fine-tuned to all people), eft (to one person at a time), smplify
            (fitted from the network's with --model, else from scratch), none (the network's predictions).
        model: a trained network (.safetensors) to start from; by default cliff-lite, and none for smplify.
        detector: builtin, torchvision, rtmlib or transformers.
        body: open or smpl (smpl-neutral, -male, -female), for smplify without --model; else the model's.
        body_path: your SMPL file, .npz or .pkl; by default the one that fullframe doctor finds.
        ray: distribute the work over a Ray cluster: local (the cores of this computer), auto (the cluster
            that it belongs to), or host:port of one. The labels are the same.
    """
    from fullframe.cli.console import UsageError, say, show_progress, usage_errors
    from fullframe.io.text import plural

    if not 1 <= len(inputs) <= 2:
        raise UsageError("give the folder of photos, and before it the annotations (.json) if there are any")
    from fullframe.annotate.pipeline import annotate as make_labels

    *annotations, images = inputs
    try:
        with usage_errors(), show_progress() as progress:
            labels, problems, files = make_labels(
                images, out, annotations[0] if annotations else None, method=method, model=model,
                detector=detector, body=body, body_path=body_path, ray=ray, progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        say(f"progress saved next to {out}; re-run to resume", "stopped ", "yellow")
        return 130
    for problem in problems[:10]:
        say(problem, "problem ", "yellow")
    if len(problems) > 10:
        say(f"and {len(problems) - 10} more in {files[-1]}", "problem ", "yellow")
    unreliable = int((~labels.reliable).sum())
    say(
        f"{plural(len(labels), 'person', 'people')} labelled, {unreliable} of them unreliable; "
        f"{plural(len(problems), 'problem')} -> {', '.join(str(file) for file in files)}"
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

    Every verdict and every correction is saved at once in <labels>_review.jsonl, from which the same command
    resumes. The labels themselves are not changed; a button writes the accepted people to
    <labels>_accepted.npz.

    Args:
        labels: written by `fullframe annotate`.
        images: the folder of the photos; by default the one that was labelled, as recorded in <labels>_work.
        body_path: your SMPL file, .npz or .pkl, for labels of SMPL; by default the one that doctor finds.
        host: 127.0.0.1 for this computer only, 0.0.0.0 for the whole network. There is no password.
        port: the next free one is used if it is taken.
    """
    from fullframe.cli.console import needs_extra, say, usage_errors

    with needs_extra("view"):
        from fullframe.annotate.review import Review
        from fullframe.view.review_page import serve_review
    with usage_errors():
        reviewed = Review(labels, body_path)
        saved = f"(Ctrl-C stops); every verdict is saved at once in {reviewed.file}"
        serve_review(
            reviewed, images or reviewed.images(), host, port,
            lambda address: say(f"{labels}: open {address} {saved}"),
        )  # fmt: skip
    return 0
