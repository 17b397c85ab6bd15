"""What else ImpHMR could be where its source leaves a choice: trains it with one thing changed at a time.

    python benchmarks/imphmr_alternatives.py configs/ablation.toml lspet=0.2 lspet_root=FOLDER

Takes the settings of benchmarks/imphmr.py and trains and measures with it. None of the changes brings ImpHMR
to HMR's errors, so most are no settings of the network but edits of the package's source, made in a copy that
is run instead. Stopped and started again, it goes on where it was. Writes alternatives.md into the folder.
"""

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import imphmr
import tyro
from variants import Options, chosen, folder_of

import fullframe
from fullframe.console import say
from fullframe.evaluate.report import markdown_table, number
from fullframe.files import atomic_path

COLUMNS = ("synth MPJPE mm", "synth PA-MPJPE mm", "coco PCK@0.1 % per person", "views apart, root deg")


@dataclass(frozen=True)
class Change:
    """To a row of benchmarks/imphmr.py: settings, and edits (file, what stands there once, what instead)."""

    row: str
    settings: tuple[str, ...] = ()
    edits: tuple[tuple[str, str, str], ...] = ()


FIELD, IMAGINATION, SILHOUETTES = "+ field", "+ imagination", "+ silhouettes"
WHOLE = imphmr.CONSISTENCY

_CODE = ("models/imphmr.py", "CODE = 256", "CODE = 512")
_OCTAVES = ("models/field.py", "OCTAVES = 6", "OCTAVES = 3")
_SHALLOW = ("models/field.py", "LAYERS, SKIP = 7, 3", "LAYERS, SKIP = 2, 0")
_SIDE_BY_SIDE = ("models/imphmr.py", "_LAST = 4", "_LAST = 8")
_SEES_CODE = (
    (
        "models/imphmr.py",
        "Regressor(_LAST**2 * field_width, False",
        "Regressor(_LAST**2 * field_width + CODE, False",
    ),
    (
        "models/imphmr.py",
        "self._regress(self.head(maps), None)",
        "self._regress(torch.cat((self.head(maps), code), 1), None)",
    ),
)
_ONLY_CODE = (
    ("models/imphmr.py", "Regressor(_LAST**2 * field_width, False", "Regressor(CODE, False"),
    ("models/imphmr.py", "self._regress(self.head(maps), None)", "self._regress(code, None)"),
)
_FILM = (
    (
        "models/field.py",
        "bias=False) for _ in range(3)\n        )\n",
        "bias=False) for _ in range(3)\n        )\n"
        "        self.scale, self.scale_again = (nn.Linear(code, width, bias=False) for _ in range(2))\n",
    ),
    ("models/field.py", "(self.place(where) +", "(self.place(where) * (1 + self.scale(code)[:, None]) +"),
    (
        "models/field.py",
        "self.place_again(where) +",
        "self.place_again(where) * (1 + self.scale_again(code)[:, None]) +",
    ),
)
_DIRECTION = (
    (
        "models/field.py",
        "bias=False) for _ in range(3)\n        )\n",
        "bias=False) for _ in range(3)\n        )\n        self.looked = nn.Linear(24, width, bias=False)\n",
    ),
    ("models/field.py", "points: Tensor, code: Tensor)", "points: Tensor, code: Tensor, direction: Tensor)"),
    (
        "models/field.py",
        "self.person_feature(code)[:, None])",
        "self.person_feature(code)[:, None] + self.looked(octaves(direction))[:, None])\n\n",
    ),
    (
        "models/field.py",
        "\n\ndef encode(",
        "\n\ndef octaves(direction: Tensor) -> Tensor:\n"
        "    angles = torch.cat([direction * (math.pi / 2 * 2**i) for i in range(4)], -1)\n"
        "    return torch.cat((angles.sin(), angles.cos()), -1)\n\n\ndef encode(",
    ),
    (
        "models/volume.py",
        "field(places, code)",
        "field(places, code, code.new_tensor([[0.0, 0, 1]]) if phi is None else turn(phi)[:, :, 2])",
    ),
)
_PERSPECTIVE = (
    (  # of a camera with 40 degrees of view
        "models/volume.py",
        "torch.stack((x, y, z), dim=-1), 2",
        "torch.stack((x * (1 + z / 2.732), y * (1 + z / 2.732), z), dim=-1), 2",
    ),
)
_OPACITY = (
    ("models/imphmr.py", "maps, _ = render(", "maps, self.opacity = render("),
    (
        "losses.py",
        '        if "consistent_pose" in wanted:\n',
        "            opacity = model.opacity.float().clamp(1e-4, 1 - 1e-4)\n"
        "            coarse = functional.adaptive_avg_pool2d(label[:, None].float(), opacity.shape[-1])\n"
        "            own = silhouette_term(torch.logit(opacity), coarse[:, 0], known * batch.has_betas)\n"
        '            terms["silhouette"] = Term(terms["silhouette"].values + own.values, own.counted)\n'
        '        if "consistent_pose" in wanted:\n',
    ),
)
_POOLED = (
    (
        "models/imphmr.py",
        "nn.Sequential(*layers, nn.Flatten())",
        "nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())",
    ),
    ("models/imphmr.py", "Regressor(_LAST**2 * field_width, False", "Regressor(field_width, False"),
)
_NOISE = (
    (
        "models/field.py",
        "functional.softplus(self.density(x))",
        "functional.softplus(self.density(x) + self.training * torch.randn_like(x[..., :1]))",
    ),
)
_JITTER = (
    (
        "models/volume.py",
        "    places = points.reshape(1, -1, 3)\n",
        "    if torch.is_grad_enabled():  # that is, in training\n"
        "        moved = (torch.rand_like(points[..., 0]) - 0.5) * lengths[:, None]\n"
        "        points = points + functional.pad(moved[..., None], (2, 0))\n"
        "    places = points.reshape(1, -1, 3)\n",
    ),
    (
        "models/volume.py",
        "from torch import Tensor\n",
        "from torch import Tensor\nfrom torch.nn import functional\n",
    ),
)
_SQUARED = (
    (
        "losses.py",
        'functional.binary_cross_entropy_with_logits(logits, label, reduction="none")',
        "(logits.sigmoid() - label).square()",
    ),
)
_ONE_WAY = (
    (
        "losses.py",
        "turned_root(prediction.pose, phi), 1 - known",
        "turned_root(prediction.pose.detach(), phi), 1 - known",
    ),
    ("losses.py", "prediction.betas, 1 - batch.has_betas", "prediction.betas.detach(), 1 - batch.has_betas"),
)
_ROOTLESS = (
    (
        "losses.py",
        "pose_term(pose, turned_root(prediction.pose, phi), 1 - known)",
        "pose_term(pose[:, 1:], prediction.pose[:, 1:], 1 - known)",
    ),
)

CHANGES = {
    "HMR": Change("HMR"),
    "+ field": Change(FIELD),
    "learning rate 2.5 times as high": Change(FIELD, ("head_rate=3",)),
    "learning rate 8 times as high": Change(FIELD, ("head_rate=10",)),
    "learning rate half as high": Change(FIELD, ("head_rate=0.6",)),
    "single precision": Change(FIELD, ("precision=32",)),
    "no group normalisation behind the map": Change(
        FIELD,
        edits=(
            (
                "models/imphmr.py",
                "nn.Conv2d(width, width, 3, 2, 1), _Norm(_GROUPS, width), nn",
                "nn.Conv2d(width, width, 3, 2, 1), nn",
            ),
        ),
    ),
    "no layer normalisation of the code": Change(
        FIELD, edits=(("models/imphmr.py", "functional.layer_norm(code, (CODE,))", "code"),)
    ),
    "code of 512, width 128": Change(FIELD, ("field_width=128",), (_CODE,)),
    "the code scales the places' encoding (FiLM)": Change(FIELD, edits=_FILM),
    "three octaves": Change(FIELD, edits=(_OCTAVES,)),
    "16 points per ray": Change(FIELD, ("field_samples=16",)),
    "all px side by side": Change(FIELD, edits=(_SIDE_BY_SIDE,)),
    "mean over all px": Change(FIELD, edits=_POOLED),
    "noise of 1 on the density in training (GIRAFFE)": Change(FIELD, edits=_NOISE),
    "points moved at random along their ray in training": Change(FIELD, edits=_JITTER),
    "two hidden layers": Change(FIELD, edits=(_SHALLOW,)),
    "two hidden layers, all px side by side": Change(FIELD, edits=(_SHALLOW, _SIDE_BY_SIDE)),
    "the regressor sees the code too": Change(FIELD, edits=_SEES_CODE),
    "the regressor sees the code alone": Change(FIELD, edits=_ONLY_CODE),
    "+ imagination": Change(IMAGINATION),
    "imagination: the direction is an input of the field": Change(IMAGINATION, edits=_DIRECTION),
    "imagination: perspective rays": Change(IMAGINATION, edits=_PERSPECTIVE),
    "imagination: directions up to 60 degrees": Change(IMAGINATION, ("view_range=60",)),
    "silhouettes": Change(SILHOUETTES),
    "silhouettes: squared error": Change(SILHOUETTES, edits=_SQUARED),
    "silhouettes: of the field's opacity too": Change(SILHOUETTES, edits=_OPACITY),
    "imagination: three octaves": Change(IMAGINATION, edits=(_OCTAVES,)),
    "imagination: joints and pose count twice": Change(
        IMAGINATION, ("imagined_joints_weight=5", "imagined_pose_weight=15")
    ),
    "ImpHMR": Change(WHOLE),
    "ImpHMR: consistency draws the other view only": Change(WHOLE, edits=_ONE_WAY),
    "ImpHMR: consistency without the root": Change(WHOLE, edits=_ROOTLESS),
    "ImpHMR: the regressor sees the code too": Change(WHOLE, edits=_SEES_CODE),
}


def main(
    common: tyro.conf.OmitArgPrefixes[Options],
    out: Path = Path("runs/imphmr-alternatives"),
    people: int = 600,
    only: tuple[str, ...] = (),
) -> None:
    """Train and measure.

    Args:
        out: folder of the runs and results.
        people: measured on, of each benchmark.
        only: names of changes; all if none.
    """
    rows = [["changed", *COLUMNS]]
    for name in chosen(only, CHANGES):
        change, folder = CHANGES[name], out / folder_of(name)
        say(f"{name}: {folder}")
        with TemporaryDirectory() as source:
            edited_copy(change, Path(source))
            status = subprocess.run(
                [sys.executable, imphmr.__file__, common.config, *common.settings, *change.settings,
                 "--maps", common.maps, "--kept", str(common.kept), "--out", folder, "--seeds", "1",
                 "--people", str(people), "--only", change.row],
                env=os.environ | {"PYTHONPATH": source},
            ).returncode  # fmt: skip
        if status:
            raise SystemExit(f"{name}: not measured, see above")
        with open(folder / "imphmr.csv", newline="") as file:
            values = {row["measure"]: float(row["value"]) for row in csv.DictReader(file)}
        rows.append([name, *(number(values[column]) if column in values else "" for column in COLUMNS)])
        with atomic_path(out / "alternatives.md") as temporary:
            temporary.write_text(markdown_table(rows), encoding="utf-8")
    print((out / "alternatives.md").read_text(encoding="utf-8"))


def edited_copy(change: Change, folder: Path) -> None:
    """The package with the change in it, in a folder for PYTHONPATH.

    Raises:
        ValueError: if the source is no longer what the change is about.
    """
    package = Path(fullframe.__file__).parent
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("assets", "__pycache__"))
    (copy / "assets").symlink_to(package / "assets")
    for name, old, new in change.edits:
        file = copy / name
        text = file.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{name} has changed: {old!r} stands there {text.count(old)} times")
        file.write_text(text.replace(old, new), encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
