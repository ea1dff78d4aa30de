"""Smoke test of exported TFLite models on the device where they will run: `python3 smoke_test.py`.

Needs Python 3.9 or newer, numpy and one of ai-edge-litert, tflite-runtime and tensorflow; nothing of foresense. It
measures in fresh processes, prints a table, writes smoke_test.json, and exits 1 unless every test and every gate
passed. What could not be measured did not pass.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1
PASS, FAIL, NOT_MEASURED = "PASS", "FAIL", "NOT MEASURED"
Row = dict[str, Any]


class WorkerError(Exception):
    """A measuring process did not answer; the text says why."""


def main(arguments: list[str] | None = None) -> int:
    """Run all tests and gates; 0 when all passed."""
    parser = argparse.ArgumentParser(description="Smoke test of the models in this folder.")
    folder = Path(__file__).resolve().parent
    parser.add_argument("--folder", type=Path, default=folder, help="where manifest.json and the models lie")
    parser.add_argument("--output", type=Path, help="the result (default: smoke_test.json in the folder)")
    parser.add_argument(
        "--quality", type=Path, help="what the benchmark measured (default: quality.json in the folder)"
    )
    parser.add_argument("--timeout-s", type=float, default=60.0, help="for one measuring process")
    parser.add_argument(
        "--emulated", action="store_true", help="this processor is emulated: measure no time, no memory"
    )
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    try:
        manifest = json.loads((options.folder / "manifest.json").read_text(encoding="utf-8"))
        quality_file = options.quality or options.folder / "quality.json"
        quality = json.loads(quality_file.read_text(encoding="utf-8")) if quality_file.is_file() else {"models": {}}
        if manifest["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"manifest.json: schema_version {manifest['schema_version']}, expected {SCHEMA_VERSION}")
    except (OSError, ValueError, KeyError) as error:
        say(f"{FAIL}: cannot read {options.folder}: {error!r}; copy the whole folder again")
        return 1
    found = measure_folder(options.folder, manifest, options.timeout_s, options.emulated)
    tests = judge_tests(manifest, found)
    duration_s = None if options.emulated else round(time.monotonic() - begin, 1)
    gates = judge_gates(manifest, found, quality, tests, duration_s)
    result = {
        "schema_version": SCHEMA_VERSION,
        "pipeline": manifest["pipeline"],
        "created_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "emulated": options.emulated,
        "machine": describe_machine(),
        "plan": manifest["plan"],
        "passed": all(row["verdict"] == PASS for row in tests + gates),
        "n_tests_passed": sum(row["verdict"] == PASS for row in tests),
        "n_gates_passed": sum(row["verdict"] == PASS for row in gates),
        "tests": tests,
        "gates": gates,
        **found,
    }
    show(result)
    output = options.output or options.folder / "smoke_test.json"
    try:
        write_json(output, result)
    except OSError as error:
        say(f"{FAIL}: cannot write {output}: {error!r}; give a place that can be written with --output FILE")
        return 1
    return 0 if result["passed"] else 1


def measure_folder(folder: Path, manifest: dict[str, Any], timeout_s: float, emulated: bool) -> dict[str, Any]:
    """Everything that is measured: each fact, or the reason why it is missing.

    Returns:
        runtime {name, version, numpy, peak_rss_mib} or {problem}; models: name -> facts or {problem}; together: facts
        of two more processes that load all models, with the plan's and with other threads, or {problem}.
    """
    plan = dict(manifest["plan"])
    if emulated:
        plan.update(n_warmup=0, n_timed=0)

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return ask_worker(request, timeout_s)
        except WorkerError as error:
            return {"problem": str(error)}

    runtime = ask({"mode": "runtime"})
    models: dict[str, dict[str, Any]] = {}
    for name, said in manifest["models"].items():
        facts = check_files(folder, said)
        if "problem" not in facts and "problem" in runtime:
            facts["problem"] = "no runtime"
        if "problem" not in facts:
            facts.update(ask({"mode": "measure", "model": at(folder, said), **plan}))
        models[name] = facts
    together: dict[str, Any] = {"problem": "a model could not be measured"}
    if not any("problem" in facts for facts in models.values()):
        request = {"mode": "together", "models": {name: at(folder, said) for name, said in manifest["models"].items()}}
        same = ask({**request, "n_threads": plan["n_threads"]})
        other = ask({**request, "n_threads": plan["n_threads_other"]})
        together = {"same": same, "other": other}
        for answer in (same, other):
            if "problem" in answer:
                together = answer
    if emulated:
        for facts in (runtime, together.get("same", {}), together.get("other", {}), *models.values()):
            for key in ("peak_rss_mib", "growth_mib", "load_ms", "cold_start_ms"):
                if key in facts:
                    facts[key] = None
    return {"runtime": runtime, "models": models, "together": together}


def check_files(folder: Path, said: dict[str, Any]) -> dict[str, Any]:
    """Size and digest of a model's file and of its golden vectors, against the manifest."""
    facts: dict[str, Any] = {}
    for kind in ("golden", "file"):
        path, expected = folder / said[kind], said[f"{kind}_sha256"]
        if not path.is_file():
            return {"problem": f"{said[kind]} is missing; copy the whole folder again"}
        content = path.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if kind == "file":
            facts.update(size_mib=round(len(content) / 2**20, 4), sha256=found)
        if found != expected:
            facts["problem"] = (
                f"{said[kind]}: SHA-256 {found[:12]}, manifest.json says {expected[:12]}; it was cut off or changed: "
                "copy the whole folder again"
            )
    return facts


def at(folder: Path, said: dict[str, Any]) -> dict[str, str]:
    """Where a worker finds a model and its golden vectors."""
    return {"file": str(folder / said["file"]), "golden": str(folder / said["golden"])}


def ask_worker(request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """The answer of measure.py in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve().with_name("measure.py"))]
    try:
        done = subprocess.run(
            command,
            input=json.dumps({**request, "spawned_s": time.time()}),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no answer within {timeout_s:g} s") from None
    answers = done.stdout.strip().splitlines()
    if done.returncode == 0 and answers:
        answer: dict[str, Any] = json.loads(answers[-1])
        return answer
    last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    how = f"ended by signal {-done.returncode}: " if done.returncode < 0 else ""
    raise WorkerError(how + last)


def judge_tests(manifest: dict[str, Any], found: dict[str, Any]) -> list[Row]:
    """The smoke tests: runtime, loading and inference of each model, memory, numerical stability."""
    limits, runtime, models, together = manifest["limits"], found["runtime"], found["models"], found["together"]
    problem = runtime.get("problem", "")
    label = "" if problem else f"{runtime['name']} {runtime['version']}"
    rows = [required("runtime", "available", label, [problem] if problem else [])]
    for name, said in manifest["models"].items():
        wrong = [models[name]["problem"]] if "problem" in models[name] else []
        rows.append(limit(f"load {name}", "MiB", said["max_size_mib"], models[name].get("size_mib"), wrong))
    for name, facts in models.items():
        rows.append(judge_latency(f"{name} inference", facts, limits["latency_ms"], manifest["plan"]["n_timed"]))
    rows.append(judge_memory(found, limits))
    wrong, measured = [], not any("problem" in facts for facts in (*models.values(), together))
    for name, facts in models.items() if measured else ():
        error, tolerance = facts["golden_max_abs_error"], manifest["models"][name]["tolerance"]
        if not error <= tolerance:
            wrong.append(f"{name}: differs from the golden vectors by {error:.3g}, allowed {tolerance:.3g}")
        if together["same"]["digests"][name] != facts["digest"]:
            wrong.append(f"{name}: two processes gave different outputs for the same inputs")
        elif together["other"]["digests"][name] != facts["digest"]:
            wrong.append(f"{name}: {manifest['plan']['n_threads_other']} threads give other outputs")
    reasons = [facts["problem"] for facts in (*models.values(), together) if "problem" in facts]
    actual = "identical" if measured else ""
    rows.append(required("numerical stability", "deterministic", actual, wrong, "; ".join(dict.fromkeys(reasons))))
    return [{"number": number, **row} for number, row in enumerate(rows, start=1)]


def judge_latency(name: str, facts: dict[str, Any], at_most_ms: float, n_asked: int) -> Row:
    """95th percentile against the limit; too few runs say nothing about it."""
    latency = facts.get("latency_ms")
    if not latency:
        return limit(name, "ms p95", at_most_ms, None, [], facts.get("problem", "processor is emulated"))
    wrong = [f"{facts['n_timed']} timed runs, expected {n_asked}"] if facts["n_timed"] < n_asked else []
    detail = "p50 {p50:.2f} ms, p95 {p95:.2f} ms, p99 {p99:.2f} ms".format(**latency)
    return limit(name, "ms p95", at_most_ms, latency["p95"], wrong, detail)


def judge_memory(found: dict[str, Any], limits: dict[str, float]) -> Row:
    """Peak of a process that holds the runtime and all models; none may grow while it runs."""
    together = found["together"]
    peak = together.get("same", {}).get("peak_rss_mib")
    growths = {name: facts.get("growth_mib") for name, facts in found["models"].items()}
    if peak is None or any(growth is None for growth in growths.values()):
        reason = together.get("problem", "this system tells no process its memory, or the processor is emulated")
        return limit("memory", "MiB peak", limits["memory_mib"], None, [], reason)
    wrong = [
        f"{name}: grows by {growth:g} MiB while it runs, at most {limits['growth_mib']:g}"
        for name, growth in growths.items()
        if growth > limits["growth_mib"]
    ]
    delta = peak - found["runtime"]["peak_rss_mib"]
    detail = f"all models loaded; {delta:.1f} MiB above the bare runtime"
    return limit("memory", "MiB peak", limits["memory_mib"], peak, wrong, detail)


def judge_gates(
    manifest: dict[str, Any], found: dict[str, Any], quality: dict[str, Any], tests: list[Row], duration_s: float | None
) -> list[Row]:
    """The gates: three about how the models were made, the rest about what was measured here."""
    limits, models, by_name = manifest["limits"], found["models"], {row["name"]: row for row in tests}
    said = manifest["models"]
    rows = [
        judge_each("training completes", said, judge_training),
        judge_each("checkpoint saved", said, judge_checkpoint),
        judge_each("export succeeds", said, lambda name, _: judge_export(models[name])),
        judge_each(
            "int8 works",
            {name: one for name, one in said.items() if one["is_int8"]},
            lambda name, one: judge_int8(one, models[name]),
        ),
    ]
    rows += [{**by_name[f"load {name}"], "name": f"{name} size"} for name in said]
    latencies = [by_name[f"{name} inference"] for name in said]
    slowest = max(latencies, key=lambda row: (row["verdict"] != PASS, row["actual"] or 0.0))
    rows += [{**slowest, "name": "latency"}, by_name["memory"], by_name["numerical stability"]]
    n_passed = sum(row["verdict"] == PASS for row in tests)
    few = [] if n_passed == len(tests) else [f"{len(tests) - n_passed} of {len(tests)} did not pass"]
    rows.append(required("smoke tests", f"{len(tests)}/{len(tests)}", f"{n_passed}/{len(tests)}", few))
    rows.append(judge_quality(said, models, quality, limits["quality_drop"]))
    rows.append(limit("duration", "s", limits["duration_s"], duration_s, [], "processor is emulated"))
    return [{**row, "number": number} for number, row in enumerate(rows, start=1)]


def judge_each(name: str, models: dict[str, Any], judge: Callable[[str, Any], tuple[str, str]]) -> Row:
    """A gate that every model has to pass; `judge` gives what was found and what is wrong with it."""
    found = {model: judge(model, said) for model, said in models.items()}
    wrong = [f"{model}: {problem}" for model, (_, problem) in found.items() if problem]
    actual = "" if any(not text for text, _ in found.values()) else ", ".join(text for text, _ in found.values())
    return required(name, "required", actual, [] if not actual else wrong, "; ".join(wrong) or "no such model here")


def judge_training(_: str, said: dict[str, Any]) -> tuple[str, str]:
    """Epochs that were trained, and a loss that is a number."""
    facts = said["training"]
    if not facts:
        return "", "manifest.json has no facts about the training"
    wrong = facts["n_epochs"] < 1 or facts["loss"] is None or not math.isfinite(facts["loss"])
    return f"{facts['n_epochs']} epochs", f"{facts['n_epochs']} epochs, loss {facts['loss']}" if wrong else ""


def judge_checkpoint(_: str, said: dict[str, Any]) -> tuple[str, str]:
    """The weights were saved, and they are those behind the exported file."""
    saved, used = said["checkpoint_sha256"], said["model_sha256"]
    if not saved:
        return "", "manifest.json has no SHA-256 of a checkpoint"
    return saved[:8], f"checkpoint {saved[:12]}, the file was made from {used[:12]}" if saved != used else ""


def judge_export(facts: dict[str, Any]) -> tuple[str, str]:
    """The exported file is here, unchanged, and runs."""
    return f"{facts.get('size_mib', 0):.2f} MiB", facts.get("problem", "")


def judge_int8(said: dict[str, Any], facts: dict[str, Any]) -> tuple[str, str]:
    """A file that claims integers has them, and answers as it did where it was made."""
    if "problem" in facts:
        return "", facts["problem"]
    wrong = [] if facts["n_int8_tensors"] else ["no int8 tensor in it"]
    if not facts["golden_max_abs_error"] <= said["tolerance"]:
        wrong.append(f"differs from its golden vectors by {facts['golden_max_abs_error']:.3g}")
    return f"{facts['n_int8_tensors']} tensors", "; ".join(wrong)


def judge_quality(said: dict[str, Any], models: dict[str, Any], quality: dict[str, Any], at_most: float) -> Row:
    """Loss of quality of exactly these files on the whole test part, as the benchmark measured it."""
    name, drops, wrong = "quality drop", [], []
    for model in said:
        try:
            fact = dict(quality["models"][model])
        except (KeyError, TypeError, ValueError):  # not what a benchmark writes: nothing is known
            fact = {}
        drop, sha256 = fact.get("drop"), str(fact.get("sha256"))
        if not isinstance(drop, (int, float)) or not math.isfinite(drop):
            return limit(name, "score", at_most, None, [], f"{model}: quality.json has no measured drop of it")
        if sha256 != models[model].get("sha256"):
            wrong.append(f"{model}: quality was measured on another file, SHA-256 {sha256[:12]}")
        drops.append(float(drop))
    return limit(name, "score", at_most, max(drops), wrong)


def limit(name: str, unit: str, at_most: float, actual: float | None, wrong: list[str], detail: str = "") -> Row:
    """A row with a number that has to stay at or below its target; None was not measured."""
    row: Row = {"name": name, "target": at_most, "unit": unit}
    if actual is None or not math.isfinite(actual):
        verdict, text = (FAIL, "; ".join(wrong)) if wrong else (NOT_MEASURED, detail)
        return {**row, "actual": None, "headroom": None, "times": None, "verdict": verdict, "detail": text}
    too_much = [f"{actual:.4g} {unit}, at most {at_most:g}"] if actual > at_most else []
    return {
        **row,
        "actual": actual,
        "headroom": at_most - actual,
        "times": at_most / actual if actual > 0 else None,
        "verdict": FAIL if wrong or too_much else PASS,
        "detail": "; ".join([*too_much, *wrong]) or detail,
    }


def required(name: str, target: str, actual: str, wrong: list[str], detail: str = "") -> Row:
    """A row without a number; an empty `actual` was not measured."""
    verdict = FAIL if wrong else PASS if actual else NOT_MEASURED
    row: Row = {"name": name, "target": target, "unit": "", "actual": actual or None, "headroom": None, "times": None}
    return {**row, "verdict": verdict, "detail": "; ".join(wrong) or ("" if actual else detail)}


def show(result: dict[str, Any]) -> None:
    """Print the tables and the verdict, in ASCII."""
    machine = result["machine"]
    say(f"{result['pipeline']} on {machine['model']}, {machine['architecture']}, Python {machine['python']}")
    for line in table_of(result):
        say(line)
    counts = [f"{result[f'n_{kind}_passed']}/{len(result[kind])} {kind}" for kind in ("tests", "gates")]
    say(f"\n{PASS if result['passed'] else FAIL}: {', '.join(counts)}")


def table_of(result: dict[str, Any]) -> list[str]:
    """Lines of the two tables; under what did not pass stands why."""
    lines = []
    for title, rows in (("test", result["tests"]), ("gate", result["gates"])):
        lines += ["", f"{'':>3} {title:<24} {'target':>15} {'actual':>22} {'headroom':>20} {'x times':>9}  verdict"]
        for row in rows:
            lines.append(line_of(row))
            if row["verdict"] != PASS and row["detail"]:
                lines.append(f"    -> {row['detail']}")
    return lines


def line_of(row: Row) -> str:
    """One line of a table."""
    unit, target, actual, headroom, times = row["unit"].partition(" ")[0], row["target"], row["actual"], "", ""
    if row["headroom"] is not None:
        headroom = f"{row['headroom']:.4g} {unit} ({100 * row['headroom'] / target:.0f} %)" if target else ""
        times = f"{row['times']:.1f}x" if row["times"] else ""
    limit_text = f"<= {target:g} {unit}" if unit else target
    found_text = "-" if actual is None else f"{actual:.4g} {unit}" if unit else actual
    begin = f"{row['number']:>3} {row['name']:<24} {limit_text:>15} {found_text:>22}"
    return f"{begin} {headroom:>20} {times:>9}  {row['verdict']}"


def describe_machine() -> dict[str, Any]:
    """What this was measured on."""
    model = Path("/proc/device-tree/model")
    return {
        "model": model.read_text(errors="replace").strip("\0\n ") if model.is_file() else platform.system(),
        "system": platform.platform(),
        "architecture": platform.machine(),
        "n_cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def say(text: str) -> None:
    """One line that every console can show."""
    sys.stdout.write(text.encode("ascii", "replace").decode("ascii") + "\n")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside, then rename: a reader sees all of it or nothing."""
    handle, beside = tempfile.mkstemp(prefix=path.name, dir=str(path.parent))
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, allow_nan=False)
    os.chmod(beside, 0o644)
    os.replace(beside, path)


if __name__ == "__main__":
    sys.exit(main())
