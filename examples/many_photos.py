"""The people of many photos as one table: where they are, and how far they can be relied on.

    python examples/many_photos.py FOLDER people.csv

The next photos are read and their people detected while the bodies of one are computed.
"""

import csv
import sys
from pathlib import Path

import fullframe


def main(folder: Path, table: Path) -> None:
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    recoverer = fullframe.Recoverer()
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("photo", "person", "x m", "y m", "z m", "score", "reliable"))
        for people in recoverer.stream(photos, on_error=lambda photo, error: print(error, file=sys.stderr)):
            for person, joints in enumerate(people.joints):
                place = (round(float(value), 3) for value in joints[0])  # the pelvis
                score, reliable = float(people.scores[person]), bool(people.reliable[person])
                writer.writerow((people.image, person, *place, round(score, 3), reliable))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
