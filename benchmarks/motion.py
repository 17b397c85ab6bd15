"""Clips of synthetic people whose motion is known, people who turn over among them: how right the result is.

    python benchmarks/motion.py [TAKE ...] [--out FOLDER]

Draws clips of up to three seconds, 960 x 720 at 30 fps, of the sequences in data/motion of the folder that
FULLFRAME_SHARED names (default: shared/ beside the repository), with a camera that stands still and one or
two people, and runs all that `fullframe run` does with the true camera. Finished clips are kept in --out.

MPJPE and the same centred and after Procrustes are of the twelve joints of the limbs, mm; "path" is the
distance of their mean from the true one, scaled to the true distance, mm; jerk is the mean third derivative
of the joints relative to the pelvis, m/s^3; the acceleration error is in m/s^2; skating is the speed, m/s, of
feet that truly stand; "right" and "found" are precision and recall of the contacts. "seen" is the share of
true people in frames who have a body, and a switch is a track id that passes from one person to another, or a
person whose id changes.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from common import SHARED
from motion_metrics import acceleration_error, common_rows, foot_skating, jitter
from numpy.typing import NDArray
from PIL import Image

from fullframe.body.body_model import BodyModel
from fullframe.evaluate import metrics
from fullframe.evaluate.report import markdown_table
from fullframe.fit import fit_clip
from fullframe.fit.keypoint_fitter import LIMB_JOINTS
from fullframe.geometry.box import iou
from fullframe.geometry.camera import Camera
from fullframe.motion.postprocess import postprocess
from fullframe.motion.skeleton import joint_positions, soles
from fullframe.recovery.frame_results import FrameResults
from fullframe.recovery.photo import Recoverer
from fullframe.recovery.video_tracker import analyse
from fullframe.results.clip import ROWS, Clip
from fullframe.synth.joints import NUM_BETAS, OpenBodyPoser
from fullframe.synth.renderer import Painter
from fullframe.synth.scene import Person, Scene
from fullframe.synth.shading import Light
from fullframe.synth.synthetic_people import visible_box
from fullframe.video.frames import FrameFiles, open_video

SIZE, FPS, FRAMES = (960, 720), 30.0, 90
COLUMNS = {"MPJPE": 1, "centred": 1, "PA": 1, "path": 0, "jerk": 0, "acceleration": 1, "skating": 2,
           "right": 2, "found": 2, "seen": 3, "switches": 0}  # fmt: skip
"""Titles and decimals."""
TURNED = ("cartwheel", "cartwheel, frontal", "gets up, face up", "gets up, face down", "crawls")


@dataclass(frozen=True)
class Take:
    """What a clip shows.

    Attributes:
        people: name of the sequence, place on the ground x, z in metres and heading in degrees of each.
        distance: of the camera from the middle, metres.
    """

    people: tuple[tuple[str, float, float, float], ...]
    distance: float


TAKES = {
    "walks": Take((("cmu_expmap/train_walking_2", 0, -2, 60),), 5.5),
    "two cross": Take(
        (("cmu_expmap/train_walking_2", -1.8, 0, 90), ("cmu_expmap/test_walking_12x", 1.8, -0.9, -90)), 5.5
    ),
    "two signal": Take(
        (
            ("cmu_expmap/train_basketball_signal_1", -0.8, 0, 20),
            ("cmu_expmap/train_directing_traffic_1", 0.8, -0.3, -30),
        ),
        4.5,
    ),
    "basketball": Take((("cmu_expmap/test_basketball_1", -1.5, -1.5, 40),), 6),
    "soccer": Take((("cmu_expmap/train_soccer_2", 0, 0, 30),), 4.5),
    "dances and jumps": Take(
        (("cmu_bvh/005_04", -0.7, 0, 0), ("cmu_expmap/train_jumping_1", 0.9, -0.8, 20)), 5
    ),
    "jumps": Take((("cmu_expmap/train_jumping_2", 0, 0, 10),), 4.5),
    "runs": Take((("cmu_expmap/train_running_2", -1.5, 0, 80),), 6),
    "bends": Take((("cmu_amc/02_06", 0, 0, -40),), 4.5),
    "washes a window": Take((("cmu_expmap/test_washwindow_1", 0, 0, 130),), 4.5),
    "swordplay": Take((("cmu_amc/02_07", 0, 0, 20),), 4.5),
    TURNED[0]: Take((("deepmimic/cartwheel", -1.0, 0, 90),), 5),
    TURNED[1]: Take((("deepmimic/cartwheel", 0, -1, 10),), 5),
    TURNED[2]: Take((("deepmimic/getup_faceup", 0, 0, 60),), 4.5),
    TURNED[3]: Take((("deepmimic/getup_facedown", 0, 0, -60),), 4.5),
    TURNED[4]: Take((("deepmimic/crawl", -0.5, 0, 70),), 4.5),
}


def main(
    takes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TAKE")] = (),
    out: Path = Path("evaluation/motion"),
) -> None:
    recoverer = Recoverer()
    fitter = recoverer.fitter
    assert fitter is not None
    body = recoverer.body
    fit = partial(fit_clip, fitter)
    table = [["", "result", *COLUMNS]]
    rows: dict[tuple[bool, str], list[list[float]]] = {}
    for name in takes or TAKES:
        truth, raw = _clips(name, recoverer, out)
        results = {
            "one shape (`--no-smooth`)": postprocess(raw, body, smooth=False),
            "smoothed": postprocess(raw, body),
            "fitted: `fullframe run`": postprocess(raw, body, fit=fit),
            "the same, `--lock-feet`": postprocess(raw, body, fit=fit, lock_feet=True),
        }
        for result, clip in results.items():
            row = measured(clip, truth, body)
            rows.setdefault((name in TURNED, result), []).append(row)
            table.append([name, result, *_cells(row)])
    for (turned, result), values in rows.items():
        title = "mean, people who turn over" if turned else "mean, others"
        table.append([title, result, *_cells(np.mean(values, axis=0).tolist())])
    print(markdown_table(table))


def _cells(row: list[float]) -> list[str]:
    return [f"{value:.{digits}f}" for value, digits in zip(row, COLUMNS.values(), strict=True)]


def measured(clip: Clip, truth: Clip, body: BodyModel) -> list[float]:
    """The values of COLUMNS."""
    clip, switches = identify(clip, truth)
    rows, true_rows = common_rows(clip, truth)
    people = truth.track_ids[true_rows]
    p, g = (
        joint_positions(body, each)[:, list(LIMB_JOINTS)] for each in (clip.take(rows), truth.take(true_rows))
    )
    hips = [LIMB_JOINTS.index(joint) for joint in (1, 2)]
    middles = p.mean(axis=1), g.mean(axis=1)
    path = []
    for person in np.unique(people):
        a, b = (middle[people == person] for middle in middles)
        scale = np.median(np.linalg.norm(b, axis=1)) / np.median(np.linalg.norm(a, axis=1))
        path.append(1000 * np.linalg.norm(scale * a - b, axis=1).mean())
    return [
        metrics.mpjpe(p, g, hips).mean(),
        metrics.joint_errors(p, g, range(len(LIMB_JOINTS))).mean(),
        metrics.pa_mpjpe(p, g).mean(),
        float(np.mean(path)),
        jitter(clip, body),
        acceleration_error(clip, truth, body),
        foot_skating(clip, body, standing=truth),
        *contacts(clip, truth),
        len(rows) / len(truth),
        switches,
    ]


def contacts(clip: Clip, truth: Clip) -> tuple[float, float]:
    """The share of the contacts that are true, and of the true ones that are found."""
    rows, true_rows = common_rows(clip, truth)
    said, true = clip.contacts[rows], truth.contacts[true_rows]
    both = float((said & true).sum())
    return both / max(said.sum(), 1), both / max(true.sum(), 1)


def _clips(name: str, recoverer: Recoverer, out: Path) -> tuple[Clip, Clip]:
    """The truth about a take, and its people frame by frame: made, or as an earlier run left them."""
    files = out / f"{name}.true.npz", out / f"{name}.npz"
    if not all(file.exists() for file in files):
        frames = out / name
        frames.mkdir(parents=True, exist_ok=True)
        truth = shoot(TAKES[name], recoverer.body, frames)
        images = FrameFiles(str(frames), tuple(map(str, sorted(frames.glob("*.png")))), FPS)
        with open_video(images) as reader:
            parts = [part for part, _ in analyse(recoverer, reader, truth.camera, [])]
        truth.save(files[0])
        raw = FrameResults.joined(parts).to_clip(truth.camera, recoverer.body.name, recoverer.name, name)
        raw.save(files[1])
    return Clip.load(files[0]), Clip.load(files[1])


def shoot(take: Take, body: BodyModel, folder: Path) -> Clip:
    """Draws a take into a folder, frame by frame, and returns the truth about it."""
    rng = np.random.default_rng(list(TAKES.values()).index(take))
    camera = Camera.from_fov(60, SIZE)
    painter, bodies = Painter(), OpenBodyPoser()
    actors = [_sequence(*person) for person in take.people]
    betas = np.clip(rng.normal(size=(len(actors), NUM_BETAS)), -2, 2).astype(np.float32)
    betas[:, 10] = 0
    looks, seed = rng.integers(2**31, size=len(actors)), int(rng.integers(2**31))
    turn, place = _camera(take.distance)
    rows: list[dict] = []
    count = min(FRAMES, *(len(theta) for theta, _ in actors))
    for frame in range(count):
        people = []
        for (theta, pelvis), shape, look in zip(actors, betas, looks, strict=True):
            posed = bodies.pose(shape, theta[frame])
            people.append(_seen(Person(shape, posed, pelvis[frame], "", 0.0, int(look)), turn, place))
        light = Light(*(np.asarray(x, np.float32) for x in (
            turn @ [0.4, 0.8, 0.45], [0.9] * 3, [0.55] * 3, [0.35] * 3, turn[:, 1])))  # fmt: skip
        scene = Scene(camera, people, [], light, float(place[1]), seed)
        dressed = [painter.dress(person) for person in people]
        image = painter.paint(scene, dressed, (0.0, 0.0, 1.0), SIZE[::-1], antialias=True)
        # The painter's own noise is the same in all frames of a scene.
        noise = np.random.default_rng([seed, frame]).normal(0, 3, image.shape)
        Image.fromarray(np.clip(image + noise, 0, 255).astype(np.uint8)).save(folder / f"{frame:03}.png")
        for k, (person, outfit) in enumerate(zip(people, dressed, strict=True)):
            box = visible_box(outfit.mesh.vertices, camera)
            if box is not None:
                rows.append({"frames": frame, "track_ids": k, "boxes": box, "scores": 1,
                             "pose": person.posed.rotations, "betas": person.betas,
                             "translation": person.translation})  # fmt: skip
    truth = _clip(rows, count, camera, body)
    return replace(truth, contacts=_standing(truth, body, turn, place))


def _standing(
    truth: Clip, body: BodyModel, turn: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """When the true feet stand, (N, 2): heel or ball slower than 0.4 m/s and within 6 cm of where the lowest
    is in the clip, since bodies are not as tall as those whose motion was captured.

    Args:
        turn, place: of the camera, as from `_camera`.
    """
    points = soles(body, truth) @ turn + place
    found = np.zeros((len(truth), 2), bool)
    for _, rows in truth.tracks():
        speed = np.linalg.norm(np.gradient(points[rows], 1 / FPS, axis=0), axis=-1)
        height = points[rows][..., 1] - np.quantile(points[rows][..., 1].min(axis=(1, 2)), 0.02)
        found[rows] = ((height < 0.06) & (speed < 0.4)).any(axis=2)
    return found


def _sequence(name: str, x: float, z: float, heading: float) -> tuple[NDArray, NDArray]:
    """Axis-angle (T, 24, 3) and pelvis (T, 3) metres, y up, of the sequence turned and put on a place."""
    file = SHARED / "data" / "motion" / "sequences.npz"
    if not file.is_file():
        raise SystemExit(f"skipped: {file} is absent; set FULLFRAME_SHARED to the folder with data/motion")
    with np.load(file, allow_pickle=False) as data:
        index = next(i for i, n in enumerate(data["name"].tolist()) if n.startswith(name + "@"))
        rows = slice(*data["offsets"][index : index + 2])
        theta, pelvis = data["theta"][rows].astype(np.float64), data["root_trans"][rows].astype(np.float64)
    turn = cv2.Rodrigues(np.array([0, np.radians(heading), 0]))[0]
    theta[:, 0] = [cv2.Rodrigues(turn @ cv2.Rodrigues(root)[0])[0][:, 0] for root in theta[:, 0]]
    pelvis = pelvis @ turn.T + (x, 0, z)
    return theta, pelvis


def _camera(distance: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The axes as rows, world (y up) to camera, and the place, metres, of a camera before the middle."""
    place = np.array([0, 1.4, distance])
    forward = np.array([0, 0.85, 0]) - place
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(forward, right), forward)), place


def _seen(person: Person, turn: NDArray[np.float64], place: NDArray[np.float64]) -> Person:
    """The person of the world in the camera's frame; translation is the pelvis before and as usual after."""
    posed, root = person.posed, turn.astype(np.float32)
    origin = posed.rest_pelvis
    rotations = posed.rotations.copy()
    rotations[0] = root @ rotations[0]
    joints = (posed.joints - origin) @ root.T + origin
    transforms = root @ posed.transforms
    transforms[:, :, 3] += origin - root @ origin
    translation = (turn @ (person.translation - place) - origin).astype(np.float32)
    posed = posed._replace(rotations=rotations, joints=joints, transforms=transforms)
    return replace(person, posed=posed, translation=translation)


def _clip(rows: list[dict], count: int, camera: Camera, body: BodyModel) -> Clip:
    shapes = {"frames": (), "track_ids": (), "boxes": (4,), "scores": (), "pose": (24, 3, 3),
              "betas": (body.num_betas,), "translation": (3,)}  # fmt: skip
    arrays = {
        name: np.array([row[name] for row in rows]).reshape(-1, *shape) for name, shape in shapes.items()
    }
    return Clip(
        times=np.arange(count) / FPS,
        detected=np.ones(len(rows), bool),
        keypoints=np.zeros((len(rows), 17, 3)),
        camera=camera,
        body=body.name,
        model="benchmark",
        **arrays,
    )


def identify(clip: Clip, truth: Clip) -> tuple[Clip, int]:
    """The clip under the true ids of the people whose boxes its rows cover, and how often ids changed.

    While people overlap by more than a fifth, a box may be of either of them, and changes do not count.
    """
    rows, ids = [], []
    last: dict[str, dict[int, int]] = {"person": {}, "track": {}}
    switches = 0
    for frame in range(clip.num_frames):
        mine, theirs = clip.rows_of(frame), truth.rows_of(frame)
        overlap = iou(clip.boxes[mine], truth.boxes[theirs])
        alone = iou(truth.boxes[theirs], truth.boxes[theirs]).sum(axis=1) < 1.2
        while overlap.size and overlap.max() > 0.4:
            a, b = np.unravel_index(overlap.argmax(), overlap.shape)
            track, person = int(clip.track_ids[mine][a]), int(truth.track_ids[theirs][b])
            if alone[b]:
                switches += last["person"].setdefault(person, track) != track
                switches += last["track"].setdefault(track, person) != person
                last["person"][person], last["track"][track] = track, person
            rows.append(mine.start + int(a))
            ids.append(person)
            overlap[a], overlap[:, b] = 0, 0
    order = np.lexsort((ids, clip.frames[rows]))
    arrays = {name: getattr(clip, name)[np.array(rows, np.int64)[order]] for name in ROWS}
    return replace(clip, **arrays | {"track_ids": np.array(ids, np.int64)[order]}), switches


if __name__ == "__main__":
    tyro.cli(main)
