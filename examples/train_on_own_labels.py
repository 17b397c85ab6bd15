"""Train a network on photos of your own, whose people are labelled first.

    python examples/train_on_own_labels.py PHOTOS OUT [section.key=value ...]

PHOTOS is a folder; people and keypoints in it are detected. OUT gets the labels and the network. The settings
override configs/cliff-lite.toml: half of the people seen are synthetic, half from the photos.
"""

import sys
from pathlib import Path

from fullframe.annotate.pipeline import annotate
from fullframe.cli.train import train

CONFIG = Path(__file__).parents[1] / "configs/cliff-lite.toml"


def main(photos: Path, out: Path, *settings: str) -> int:
    labels = out / "labels.npz"
    out.mkdir(parents=True, exist_ok=True)
    result = annotate(photos, labels, method="smplify")
    print(f"{result.labels.reliable.sum()} of {len(result.labels)} people are reliable")
    source = {"weight": 1.0, "format": "annotate", "path": photos, "labels": labels}
    data = tuple(f"data.own.{key}={value}" for key, value in source.items())
    return train(CONFIG, (*data, f"out={out / 'run'}", *settings))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
