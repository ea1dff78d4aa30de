"""Runs the smoke test of a Pi folder, here or on a device, and compares what both found."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from foresense.bench.openssh import DeviceError, last_lines, python_of, scp_to, ssh
from foresense.bench.reach import why_not_measured
from foresense.config import DeviceConfig
from foresense.export.device import smoke_test
from foresense.signals import Gate, read_json, write_json

Result = dict[str, Any]

#: A smoke test takes less than a minute; a device that hangs is given up after so long.
TIMEOUT_S = 300.0
#: For what is quick: making a folder, copying some megabytes over a slow radio link.
COPY_S = 120.0
REMOTE_FOLDER = re.compile(r"/[\w./-]*foresense\.\w+")
#: What a result cannot do without.
WANTED = {"passed", "tests", "gates", "n_tests_passed", "n_gates_passed", "models"}
TIMED_OUT, NOT_RUNNABLE, NOT_FOUND = 124, 126, 127


def run_smoke_test(
    device: DeviceConfig, folder: Path, quality: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
) -> Result:
    """Run `smoke_test.py` of a Pi folder on a device.

    Args:
        device: Where: this machine, or one behind ssh. Without a host nothing is measured, and nothing passes.
        folder: `exports/<pipeline>/pi`; nothing is written there.
        quality: model -> {sha256, drop}: what the benchmark measured on these files, for the whole test part.
        timeout_s: For the smoke test.

    Returns:
        What smoke_test.json holds, whether or not everything passed.

    Raises:
        FileNotFoundError: no such folder; says which command writes it.
        DeviceError: the device cannot be reached, has no such Python, took too long, or gave no result.
    """
    if not (folder / "manifest.json").is_file():
        raise FileNotFoundError(f"{folder / 'manifest.json'}: not there; run `foresense export <pipeline>` first")
    reason = why_not_measured(device)
    if reason is not None:
        return not_measured(folder, reason)
    with tempfile.TemporaryDirectory(prefix="foresense-pi-") as scratch:
        quality_file = Path(scratch) / "quality.json"
        write_json(quality_file, {"models": dict(quality)})
        run = _run_here if device.reach == "local" else _run_there
        return run(device, folder, quality_file, timeout_s)


def not_measured(folder: Path, reason: str) -> Result:
    """The result of a device that was never run: every test and gate is there, and none passed."""
    manifest = read_json(folder / "manifest.json")
    nothing: dict[str, Any] = {"problem": reason}
    found = {"runtime": nothing, "models": dict.fromkeys(manifest["models"], nothing), "together": nothing}
    tests = smoke_test.judge_tests(manifest, found)
    gates = smoke_test.judge_gates(manifest, found, {"models": {}}, tests, None)
    unknown = {"actual": None, "headroom": None, "times": None, "verdict": smoke_test.NOT_MEASURED, "detail": reason}
    return {
        "schema_version": smoke_test.SCHEMA_VERSION,
        "pipeline": manifest["pipeline"],
        "plan": manifest["plan"],
        "passed": False,
        "n_tests_passed": 0,
        "n_gates_passed": 0,
        "tests": [{**row, **unknown} for row in tests],
        "gates": [{**row, **unknown} for row in gates],
        **found,
    }


def compare(manifest: Mapping[str, Any], host: Result, device: Result) -> dict[str, dict[str, Any]]:
    """How a device differs from this machine, for each model that both measured.

    Args:
        manifest: Of the Pi folder.
        host: Result of this machine.
        device: Result of the device, for the same files.

    Returns:
        model -> {latency_ratio {p50, p95, p99} (device / host; null where either measured no time),
        golden_max_abs_error, tolerance, agrees, same_bits}.
    """
    found = {}
    for name, said in manifest["models"].items():
        here, there = host["models"][name], device["models"][name]
        if "problem" in here or "problem" in there:
            continue
        times_here, times_there = here["latency_ms"], there["latency_ms"]
        ratio = None
        if times_here and times_there:
            ratio = {share: times_there[share] / times_here[share] for share in times_here}
        error = there["golden_max_abs_error"]
        found[name] = {
            "latency_ratio": ratio,
            "golden_max_abs_error": error,
            "tolerance": said["tolerance"],
            "agrees": error <= said["tolerance"],
            "same_bits": here["digest"] == there["digest"],
        }
    return found


def gates_of(result: Result) -> list[Gate]:
    """The result as gates of a report: every gate with a measured number, and how many tests and gates did not pass."""
    measured = [row for row in result["gates"] if row["unit"] and row["actual"] is not None]
    return [
        *(
            Gate.judge(row["name"].replace(" ", "_"), row["actual"], row["unit"], at_most=row["target"])
            for row in measured
        ),
        *(
            Gate.judge(f"n_{kind}_not_passed", len(result[kind]) - result[f"n_{kind}_passed"], kind, at_most=0.0)
            for kind in ("tests", "gates")
        ),
    ]


def _run_here(device: DeviceConfig, folder: Path, quality_file: Path, timeout_s: float) -> Result:
    output = quality_file.with_name("smoke_test.json")
    words = [sys.executable, str(folder.resolve() / "smoke_test.py"), "--output", str(output)]
    words += ["--quality", str(quality_file)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{device.name}: smoke_test.py did not end within {timeout_s:g} s") from error
    text = output.read_text() if output.is_file() else ""
    return _read_result(device, done, text)


def _run_there(device: DeviceConfig, folder: Path, quality_file: Path, timeout_s: float) -> Result:
    made = ssh(device, "mktemp -d -t foresense.XXXXXX", timeout_s=COPY_S)
    remote = made.stdout.strip()
    if not REMOTE_FOLDER.fullmatch(remote):
        said = last_lines(made)
        raise DeviceError(f"{device.name}: mktemp answered {said!r}, expected a path such as /tmp/foresense.a1b2c3")
    try:
        files = [*sorted(path for path in folder.iterdir() if path.is_file()), quality_file]
        scp_to(device, files, remote, timeout_s=COPY_S)
        # `timeout` ends it there, too: a killed ssh leaves its command running
        command = f"cd {remote} && timeout -k 5 {timeout_s:g} {python_of(device)} smoke_test.py"
        done = ssh(device, command, timeout_s=timeout_s + COPY_S)
        fetched = ssh(device, f"cat {remote}/smoke_test.json", timeout_s=COPY_S)
        return _read_result(device, done, fetched.stdout if fetched.returncode == 0 else "")
    finally:
        with suppress(DeviceError):  # a device that went away was told of above; a folder in its /tmp is all that stays
            ssh(device, f"rm -rf {remote}", timeout_s=COPY_S)


def _read_result(device: DeviceConfig, done: subprocess.CompletedProcess[str], text: str) -> Result:
    said = last_lines(done)
    if done.returncode in (NOT_RUNNABLE, NOT_FOUND):
        raise DeviceError(
            f"{device.name}: no Python there ({said}); install it, or set `python` in devices/{device.name}.yaml"
        )
    if done.returncode == TIMED_OUT:
        raise DeviceError(f"{device.name}: smoke_test.py did not end in time and was stopped there")
    if done.returncode not in (0, 1) or not text:
        raise DeviceError(f"{device.name}: smoke_test.py gave no result, exit code {done.returncode}: {said}")
    try:
        result: Result = json.loads(text)
    except json.JSONDecodeError as error:
        raise DeviceError(f"{device.name}: smoke_test.json from there is not JSON ({error}): {text[:80]!r}") from error
    missing = sorted(WANTED - set(result)) if isinstance(result, dict) else ["keys"]
    if missing:
        raise DeviceError(
            f"{device.name}: smoke_test.json from there has no {', '.join(missing)}; expected what this folder's "
            f"smoke_test.py writes, found {text[:80]!r}; look at what `python` in devices/{device.name}.yaml starts"
        )
    if result["passed"] != (done.returncode == 0):
        raise DeviceError(f"{device.name}: exit code {done.returncode}, but the result says passed: {result['passed']}")
    return result
