"""Write code.json: for each step and room, a digest of the code that the step can reach.

DVC reads it as parameters of the stages, so a changed line makes exactly those steps stale that can reach it, and a
comment, a docstring or a new layout makes none. Run by `make code`; `make check` fails when the file is old.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.closure import Code

STEPS = ("ingest", "window", "features", "train", "export", "benchmark")
#: What has a digest: the function of each step, that of `train` for a fleet, and those of other kinds of pipelines.
ENTRIES = (
    *STEPS,
    "train_fleet",
    *(f"{step}_{kind}" for kind in ("activity", "mixed", "actigraphy", "anomaly") for step in STEPS),
)
PACKAGE = "foresense"
#: Not part of any digest: they arrange and tell what others computed (reports, pictures, runs), and compute no number
#: and no verdict themselves; else a new sentence in a report would train everything again.
WRITES_REPORTS_ONLY = frozenset(
    {
        "foresense.evaluate.class_plots",
        "foresense.evaluate.fleet_plot",
        "foresense.evaluate.plots",
        "foresense.signals.reports",
        "foresense.steps.actigraphy_pictures",
        "foresense.steps.actigraphy_report",
        "foresense.steps.anomaly_pictures",
        "foresense.steps.anomaly_report",
        "foresense.steps.fleet_report",
        "foresense.steps.frame",
        "foresense.steps.mixed_pictures",
        "foresense.steps.mixed_report",
        "foresense.steps.people_report",
        "foresense.steps.report_tables",
        "foresense.steps.train_pictures",
        "foresense.steps.train_report",
        "foresense.tracking",
    }
)


def digests(source: Path, package: str = PACKAGE) -> dict[str, dict[str, str]]:
    """For each entry: room to the first 16 digits of the SHA-256 of what it reaches there.

    Args:
        source: Folder that holds the package.
        package: Name of the package.

    Raises:
        FileNotFoundError: the module of a step is missing.
    """
    code = Code(source, package)
    left_out = frozenset(name for name in code.paths if _covered(name, WRITES_REPORTS_ONLY))
    found: dict[str, dict[str, str]] = {}
    for step in ENTRIES:
        module = f"{package}.steps.{step}"
        if module not in code.paths:
            raise FileNotFoundError(f"{source}: no module {module}; each step has a module of its name")
        rooms: dict[str, list[str]] = {}
        for (name, symbol), text in sorted(code.reach((module, step), left_out).items()):
            rooms.setdefault(name.split(".")[1], []).append(f"{name}\0{symbol}\0{text}\0")
        found[step] = {
            room: hashlib.sha256("".join(parts).encode()).hexdigest()[:16] for room, parts in sorted(rooms.items())
        }
    return found


def differences(old: Mapping[str, Mapping[str, str]], new: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Steps and rooms whose digest is another one, as `train: models`."""
    return [
        f"{step}: {room}"
        for step in sorted({*old, *new})
        for room in sorted({*old.get(step, {}), *new.get(step, {})})
        if old.get(step, {}).get(room) != new.get(step, {}).get(room)
    ]


def _covered(name: str, modules: frozenset[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def main(arguments: list[str] | None = None) -> int:
    """Write code.json, or with `--check` say which step and room in it are old."""
    parser = argparse.ArgumentParser(description="Digest of the code that each step can reach.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the file is old")
    parser.add_argument("--source", type=Path, default=Path("src"))
    parser.add_argument("--file", type=Path, default=Path("code.json"))
    chosen = parser.parse_args(arguments)
    new = digests(chosen.source)
    old = json.loads(chosen.file.read_text()) if chosen.file.is_file() else {}
    changed = differences(old, new)
    if chosen.check:
        if changed:
            sys.stderr.write(
                f"{chosen.file} is old: {', '.join(changed)} changed; run `make code` and commit it with the change "
                "(the steps named run again)\n"
            )
        return 1 if changed else 0
    chosen.file.write_text(json.dumps(new, indent=1) + "\n")
    sys.stdout.write(f"{chosen.file}: {', '.join(changed) or 'nothing changed'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
