import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foresense.bench import worker
from foresense.bench.measure import Plan, measure_artefact
from foresense.bench.reach import WorkerError, open_session, read_answer, why_not_measured
from foresense.config import DeviceConfig

HOST = DeviceConfig(name="host", description="", reach="local", formats=("onnx",), source="test")
CONTEXT, HORIZON = 6, 2
WEIGHTS = np.array([[0.5, 0, 0, 0, 0, 0.5], [0, 1, 0, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """A linear forecaster in ONNX made by hand, and 40 rows of two channels."""
    import onnx
    from onnx import TensorProto, helper

    root = tmp_path_factory.mktemp("bench")
    artefact, windows = root / "artefact", root / "windows"
    artefact.mkdir()
    windows.mkdir()
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["weights", "context"], ["forecast"])],
        "linear",
        [helper.make_tensor_value_info("context", TensorProto.FLOAT, [1, CONTEXT, 2])],
        [helper.make_tensor_value_info("forecast", TensorProto.FLOAT, [1, HORIZON, 2])],
        [helper.make_tensor("weights", TensorProto.FLOAT, WEIGHTS.shape, WEIGHTS.ravel())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, artefact / "onnx-float32.onnx")
    rng = np.random.default_rng(0)
    inputs = rng.random((3, CONTEXT, 2), np.float32)
    np.savez(artefact / "golden.npz", inputs=inputs, model=WEIGHTS @ inputs)
    np.save(windows / "samples.npy", rng.random((40, 2), np.float32))
    np.save(windows / "starts_test.npy", np.arange(20, 32, 2))
    (windows / "index.json").write_text(json.dumps({"context": CONTEXT, "horizon": HORIZON}))
    described = {
        "file": "onnx-float32.onnx",
        "size_mib": 0.001,
        "sha256": worker.hashlib.sha256((artefact / "onnx-float32.onnx").read_bytes()).hexdigest(),
        "max_abs_error": 0.0,
    }
    return artefact, windows, {"variants": {"onnx-float32": described}}


@pytest.fixture(scope="module")
def facts(bench: tuple[Path, Path, dict]) -> dict:
    artefact, windows, manifest = bench
    with open_session(HOST, artefact, windows) as work:
        return measure_artefact(work, manifest, Plan(2, 30, (1, 2), None), ["onnx-float32"], 0.25)["onnx-float32"]


def test_quality_is_that_of_numpy_on_the_same_windows(bench: tuple[Path, Path, dict], facts: dict) -> None:
    samples = np.load(bench[1] / "samples.npy").astype(np.float64)
    errors = np.array([WEIGHTS @ samples[s : s + 6] - samples[s + 6 : s + 8] for s in range(20, 32, 2)])
    assert facts["quality"]["mse"] == pytest.approx((errors**2).mean(), rel=1e-6)
    assert facts["quality"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)
    assert facts["quality"]["n_windows"] == 6
    assert facts["mse_ratio_to_best_baseline"] == pytest.approx((errors**2).mean() / 0.25, rel=1e-6)


def test_only_numpy_and_the_runtime_are_loaded(facts: dict) -> None:
    assert facts["only_runtime_loaded"]
    assert 10 < facts["runtime_rss_mib"] < 120
    assert facts["rss_delta_mib"] == pytest.approx(facts["peak_rss_mib"] - facts["runtime_rss_mib"], abs=0.01)


def test_memory_is_the_workers_own_not_its_parents(bench: tuple[Path, Path, dict]) -> None:
    ballast = np.ones(400 * 2**17)  # 400 MiB in this process
    with open_session(HOST, bench[0], bench[1]) as work:
        peak = work({"mode": "runtime", "file": "onnx-float32.onnx"})["peak_rss_mib"]
    assert peak < 150
    assert ballast[-1] == 1


def test_latencies_are_ordered_and_cold_start_holds_the_load(facts: dict) -> None:
    latency = facts["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert facts["cold_start_ms"] > facts["load_ms"] > latency["p50"]
    assert facts["n_timed"] == 30
    assert list(facts["thread_sweep_ms"]) == ["1", "2"]
    assert facts["deterministic"] is True


def test_some_windows_are_spread_over_the_whole_part(bench: tuple[Path, Path, dict]) -> None:
    seen: list[np.ndarray] = []

    def remember(context: np.ndarray) -> np.ndarray:
        seen.append(context[0, 0])
        return WEIGHTS @ context

    assert worker.quality(remember, bench[1], 3)["n_windows"] == 3
    samples = np.load(bench[1] / "samples.npy")
    np.testing.assert_array_equal(seen[0], samples[20])
    np.testing.assert_array_equal(seen[-1], samples[30])


def test_percentiles_are_those_of_known_times() -> None:
    assert worker.summary(np.arange(1.0, 102.0)) == {"p50": 51.0, "p95": 96.0, "p99": 100.0}


def test_a_file_that_is_not_the_manifests_is_refused(bench: tuple[Path, Path, dict]) -> None:
    artefact, windows, manifest = bench
    forged = {"variants": {"onnx-float32": {**manifest["variants"]["onnx-float32"], "sha256": "0" * 64}}}
    with (
        open_session(HOST, artefact, windows) as work,
        pytest.raises(ValueError, match=r"onnx-float32\.onnx: measured a file with SHA-256 .*manifest\.json says 0000"),
    ):
        measure_artefact(work, forged, Plan(0, 1, (1,), 1), ["onnx-float32"], None)


def test_a_worker_that_dies_says_its_last_lines(bench: tuple[Path, Path, dict]) -> None:
    with (
        open_session(HOST, bench[0], bench[1]) as work,
        pytest.raises(WorkerError, match=r"(?s)host: absent\.onnx: exit code 1, expected 0 .*absent\.onnx"),
    ):
        work({"mode": "digest", "file": "absent.onnx", "n_threads": [1]})


def test_an_answer_that_is_no_json_is_an_error() -> None:
    with pytest.raises(WorkerError, match="it printed nothing"):
        read_answer("pi4", 0, "", "")
    with pytest.raises(WorkerError, match="hello"):
        read_answer("pi4", 0, "hello\n", "")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode 'guess': expected runtime, digest or measure"):
        worker.answer({"mode": "guess", "artefact": "/", "file": "a.onnx"})


def fake_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ssh and scp that stay on this machine, and the python3 of this environment."""
    folder.mkdir()
    scripts = {
        "ssh": 'while [ "$1" = -o ]; do shift 2; done; shift; cd / && exec sh -c "$1"',
        "scp": 'shift; while [ "$1" = -o ]; do shift 2; done; '
        'for last; do :; done; n=$#; for f; do n=$((n-1)); [ $n -ge 1 ] && cp "$f" "${last#*:}"; done; exit 0',
        "python3": f'unset PYTHONPATH; exec {sys.executable} "$@"',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(folder))


def test_a_device_behind_ssh_is_measured_and_left_clean(
    bench: tuple[Path, Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_device(tmp_path / "bin", monkeypatch)
    pi = HOST.model_copy(update={"name": "pi4", "reach": "ssh", "host": "pi@device"})
    with open_session(pi, bench[0], bench[1]) as work:
        copied = next((tmp_path / "bin").glob("foresense.*"))
        files = {path.name for path in (copied / "foresense").rglob("*.py")}
        assert files == {"__init__.py", "worker.py", "predict.py"}
        found = measure_artefact(work, bench[2], Plan(1, 10, (1,), None), ["onnx-float32"], None)["onnx-float32"]
    assert found["quality"]["n_windows"] == 6
    assert 0 < found["cold_start_ms"] < 60_000
    assert list((tmp_path / "bin").glob("foresense.*")) == []


def test_a_device_that_cannot_be_reached_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\necho 'connect to host device port 22: No route' >&2\nexit 255\n")
    (tmp_path / "ssh").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pi = HOST.model_copy(update={"name": "pi4", "reach": "ssh", "host": "pi@device"})
    with pytest.raises(WorkerError, match="pi4: ssh pi@device failed with exit code 255: connect to host"):
        open_session(pi, tmp_path, tmp_path).__enter__()


def test_a_host_that_would_be_an_option_is_refused(tmp_path: Path) -> None:
    pi = HOST.model_copy(update={"name": "pi4", "reach": "ssh", "host": "-oProxyCommand=x"})
    with pytest.raises(WorkerError, match="no usable host in devices/pi4"):
        open_session(pi, tmp_path, tmp_path).__enter__()


def test_a_device_without_a_host_is_not_measured() -> None:
    pi = HOST.model_copy(update={"name": "pi4", "reach": "ssh"})
    assert why_not_measured(pi) == "not measured: no host set in devices/pi4.yaml"
    assert why_not_measured(HOST) is None


def test_importing_the_room_brings_nothing_heavy() -> None:
    code = "import sys, foresense.bench, foresense.export; print(sorted(n for n in sys.modules if n.split('.')[0] in "
    code += "('numpy', 'pydantic', 'pandas', 'torch')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
