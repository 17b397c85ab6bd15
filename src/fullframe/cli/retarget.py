"""The command `fullframe retarget`."""

from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import UsageError, console, say, usage_errors


def retarget(
    clip: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIP.npz")],
    character: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHARACTER.glb")],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    track: int | None = None,
    map: Path | None = None,
    body_path: Path | None = None,
) -> int:
    """Put a recovered motion on your own rigged character.

    Args:
        clip: a result of fullframe run.
        character: GLB or VRM with a skeleton. Bones are found by the names of Mixamo, Unreal, VRM and SMPL.
        out: the character with the motion, .glb or .vrm.
        track: whose motion; default: the person who is in most frames.
        map: JSON object from SMPL's joints to names of bones, for other skeletons.
        body_path: your SMPL file, if the clip's people have its shape.
    """
    with usage_errors():
        if out.suffix.lower() not in (".glb", ".vrm"):
            raise UsageError(f"{out}: the character is written as .glb or .vrm")
        if out.resolve() == character.resolve():
            raise UsageError(f"{out} would overwrite the character; choose another name with -o")
        with console.status("reading"):
            import numpy as np

            from fullframe.body import load_body
            from fullframe.export.character import JOINTS, read_character, read_names
            from fullframe.export.retarget import retarget as put_on
            from fullframe.results.clip import Clip

            recovered = Clip.load(clip)
            if not len(recovered):
                raise UsageError(f"{clip}: nobody is in this clip")
            names = read_names(map) if map is not None else {}
            target = read_character(character, names)
        ids, counts = np.unique(recovered.track_ids, return_counts=True)
        person = int(ids[counts.argmax()]) if track is None else track
        body = load_body(recovered.body, body_path, recovered.betas.shape[1])
        with console.status("writing"):
            put_on(recovered, body, target, out, person)
    without = [name for joint, name in enumerate(JOINTS) if joint not in target.bones.values()]
    if without:
        say(f"{character} has no bone for {', '.join(without)}: give them with --map if it has")
    if target.unmapped:
        say(f"bones that keep their place: {', '.join(target.unmapped)}")
    say(
        f"{out}: the motion of person {person}" + (f" of {len(ids)}; --track chooses" if len(ids) > 1 else "")
    )
    return 0
