"""How accurate the built-in network is on a recording of your own by several calibrated cameras.

    python examples/own_recording.py SESSION OUT

SESSION has the layout of Pose2Sim, with its 3D joints as the truth (docs/guides/evaluate.md). OUT is a folder
for predictions, tables and pictures of the worst people.
"""

import sys
from pathlib import Path

from fullframe.evaluate.benchmark import evaluate_model


def main(session: Path, out: Path) -> None:
    for name, refine in (("network", False), ("refined", True)):
        report = evaluate_model("pose2sim", "cliff-lite", session, out / name, refine=refine)
        values = ", ".join(f"{key} {value:.1f}" for key, value in report.scores.values.items())
        print(f"{name}: {report.people} people, {values}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
