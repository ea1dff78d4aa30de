"""Compare what dvc.yaml declares with what the steps really read and write; part of `make check`.

What a step really uses is read from its code, with everything that it can reach: `run.paths.windows` is a folder,
`run.paths.reports / "metrics.json"` a report, `layout.devices` the devices, and its one section is the type of its
argument `config`. A stage that declares less runs too rarely, one that declares more runs too often.
"""

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import MappingStartEvent

from tools.closure import Code
from tools.code_digest import ENTRIES, PACKAGE, STEPS

#: Attribute of `Paths` to the folder in dvc.yaml, `<p>` for the pipeline (foresense.signals.layout).
FOLDERS = {
    "recordings": "data/recordings/<p>",
    "windows": "data/windows/<p>",
    "features": "data/features/<p>",
    "models": "models/<p>",
    "exports": "exports/<p>",
}
#: Attribute of `Layout`, which belong to no pipeline.
SHARED = {"devices": "devices", "raw": "<raw>"}
#: Where what each step may write stands; every other folder that it uses, it reads.
WRITES = dict(zip(STEPS, [*FOLDERS, None], strict=True))
#: Values of the key `kind` whose steps are functions of their own, named `<step>_<kind>`.
KINDS = ("activity", "mixed", "actigraphy", "anomaly")
#: A step receives its section; one that opens params.yaml itself would read what its stage does not declare.
READS_PARAMS = ("read_any", "read_pipeline", "read_pipelines", "read_stages")
#: Written only when there is something to say, or by one kind only; an output of DVC has to be there always.
SOMETIMES = {
    "ingest": {"refused.csv"},
    "benchmark": {"costs.png", "profile.json", "quality.json", "service.json", "smoke_test.json"},
}
#: What a pipeline without raw files depends on: the text of its source.
TEXTS = {
    source: f"src/foresense/sources/{name}.py"
    for source, name in (("simulate", "simulate"), ("store", "store"), ("simulated_days", "wrist_days"))
}


def problems(project: Path) -> list[str]:
    """Every difference between dvc.yaml, params.yaml and the code below `project`, one line each."""
    yaml = YAML(typ="safe")
    declared = yaml.load((project / "dvc.yaml").read_text())["stages"]
    params = yaml.load((project / "params.yaml").read_text())
    code = Code(project / "src", PACKAGE)
    found = [f"dvc.yaml: stage {name!r} is no step" for name in declared if name not in STEPS]
    for step in STEPS:
        if step not in declared:
            found.append(f"dvc.yaml: no stage {step!r}")
            continue
        stage = declared[step].get("do", declared[step])
        for entry in _entries(step):
            found += [f"dvc.yaml, stage {entry.name}: {line}" for line in _stage_problems(entry, stage, code)]
    found += [f"params.yaml: {line}" for line in _params_problems(params)]
    return found + [f"params.yaml: {line}" for line in shared_mappings((project / "params.yaml").read_text())]


@dataclass(frozen=True)
class Entry:
    """A function that a stage runs.

    Attributes:
        step: The step.
        name: Of the function and of its module, and of its digest in code.json.
        section: Of params.yaml, that it receives.
        config: Type of that section.
    """

    step: str
    name: str
    section: str
    config: str


def _entries(step: str) -> list[Entry]:
    """The functions of `step`: its own, that of a fleet, those of other kinds."""
    found = [Entry(step, step, step, f"{step.capitalize()}Config")]
    if step == "train":
        found.append(Entry(step, "train_fleet", "fleet", "FleetConfig"))
    found += [
        Entry(step, name, step, f"{kind.capitalize()}{step.capitalize()}Config")
        for kind in KINDS
        if (name := f"{step}_{kind}") in ENTRIES
    ]
    return found


def _stage_problems(entry: Entry, stage: dict[str, Any], code: Code) -> list[str]:
    step = entry.step
    reached = code.reach((f"{PACKAGE}.steps.{entry.name}", entry.name))
    used, reports = used_places(code.statements(reached))
    written = {FOLDERS[name] for name in used & {WRITES[step]} if name in FOLDERS}
    read = {FOLDERS.get(name) or SHARED[name] for name in used - {WRITES[step]}}
    asked_outs = written | {f"reports/<p>/{name}" for name in {*reports, f"{step}.json"} - SOMETIMES.get(step, set())}
    params, codes = _params(stage)
    params = {name.replace("${item.section}", entry.section) for name in params}
    codes = {name.replace("${item.code}", entry.name) for name in codes}
    lines = [
        *_compare("deps", _plain(stage.get("deps", [])), read),
        *_compare(
            "outs", {out for key in ("outs", "metrics", "plots") for out in _plain(stage.get(key, []))}, asked_outs
        ),
        *_compare("params", params, {f"pipelines.<p>.{entry.section}"}),
        *_compare("params of code.json", codes, {entry.name}),
    ]
    command = _neutral(stage.get("cmd", ""))
    if command != f"exec python -m {PACKAGE} {step} <p>":
        lines.append(f"cmd is {command!r}, expected 'exec python -m {PACKAGE} {step} <p>'")
    section = _section(code, entry.name)
    if section != entry.config:
        lines.append(f"the function's `config` is a {section}, expected {entry.config}")
    lines += [
        f"the code reaches {name}.{symbol}: a step receives its section and opens no params.yaml"
        for name, symbol in reached
        if symbol in READS_PARAMS and name.startswith(f"{PACKAGE}.config")
    ]
    return lines


def used_places(statements: Iterable[ast.stmt]) -> tuple[set[str], set[str]]:
    """Names of the folders that some code uses, and of the files and folders that it names below `reports`."""
    folders: set[str] = set()
    reports: set[str] = set()
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.Attribute):
            owner = _last_name(node.value)
            if (owner == "paths" and node.attr in FOLDERS) or (owner == "layout" and node.attr in SHARED):
                folders.add(node.attr)
        elif (
            isinstance(node, ast.BinOp)
            and isinstance(node.op, ast.Div)
            and isinstance(node.right, ast.Constant)
            and _last_name(node.left) == "reports"
        ):
            reports.add(str(node.right.value))
    return folders, reports


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "of":
        return "paths"
    return ""


def _section(code: Code, name: str) -> str:
    for node in code.module(f"{PACKAGE}.steps.{name}").definitions.get(name, []):
        if isinstance(node, ast.FunctionDef):
            for argument in node.args.args:
                if argument.arg == "config" and argument.annotation is not None:
                    return ast.unparse(argument.annotation)
    return "(absent)"


def _params(stage: dict[str, Any]) -> tuple[set[str], set[str]]:
    plain = {_neutral(entry) for entry in stage.get("params", []) if isinstance(entry, str)}
    files = {
        name: set(keys or ["(all)"])
        for entry in stage.get("params", [])
        if isinstance(entry, dict)
        for name, keys in entry.items()
    }
    other = {f"{name}: {key}" for name, keys in files.items() if name != "code.json" for key in keys}
    return plain | other, files.get("code.json", set())


def _plain(entries: list[Any]) -> set[str]:
    return {_neutral(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries}


def _neutral(text: str) -> str:
    return text.replace("${key}", "<p>").replace("${item.raw}", "<raw>")


def _compare(what: str, declared: set[str], used: set[str]) -> list[str]:
    lines = [f"{what}: {name} is used by the code and not declared" for name in sorted(used - declared)]
    return lines + [f"{what}: {name} is declared and not used by the code" for name in sorted(declared - used)]


def shared_mappings(text: str) -> list[str]:
    """Mappings with an anchor: `dvc exp run -S` leaves what lies in them as it is, and does not say so (dvc 3.67.1)."""
    return [
        f"line {event.start_mark.line + 1}: the mapping &{event.anchor} is shared; `dvc exp run -S` would silently "
        "change nothing in it; write it out at each place"
        for event in YAML(typ="safe", pure=True).parse(StringIO(text))
        if isinstance(event, MappingStartEvent) and event.anchor
    ]


def unquoted_dates(content: Any, path: str = "") -> list[str]:
    """Dates that YAML reads as dates: DVC (3.67.1) stops at the first one, whatever it was asked to do."""
    if isinstance(content, date):
        return [f"{path} is the date {content}; DVC takes none: write it in quotes"]
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [line for key, value in items for line in unquoted_dates(value, f"{path}.{key}" if path else str(key))]


def _params_problems(params: dict[str, Any]) -> list[str]:
    lines = unquoted_dates(params)
    for pipeline, sections in params["pipelines"].items():
        using = [step for step in STEPS if pipeline in params["stages"].get(step, ())]
        lines += [
            f"pipelines.{pipeline} has no section {step!r}, which DVC asks for; write `{step}: {{}}` for the defaults"
            for step in using
            if step not in sections and not (step == "train" and "fleet" in sections)
        ]
        kind = sections.get("kind", "forecast")
        for step in using:
            entry = step if kind == "forecast" else f"{step}_{kind}"
            wanted = {"section": step, "code": entry} if step == "train" else {"code": entry}
            if step == "train" and "fleet" in sections:
                wanted = {"section": "fleet", "code": "train_fleet"}
            found = {key: value for key, value in params["stages"][step][pipeline].items() if key != "raw"}
            if found != wanted:
                said = ", ".join(f"{key}: {value}" for key, value in wanted.items())
                lines.append(f"stages.{step}.{pipeline} is {found}, expected {said}")
        if "ingest" not in using:
            continue
        name = sections["ingest"].get("raw")
        expected = f"data/raw/{name}" if name else TEXTS.get(sections["ingest"]["source"], "a folder below data/raw")
        raw = params["stages"]["ingest"][pipeline]["raw"]
        if raw != expected:
            lines.append(f"stages.ingest.{pipeline}.raw is {raw!r}, but its section `ingest` reads {expected!r}")
    return lines


def main() -> int:
    """Print every difference; returns 1 when there is one."""
    found = problems(Path())
    sys.stderr.write("".join(f"{line}\n" for line in found))
    if not found:
        sys.stdout.write(f"dvc.yaml agrees with the code of its {len(STEPS)} steps\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
