"""Packs the sample of real people with 3D truth that `fullframe evaluate gestures` measures on.

    python tools/build_gestures.py GESTURES

GESTURES holds for each clip WORD.avi and WORD.npz: joints (F, 27, 3) in the camera's frame in metres, names,
intrinsics (3, 3), distortion (5,) k1 k2 p1 p2 k3, and size (width, height). Every STEP-th frame becomes
src/fullframe/assets/gestures/WORD_FRAME.jpg, with the lens's distortion undone, so that the intrinsics alone
describe the pictures; truth.npz beside them holds the joints of all frames.
"""

import sys
from pathlib import Path

import av
import cv2
import numpy as np

from fullframe.assets import GESTURES

STEP = 12
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 60, cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
"""160 pictures take less than 4 MB."""


def main(source: Path) -> None:
    GESTURES.mkdir(exist_ok=True)
    for old in GESTURES.glob("*.jpg"):
        old.unlink()
    images, joints = [], []
    for file in sorted(source.glob("*.npz")):
        clip = np.load(file, allow_pickle=False)
        with av.open(str(file.with_suffix(".avi"))) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number % STEP:
                    continue
                pixels = cv2.undistort(
                    frame.to_ndarray(format="bgr24"), clip["intrinsics"], clip["distortion"]
                )
                images.append(f"{file.stem}_{number:04d}.jpg")
                joints.append(clip["joints"][number])
                cv2.imwrite(str(GESTURES / images[-1]), pixels, JPEG)
    shared = {key: clip[key] for key in ("names", "intrinsics", "distortion", "size")}
    np.savez_compressed(GESTURES / "truth.npz", images=images, joints=np.array(joints, np.float32), **shared)
    total = sum(path.stat().st_size for path in GESTURES.iterdir())
    print(f"{GESTURES}: {len(images)} frames, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
