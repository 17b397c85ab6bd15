"""The command `fullframe run`."""

import glob
import os
from pathlib import Path
from typing import Annotated

import tyro

from fullframe.cli.console import UsageError, loading, usage_errors
from fullframe.cli.run_request import Rig, plan
from fullframe.cli.run_shared import run_shared
from fullframe.cli.runner import Runner
from fullframe.recovery.inputs import parse_height
from fullframe.recovery.outputs import make_writable


def run(
    inputs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO|VIDEO|FOLDER|GLOB|CAMERA")
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    vertical_fov: float | None = None,
    camera: str | None = None,
    boxes: Path | None = None,
    keypoints: Path | None = None,
    model: str | None = None,
    refine: bool = True,
    body: str = "open",
    body_path: Path | None = None,
    detector: str = "builtin",
    smooth: bool = True,
    lock_feet: bool = False,
    height: str | None = None,
    save: str | None = None,
    rig: Rig = "smpl",
    fps: float | None = None,
    ray: str | None = None,
) -> int:
    """Recover the people of photos and videos as 3D meshes in the camera of the full frame.

    Args:
        inputs: photos, videos, folders of them, or patterns such as 'holiday/*.jpg'; or one camera, shown
            live in the browser: its number (0), /dev/video0, or the address of a stream (rtsp://...).
        out: folder for the results; created if it does not exist.
        focal: focal length in px. Where no camera is given: from EXIF, else the image diagonal.
        fov: horizontal field of view in degrees.
        intrinsics: fx fy cx cy in px.
        vertical_fov: vertical field of view in degrees.
        camera: a calibration with the distortion of the lens: OpenCV's or ROS' .yml, .json, Pose2Sim's .toml,
            Qualisys' .qca.txt, COLMAP's cameras.txt; FILE:NAME for one of several cameras.
        boxes: person boxes instead of detected ones: a file or folder of COCO, MMPose, CVAT, Label Studio,
            YOLO ...; for videos also MOT or JSON by frame. Tracks are kept.
        keypoints: 2D keypoints instead of detected ones: the same, OpenPose, AlphaPose, MediaPipe ...
        model: cliff-lite (the default), hmr-lite or imphmr-lite, which are built in, a trained network
            (.safetensors), or keypoint-fit (the default for SMPL): bodies fitted to 2D keypoints.
        refine: fit the bodies of the network to the 2D keypoints; --no-refine is faster and less accurate.
        body: open (built in) or smpl; smpl-neutral, -male, -female if the file name does not say which.
        body_path: your SMPL file, .npz or .pkl; default: the one that fullframe doctor finds.
        detector: builtin, torchvision, rtmlib or transformers.
        smooth: videos: smooth motions and fit them to the keypoints of all frames.
        lock_feet: videos: keep feet that stand on the ground in place.
        height: the person's in metres, 1.75, or 0:1.75,1:1.62 by track id: it sets the scale of everything.
        save: files to write, separated by commas. Photos: overlay, sheet, npz, json (the default), glb, bvh,
            obj, ply. Videos: overlay, npz (the default), json, csv, glb, bvh, usd, smpl,
            trc, mot, angles.
        rig: skeleton in glb and bvh: names, rest pose and axes of the bones.
        fps: frames per second: numbered photos of a folder, and animated images, are frames of a clip.
        ray: share photos and videos among the workers of a Ray cluster: local (the cores of this computer),
            auto (the cluster that it belongs to), or host:port of one. The same command resumes.
    """
    with usage_errors():
        if ray is not None:  # the workers have other working directories
            inputs, out = tuple(map(_absolute, inputs)), out.absolute()
            model, body_path = model and _absolute(model), body_path and body_path.absolute()
        request = plan(inputs, out, save, rig, fps, (boxes, keypoints, body_path, model, camera))
        heights = None if height is None else parse_height(height)

        # torch takes seconds to import: only once the request is known to make sense.
        from fullframe.detect.own_people import read_own_people
        from fullframe.io.atomic import remove_abandoned
        from fullframe.recovery.photo import Recoverer, read_camera_options

        cameras = read_camera_options(focal, fov, intrinsics, vertical_fov, camera)
        make_writable(out)
        for folder in {out, *(stem.parent for stem in request.stems.values())}:
            remove_abandoned(folder)
        own = read_own_people(boxes, keypoints, [Path(photo) for photo in request.photos])
        models = (model, refine, body, body_path, detector, heights)
        with loading():
            recoverer = Recoverer(*models)
        runner = Runner(request, recoverer, cameras, smooth, lock_feet, own)
        if request.live is not None:
            if ray is not None:
                raise UsageError("--ray is for photos and videos, not for cameras and streams")
            runner.run_live(request.live)
            return 0
        if ray is not None:
            finished = run_shared(runner, ray, models)
            return runner.report_failures() if finished else 130
    if runner.run_photos() and runner.run_videos():
        return runner.report_failures()
    return 130


def _absolute(name: str) -> str:
    """The absolute path of a file, folder or pattern; addresses and the names of models as they are."""
    path = os.path.expanduser(name)
    if "://" in name or not (glob.has_magic(path) or os.path.lexists(path)):
        return name
    return os.path.abspath(path)
