"""Motion from video of people whose motion is known: how much calmer, and how right, it is when finished.

    python benchmarks/motion.py CHECKPOINT [--detect] [--keep FOLDER]

Draws clips of about three seconds, 640 x 480 at 30 fps, of the sequences in data/motion of the folder that
FULLFRAME_SHARED names (default: shared/ beside the repository), with still and with moving cameras and one or
two people; runs a network on every frame, then postprocessing. Boxes are the true ones with the
noise of a detector (2 % of the height), or with --detect those of the built-in detector and tracker. The
background stays where it is when the camera moves.

Jitter is the mean third derivative of the joints, relative to the pelvis and in the camera, m/s^3; MPJPE mm;
acceleration error m/s^2; skating the speed, m/s, of feet that stand: of those that truly do, and of those
that are labelled so; "right" and "found" are precision and recall of what it says. A switch is a track id
that passes from one person to another, or a person whose id changes.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from common import SHARED
from motion_metrics import acceleration_error, common_rows, foot_skating, jitter, mpjpe
from numpy.typing import NDArray

from fullframe.body import load_body
from fullframe.body.body_model import BodyModel
from fullframe.detect import load_detector
from fullframe.geometry.box import iou
from fullframe.geometry.camera import Camera
from fullframe.models import load_model, predict_people
from fullframe.motion.postprocess import postprocess
from fullframe.motion.skeleton import soles
from fullframe.recovery.tracker import Tracker
from fullframe.results.clip import ROWS, Clip
from fullframe.synth.joints import NUM_BETAS, OpenBodyPoser
from fullframe.synth.renderer import Painter
from fullframe.synth.scene import Person, Scene
from fullframe.synth.shading import Light
from fullframe.synth.synthetic_people import visible_box

SIZE, FPS, FRAMES = (640, 480), 30.0, 90
BOX_NOISE = 0.02
COLUMNS = {"jitter": ".1f", "camera": ".1f", "MPJPE": ".1f", "accel": ".2f", "skating": ".3f", "said": ".3f",
           "right": ".2f", "found": ".2f", "switches": ".0f"}  # fmt: skip


@dataclass(frozen=True)
class Take:
    """What a clip shows.

    Attributes:
        people: name of the sequence, place on the ground x, z in metres and heading in degrees of each.
        distance: of the camera from the middle, metres.
        travel: how far the camera goes around (degrees) and shakes (metres).
    """

    people: tuple[tuple[str, float, float, float], ...]
    distance: float
    travel: tuple[float, float] = (0.0, 0.0)


TAKES = {
    "walk": Take((("cmu_expmap/train_walking_2", 0, -2, 60),), 5.5),
    "crossing": Take(
        (("cmu_expmap/train_walking_2", -1.8, 0, 90), ("cmu_expmap/test_walking_12x", 1.8, -0.9, -90)), 5.5
    ),
    "signals": Take(
        (
            ("cmu_expmap/train_basketball_signal_1", -0.8, 0, 20),
            ("cmu_expmap/train_directing_traffic_1", 0.8, -0.3, -30),
        ),
        4.5,
    ),
    "basketball, moving": Take((("cmu_expmap/test_basketball_1", -1.5, -1.5, 40),), 6, (20, 0.02)),
    "soccer, moving": Take((("cmu_expmap/train_soccer_2", 0, 0, 30),), 4.5, (15, 0.03)),
    "dance, moving": Take(
        (("cmu_bvh/005_04", -0.7, 0, 0), ("cmu_expmap/train_jumping_1", 0.9, -0.8, 20)), 5, (10, 0.02)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a network for the open body (.safetensors)")
    parser.add_argument("--detect", action="store_true", help="find and track people instead of knowing them")
    parser.add_argument("--keep", type=Path, help="keep what the network says here; taken if there already")
    arguments = parser.parse_args()
    network = load_model(arguments.checkpoint, "open").network
    body = load_body("open", num_betas=NUM_BETAS)
    find = Detected if arguments.detect else Known
    total: dict[str, list[list[float]]] = {}
    print(f"{'':22}" + "".join(f"{title:>9}" for title in COLUMNS))
    for name, take in TAKES.items():
        truth, raw = _clips(name, take, network, body, find, arguments.keep)
        results = {
            "raw": postprocess(raw, body, smooth=False),
            "finished": postprocess(raw, body),
            "feet locked": postprocess(raw, body, lock_feet=True),
        }
        for kind, clip in results.items():
            clip, switches = identify(clip, truth)
            row = [
                jitter(clip, body), jitter(clip, body, in_camera=True), mpjpe(clip, truth, body),
                acceleration_error(clip, truth, body), foot_skating(clip, body, standing=truth),
                foot_skating(clip, body), *contacts(clip, truth), switches,
            ]  # fmt: skip
            total.setdefault(kind, []).append(row)
            _print(name if kind == "raw" else "", kind, row)
        _print("", "truth", [jitter(truth, body), jitter(truth, body, in_camera=True), 0, 0,
                             foot_skating(truth, body), np.nan, 1, 1, 0])  # fmt: skip
    means = {kind: np.mean(rows, axis=0).tolist() for kind, rows in total.items()}
    for kind, row in means.items():
        _print("mean" if kind == "raw" else "", kind, row)
    for kind in ("finished", "feet locked"):
        ratio = np.array(means[kind]) / np.maximum(means["raw"], 1e-9)
        print(f"{kind}: jitter x {ratio[0]:.2f}, in the camera x {ratio[1]:.2f}, MPJPE x {ratio[2]:.3f}")


def contacts(clip: Clip, truth: Clip) -> tuple[float, float]:
    """The share of the contacts that are true, and of the true ones that are found."""
    rows, true_rows = common_rows(clip, truth)
    said, true = clip.contacts[rows], truth.contacts[true_rows]
    both = float((said & true).sum())
    return both / max(said.sum(), 1), both / max(true.sum(), 1)


def _print(name: str, kind: str, row: list[float]) -> None:
    values = "".join(f"{value:9{form}}" for value, form in zip(row, COLUMNS.values(), strict=True))
    print(f"{name[:10]:10} {kind:11}{values}", flush=True)


# From the frame's number, its picture and the true boxes (P, 4) to boxes, track ids and scores.
Finder = Callable[[int, NDArray[np.uint8], NDArray[np.float32]], tuple[NDArray, NDArray, NDArray]]


class Known:
    """The true boxes, as noisy as a detector's."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def __call__(
        self, frame: int, image: NDArray[np.uint8], boxes: NDArray[np.float32]
    ) -> tuple[NDArray, NDArray, NDArray]:
        height = boxes[:, 3:] - boxes[:, 1:2]
        noisy = boxes + BOX_NOISE * height * self._rng.normal(size=boxes.shape)
        return noisy.astype(np.float32), np.arange(len(boxes)), np.ones(len(boxes))


class Detected:
    """What the built-in detector finds, and the tracker recognises."""

    def __init__(self) -> None:
        self._detector, self._tracker = load_detector(), Tracker(FPS)

    def __call__(
        self, frame: int, image: NDArray[np.uint8], boxes: NDArray[np.float32]
    ) -> tuple[NDArray, NDArray, NDArray]:
        found, scores = self._detector.boxes(image)
        ids = self._tracker.update(frame / FPS, found, scores, image)
        return found[ids >= 0], ids[ids >= 0], scores[ids >= 0]


def _clips(
    name: str, take: Take, network, body: BodyModel, find: Callable[[], Finder], folder: Path | None
) -> tuple[Clip, Clip]:
    """The truth about a take, and what the network says, drawn or read."""
    files = [folder / f"{name} {kind} {find.__name__}.npz" for kind in ("true", "raw")] if folder else []
    if files and all(file.exists() for file in files):
        return Clip.load(files[0]), Clip.load(files[1])
    clips = shoot(take, network, body, find())
    for file, clip in zip(files, clips, strict=False):
        file.parent.mkdir(parents=True, exist_ok=True)
        clip.save(file)
    return clips


def shoot(take: Take, network, body: BodyModel, find: Finder) -> tuple[Clip, Clip]:
    """Draws a take frame by frame and shows it to the network: the true clip, and the network's raw one."""
    rng = np.random.default_rng(len(take.people[0][0]))
    camera = Camera.from_fov(60, SIZE)
    painter, bodies = Painter(), OpenBodyPoser()
    actors = [_sequence(*person) for person in take.people]
    betas = np.clip(rng.normal(size=(len(actors), NUM_BETAS)), -2, 2).astype(np.float32)
    betas[:, 10] = 0
    looks, seed = rng.integers(2**31, size=len(actors)), int(rng.integers(2**31))
    count = min(FRAMES, *(len(theta) for theta, _ in actors))
    true_rows: list[dict] = []
    raw_rows: list[dict] = []
    for frame in range(count):
        turn, place = _camera_at(take, frame / FPS)
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
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
        boxes = [visible_box(d.mesh.vertices, camera) for d in dressed]
        seen = [k for k, box in enumerate(boxes) if box is not None]
        true_boxes = np.array([boxes[k] for k in seen], np.float32).reshape(-1, 4)
        for k, box in zip(seen, true_boxes, strict=True):
            person = people[k]
            true_rows.append({"frames": frame, "track_ids": k, "boxes": box, "scores": 1,
                              "pose": person.posed.rotations, "betas": person.betas,
                              "translation": person.translation})  # fmt: skip
        found, ids, scores = find(frame, image, true_boxes)
        guess = predict_people(network, image, found, camera)
        for k in np.argsort(ids):
            raw_rows.append({"frames": frame, "track_ids": ids[k], "boxes": found[k], "scores": scores[k],
                             "pose": guess.pose[k], "betas": guess.betas[k],
                             "translation": guess.translation[k]})  # fmt: skip
    truth, raw = (_clip(rows, count, camera, body) for rows in (true_rows, raw_rows))
    return replace(truth, contacts=_standing(truth, body, take)), raw


def _standing(truth: Clip, body: BodyModel, take: Take) -> NDArray[np.bool_]:
    """When the true feet stand, (N, 2): heel or ball slower than 0.4 m/s and within 6 cm of where the lowest
    is in the clip, since bodies are not as tall as those whose motion was captured."""
    points = soles(body, truth)
    for row, frame in enumerate(truth.frames.tolist()):
        turn, place = _camera_at(take, frame / FPS)
        points[row] = points[row] @ turn + place
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


def _camera_at(take: Take, time: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The camera's axes as rows, world (y up) to camera, and its place, metres."""
    degrees, shake = take.travel
    angle = np.radians(degrees) * np.sin(time)
    place = np.array([take.distance * np.sin(angle), 1.4, take.distance * np.cos(angle)])
    place += shake * np.sin(np.array([7.1, 9.3, 5.2]) * time)
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
    torch.set_num_threads(1)
    main()
