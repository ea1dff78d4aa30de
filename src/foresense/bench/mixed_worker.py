"""Measures one exported model of mixed recordings in a fresh process that holds numpy and the file's runtime.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output. What the file
says of the test windows is written as an array: who asked knows the truth, and judges.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.worker import (
    Golden,
    answer_briefly,
    latencies_ms,
    loaded_heavy,
    manifest_of,
    measured,
    outputs_of,
    summary,
)
from foresense.export.mixed_predict import Arrays, open_model, read_window


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request["mode"]` says.

    Args:
        request: `mode`: `runtime` (memory of the bare runtime), `digest` (outputs only) or `measure`; `artefact`,
            `file` and `n_threads`; for `measure` also `windows` (a folder with one array for each input), `said` (where
            the outputs for them go), `n_warmup` and `n_timed`.

    Raises:
        ValueError: another mode.
    """
    file = Path(request["artefact"]) / request["file"]
    if request["mode"] != "measure":
        return answer_briefly(file, _golden, request)
    _, _, facts = measured(file, _golden(file), request)
    manifest = manifest_of(file)
    facts["stages_ms"] = {"read": _reading(file.parent, manifest, request), "model": facts["latency_ms"]}
    facts["heavy"] = loaded_heavy()
    folder = Path(request["windows"])
    inputs = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in manifest["inputs"]}
    n = len(next(iter(inputs.values())))
    np.save(request["said"], outputs_of(_asker(file, inputs, int(request["n_threads"][0])), np.arange(n)))
    return facts


def _golden(file: Path) -> Golden:
    with np.load(file.with_name("golden.npz"), allow_pickle=False) as golden:
        inputs = {name: golden[name] for name in manifest_of(file)["inputs"]}
        model = golden["model"]
    return Golden(lambda n_threads: _asker(file, inputs, n_threads), np.arange(len(model)), model)


def _asker(file: Path, inputs: Arrays, n_threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the number of a window, (1,), to what the file says of it, (1, n_outputs)."""
    ask = open_model(file, n_threads)
    return lambda numbers: ask({name: rows[numbers] for name, rows in inputs.items()})


def _reading(folder: Path, manifest: dict[str, Any], request: dict[str, Any]) -> dict[str, float]:
    """Times from the text of one window to its arrays, ms."""
    schema = json.loads((folder / "schema.json").read_text())
    example, statics = folder / manifest["example"]["file"], manifest["example"]["statics"]
    first = manifest["inputs"][0]

    def read(_: np.ndarray) -> np.ndarray:
        return read_window(example, statics, manifest, schema).inputs[first]

    return summary(latencies_ms(read, np.arange(1), request["n_warmup"], request["n_timed"]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
