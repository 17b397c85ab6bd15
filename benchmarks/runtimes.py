"""Time and accuracy of a network in torch, onnxruntime and OpenVINO: `python benchmarks/runtimes.py`.

Needs the extra onnx and the package openvino. Prints a table: the least time of a pass for one person and for
eight, with CPU time, and the errors on gestures with true boxes, without the fit. 8 bits are calibrated on
synthetic people. OpenVINO's bf16 is its default where the CPU has it; fp32 is asked for.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
import tyro
from numpy.typing import NDArray

from fullframe.data.crop import plain_crop, read_pixels
from fullframe.data.sample import Sample
from fullframe.detect import load_detector
from fullframe.evaluate import posed_bodies
from fullframe.evaluate.predictions import Predictions
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.evaluate.report import estimate, markdown_table
from fullframe.models import LoadedModel, load_model
from fullframe.models.onnx_export import Graph, GraphInputs, demo_crops, export_onnx, keypoint_rays
from fullframe.models.predict import Bodies
from fullframe.synth.calibration_crops import calibration_crops

Feeds = dict[str, NDArray[np.float32]]
Pass = Callable[[Feeds], Feeds]
COLUMNS = ("MPJPE mm", "centred MPJPE mm", "PA-MPJPE mm")
BATCH = 32


def main(
    model: str = "cliff-lite",
    keypoints: bool = False,
    threads: int = os.cpu_count() or 1,
    repeats: int = 30,
) -> None:
    """Print the table.

    Args:
        model: name or path of a network.
        keypoints: of files that take 2D keypoints; on gestures the built-in detector's.
        threads: of every library.
        repeats: passes, of which the fastest counts.
    """
    torch.set_num_threads(threads)
    loaded = load_model(model)
    graph = Graph(loaded, keypoints=keypoints)
    few = feeds_of(graph, demo_crops(loaded.network))
    samples, crops = gestures(loaded)
    many = feeds_of(graph, crops)
    with tempfile.TemporaryDirectory() as folder:
        files = {"fp32": Path(folder) / "fp32.onnx", "int8": Path(folder) / "int8.onnx"}
        export_onnx(loaded, files["fp32"], keypoints=keypoints)
        calibration = calibration_crops(loaded.network)
        export_onnx(loaded, files["int8"], keypoints=keypoints, calibration=calibration)
        passes = {"torch fp32": of_torch(graph)}
        passes |= {f"onnxruntime {name}": of_onnxruntime(path, threads) for name, path in files.items()}
        for name, path, precision in (
            ("fp32", files["fp32"], "f32"), ("bf16", files["fp32"], "bf16"), ("int8", files["int8"], "f32"),
        ):  # fmt: skip
            passes[f"OpenVINO {name}"] = of_openvino(path, threads, precision)
        table = [["runtime", "1 person, ms (CPU time)", "8 people, ms (CPU time)", *COLUMNS]]
        for name, run in passes.items():
            times = [milliseconds(run, few, people, repeats) for people in (1, 8)]
            table.append([name, *times, *errors(run, many, samples, loaded)])
            print(" | ".join(table[-1]), flush=True)
    taken = ", with keypoints" if keypoints else ""
    print(f"\n{model}{taken}, {threads} thread(s), least of {repeats}\n\n{markdown_table(table)}")


def feeds_of(graph: Graph, crops: GraphInputs) -> Feeds:
    return {name: getattr(crops, name).numpy() for name in graph.inputs}


def of_torch(graph: Graph) -> Pass:
    @torch.inference_mode()
    def run(feeds: Feeds) -> Feeds:
        found = graph(*(torch.from_numpy(feeds[name]) for name in graph.inputs))
        return {name: value.numpy() for name, value in zip(graph.outputs, found, strict=True)}

    return run


def of_onnxruntime(path: Path, threads: int) -> Pass:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(names, feeds), strict=True))


def of_openvino(path: Path, threads: int, precision: str) -> Pass:
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)
    names = [output.any_name for output in compiled.outputs]

    def run(feeds: Feeds) -> Feeds:
        found = compiled(feeds)
        return {name: found[name] for name in names}

    return run


def milliseconds(run: Pass, feeds: Feeds, people: int, repeats: int) -> str:
    """The least time of a pass, and the least CPU time of all threads together."""
    feeds = {name: np.resize(value, (people, *value.shape[1:])) for name, value in feeds.items()}
    times = []
    for _ in range(repeats + 1):  # the first one allocates
        start = time.perf_counter(), time.process_time()
        run(feeds)
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, cpu = 1e3 * np.array(times[1:]).min(axis=0)
    return f"{wall:.1f} ({cpu:.1f})"


def gestures(model: LoadedModel) -> tuple[list[Sample], GraphInputs]:
    """The people of `fullframe evaluate gestures` in their true boxes, with detected keypoints."""
    protocol, detector, network = PROTOCOLS["gestures"], load_detector(), model.network
    samples, crops, infos, rays = [], [], [], []
    for sample in protocol.open(Path()):
        pixels = read_pixels(sample)
        seen = replace(sample, image=pixels)
        crop, info = plain_crop(seen, network.crop, network.crop_method, protocol.enlarge)
        x, y, scale = sample.window
        box = (sample.box - (x, y, x, y)) / scale
        points = detector.keypoints(pixels, box.reshape(1, 4).astype(np.float32))
        points[..., :2] = points[..., :2] * scale + (x, y)
        samples.append(replace(sample, image=""))
        crops.append(crop)
        infos.append(info)
        rays.append(keypoint_rays(points, sample.camera)[0])
    inputs = (torch.from_numpy(np.stack(values)) for values in (infos, rays))
    return samples, GraphInputs(network.prepare(np.stack(crops)), *inputs)


def errors(run: Pass, feeds: Feeds, samples: list[Sample], model: LoadedModel) -> list[str]:
    """On gestures."""
    parts = []
    for start in range(0, len(samples), BATCH):
        found = run({name: value[start : start + BATCH] for name, value in feeds.items()})
        parts.append(Bodies(*(np.array(found[name]) for name in Bodies._fields)))
    predictions = Predictions.of(samples, Bodies.joined(parts))
    scores = PROTOCOLS["gestures"].measure(predictions, posed_bodies.BodyCache(model.card.body))
    return [str(estimate(scores.people[column], predictions.sequences)) for column in COLUMNS]


if __name__ == "__main__":
    tyro.cli(main)
