"""The smoke test in processes of its own, on folders that are whole and on folders that are broken in one way each."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ai_edge_litert
import numpy as np
import pytest

from foresense.export.device import smoke_test

#: Shadows ai_edge_litert with the real runtime, whose interpreter gets the methods of `body`.
SHADOW = """
import importlib.util, os, time
import numpy as np
spec = importlib.util.spec_from_file_location("real_interpreter", {real!r})
real = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real)
class Interpreter(real.Interpreter):
{body}
"""
REAL = Path(ai_edge_litert.__file__).with_name("interpreter.py")
ABSENT = "raise ImportError('not here')\n"


@pytest.fixture
def folder(pi_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pi_folder, tmp_path / "pi"))


def run(folder: Path, *words: str, path: Path | None = None) -> tuple[int, str, dict]:
    """Exit code, what was printed, and smoke_test.json."""
    env = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run([sys.executable, "smoke_test.py", *words], cwd=folder, env=env, capture_output=True)
    assert done.stderr == b""
    written = folder / "smoke_test.json"
    return done.returncode, done.stdout.decode("ascii"), json.loads(written.read_text()) if written.is_file() else {}


def shadow(root: Path, body: str, package: str = "ai_edge_litert") -> Path:
    """A folder for PYTHONPATH whose `package` is the real runtime with other methods."""
    place = root / "shadow" / package
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(f"__path__.append({str(REAL.parent)!r})\n")
    (place / "interpreter.py").write_text(SHADOW.format(real=str(REAL), body=body))
    return place.parent


def edit(folder: Path, change: Callable[[dict], None], name: str = "manifest.json") -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def seal(folder: Path, model: str) -> None:
    """Say the new digests of a model in manifest.json and quality.json: only running it can tell that it is broken."""
    said = json.loads((folder / "manifest.json").read_text())["models"][model]
    digests = {
        f"{kind}_sha256": hashlib.sha256((folder / said[kind]).read_bytes()).hexdigest() for kind in ("file", "golden")
    }
    edit(folder, lambda manifest: manifest["models"][model].update(digests))
    edit(folder, lambda quality: quality["models"][model].update(sha256=digests["file_sha256"]), "quality.json")


def verdicts(result: dict, kind: str) -> dict[str, str]:
    """Name to verdict of what did not pass."""
    return {row["name"]: row["verdict"] for row in result[kind] if row["verdict"] != "PASS"}


def test_a_whole_folder_passes_seven_tests_and_every_gate(folder: Path) -> None:
    code, printed, result = run(folder)
    assert (code, result["passed"]) == (0, True), printed
    assert [row["name"] for row in result["tests"]] == [
        "runtime",
        "load thermal",
        "load acoustic",
        "thermal inference",
        "acoustic inference",
        "memory",
        "numerical stability",
    ]
    asked = ["training completes", "checkpoint saved", "export succeeds", "int8 works", "thermal size", "acoustic size"]
    asked += ["latency", "memory", "numerical stability", "smoke tests"]
    assert [row["name"] for row in result["gates"]] == [*asked, "quality drop", "duration"]
    assert printed.splitlines()[-1] == "PASS: 7/7 tests, 12/12 gates"
    memory = result["tests"][5]
    assert memory["headroom"] == pytest.approx(512 - memory["actual"])
    assert memory["times"] == pytest.approx(512 / memory["actual"])
    assert 20 < memory["actual"] < 120
    share = 100 * memory["headroom"] / 512
    actual, left = (f"{memory[key]:.4g} MiB" for key in ("actual", "headroom"))
    assert re.search(rf"memory +<= 512 MiB +{actual} +{left} \({share:.0f} %\) +\d+\.\dx  PASS", printed)
    for facts in result["models"].values():
        assert facts["n_timed"] == 50
        assert 0 < facts["latency_ms"]["p50"] <= facts["latency_ms"]["p95"] <= facts["latency_ms"]["p99"]
        assert facts["golden_max_abs_error"] == 0
    assert result["models"]["acoustic"]["n_int8_tensors"] == 3
    assert result["models"]["thermal"]["n_int8_tensors"] == 0


INVOKE = "    def invoke(self):\n        super().invoke()\n        "
MUTANTS = {
    "slow": (
        INVOKE + "time.sleep(0.03)\n",
        {"latency_ms": 20.0},
        "thermal inference",
        r"-> 3\d\.\d+ ms p95, at most 20",
    ),
    "leaking": (
        "    kept = []\n" + INVOKE + "self.kept.append(bytearray(b'x') * 2**20)\n",
        {},
        "memory",
        r"-> thermal: grows by 5\d(\.\d+)? MiB while it runs, at most 4",
    ),
    "random": (
        "    def get_tensor(self, index):\n        return super().get_tensor(index) + np.float32(1e-6 * os.getpid())\n",
        {},
        "numerical stability",
        "-> thermal: .*two processes gave different outputs for the same inputs",
    ),
    "threads": (
        "    def __init__(self, **given):\n        super().__init__(**given)\n        self.n = given['num_threads']\n"
        "    def get_tensor(self, index):\n        return super().get_tensor(index) + np.float32(1e-6 * self.n)\n",
        {},
        "numerical stability",
        "-> thermal: 4 threads give other outputs",
    ),
    "not a number": (
        "    def get_tensor(self, index):\n        return super().get_tensor(index) * np.float32('nan')\n",
        {},
        "load thermal",
        "-> ValueError: gives values that are not finite for its golden inputs",
    ),
    "crashing": (INVOKE + "os.abort()\n", {}, "thermal inference", "-> ended by signal 6"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_bad_runtime_fails(folder: Path, tmp_path: Path, name: str) -> None:
    body, limits, test, line = MUTANTS[name]
    edit(folder, lambda manifest: manifest["limits"].update(limits))
    code, printed, result = run(folder, path=shadow(tmp_path, body))
    assert code == 1
    assert test in verdicts(result, "tests")
    assert re.search(line, printed), printed
    assert printed.splitlines()[-1].startswith("FAIL: ")


def enlarge(folder: Path) -> None:
    with (folder / "acoustic_tflite-int8.tflite").open("ab") as file:
        file.truncate(21 * 2**20)
    seal(folder, "acoustic")


def truncate(folder: Path) -> None:
    file = folder / "thermal_tflite-float32.tflite"
    file.write_bytes(file.read_bytes()[:200])


def truncate_and_seal(folder: Path) -> None:
    truncate(folder)
    seal(folder, "thermal")


def wrong_golden(folder: Path) -> None:
    with np.load(folder / "thermal_golden.npz") as golden:
        inputs, outputs = golden["inputs"], golden["outputs"]
    np.savez(folder / "thermal_golden.npz", inputs=inputs, outputs=outputs + np.float32(0.125))
    seal(folder, "thermal")


def set_limit(**limits: float) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda manifest: manifest["limits"].update(limits))


def set_model(**facts: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda manifest: manifest["models"]["acoustic"].update(facts))


def set_quality(**facts: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, lambda quality: quality["models"]["acoustic"].update(facts), "quality.json")


def blind(folder: Path) -> None:
    text = (folder / "measure.py").read_text()
    begin = "def peak_rss_mib() -> float | None:\n"
    assert begin in text
    (folder / "measure.py").write_text(text.replace(begin, begin + "    return None\n"))


N = "NOT MEASURED"
Broken = tuple[Callable[[Path], None], dict[str, str], dict[str, str], str]
#: How a folder is broken, tests and gates that then do not pass, what is said.
MEASURED: dict[str, Broken] = {
    "too large": (
        enlarge,
        {"load acoustic": "FAIL"},
        {"acoustic size": "FAIL"},
        "-> 21 MiB, at most 20",
    ),
    "cut off": (
        truncate,
        {"load thermal": "FAIL", "thermal inference": N, "memory": N, "numerical stability": N},
        {"export succeeds": "FAIL", "latency": N, "memory": N, "numerical stability": N, "quality drop": "FAIL"},
        "-> thermal_tflite-float32.tflite: SHA-256 ",
    ),
    "cut off and sealed": (
        truncate_and_seal,
        {"load thermal": "FAIL", "thermal inference": N, "memory": N, "numerical stability": N},
        {"export succeeds": "FAIL", "latency": N, "memory": N, "numerical stability": N, "thermal size": "FAIL"},
        "-> ",
    ),
    "no model": (
        lambda folder: (folder / "thermal_tflite-float32.tflite").unlink(),
        {"load thermal": "FAIL", "thermal inference": N, "memory": N, "numerical stability": N},
        {"export succeeds": "FAIL", "thermal size": "FAIL", "quality drop": "FAIL"},
        "-> thermal_tflite-float32.tflite is missing; copy the whole folder again",
    ),
    "wrong golden vector": (
        wrong_golden,
        {"numerical stability": "FAIL"},
        {"numerical stability": "FAIL", "smoke tests": "FAIL"},
        "-> thermal: differs from the golden vectors by 0.125, allowed 1.5e-05",
    ),
    "memory that nobody tells": (
        blind,
        {"memory": N},
        {"memory": N, "smoke tests": "FAIL"},
        "-> this system tells no process its memory",
    ),
}
#: What is broken is a fact that was handed in or a limit: nothing has to be measured again.
JUDGED: dict[str, Broken] = {
    "little memory": (
        set_limit(memory_mib=20.0),
        {"memory": "FAIL"},
        {"memory": "FAIL"},
        "MiB peak, at most 20",
    ),
    "no training": (
        set_model(training=None),
        {},
        {"training completes": N},
        "-> acoustic: manifest.json has no facts about the training",
    ),
    "a diverged training": (
        set_model(training={"n_epochs": 2, "loss": None}),
        {},
        {"training completes": "FAIL"},
        "-> acoustic: 2 epochs, loss None",
    ),
    "another checkpoint": (
        set_model(checkpoint_sha256="cd" * 32),
        {},
        {"checkpoint saved": "FAIL"},
        "-> acoustic: checkpoint cdcdcdcdcdcd, the file was made from abababababab",
    ),
    "no checkpoint": (
        set_model(checkpoint_sha256=None),
        {},
        {"checkpoint saved": N},
        "-> acoustic: manifest.json has no SHA-256 of a checkpoint",
    ),
    "no int8": (set_model(is_int8=False), {}, {"int8 works": N}, "-> no such model here"),
    "int8 that is float": (
        lambda folder: edit(folder, lambda manifest: manifest["models"]["thermal"].update(is_int8=True)),
        {},
        {"int8 works": "FAIL"},
        "-> thermal: no int8 tensor in it",
    ),
    "a loss of quality": (set_quality(drop=0.02), {}, {"quality drop": "FAIL"}, "-> 0.02 score, at most 0.01"),
    "quality of another file": (
        set_quality(sha256="ef" * 32),
        {},
        {"quality drop": "FAIL"},
        "-> acoustic: quality was measured on another file, SHA-256 efefefefefef",
    ),
    "no quality": (
        lambda folder: (folder / "quality.json").unlink(),
        {},
        {"quality drop": N},
        "-> thermal: quality.json has no measured drop of it",
    ),
    "quality of nothing": (
        lambda folder: (folder / "quality.json").write_text('{"models": {"thermal": {"drop": null}}}'),
        {},
        {"quality drop": N},
        "-> thermal: quality.json has no measured drop of it",
    ),
    "quality that is no number": (set_quality(drop=float("nan")), {}, {"quality drop": N}, "-> acoustic: quality.json"),
    "slow altogether": (set_limit(duration_s=-1.0), {}, {"duration": "FAIL"}, "s, at most -1"),
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_broken_folder_fails(folder: Path, name: str) -> None:
    change, tests, gates, line = MEASURED[name]
    change(folder)
    code, printed, result = run(folder)
    require_failed(code, printed, result, tests, gates, line)


@pytest.fixture(scope="session")
def measured(pi_folder: Path) -> dict:
    """What measuring the whole folder gives."""
    manifest = json.loads((pi_folder / "manifest.json").read_text())
    return smoke_test.measure_folder(pi_folder, manifest, 60.0, emulated=False)


@pytest.mark.parametrize("name", JUDGED)
def test_a_wrong_fact_fails(
    folder: Path, name: str, measured: dict, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    change, tests, gates, line = JUDGED[name]
    change(folder)
    monkeypatch.setattr(smoke_test, "measure_folder", lambda *_: measured)
    code = smoke_test.main(["--folder", str(folder)])
    result = json.loads((folder / "smoke_test.json").read_text())
    require_failed(code, capsys.readouterr().out, result, tests, gates, line)


def require_failed(
    code: int, printed: str, result: dict, tests: dict[str, str], gates: dict[str, str], line: str
) -> None:
    assert code == 1
    assert verdicts(result, "tests") == tests
    assert gates.items() <= verdicts(result, "gates").items()
    assert line in printed
    assert not result["passed"]


def test_without_a_runtime_nothing_passes_and_the_way_out_is_said(folder: Path, tmp_path: Path) -> None:
    for package in ("ai_edge_litert", "tflite_runtime", "tensorflow"):
        (tmp_path / f"{package}.py").write_text(ABSENT)
    code, printed, result = run(folder, path=tmp_path)
    assert code == 1
    assert result["n_tests_passed"] == 0
    assert "no TFLite runtime (ai-edge-litert: not here; tflite-runtime: not here; tensorflow: not here)" in printed
    assert "install one: python3 -m pip install -r requirements_pi.txt" in printed


def test_without_numpy_the_runtime_test_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError('No module named numpy')\n")
    code, printed, _ = run(folder, path=tmp_path)
    assert code == 1
    assert "-> ImportError: No module named numpy" in printed


def test_a_process_that_hangs_is_given_up(folder: Path, tmp_path: Path) -> None:
    code, printed, result = run(folder, "--timeout-s", "1", path=shadow(tmp_path, INVOKE + "time.sleep(0.5)\n"))
    assert code == 1
    assert verdicts(result, "tests")["thermal inference"] == N
    assert "-> no answer within 1 s" in printed


def test_an_emulated_processor_proves_answers_and_claims_no_speed(folder: Path) -> None:
    code, printed, result = run(folder, "--emulated")
    assert code == 1
    assert verdicts(result, "tests") == {"thermal inference": N, "acoustic inference": N, "memory": N}
    assert verdicts(result, "gates") == {"latency": N, "memory": N, "smoke tests": "FAIL", "duration": N}
    assert result["runtime"]["peak_rss_mib"] is None
    assert "processor is emulated" in printed


def test_a_result_that_cannot_be_written_fails_after_the_table(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = run(folder, "--output", str(tmp_path / "absent" / "result.json"))
    assert code == 1
    assert "PASS: 7/7 tests, 12/12 gates" in printed
    assert re.search(r"FAIL: cannot write .*result\.json: .*; give a place that can be written with --output", printed)


@pytest.mark.parametrize("content", ["[]", '{"models": []}', '{"models": {"thermal": 0.001}}', "{}"])
def test_quality_that_no_benchmark_wrote_is_none(folder: Path, measured: dict, content: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    row = smoke_test.judge_quality(manifest["models"], measured["models"], json.loads(content), 0.01)
    assert (row["verdict"], row["detail"]) == (N, "thermal: quality.json has no measured drop of it")


def test_a_folder_without_a_manifest_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    code, printed, _ = run(folder)
    assert code == 1
    assert printed.startswith("FAIL: cannot read ")
    assert "copy the whole folder again" in printed


def test_too_few_timed_runs_fail_whatever_their_times() -> None:
    facts = {"n_timed": 12, "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0}}
    row = smoke_test.judge_latency("thermal inference", facts, 200.0, 50)
    assert (row["verdict"], row["detail"]) == ("FAIL", "12 timed runs, expected 50")
