"""FBX through Blender, in a process of its own: Blender is under the GPL and no part of ours."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fullframe.body.body_model import BodyModel
from fullframe.export.gltf import write_clip_glb
from fullframe.export.rigs import RIGS
from fullframe.export.tracks import even_rate
from fullframe.io.atomic import atomic_path
from fullframe.results.clip import Clip

_SCRIPT = Path(__file__).with_name("blender_fbx.py")


class BlenderError(ValueError):
    """There is no Blender, or it failed; the message says what to install or what it said."""


def blender_command() -> list[str]:
    """The command that runs a script in Blender: the module bpy if this Python has it, else the program.

    Raises:
        BlenderError: there is neither.
    """
    if importlib.util.find_spec("bpy") is not None:
        return [sys.executable]
    program = shutil.which("blender")
    if program is None:
        raise BlenderError(
            "FBX is written by Blender, which is not there: install it from https://www.blender.org/download "
            "and put it on the PATH, or install its module into this Python where there is one for it: pip "
            "install bpy. GLB and BVH need neither."
        )
    return [program, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]


def write_clip_fbx(clip: Clip, body: BodyModel, path: Path, rig: str = "smpl") -> list[Path]:
    """One FBX with the people of a clip as skinned meshes on the skeleton of a rig, and the camera.

    Blender imports the GLB of the clip and exports it: metres, which the file states as 100 cm, y up, of the
    rig unreal z up; `even_rate` frames per second, baked frame by frame from the clip's first. People hold
    their first and last pose while they are not seen.

    Args:
        rig: a name of RIGS.

    Raises:
        BlenderError: there is no Blender, or it failed.
        ValueError: nobody is in the clip, the body is not its body, or a pose or translation is not finite.
    """
    if not len(clip):
        raise ValueError("nobody is in this clip")
    command = blender_command()
    with tempfile.TemporaryDirectory() as folder, atomic_path(path) as temporary:
        glb, fbx = Path(folder, "clip.glb"), Path(folder, "clip.fbx")
        write_clip_glb(clip, body, glb, rig, hide=False)  # readers of FBX need bones that have a size
        # A copy: Python would look for modules beside the script first, where our json.py is.
        script = shutil.copy(_SCRIPT, folder)
        arguments = [str(glb), str(fbx), str(even_rate(clip)), "z" if RIGS[rig].z_up else "y"]
        try:
            done = subprocess.run(
                [*command, script, *(["--"] if len(command) > 1 else []), *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise BlenderError(f"{command[0]} cannot be run: {error.strerror}") from error
        if done.returncode or not fbx.is_file():
            said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-3:]
            raise BlenderError(f"Blender ({command[0]}) wrote no FBX: {' / '.join(said)}")
        shutil.copyfile(fbx, temporary)
    return [Path(path)]
