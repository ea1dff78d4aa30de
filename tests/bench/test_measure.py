"""The loop over the variants of an artefact: what is asked of the workers, and what is made of their answers."""

from typing import Any

import pytest

from foresense.bench.measure import Plan, measured_variants

PLAN = Plan(2, 30, (1, 2), None)
DESCRIBED: dict[str, dict[str, Any]] = {
    "onnx-float32": {"file": "a.onnx", "size_mib": 2.0, "sha256": "aa", "max_abs_error": 1e-5},
    "onnx-int8": {"file": "b.onnx", "size_mib": 0.5, "sha256": "bb", "max_abs_error": 1e-2},
    "tflite-float32": {"file": "c.tflite", "size_mib": 2.1, "sha256": "cc", "max_abs_error": 0.0},
}
DIGESTS = {"a.onnx": "aa", "b.onnx": "bb", "c.tflite": "cc"}


class Workers:
    """Answer as processes would, and remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        mode, file = request["mode"], request["file"]
        self.asked.append((mode, file))
        if mode == "runtime":
            return {"peak_rss_mib": 40.0 if file.endswith("onnx") else 30.0}
        if mode == "digest":
            return {"digest": "other" if file == "b.onnx" else "same"}
        return {"sha256": DIGESTS[file], "digest": "same", "golden_max_abs_error": 4e-4, "peak_rss_mib": 55.0}


def test_a_runtime_is_measured_once_and_every_file_in_two_processes() -> None:
    work = Workers()
    found = dict(measured_variants(work, DESCRIBED, PLAN, deviation=8.0))
    assert work.asked == [
        ("runtime", "a.onnx"),
        ("measure", "a.onnx"),
        ("digest", "a.onnx"),
        ("measure", "b.onnx"),
        ("digest", "b.onnx"),
        ("runtime", "c.tflite"),
        ("measure", "c.tflite"),
        ("digest", "c.tflite"),
    ]
    assert {name: facts["deterministic"] for name, facts in found.items()} == {
        "onnx-float32": True,
        "onnx-int8": False,
        "tflite-float32": True,
    }
    # golden outputs are off by 4e-4 of a target that deviates by 8: 5e-5 deviations
    assert [facts["agreement_max_abs_error"] for facts in found.values()] == pytest.approx([5e-5, 1e-2, 5e-5])
    assert found["tflite-float32"] == {
        "sha256": "cc",
        "peak_rss_mib": 55.0,
        "size_mib": 2.1,
        "runtime_rss_mib": 30.0,
        "deterministic": True,
        "agreement_max_abs_error": pytest.approx(5e-5),
    }


def test_a_file_that_is_not_the_manifests_stops_the_loop_there() -> None:
    forged = {**DESCRIBED, "onnx-int8": {**DESCRIBED["onnx-int8"], "sha256": "00"}}
    measured = measured_variants(Workers(), forged, PLAN)
    assert next(measured)[0] == "onnx-float32"
    with pytest.raises(ValueError, match=r"b\.onnx: measured a file with SHA-256 bb, manifest\.json says 00; run"):
        next(measured)
