"""Time and accuracy of a network in torch, onnxruntime and OpenVINO: `python benchmarks/runtimes.py`.

Needs the extra onnx and the package openvino. Prints a table: the least time of a pass for one person and for
eight, with CPU time, and the errors on gestures with true boxes, without the fit. 8 bits are calibrated on
synthetic people. OpenVINO's bf16 is its default where the CPU has it; fp32 is asked for.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

from fullframe.evaluate.posed_bodies import Bodies
from fullframe.evaluate.predictions import load_predictor, predict
from fullframe.evaluate.protocols import PROTOCOLS
from fullframe.evaluate.report import estimate, markdown_table
from fullframe.models import Prediction, load_model
from fullframe.models.onnx_export import INPUTS, OUTPUTS, demo_crops, export_onnx
from fullframe.recovery.photo import Recoverer
from fullframe.synth.calibration_crops import calibration_crops

Pass = Callable[[dict[str, NDArray[np.float32]]], list[NDArray[np.float32]]]
COLUMNS = ("MPJPE mm", "centred MPJPE mm", "PA-MPJPE mm")


def main(model: str = "cliff-lite", threads: int = os.cpu_count() or 1, repeats: int = 30) -> None:
    """Print the table.

    Args:
        model: name or path of a network.
        threads: of every library.
        repeats: passes, of which the fastest counts.
    """
    torch.set_num_threads(threads)
    loaded = load_model(model)
    with tempfile.TemporaryDirectory() as folder:
        files = {"fp32": Path(folder) / "fp32.onnx", "int8": Path(folder) / "int8.onnx"}
        export_onnx(loaded, files["fp32"])
        export_onnx(loaded, files["int8"], calibration=calibration_crops(loaded.network))
        recoverer = load_predictor(model)
        passes = {"torch fp32": of_torch(recoverer)}
        passes |= {f"onnxruntime {name}": of_onnxruntime(path, threads) for name, path in files.items()}
        for name, path, precision in (
            ("fp32", files["fp32"], "f32"), ("bf16", files["fp32"], "bf16"), ("int8", files["int8"], "f32"),
        ):  # fmt: skip
            passes[f"OpenVINO {name}"] = of_openvino(path, threads, precision)
        table = [["runtime", "1 person, ms (CPU time)", "8 people, ms (CPU time)", *COLUMNS]]
        for name, run in passes.items():
            times = [milliseconds(run, recoverer, people, repeats) for people in (1, 8)]
            table.append([name, *times, *errors(run, name, model, Path(folder))])
            print(" | ".join(table[-1]), flush=True)
    print(f"\n{model}, {threads} thread(s), least of {repeats}\n\n{markdown_table(table)}")


def of_torch(recoverer: Recoverer) -> Pass:
    network = recoverer.network
    assert network is not None

    @torch.inference_mode()
    def run(feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        crop, info = (torch.from_numpy(feeds[name]) for name in INPUTS)
        prediction = network(crop, info)
        return [value.numpy() for value in (*prediction, network.to_full_frame(prediction, info))]

    return run


def of_onnxruntime(path: Path, threads: int) -> Pass:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(list(OUTPUTS), feeds)


def of_openvino(path: Path, threads: int, precision: str) -> Pass:
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def run(feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        found = compiled(feeds)
        return [found[name] for name in OUTPUTS]

    return run


def milliseconds(run: Pass, recoverer: Recoverer, people: int, repeats: int) -> str:
    """The least time of a pass, and the least CPU time of all threads together."""
    assert recoverer.network is not None
    crops = demo_crops(recoverer.network)
    feeds = {
        name: np.resize(value.numpy(), (people, *value.shape[1:]))
        for name, value in zip(INPUTS, crops, strict=True)
    }
    times = []
    for _ in range(repeats + 1):  # the first one allocates
        start = time.perf_counter(), time.process_time()
        run(feeds)
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, cpu = 1e3 * np.array(times[1:]).min(axis=0)
    return f"{wall:.1f} ({cpu:.1f})"


def errors(run: Pass, name: str, model: str, folder: Path) -> list[str]:
    """On gestures: the network's pass is replaced, everything else is as in `fullframe evaluate`."""
    recoverer, protocol = load_predictor(model), PROTOCOLS["gestures"]
    assert recoverer.network is not None

    def forward(crop: Tensor, bbox_info: Tensor) -> Prediction:
        found = run(dict(zip(INPUTS, (crop.numpy(), bbox_info.numpy()), strict=True)))
        return Prediction(*(torch.from_numpy(np.array(value)) for value in found[:3]))

    recoverer.network.forward = forward  # type: ignore[method-assign]
    samples = protocol.open(Path())
    predictions = predict(
        recoverer, samples, folder / name.replace(" ", "_"), {"runtime": name}, enlarge=protocol.enlarge
    )
    scores = protocol.measure(predictions, Bodies(recoverer.body.name))
    return [str(estimate(scores.people[column], predictions.sequences)) for column in COLUMNS]


if __name__ == "__main__":
    tyro.cli(main)
