"""The review of labels: people accepted or rejected, keypoints corrected; each on disk at once."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullframe.annotate.labels import LABEL_ARRAYS, FitScores, Labels, score, write_cliff
from fullframe.body import BodyModel, load_body
from fullframe.fit import KeypointFitter
from fullframe.io.npz import require_regular_file
from fullframe.io.workdir import WorkError, read_request
from fullframe.models.predict import Bodies
from fullframe.recovery.plausibility import agrees
from fullframe.results.checks import check_arrays

ACCEPTED, REJECTED = "accepted", "rejected"
SHOWN = ("everyone", "not reviewed", ACCEPTED, REJECTED, "changed", "unreliable")
"""The filters of `Review.choose`."""
SCORES = ("reprojection", "prior", "agreement")

_CORRECTED = ("keypoints", "pose", "betas", "translation", "reprojection", "prior", "agreement")


class Review:
    """Labels with verdicts and corrections.

    Each is a line of the file <labels>_review.jsonl, on disk before the method returns; opening the same
    labels again resumes the review. The labels themselves are never changed.

    Args:
        path: labels as `annotate` wrote them, either of its two .npz files.
        body_path: your SMPL file, for labels of SMPL.

    Attributes:
        labels: with the corrections so far.
        verdicts: (N,) "accepted", "rejected", or "" for none yet.
        changed: (N,) bool, whose keypoints were corrected.
        file: of verdicts and corrections.

    Raises:
        FileNotFoundError: there are no labels.
        ValueError: the file is something else, or the verdicts beside it are about other labels.
        fullframe.body.BodyFileError: the body of the labels is missing.
    """

    def __init__(self, path: Path, body_path: Path | None = None) -> None:
        people = path.with_name(f"{path.stem}_people.npz")
        if not people.is_file() and path.name.endswith("_people.npz"):
            people = path
        self.path = people.with_name(people.name.removesuffix("_people.npz") + ".npz")
        if not people.is_file():
            raise FileNotFoundError(
                f"{people}: no such file; give the labels that `fullframe annotate` wrote"
            )
        self._original = Labels.load(people)
        self.labels = self._original[np.arange(len(self._original))]
        self.body: BodyModel = load_body(
            self.labels.body, body_path if self.labels.body != "open" else None, self.labels.betas.shape[1]
        )
        self.verdicts: NDArray[np.str_] = np.full(len(self.labels), "", f"U{len(ACCEPTED)}")
        self.changed: NDArray[np.bool_] = np.zeros(len(self.labels), bool)
        self.file = self.path.with_name(f"{self.path.stem}_review.jsonl")
        self._lock = threading.RLock()
        self._written = 0  # bytes of the file that this review knows
        self._rows = {number: row for row, number in enumerate(self.labels.ids.tolist())}
        self._load()

    def __len__(self) -> int:
        return len(self.labels)

    def images(self) -> Path:
        """The folder of the photos that were labelled.

        Raises:
            FileNotFoundError: it is unknown, or does not exist any more.
        """
        try:
            folder = Path(read_request(self.path.with_name(f"{self.path.stem}_work"))["images"])
        except (WorkError, KeyError) as error:
            raise FileNotFoundError(
                f"{self.path}: the folder of its photos is unknown ({error}); give it after the labels"
            ) from error
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; give the folder of the photos after the labels"
            )
        return folder

    # Verdicts and corrections

    def set_verdict(self, index: int, verdict: str) -> None:
        """Accept or reject a person, or with "" take the verdict back."""
        with self._lock:
            self._append(index, {"verdict": _checked(verdict)})

    def correct(self, index: int, keypoints: NDArray[np.float32]) -> None:
        """Replace keypoints and fit the body to them, from the current label: SMPLify, `fullframe.fit`.

        Removes the person's verdict, which was about the body before.

        Args:
            keypoints: (K, 3) x, y px and confidence, of the labels' joint set.
        """
        labels, some = self.labels, slice(index, index + 1)
        begin = Bodies(labels.pose[some], labels.betas[some], labels.translation[some])
        points = keypoints[None].astype(np.float32)
        bodies = self._fitter.fit(points, labels.boxes[some], labels.camera(index), begin).bodies
        measured = self._measured(index, bodies, points)
        found = {
            "keypoints": points[0],
            **{name: values[0] for name, values in bodies._asdict().items()},
            "reprojection": measured.reprojection[0],
            "prior": measured.prior[0],
            # The network's initial prediction is not kept with the labels.
            "agreement": np.float32(np.nan),
        }
        entry = {name: value.tolist() for name, value in found.items()}
        self._corrections(index, entry)
        with self._lock:
            self._append(index, {"corrected": entry})

    def restore(self, index: int) -> None:
        """Undo all corrections of a person; removes the verdict, which was about the corrected body."""
        with self._lock:
            if self.changed[index]:
                self._append(index, {"corrected": None})

    # Queries

    def projected(self, index: int) -> NDArray[np.float64]:
        """The keypoints of a person's body in the photo, (K, 2) px."""
        labels, some = self.labels, slice(index, index + 1)
        bodies = Bodies(labels.pose[some], labels.betas[some], labels.translation[some])
        return self._measured(index, bodies, labels.keypoints[some]).pixels[0]

    def choose(
        self, shown: str, by: str, low: float = -np.inf, high: float = np.inf, worst_first: bool = False
    ) -> list[int]:
        """Indices of people by filter and score.

        Args:
            shown: one of SHOWN.
            by: one of SCORES.
            low, high: bounds of that score; people without it are included only if both are infinite.
            worst_first: sort by the score, people without it last; else in the order of the labels.
        """
        kept = {
            "everyone": np.ones(len(self), bool),
            "not reviewed": self.verdicts == "",
            ACCEPTED: self.verdicts == ACCEPTED,
            REJECTED: self.verdicts == REJECTED,
            "changed": self.changed,
            "unreliable": ~self.labels.reliable,
        }[shown]
        values = getattr(self.labels, by)
        if np.isfinite(low) or np.isfinite(high):
            kept = kept & (values >= low) & (values <= high)
        order = np.argsort(-values, kind="stable") if worst_first else np.arange(len(self))
        return [int(index) for index in order if kept[index]]

    def export(self) -> list[Path]:
        """Write the accepted people with their corrections, as `annotate` writes labels.

        Beside the labels: <labels>_accepted.npz, in the format of CLIFF's released labels, and
        <labels>_accepted_people.npz (Labels). All of them count as reliable.

        Returns:
            the two files; none if no one is accepted.
        """
        with self._lock:
            some = np.flatnonzero(self.verdicts == ACCEPTED)
            if not len(some):
                return []
            accepted = replace(self.labels[some], reliable=np.ones(len(some), bool))
        out = self.path.with_name(f"{self.path.stem}_accepted.npz")
        people = out.with_name(f"{out.stem}_people.npz")
        accepted.save(people)
        write_cliff(accepted, out, self.body)
        return [out, people]

    def _measured(self, index: int, bodies: Bodies, keypoints: NDArray[np.float32]) -> FitScores:
        labels, some = self.labels, slice(index, index + 1)
        places = (labels.boxes[some], labels.focal[some], labels.principal_point[some])
        return score(self._fitter.model, self._fitter.prior, bodies, keypoints, *places)

    @cached_property
    def _fitter(self) -> KeypointFitter:
        return KeypointFitter(self.body, self.labels.joint_set)

    # The file

    def _append(self, index: int, entry: dict[str, Any]) -> None:
        """Write a line, then apply it.

        Raises:
            ValueError: another review has written since.
        """
        with self.file.open("ab") as file:
            if file.tell() != self._written:
                raise ValueError(
                    f"{self.file} was changed by another review of these labels: stop all but one of them "
                    "and restart that one"
                )
            if file.tell() == 0:
                file.write(_line({"labels": self._digest}))
            file.write(_line({"id": int(self.labels.ids[index]), **entry}))
            file.flush()
            os.fsync(file.fileno())
            self._written = file.tell()
        self._apply(index, entry)

    def _apply(self, index: int, entry: dict[str, Any]) -> None:
        if "verdict" in entry:
            self.verdicts[index] = _checked(entry["verdict"])
        if "corrected" in entry:
            values = entry["corrected"]
            given = {} if values is None else self._corrections(index, values)
            self.verdicts[index] = ""
            self.changed[index] = values is not None
            for name in _CORRECTED:
                value = getattr(self._original, name)[index] if values is None else given[name]
                getattr(self.labels, name)[index] = value
            some = slice(index, index + 1)
            self.labels.reliable[some] = agrees(self.labels.visible[some], self.labels.reprojection[some])

    def _corrections(self, index: int, values: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
        """The arrays of a correction; ValueError if they are impossible, KeyError if one is missing."""
        given = {name: np.asarray(values[name], np.float32) for name in _CORRECTED}
        for name, value in given.items():
            if value.shape != getattr(self._original, name)[index].shape:
                raise ValueError(f"{name} has shape {value.shape}")
        arrays = {name: LABEL_ARRAYS[name] for name in _CORRECTED}
        check_arrays({name: value[None] for name, value in given.items()}, arrays)
        return given

    def _load(self) -> None:
        """Apply the lines of earlier reviews."""
        try:
            require_regular_file(self.file)
        except FileNotFoundError:
            return
        for number, line in enumerate(_lines(self.file)):
            try:
                if number > 0:
                    self._apply(self._rows[line["id"]], line)
                    continue
                same = line["labels"] == self._digest
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.file}, line {number + 1}: not of a review ({error!r}); fix or remove it"
                ) from error
            if not same:
                raise ValueError(
                    f"{self.file} belongs to other labels than {self.path}: move it away to start over"
                )
        self._written = self.file.stat().st_size

    @cached_property
    def _digest(self) -> str:
        """Of the labels as they were written."""
        digest = hashlib.sha256()
        for name in ("ids", "keypoints", "pose", "betas", "translation"):
            digest.update(np.ascontiguousarray(getattr(self._original, name)).tobytes())
        return digest.hexdigest()


def _checked(verdict: str) -> str:
    """The verdict; raises ValueError for an unknown one."""
    if verdict not in (ACCEPTED, REJECTED, ""):
        raise ValueError(f"unknown verdict {verdict!r}; choose {ACCEPTED}, {REJECTED} or an empty one")
    return verdict


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines; an incomplete last line, which a crash leaves, is cut off."""
    whole = path.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        os.truncate(path, end)
    for number, line in enumerate(whole[:end].splitlines()):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number + 1}: damaged ({error}); remove this line") from error
