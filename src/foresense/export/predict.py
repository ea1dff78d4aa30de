"""Forecast as CSV: `python predict.py recording.csv [variant]`; needs numpy and onnxruntime or ai-edge-litert.

The CSV has a header with the channel names and one row per sample, oldest first, in the units of manifest.json.
"""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def open_model(file: Path, n_threads: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Load a variant: a function from (1, context, n_channels) to (1, horizon, n_channels), float32, scaled."""
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = n_threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        return lambda context: np.asarray(session.run(["forecast"], {"context": context})[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=n_threads)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (scale_in, zero_in), (scale_out, zero_out) = source["quantization"], target["quantization"]

    def forecast(context: np.ndarray) -> np.ndarray:
        if source["dtype"] == np.int8:
            context = np.clip(np.rint(context / scale_in) + zero_in, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], context)
        interpreter.invoke()
        found = np.asarray(interpreter.get_tensor(target["index"]))
        return found if found.dtype != np.int8 else ((found - np.float32(zero_out)) * scale_out).astype(np.float32)

    return forecast


if __name__ == "__main__":
    folder = Path(__file__).parent
    manifest = json.loads((folder / "manifest.json").read_text())
    channels, context, variants = manifest["channels"], manifest["context"], manifest["variants"]
    if len(sys.argv) not in (2, 3) or (sys.argv[2:] and sys.argv[2] not in variants):
        sys.exit(f"usage: predict.py CSV [{' | '.join(variants)}]")
    path, variant = sys.argv[1], (sys.argv[2:] or list(variants))[0]
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in channels if not rows or name not in rows[0]]
    if missing or len(rows) < context:
        sys.exit(f"{path}: needs columns {channels} and {context} rows; missing {missing}, found {len(rows)} rows")
    samples = np.array([[float(row[name] or "nan") for name in channels] for row in rows[-context:]])
    if not np.isfinite(samples).all():
        sys.exit(f"{path}: {int((~np.isfinite(samples)).sum())} values of the newest {context} rows are not numbers")
    shift, scale = np.array(manifest["scaler"]["shift"]), np.array(manifest["scaler"]["scale"])
    forecast = open_model(folder / variants[variant]["file"])(((samples - shift) / scale)[None].astype(np.float32))[0]
    printed = [[number, *map(float, row)] for number, row in enumerate(forecast * scale + shift, start=1)]
    csv.writer(sys.stdout).writerows([["step", *channels], *printed])
