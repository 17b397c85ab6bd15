"""One way to read people from any file: `read_annotations` knows the format by the content."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from fullframe.io.annotations.annotation_file import AnnotationFile
from fullframe.io.annotations.coco_json import read_coco, read_coco_results
from fullframe.io.annotations.cvat_xml import read_cvat
from fullframe.io.annotations.frames_json import is_frames, read_frames
from fullframe.io.annotations.label_studio_json import is_label_studio, read_label_studio
from fullframe.io.annotations.mediapipe_json import is_mediapipe, read_mediapipe
from fullframe.io.annotations.mmpose_json import is_mmpose, read_mmpose
from fullframe.io.annotations.mot_txt import looks_like_mot, read_mot
from fullframe.io.annotations.openpose_json import read_openpose
from fullframe.io.annotations.untrusted import LARGEST_FILE, parse_json, read_bytes
from fullframe.io.annotations.yolo_txt import looks_like_yolo, read_yolo
from fullframe.io.atomic import digest

FORMATS = {
    "COCO annotations": ".json: images, annotations, categories; CVAT, Label Studio, WholeBody, Halpe ...",
    "COCO results": ".json: a list of {image_id or file_name, category_id, bbox, keypoints, score}",
    "AlphaPose results": ".json: COCO results with box, idx and scores above 1",
    "OpenPose": ".json for each photo or frame, or a folder of them: people, pose_keypoints_2d",
    "MMPose": ".json for each photo or video, or a folder of them: keypoints, keypoint_scores, bbox",
    "MediaPipe": ".json for each photo or video, or a folder of them: landmarks",
    "Label Studio": ".json: JSON or JSON-MIN export of keypoints and rectangles",
    "CVAT XML": ".xml: CVAT for images 1.1 or CVAT for video 1.1, skeletons and boxes",
    "YOLO": ".txt for each photo or frame, or a folder of them: Ultralytics detection or pose, data.yaml",
    "MOT": ".txt: frame, id, left, top, width, height, confidence",
    "JSON by frame": ".json: people with COCO's keys for each frame of a video",
}
"""What `read_annotations` understands, and by what."""

_MOST_FILES = 1_000_000
_log = logging.getLogger(__name__)


def read_annotations(path: str | Path) -> AnnotationFile:
    """Read people from a file, or a folder of files for one photo or frame each.

    Entries that cannot be used are left out and counted, so that one of them does not cost the others. What
    is used, converted and left out is logged.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened.
        ValueError: it is of no known format, no file at all (a pipe, a device), larger than can be read, or
            useless as a whole; names the file and what to do.
    """
    path = Path(path)
    file = _read_folder(path) if path.is_dir() else _read_file(path)
    _log.info(file.summary())
    for note in file.stats.notes:
        _log.info(f"{path}: {note}")
    return file


def annotations_digest(path: str | Path) -> str:
    """SHA-256 of a file, or of all that is read of a folder: what results depend on."""
    path = Path(path)
    if not path.is_dir():
        return digest(path)
    files = [f"{file.relative_to(path).as_posix()} {digest(file)}" for file in _files(path)]
    return hashlib.sha256("\n".join(files).encode(errors="surrogateescape")).hexdigest()


def _read_file(path: Path) -> AnnotationFile:
    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    start = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:1] == b"<" or content[:4] in (b"\xff\xfe<\0", b"\xfe\xff\0<"):
        return read_cvat(content, path)
    if start[:2] == b"PK":
        raise ValueError(f"{path} is a ZIP archive: unpack it and give the file or folder in it")
    if path.suffix.lower() == ".txt":
        text = _text(content, path)
        if looks_like_yolo(text):
            return read_yolo({path: text}, path)
        if looks_like_mot(text):
            return read_mot(text, path)
        if not text.strip():  # a photo without people
            return read_yolo({path: text}, path)
        raise ValueError(f"{path} is neither MOT (frame, id, left, top, width, height) nor YOLO labels")
    return _read_json(parse_json(content, path), path)


def _read_json(content: Any, path: Path) -> AnnotationFile:
    single = _single_reader(content)
    if single is not None:
        return single({path: content}, path)
    if isinstance(content, dict):
        if "annotations" in content:
            return read_coco(content, path)
        if is_frames(content):
            return read_frames(content, path)
    elif isinstance(content, list):
        if is_label_studio(content):
            return read_label_studio(content, path)
        if is_frames(content):
            return read_frames(content, path)
        if not content:  # MMPose's file of a photo without people
            return read_mmpose({path: content}, path)
        return read_coco_results(content, path)
    raise ValueError(f"{path} has none of the formats that can be read: {', '.join(FORMATS)}")


def _single_reader(content: Any) -> Any:
    """The reader of files for one photo each, if this is one."""
    if isinstance(content, dict) and isinstance(content.get("people", content.get("bodies")), list):
        return read_openpose
    if is_mmpose(content):
        return read_mmpose
    return read_mediapipe if is_mediapipe(content) else None


def _read_folder(path: Path) -> AnnotationFile:
    files = _files(path)
    jsons = [file for file in files if file.suffix.lower() == ".json"]
    texts = [file for file in files if file.suffix.lower() == ".txt"]
    whole = [file for file in files if file.suffix.lower() == ".xml"]
    if len(whole) == 1 and not jsons and not texts:
        return _read_file(whole[0])
    if len(jsons) == 1 and not texts:
        return _read_file(jsons[0])
    if jsons:
        contents: dict[Path, Any] = {}
        for file, content in _contents(jsons).items():
            contents[file] = parse_json(content, file)
        readers = {_single_reader(content) for content in contents.values() if content != []}
        readers = readers or {read_mmpose}
        if len(readers) == 1 and None not in readers:
            (reader,) = readers
            return reader(contents, path)
        raise ValueError(
            f"{path}: its .json files are not one for each photo of the same program; give one file"
        )
    if texts:
        return read_yolo({file: _text(content, file) for file, content in _contents(texts).items()}, path)
    raise ValueError(f"{path}: no annotations in this folder (.json, .txt or .xml)")


def _files(path: Path) -> list[Path]:
    """Regular files below a folder, YOLO's lists of photos aside."""
    found = []
    for folder, folders, names in os.walk(path):  # which does not follow links
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file.suffix.lower() not in (".json", ".txt", ".xml") or not file.is_file():
                continue
            if name.lower() in (
                "train.txt",
                "val.txt",
                "test.txt",
                "classes.txt",
                "readme.txt",
                "labels.txt",
            ):
                continue
            found.append(file)
            if len(found) > _MOST_FILES:
                raise ValueError(f"{path}: more than {_MOST_FILES} files; give the folder of the annotations")
    return found


def _contents(files: list[Path]) -> dict[Path, bytes]:
    found, total = {}, 0
    for file in files:
        found[file] = read_bytes(file)
        total += len(found[file])
        if total > LARGEST_FILE // 4:
            raise ValueError(f"{file.parent}: its files have more than {LARGEST_FILE >> 22} MB: split them")
    return found


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error}") from error
