"""The command `fullframe run`."""

import errno
from pathlib import Path
from typing import Annotated, Any

import tyro

from fullframe.cli.console import UsageError, console, count, progress_bar, say
from fullframe.cli.inputs import find_inputs, is_live, is_video, output_names, searched_folder
from fullframe.cli.outputs import choose, make_writable, photo_files, video_files


def run(
    inputs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO|VIDEO|FOLDER|GLOB|CAMERA")
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    focal: float | None = None,
    fov: float | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    boxes: Path | None = None,
    keypoints: Path | None = None,
    model: str | None = None,
    refine: bool = False,
    body: str = "open",
    body_path: Path | None = None,
    detector: str = "builtin",
    smooth: bool = True,
    lock_feet: bool = False,
    save: str | None = None,
) -> int:
    """Recover the people of photos and videos as 3D meshes in the camera of the full frame.

    Args:
        inputs: photos, videos, folders of them, or patterns such as 'holiday/*.jpg'; or one camera, shown
            live in the browser: its number (0), /dev/video0, or the address of a stream (rtsp://...).
        out: folder for the results; made if it does not exist.
        focal: focal length in px. Without --focal, --fov, --intrinsics: from EXIF, else the diagonal.
        fov: horizontal field of view in degrees.
        intrinsics: fx fy cx cy in px.
        boxes: photos: person boxes instead of detected ones: COCO annotations or results (.json).
        keypoints: photos: COCO-17 keypoints instead of detected ones: COCO annotations or results (.json).
        model: cliff-lite (the default, built in), a trained network (.safetensors), or keypoint-fit (the
            default for SMPL): bodies fitted to 2D keypoints.
        refine: fit the network's bodies to the 2D keypoints afterwards.
        body: open (built in) or smpl; smpl-neutral, -male, -female where the file's name does not say which.
        body_path: your SMPL file, .npz or .pkl; without it, the one that fullframe doctor finds.
        detector: builtin, torchvision, rtmlib or transformers.
        smooth: videos: smooth motions over time.
        lock_feet: videos: keep feet that stand on the ground in their place.
        save: what to write, separated by commas. Photos: overlay, sheet, npz, json (these four if nothing is
            said), glb, obj, ply. Videos: overlay, npz (these two), json, csv, glb, bvh, usd, smpl.
    """
    if not inputs:
        raise UsageError("name at least one photo, video, folder or pattern")
    names = find_inputs(inputs)
    live = [name for name in names if is_live(name)]
    if live and len(names) > 1:
        raise UsageError(f"{live[0]} is a camera or stream: give it alone")
    videos = [name for name in names if name not in live and is_video(name)]
    photos = [name for name in names if name not in live and name not in videos]
    if (boxes or keypoints) and (videos or live):
        raise UsageError("--boxes and --keypoints are for photos; people in videos are always detected")
    photo_kinds, video_kinds = choose(save, bool(photos), bool(videos or live))
    if out.resolve() in {folder.resolve() for pattern in inputs if (folder := searched_folder(pattern))}:
        # The next run would take the pictures written by this one for photos.
        raise UsageError(f"the output folder {out} is the folder of the inputs; choose another with -o")
    stems = {name: out / stem for name, stem in output_names(names).items()}
    files = {name: photo_files(stems[name], photo_kinds) for name in photos}
    files |= {name: video_files(stems[name], video_kinds) for name in videos}
    taken = (Path(p).resolve() for p in (*names, boxes, keypoints, body_path, model) if p is not None)
    inputs_resolved = set(taken)
    for file in (file for each in files.values() for file in each.values()):
        if file.resolve() in inputs_resolved:
            raise UsageError(f"the result {file} would overwrite an input; choose another folder with -o")
    make_writable(out)

    # torch takes seconds to import: only now that the request makes sense.
    from fullframe.cli.run_photos import run_photo
    from fullframe.cli.run_videos import STOPPING, Interrupt, run_live, run_video
    from fullframe.detect.coco_json import read_people
    from fullframe.recover.photo import Recoverer, camera_from_options

    told: dict[str, Any] = {"focal": focal, "fov": fov, "intrinsics": intrinsics}
    try:
        camera_from_options((1, 1), **told)  # impossible values end the run before the first photo
        given = read_people(boxes, keypoints)
        with console.status("loading"):
            recoverer = Recoverer(model, refine, body, body_path, detector)
    except FileNotFoundError as error:
        raise UsageError(f"{error.filename or error}: no such file") from error
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(str(error)) from error

    motion = {"smooth": smooth, "lock_feet": lock_feet}
    if live:
        try:
            say(run_live(recoverer, live[0], out, video_kinds, **motion, **told))
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error
        return 0

    failed: list[str] = []

    def fail(name: str, error: Exception) -> None:
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            reason = f"no space left in {out}: free some and run the same command again"
        failed.append(reason if reason.startswith(name) else f"{name}: {reason}")
        say(failed[-1], "failed ", "red")

    done = found = 0
    with progress_bar(disable=len(photos) < 2) as progress:
        task = progress.add_task("photos", total=len(photos))
        try:
            for photo in photos:
                try:
                    people, line = run_photo(
                        recoverer, photo, files[photo], **told, **given.for_photo(Path(photo))
                    )
                except Exception as error:  # whatever is wrong with one photo must not stop the others
                    fail(photo, error)
                else:
                    done, found = done + 1, found + people
                    say(line)
                progress.advance(task)
        except KeyboardInterrupt:
            say(f"after {done} of {len(photos)} photos; their files in {out} are whole", "stopped ", "yellow")
            return 130
    if done:
        say(f"{count(found, 'person', 'people')} in {count(done, 'photo', 'photos')} -> {out}")

    with Interrupt(STOPPING) as interrupt:
        for number, video in enumerate(videos, 1):
            try:
                complete, line = run_video(
                    recoverer, video, stems[video], video_kinds, interrupt=interrupt, **motion, **told
                )
            except KeyboardInterrupt:
                say(f"{video}: left at once; the same command goes on", "stopped ", "yellow")
                return 130
            except Exception as error:  # nor one video the others
                fail(video, error)
            else:
                say(line)
                if not complete:
                    return 130
            if interrupt() and number < len(videos):
                say(f"{count(len(videos) - number, 'video', 'videos')} left", "stopped ", "yellow")
                return 130
    if failed:
        what = "photos" if not videos else "videos" if not photos else "inputs"
        say(f"{len(failed)} of {len(names)} {what} failed:", style="red")
        for reason in failed:
            say(f"  {reason}")
        return 1
    return 0
