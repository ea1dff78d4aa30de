"""Verdicts on files of an anomaly detector, from what the files themselves say; they are made by hand."""

from pathlib import Path

import numpy as np
import pytest

from foresense.bench import clips
from foresense.bench.clips import GATES, measure_artefact
from foresense.bench.limits import choose
from foresense.config import GateConfig
from foresense.evaluate.anomaly import AnomalyScoreError
from foresense.export.pi import PiPlan
from foresense.signals import file_sha256
from tests.export.tiny_tflite import write_float32

PLAN = PiPlan()
#: 200 clips of three values, half of them normal; the sum of a clip orders them without a fault.
LABELS = np.repeat([0, 1], 100)
INPUTS = np.arange(200, dtype=np.float32)[:, None] * np.ones(3, np.float32)
TIMES = {"deterministic": True, "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0}}


def artefact_of(folder: Path, weights: dict[str, list[float]]) -> tuple[Path, dict]:
    """An artefact with one file for each variant, whose output is `inputs @ weights`."""
    variants = {}
    for variant, row in weights.items():
        file = write_float32(folder / f"{variant}.tflite", np.array([row]))
        variants[variant] = {"file": file.name, "size_mib": 0.1, "sha256": file_sha256(file), "max_abs_error": 0.0}
    np.savez(folder / "golden.npz", inputs=INPUTS[:2])
    return folder, {"variants": variants}


def measured(artefact: tuple[Path, dict], inputs: np.ndarray = INPUTS) -> dict[str, dict]:
    return measure_artefact(*artefact, inputs, LABELS, reference=1.0, plan=PLAN)


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "measure_variants", lambda files, windows, plan: dict.fromkeys(files, TIMES))


@pytest.mark.usefixtures("timed")
def test_a_file_that_loses_more_than_a_hundredth_of_auc_is_rejected(tmp_path: Path) -> None:
    artefact = artefact_of(tmp_path, {"tflite-float32": [1, 1, 1], "tflite-int8": [-1, -1, -1]})
    found = measured(artefact)
    assert found["tflite-float32"]["verdict"] == "accepted"
    assert found["tflite-float32"]["quality"] == {"auc": 1.0, "n_windows": 200}
    wrong = found["tflite-int8"]
    assert (wrong["quality"]["auc"], wrong["quality_drop"]) == (0.0, 1.0)
    assert (wrong["verdict"], wrong["reason"]) == ("rejected", "rejected: AUC 1.000 lower, at most 0.01")


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize(
    ("places", "drop", "verdict"), [([198.5], 0.0099, "accepted"), ([199.5, 100.5], 0.0101, "rejected")]
)
def test_a_hundredth_is_where_it_turns(tmp_path: Path, places: list[float], drop: float, verdict: str) -> None:
    artefact = artefact_of(tmp_path, {"tflite-int8": [1, 1, 1]})
    inputs = INPUTS.copy()
    inputs[: len(places)] = np.array(places, np.float32)[:, None]  # normal clips above 99, or 100 and 1, anomalous ones
    found = measured(artefact, inputs)["tflite-int8"]
    assert found["quality_drop"] == pytest.approx(drop, abs=1e-12)  # pairs in the wrong order, of 10,000
    assert found["verdict"] == verdict


@pytest.mark.usefixtures("timed")
def test_a_score_that_is_no_number_is_no_quality(tmp_path: Path) -> None:
    with pytest.raises(AnomalyScoreError, match="finite"):
        measured(artefact_of(tmp_path, {"tflite-int8": [float("nan")] * 3}))


def test_a_file_that_says_other_things_in_another_process_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**TIMES, "deterministic": False}
    monkeypatch.setattr(clips, "measure_variants", lambda files, windows, plan: dict.fromkeys(files, other))
    found = measured(artefact_of(tmp_path, {"tflite-int8": [1, 1, 1]}))["tflite-int8"]
    assert (found["verdict"], found["reason"]) == (
        "rejected",
        "rejected: processes gave different outputs for the same inputs",
    )


def test_the_fastest_accepted_file_that_passes_its_gates_ships() -> None:
    def file(p50: float, size_mib: float, verdict: str = "accepted") -> dict:
        return {"verdict": verdict, "latency_ms": {"p50": p50}, "size_mib": size_mib}

    limits = {"size_mib": GateConfig(at_most=1)}
    variants = {"rejected": file(0.1, 0.1, "rejected"), "large": file(0.2, 2), "slow": file(0.4, 0.5)}
    assert choose({**variants, "good": file(0.3, 0.5)}, limits, GATES) == "good"
    assert choose(variants, limits, GATES) == "slow"
    assert choose({"rejected": variants["rejected"], "large": variants["large"]}, limits, GATES) == "large"
    assert choose({"rejected": variants["rejected"]}, limits, GATES) is None
