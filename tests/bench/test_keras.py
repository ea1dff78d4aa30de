"""What a TFLite file costs, in fresh processes; the files are made by hand."""

from pathlib import Path

import numpy as np
import pytest

from foresense.bench.keras import measure_variants
from foresense.bench.reach import WorkerError
from foresense.signals import file_sha256

WINDOWS = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def test_files_are_measured_without_tensorflow(pi_folder: Path) -> None:
    file = pi_folder / "acoustic_tflite-int8.tflite"
    found = measure_variants({"tflite-int8": file}, WINDOWS)["tflite-int8"]
    assert found["sha256"] == file_sha256(file)
    assert found["size_mib"] == round(file.stat().st_size / 2**20, 4)
    assert found["n_timed"] == 50
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p99"]
    assert found["cold_start_ms"] > found["load_ms"] > 0
    assert found["peak_rss_mib"] < 150  # TensorFlow alone takes 500
    assert found["rss_delta_mib"] == pytest.approx(found["peak_rss_mib"] - found["runtime_rss_mib"], abs=0.01)
    assert found["growth_mib"] < 4
    assert found["deterministic"] is True


def test_a_file_that_cannot_be_measured_is_named(pi_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foresense.export.device import smoke_test

    def fail(request: dict, timeout_s: float) -> dict:
        raise smoke_test.WorkerError("ended by signal 9: out of memory")

    monkeypatch.setattr(smoke_test, "ask_worker", fail)
    files = {"tflite-float32": pi_folder / "thermal_tflite-float32.tflite"}
    with pytest.raises(WorkerError, match="tflite-float32: ended by signal 9: out of memory"):
        measure_variants(files, WINDOWS)
