"""Measures one exported classifier in a fresh process: from a raw window in g to its label, stage by stage.

A request comes as JSON on the standard input, the answer goes as one line of JSON to the standard output.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    memory_mib,
    summary,
)
from foresense.export.label import Arrays, open_features, open_network, shares, sibling

#: Times that every batch is measured, in turn with the others.
N_ROUNDS = 3


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request["mode"]` says.

    Args:
        request: `mode`: `runtime` (memory of the bare runtime), `digest` (logits only), `measure` or `profile`;
            `artefact`, `file` and `n_threads`; for `measure` and `profile` also `windows` (folder), `held_out` (names),
            `n_warmup`, `n_timed` and `n_quality`; for `profile` also `batches`, rising.

    Raises:
        ValueError: another mode.
    """
    folder = Path(request["artefact"])
    file = folder / request["file"]
    if request["mode"] not in ("measure", "profile"):
        return answer_briefly(file, _golden, request, modes="runtime, digest, measure or profile")
    n_threads = int(request["n_threads"][0])
    if request["mode"] == "profile":
        return _profile(folder, manifest_of(file), file, n_threads, request)
    _, logits, facts = measured(file, _golden(file), request)
    manifest, (raw, model) = manifest_of(file), _vectors(file)
    return {
        **facts,
        "golden_labels_agree": float(np.mean(logits.argmax(1) == model.argmax(1))),
        "stages_ms": _stages(folder, manifest, file, n_threads, raw, request),
        "heavy": loaded_heavy(),
        "quality": _quality(folder, manifest, file, n_threads, request),
    }


@dataclass(frozen=True, eq=False)
class Raw:
    """Raw windows that are measured with.

    Attributes:
        windows: (n, length, 3), g.
        begun_s: (n,), when each begins, seconds since 1970 UTC.
    """

    windows: np.ndarray
    begun_s: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """(n,), int64."""
        return np.arange(len(self.windows))


def _inputs(folder: Path, manifest: dict[str, Any], names: list[str], raw: Raw) -> Callable[[np.ndarray], Arrays]:
    """A function from numbers of raw windows to those inputs of the network."""
    compute = open_features(folder, names, manifest["rate_hz"], manifest["time_zone"])
    return lambda numbers: compute(raw.windows[numbers], raw.begun_s[numbers])


def _labeller(
    folder: Path, manifest: dict[str, Any], file: Path, n_threads: int, raw: Raw
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from the number of a raw window, (1,), to logits (1, n_classes)."""
    features = _inputs(folder, manifest, manifest["inputs"], raw)
    network = open_network(file, n_threads)
    return lambda numbers: network(features(numbers))


def _golden(file: Path) -> Golden:
    manifest, (raw, model) = manifest_of(file), _vectors(file)
    return Golden(lambda n_threads: _labeller(file.parent, manifest, file, n_threads, raw), raw.numbers, model)


def _vectors(file: Path) -> tuple[Raw, np.ndarray]:
    """The golden windows, and the logits (n, n_classes) of the trained model for them."""
    with np.load(file.with_name("golden.npz"), allow_pickle=False) as golden:
        return Raw(golden["raw"], golden["begun_s"]), golden["model"]


def _stages(
    folder: Path, manifest: dict[str, Any], file: Path, n_threads: int, raw: Raw, request: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """What each stage from a raw window to a smoothed label costs, ms."""
    numbers, warm, timed = raw.numbers, request["n_warmup"], request["n_timed"]
    found = {}
    for name in manifest["inputs"]:
        if name != "windows":
            compute = _inputs(folder, manifest, ["windows", name], raw)
            found[name] = summary(latencies_ms(_table(compute, name), numbers, warm, timed))
    network = open_network(file, n_threads)
    ready = _inputs(folder, manifest, manifest["inputs"], raw)(numbers[:1])
    found["network"] = summary(latencies_ms(lambda _: network(ready), numbers, warm, timed))
    if manifest["smooths"]:
        hmm = sibling(folder, "hmm")
        smoother = hmm.Smoother(hmm.Hmm.from_json(json.loads((folder / "hmm.json").read_text())), lag=6)
        given = shares(network(ready))[0].astype(np.float64)
        found["smoothing"] = summary(latencies_ms(lambda _: smoother.step(given), numbers, warm, timed))
    return found


def _table(compute: Callable[[np.ndarray], Arrays], name: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda numbers: compute(numbers)[name]


def _profile(
    folder: Path, manifest: dict[str, Any], file: Path, n_threads: int, request: dict[str, Any]
) -> dict[str, Any]:
    """Times over different windows of the people held out, what a second pass leaves in memory, and batches."""
    raw, _ = _held_out(request, request["n_timed"])
    label = _labeller(folder, manifest, file, n_threads, raw)
    latencies_ms(label, raw.numbers, request["n_warmup"], len(raw.numbers))
    before_mib = memory_mib("VmRSS")
    times_ms = latencies_ms(label, raw.numbers, 0, len(raw.numbers))
    growth_mib = memory_mib("VmRSS") - before_mib
    timed = {**request, "n_timed": len(raw.numbers)}
    return {
        "n_windows": len(raw.numbers),
        "latency_ms": {"mean": round(float(times_ms.mean()), 4), **summary(times_ms)},
        "growth_mib": round(growth_mib, 2),
        "stages_ms": _stages(folder, manifest, file, n_threads, raw, timed),
        "throughput": _throughput(folder, manifest, file, n_threads, raw, request["batches"]),
        "heavy": loaded_heavy(),
    }


def _throughput(
    folder: Path, manifest: dict[str, Any], file: Path, n_threads: int, raw: Raw, batches: list[int]
) -> list[dict[str, float]]:
    """Windows per second from raw window to label, the features of a batch in one call: medians over rounds."""
    features = _inputs(folder, manifest, manifest["inputs"], raw)
    network = open_network(file, n_threads)
    chosen = np.arange(max(batches)) % len(raw.numbers)  # the same windows at each batch
    rates: dict[int, list[float]] = {batch: [] for batch in batches}
    peaks_mib: dict[int, float] = {}
    for _ in range(N_ROUNDS):
        for batch in batches:
            begun = time.perf_counter()
            for first in range(0, len(chosen), batch):
                inputs = features(chosen[first : first + batch])
                for row in range(len(inputs["windows"])):
                    network({name: values[row : row + 1] for name, values in inputs.items()})
            rates[batch].append(len(chosen) / (time.perf_counter() - begun))
            peaks_mib.setdefault(batch, memory_mib("VmHWM"))
    return [
        {"batch": batch, "windows_per_s": round(float(np.median(rates[batch])), 2), "peak_rss_mib": peaks_mib[batch]}
        for batch in batches
    ]


def _quality(
    folder: Path, manifest: dict[str, Any], file: Path, n_threads: int, request: dict[str, Any]
) -> dict[str, float]:
    """Macro-F1 and accuracy over judged windows of the people held out: all, or `n_quality` evenly spread ones."""
    raw, truth = _held_out(request, request["n_quality"])
    label = _labeller(folder, manifest, file, n_threads, raw)
    given = np.array([int(label(raw.numbers[n : n + 1]).argmax()) for n in raw.numbers])
    k = len(manifest["classes"])
    counts = np.bincount(truth * k + given, minlength=k * k).reshape(k, k)
    asked = counts.sum(0) + counts.sum(1)
    occurs = asked > 0
    return {
        "macro_f1": float((2 * counts.diagonal()[occurs] / asked[occurs]).mean()),
        "accuracy": float(counts.trace() / counts.sum()),
        "n_windows": len(truth),
    }


def _held_out(request: dict[str, Any], n: int | None) -> tuple[Raw, np.ndarray]:
    """Judged windows of the people held out, and their labels; `n` evenly spread ones where given."""
    folder, held_out = Path(request["windows"]), sorted(request["held_out"])
    index = json.loads((folder / "index.json").read_text())
    arrays = {
        name: np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("starts", "labels", "owners", "times_ns", "is_apart")
    }
    own = np.isin(np.array(index["people"])[arrays["owners"]], held_out) & arrays["is_apart"]
    chosen = np.flatnonzero(own)
    if n is not None and n < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, n).round().astype(np.int64)]
    if not len(chosen):
        raise ValueError(f"{folder}: the people held out have no windows")
    samples = np.load(folder / "samples.npy", mmap_mode="r", allow_pickle=False)
    windows = samples[arrays["starts"][chosen][:, None] + np.arange(index["length"])]
    return Raw(windows.astype(np.float64), arrays["times_ns"][chosen] // 10**9), arrays["labels"][chosen]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.stdin.read()))) + "\n")
