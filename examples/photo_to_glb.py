"""A photo to a GLB file with all people in it, and a picture of the result.

python examples/photo_to_glb.py photo.jpg people.glb
"""

import sys
from pathlib import Path

import fullframe
from fullframe.body import load_body
from fullframe.export import write_glb
from fullframe.io.image import read_photo, write_jpeg
from fullframe.render import overlay


def main(photo: Path, glb: Path) -> None:
    people = fullframe.recover(photo)
    body = load_body(people.body, num_betas=people.betas.shape[1])
    write_glb(people, body, glb)
    write_jpeg(glb.with_suffix(".jpg"), overlay(read_photo(photo).pixels, people))
    for box, translation in zip(people.boxes, people.translation, strict=True):
        print(f"box {box.round().tolist()}: {translation[2]:.1f} m from the camera")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
