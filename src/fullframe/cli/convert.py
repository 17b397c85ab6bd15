"""The command `fullframe convert`."""

from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import UsageError, console, say, usage_errors
from fullframe.cli.run_request import Rig


def convert(
    clip: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CLIP.npz")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.fbx")],
    /,
    rig: Rig = "smpl",
    body_path: Path | None = None,
) -> int:
    """Write the people of a clip as FBX, through your Blender.

    Args:
        clip: a result of fullframe run.
        out: file to write, .fbx. Blender on the PATH, or its module bpy in this Python, writes it.
        rig: names, rest pose and axes of the bones.
        body_path: your SMPL file, if the clip's people have its shape.
    """
    with usage_errors():
        if out.suffix.lower() != ".fbx":
            raise UsageError(f"{out}: only .fbx is converted to; fullframe run --save writes the other files")
        if rig == "vrm":
            raise UsageError("VRM is not FBX: fullframe run --save glb --rig vrm writes it")
        from fullframe.export.fbx import blender_command, write_clip_fbx

        blender_command()  # before anything takes time
        from fullframe.body import load_body
        from fullframe.results.clip import Clip

        recovered = Clip.load(clip)
        body = load_body(recovered.body, body_path, recovered.betas.shape[1])
        with console.status("Blender writes"):
            write_clip_fbx(recovered, body, out, rig)
    say(f"{clip} -> {out}")
    return 0
