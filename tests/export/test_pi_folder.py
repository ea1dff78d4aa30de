"""The folder for a Raspberry Pi: what is in it, and what is refused."""

import ast
import json
import shutil
import subprocess
import sys
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from foresense.export.pi import PiFolderError, PiLimits, PiModel, PiPlan, Training, build_pi_folder
from foresense.export.pi_texts import SCRIPT_MIB, requirements_text
from foresense.signals import file_sha256

SHA256 = "ab" * 32
SCRIPTS = ("smoke_test.py", "measure.py")


@pytest.fixture
def model(pi_folder: Path) -> PiModel:
    file = pi_folder / "thermal_tflite-float32.tflite"
    inputs = np.array([[0.5, 0.25, -0.25]], np.float32)
    return PiModel("thermal", file, "tflite-float32", 50.0, inputs, SHA256, Training(2, 0.5), SHA256)


def build(folder: Path, *models: PiModel, **given: object) -> dict:
    folder.mkdir(exist_ok=True)
    return build_pi_folder(folder, models, pipeline="thermal", **given)


def test_everything_that_a_device_needs_is_there(pi_folder: Path) -> None:
    expected = {"README.md", "requirements_pi.txt", "foresense-thermal.service", *SCRIPTS}
    expected |= {"thermal_tflite-float32.tflite", "acoustic_tflite-int8.tflite"}
    expected |= {"thermal_golden.npz", "acoustic_golden.npz"}
    manifest = json.loads((pi_folder / "manifest.json").read_text())
    assert manifest["files"] == {name: file_sha256(pi_folder / name) for name in sorted(expected)}
    assert manifest["limits"] == {
        "latency_ms": 200.0,
        "memory_mib": 512.0,
        "growth_mib": 4.0,
        "quality_drop": 0.01,
        "duration_s": 60.0,
    }
    for name in expected - {path for path in expected if path.endswith((".npz", ".tflite"))}:
        (pi_folder / name).read_bytes().decode("ascii")


def test_golden_vectors_are_the_layers_own_arithmetic(pi_folder: Path) -> None:
    weights = np.array([[1, 2, -1], [0.5, 0, 0.25]])
    with np.load(pi_folder / "thermal_golden.npz", allow_pickle=False) as golden:
        np.testing.assert_array_equal(golden["outputs"], golden["inputs"] @ weights.T)
    with np.load(pi_folder / "acoustic_golden.npz", allow_pickle=False) as golden:
        # int8 outputs have steps of a quarter: half a step is the rounding
        assert np.abs(golden["outputs"] - golden["inputs"] @ weights.T).max() <= 0.125


def test_the_same_models_give_the_same_bytes(tmp_path: Path, model: PiModel) -> None:
    assert build(tmp_path / "one", model) == build(tmp_path / "two", model)
    assert file_sha256(tmp_path / "one" / "manifest.json") == file_sha256(tmp_path / "two" / "manifest.json")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_on_python_3_9_with_numpy_and_a_runtime_alone(pi_folder: Path, name: str) -> None:
    tree = ast.parse((pi_folder / name).read_text(), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {module.partition(".")[0] for module in imported}
    posix_only = {"fcntl", "grp", "pwd", "resource", "termios", "pty"}
    assert roots - {"numpy"} <= set(sys.stdlib_module_names) - posix_only
    # what is asked for by name: the runtimes; psutil and resource where they exist
    named = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "import_module"
        and isinstance(node.args[0], ast.Constant)
    }
    assert named <= {"numpy", "psutil", "resource"}


def test_packages_are_those_that_made_the_golden_vectors() -> None:
    from importlib.metadata import version

    assert f"ai-edge-litert=={version('ai-edge-litert')} ;" in requirements_text()
    assert "://" not in requirements_text()
    asked = [Requirement(line) for line in requirements_text().splitlines()]
    for python, windows, expected in (
        ("3.9", False, {"tflite-runtime", "numpy"}),
        ("3.11", False, {"ai-edge-litert", "numpy"}),
        ("3.13", True, {"ai-edge-litert", "numpy", "psutil"}),
    ):
        machine = {"python_version": python, "sys_platform": "win32" if windows else "linux"}
        found = [one.name for one in asked if one.marker is not None and one.marker.evaluate(machine)]
        assert sorted(found) == sorted(expected)


def test_the_unit_is_one_that_systemd_takes(pi_folder: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "foresense-thermal.service"
    text = (pi_folder / unit.name).read_text()
    for content, expected in ((text, ""), (text.replace("Type=oneshot", "Type=onceshot"), "Failed to parse")):
        unit.write_text(content)
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        said = [line for line in done.stderr.splitlines() if str(unit) in line]
        assert all(expected and expected in line for line in said), done.stderr
        assert bool(said) == bool(expected)
    assert f"MemoryMax={512 + SCRIPT_MIB}M" in text  # the system counts smoke_test.py, too


def test_two_pipelines_write_in_two_folders_and_the_service_may_write_in_its_own(
    pi_folder: Path, tmp_path: Path, model: PiModel
) -> None:
    build_pi_folder(tmp_path, [model], pipeline="acoustic")
    places = []
    for folder, name in ((pi_folder, "thermal"), (tmp_path, "acoustic")):
        unit = ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read(folder / f"foresense-{name}.service")
        service = unit["Service"]
        words = service["ExecStart"].split()
        assert words[2] == f"/opt/foresense/{name}/smoke_test.py"
        places.append(Path(words[words.index("--output") + 1]).parent)
        assert places[-1] == Path("/var/lib") / service["StateDirectory"]
        assert str(places[-1]) in (folder / "README.md").read_text()
    assert places[0] != places[1]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": "Thermal"}, r"model name 'Thermal': expected lower-case letters, digits, - and _, each name once"),
        ({"name": "../thermal"}, "expected lower-case letters"),
        (
            {"inputs": np.zeros((0, 3), np.float32)},
            r"thermal: golden inputs of shape \(0, 3\), float32; expected at least",
        ),
        ({"inputs": np.zeros((1, 3))}, r"golden inputs of shape \(1, 3\), float64; .* float32"),
        ({"inputs": np.full((1, 3), np.nan, np.float32)}, "thermal: the file gives values that are not finite"),
    ],
)
def test_what_cannot_be_tested_on_a_device_is_refused(tmp_path: Path, model: PiModel, changes: dict, text: str) -> None:
    with pytest.raises(PiFolderError, match=text):
        build(tmp_path, replace(model, **changes))


def test_a_folder_holds_at_least_one_model_and_each_name_once(tmp_path: Path, model: PiModel) -> None:
    with pytest.raises(PiFolderError, match="no model was handed in; a folder for a device holds at least one"):
        build(tmp_path)
    with pytest.raises(PiFolderError, match=r"each name once; got \['thermal', 'thermal'\]"):
        build(tmp_path, model, model)


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        ({"n_warmup": 9}, "9 warm-ups and 50 timed runs; fewer than 10 and 50 say little"),
        ({"n_timed": 49}, "10 warm-ups and 49 timed runs"),
        ({"n_threads": 0}, "0 and 4 threads; give two different numbers from 1 on"),
        ({"n_threads": 4}, "4 and 4 threads"),
    ],
)
def test_a_plan_that_says_little_is_refused(plan: dict, text: str) -> None:
    with pytest.raises(PiFolderError, match=text):
        PiPlan(**plan)


def test_limits_and_plan_are_what_was_asked(tmp_path: Path, model: PiModel) -> None:
    diverged = replace(model, training=Training(3, float("nan")), tolerance=0.5)
    manifest = build(tmp_path, diverged, limits=PiLimits(latency_ms=5.0), plan=PiPlan(n_timed=70, n_threads=2))
    assert (manifest["limits"]["latency_ms"], manifest["plan"]["n_timed"], manifest["plan"]["n_threads"]) == (
        5.0,
        70,
        2,
    )
    assert manifest["models"]["thermal"]["training"] == {"n_epochs": 3, "loss": None}
    assert manifest["models"]["thermal"]["tolerance"] == 0.5
    assert (
        "| 95th percentile of one inference, 70 runs after 10, 2 thread(s) | 5 ms |"
        in (tmp_path / "README.md").read_text()
    )
