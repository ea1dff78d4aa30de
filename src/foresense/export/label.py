"""Label a recording of a wrist: `python label.py recording.csv [variant]`; needs numpy and the variant's runtime.

The CSV has a header with the channels of manifest.json and one row for each sample, oldest first, in g, at the rate
that stands there; where the network takes the time of day, also a column `time`, ISO 8601, local where it has no zone.
One line comes out for each window: its first row, its label, the share that the network gives it, and where the
artefact smooths, the label in the course of the whole recording. A network that takes topology needs foresense with its
extra 'topology' beside it; manifest.json says so.
"""

import csv
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

Arrays = Mapping[str, np.ndarray]
#: Raw windows (n, length, channels), g, and when each begins, (n,), seconds since 1970 UTC, to the inputs of a network.
Inputs = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def open_network(file: Path, n_threads: int = 1) -> Callable[[Arrays], np.ndarray]:
    """Load a variant: a function from the inputs of one window, by name, float32, to logits (1, n_classes)."""
    if file.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = n_threads, 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        names = [taken.name for taken in session.get_inputs()]
        return lambda inputs: np.asarray(session.run(["logits"], {name: inputs[name] for name in names})[0])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=n_threads)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    taken, given = runner.get_input_details(), runner.get_output_details()["logits"]

    def run(inputs: Arrays) -> np.ndarray:
        found = np.asarray(runner(**{name: _in(inputs[name], taken[name]) for name in taken})["logits"])
        if given["dtype"] != np.int8:
            return found
        scale, zero = given["quantization"]
        return np.asarray((found - np.float32(zero)) * scale, np.float32)

    return run


def _in(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    if details["dtype"] != np.int8:
        return values
    scale, zero = details["quantization"]
    return np.asarray(np.clip(np.rint(values / scale) + zero, -128, 127), np.int8)


def open_features(folder: Path, names: list[str], rate_hz: float, time_zone: str) -> Inputs:
    """Inputs of a network from windows (n, length, 3), g, computed by the files of the artefact.

    Args:
        folder: The artefact.
        names: Of the inputs: `windows`, `statistics`, `topology`, `times`.
        rate_hz: Of the samples.
        time_zone: IANA name of local time.
    """
    statistical = sibling(folder, "statistical") if "statistics" in names else None

    def compute(windows: np.ndarray, begun_s: np.ndarray) -> dict[str, np.ndarray]:
        found = {"windows": windows.astype(np.float32)}
        if statistical is not None:
            found["statistics"] = statistical.statistical_features(windows, rate_hz).astype(np.float32)
        if "topology" in names:
            from foresense.features.topological import topological_features

            found["topology"] = topological_features(windows, rate_hz).values.astype(np.float32)
        if "times" in names:
            found["times"] = times_of(begun_s, time_zone)
        return found

    return compute


def times_of(begun_s: np.ndarray, time_zone: str) -> np.ndarray:
    """(n, 5), float32: hour / 24, minute / 60, weekday / 7 from Monday 0, is_weekend, hour // 6, of the local clock."""
    zone = ZoneInfo(time_zone)
    local = [datetime.fromtimestamp(int(second), zone) for second in begun_s]
    rows = [[at.hour / 24, at.minute / 60, at.weekday() / 7, at.weekday() >= 5, at.hour // 6] for at in local]
    return np.array(rows, np.float32).reshape(-1, 5)


class _FromText(SourceFileLoader):
    """Loads a module from its text, whose digest is known; a compiled file beside it is neither run nor left there."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def sibling(folder: Path, name: str) -> ModuleType:
    """The module `<name>.py` of the artefact, by its file: another one of that name may be installed."""
    file = folder / f"{name}.py"
    loader = _FromText(f"artefact_{name}", str(file))
    spec = importlib.util.spec_from_file_location(loader.name, file, loader=loader)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{file}: not there; the artefact is not whole")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _begun(rows: list[dict[str, str]], time_zone: str) -> np.ndarray:
    """(n,), seconds since 1970 UTC, of the first row of each window; 0 where the recording has no time."""
    times = [datetime.fromisoformat(row["time"]) for row in rows if "time" in row]
    local = [time if time.tzinfo else time.replace(tzinfo=ZoneInfo(time_zone)) for time in times]
    return np.array([time.timestamp() for time in local]) if local else np.zeros(len(rows))


def shares(logits: np.ndarray) -> np.ndarray:
    """(n, n_classes), rows adding up to 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = raised / raised.sum(axis=1, keepdims=True)
    return found


def main(arguments: list[str], folder: Path) -> None:
    """Label a CSV file."""
    manifest = json.loads((folder / "manifest.json").read_text())
    channels, length, variants = manifest["channels"], manifest["length"], manifest["variants"]
    if len(arguments) not in (1, 2) or (arguments[1:] and arguments[1] not in variants):
        sys.exit(f"usage: label.py CSV [{' | '.join(variants)}]")
    path, variant = arguments[0], (arguments[1:] or list(variants))[0]
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    columns = [*channels, *(["time"] if "times" in manifest["inputs"] else [])]
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing or len(rows) < length:
        sys.exit(f"{path}: needs columns {columns} and {length} rows; missing {missing}, found {len(rows)} rows")
    samples = np.array([[float(row[name] or "nan") for name in channels] for row in rows])
    windows = samples[: len(rows) // length * length].reshape(-1, length, len(channels))
    if not np.isfinite(windows).all():
        sys.exit(f"{path}: {int((~np.isfinite(windows)).sum())} values are not numbers")
    try:
        begun_s = _begun(rows[: len(windows) * length : length], manifest["time_zone"])
    except ValueError as error:
        sys.exit(f"{path}, column time: {error}; expected ISO 8601, such as 2024-03-04T12:00:00+01:00")
    inputs = open_features(folder, manifest["inputs"], manifest["rate_hz"], manifest["time_zone"])(windows, begun_s)
    network = open_network(folder / variants[variant]["file"])
    logits = [network({name: rows[n : n + 1] for name, rows in inputs.items()}) for n in range(len(windows))]
    given = shares(np.concatenate(logits))
    classes, likely = manifest["classes"], given.argmax(axis=1)
    columns = ["row", "label", "share"]
    printed = [[n * length, classes[k], f"{given[n, k]:.4f}"] for n, k in enumerate(likely)]
    if "hmm.json" in manifest["files"]:
        hmm = sibling(folder, "hmm")
        model = hmm.Hmm.from_json(json.loads((folder / "hmm.json").read_text()))
        course = hmm.smooth(model, given, np.zeros(len(given), np.int64))
        columns, printed = [*columns, "smoothed"], [[*row, classes[k]] for row, k in zip(printed, course, strict=True)]
    csv.writer(sys.stdout).writerows([columns, *printed])


if __name__ == "__main__":
    main(sys.argv[1:], Path(__file__).parent)
