"""People in boxes of your own, seen by a camera that you know.

    python examples/own_boxes.py photo.jpg FOV X1 Y1 X2 Y2 [X1 Y1 X2 Y2 ...]

FOV is the horizontal field of view in degrees; a box is its left, top, right and bottom edge in pixels.
"""

import sys

import numpy as np

import fullframe


def main(photo: str, fov: float, boxes: np.ndarray) -> None:
    recoverer = fullframe.Recoverer()  # loads everything once; call it with as many photos as you like
    people = recoverer(photo, fov=fov, boxes=boxes)
    for joints in people.joints:
        (x, y, z), head = joints[0], joints[15]
        print(f"pelvis at {x:.2f}, {y:.2f}, {z:.2f} m, {np.linalg.norm(head - joints[0]):.2f} m to the head")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), np.array(sys.argv[3:], float).reshape(-1, 4))
