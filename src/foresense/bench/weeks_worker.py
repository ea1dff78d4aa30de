"""Measures one exported encoder of weeks in a fresh process that holds numpy and the file's runtime.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output. What the file
says of the test weeks is written as an array: who asked knows the truth, and judges.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from foresense.bench.worker import Golden, answer_briefly, loaded_heavy, manifest_of, measured, outputs_of
from foresense.export.pat_runtime import open_features


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request["mode"]` says.

    Args:
        request: `mode`: `runtime` (memory of the bare runtime), `digest` (outputs only) or `measure`; `artefact`,
            `file` and `n_threads`; for `measure` also `weeks` (a file with the scaled test weeks), `said` (where the
            features of them go), `n_warmup` and `n_timed`.

    Raises:
        ValueError: another mode.
    """
    file = Path(request["artefact"]) / request["file"]
    if request["mode"] != "measure":
        return answer_briefly(file, _golden, request)
    _, _, facts = measured(file, _golden(file), request)
    tested = np.load(request["weeks"], mmap_mode="r", allow_pickle=False)
    ask = _asker(file, manifest_of(file)["input"], tested, int(request["n_threads"][0]))
    np.save(request["said"], outputs_of(ask, np.arange(len(tested))))
    return {**facts, "heavy": loaded_heavy()}


def _golden(file: Path) -> Golden:
    name = manifest_of(file)["input"]
    with np.load(file.with_name("golden.npz"), allow_pickle=False) as golden:
        weeks, model = golden[name], golden["model"]
    return Golden(lambda n_threads: _asker(file, name, weeks, n_threads), np.arange(len(model)), model)


def _asker(file: Path, name: str, weeks: np.ndarray, n_threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the number of a week, (1,), to its features, (1, 96)."""
    ask = open_features(file, n_threads)
    return lambda numbers: ask({name: weeks[numbers]})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
