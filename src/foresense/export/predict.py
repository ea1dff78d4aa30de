"""Forecast from a CSV with the files beside this one; needs numpy and onnxruntime or ai-edge-litert.

    python predict.py recording.csv [variant]

The CSV has a header with the channel names and one row per sample, oldest first, in the units of manifest.json.
"""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Forecaster = Callable[[np.ndarray], np.ndarray]


def open_model(file: Path, n_threads: int = 1) -> Forecaster:
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

    def forecast(context: np.ndarray) -> np.ndarray:
        if source["dtype"] == np.int8:
            scale, zero = source["quantization"]
            context = np.clip(np.rint(context / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], context)
        interpreter.invoke()
        found = np.asarray(interpreter.get_tensor(target["index"]))
        scale, zero = target["quantization"]
        return ((found.astype(np.float32) - zero) * scale).astype(np.float32) if found.dtype == np.int8 else found

    return forecast


def read_context(path: Path, manifest: dict[str, Any]) -> np.ndarray:
    """Read the newest samples of a CSV: (context, n_channels), float64, physical units."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    channels, context = manifest["channels"], manifest["context"]
    missing = [name for name in channels if not rows or name not in rows[0]]
    if missing or len(rows) < context:
        sys.exit(f"{path}: needs columns {channels} and {context} rows; missing {missing}, found {len(rows)} rows")
    samples = np.array([[float(row[name] or "nan") for name in channels] for row in rows[-context:]])
    if not np.isfinite(samples).all():
        sys.exit(f"{path}: {int((~np.isfinite(samples)).sum())} values of the newest {context} rows are not numbers")
    return samples


def main() -> None:
    """Print the forecast as CSV, physical units, one row per coming sample."""
    folder = Path(__file__).parent
    manifest = json.loads((folder / "manifest.json").read_text())
    if len(sys.argv) not in (2, 3) or (sys.argv[2:] and sys.argv[2] not in manifest["variants"]):
        sys.exit(f"usage: predict.py CSV [{' | '.join(manifest['variants'])}]")
    variant = (sys.argv[2:] or list(manifest["variants"]))[0]
    shift, scale = np.array(manifest["scaler"]["shift"]), np.array(manifest["scaler"]["scale"])
    scaled = (read_context(Path(sys.argv[1]), manifest) - shift) / scale
    forecast = open_model(folder / manifest["variants"][variant]["file"])(scaled[None].astype(np.float32))[0]
    writer = csv.writer(sys.stdout)
    writer.writerow(["step", *manifest["channels"]])
    writer.writerows([number + 1, *map(float, row)] for number, row in enumerate(forecast * scale + shift))


if __name__ == "__main__":
    main()
