"""Bodies from an ONNX file with NumPy, Pillow and onnxruntime alone, in boxes of your own.

fullframe export cliff-lite -o cliff-lite.onnx --body
python examples/onnx_numpy.py cliff-lite.onnx photo.jpg X1 Y1 X2 Y2 [X1 Y1 X2 Y2 ...]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def main(network: str, photo: str, boxes: np.ndarray, points: np.ndarray | None = None) -> dict:
    session = onnxruntime.InferenceSession(network)
    about = session.get_modelmeta().custom_metadata_map
    height, width = json.loads(about["crop"])
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    focal, crops, infos = np.hypot(*image.size), [], []  # unknown camera: the image's diagonal
    for x1, y1, x2, y2 in boxes:
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        size = float(about["box_enlarge"]) * max((x2 - x1) * height / width, y2 - y1)
        half = size * width / height / 2, size / 2
        window = image.crop((round(x - half[0]), round(y - half[1]), round(x + half[0]), round(y + half[1])))
        crop = np.asarray(window.resize((width, height)), np.float32) / 255
        crops.append((crop - json.loads(about["mean"])) / json.loads(about["std"]))
        infos.append(((x - image.width / 2) / focal, (y - image.height / 2) / focal, size / focal))
    inputs = {"crop": np.transpose(crops, (0, 3, 1, 2)), "bbox_info": np.array(infos)}
    if points is not None:  # (N, 17, 3) COCO's, x, y px and confidence, for a file that takes keypoints
        inputs["keypoints"] = (points - (image.width / 2, image.height / 2, 0)) / (focal, focal, 1)
    names = [output.name for output in session.get_outputs()]
    found = session.run(names, {name: value.astype(np.float32) for name, value in inputs.items()})
    return dict(zip(names, found, strict=True))


if __name__ == "__main__":
    bodies = main(sys.argv[1], sys.argv[2], np.array(sys.argv[3:], float).reshape(-1, 4))
    print({name: value.shape for name, value in bodies.items()}, bodies["translation"], sep="\n")
