"""Try other settings of a candidate and compare them on the validation part; the test part is not opened.

    python -m tools.search oil-paper patchtst-42 --set learning_rate=3e-4,1e-3 --set ff_dropout=0.1,0.3

trains every combination on the windows that `foresense window` wrote, and prints a table, the best first. Nothing is
written: a setting that wins is put into params.yaml by hand, and `dvc repro` trains it.
"""

import argparse
import itertools
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from foresense.config import CandidateConfig, ConfigError, read_pipeline
from foresense.signals import Layout, Windows, group_folders, open_windows
from foresense.steps.candidates import Settings, device_of, train_candidate
from foresense.steps.train import DLINEAR, DLINEAR_RATES

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str], project: Path = ROOT) -> int:
    """Train and compare; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.search", description=__doc__.partition("\n")[0])
    parser.add_argument("pipeline")
    parser.add_argument("candidate", help="a name under train.candidates; `dlinear` for the baseline")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=A,B", help="values to combine, repeatable")
    parser.add_argument("--group", help="one asset; the first by default")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("foresense").setLevel(logging.INFO)
    try:
        config = read_pipeline(project / "params.yaml", asked.pipeline).training
        known = {**config.candidates, "dlinear": DLINEAR}
        if asked.candidate not in known:
            raise ConfigError(f"{asked.pipeline} has no candidate {asked.candidate!r}; known: {', '.join(known)}")
        tried = combinations(known[asked.candidate], asked.set or _default_sets(asked.candidate))
        windows = _windows(project, asked.pipeline, asked.group)
    except (ConfigError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        settings = Settings(
            seed=config.seed,
            validation_stride=config.validation_stride,
            device=device_of(config.accelerator),
            checkpoints=Path(scratch),
            cache=Layout(root=project, project=project).cache / "calibration.json",
            made_from=(),
        )
        for name, candidate in tried.items():
            begun = time.monotonic()
            found = train_candidate(windows, name, candidate, settings).fit
            minutes = (time.monotonic() - begun) / 60
            rows.append((found.best_validation, found.best_epoch, len(found.history), minutes, name))
            sys.stderr.write(f"{name}: {found.best_validation:.6f}\n")
    sys.stdout.write(f"{asked.pipeline}/{windows.group}, {asked.candidate}: MSE on the validation part\n")
    for validation, best_epoch, n_epochs, minutes, name in sorted(rows):
        sys.stdout.write(f"{validation:.6f}  epoch {best_epoch} of {n_epochs}  {minutes:.1f} min  {name}\n")
    return 0


def combinations(candidate: CandidateConfig, sets: list[str]) -> dict[str, CandidateConfig]:
    """Every combination of the values in `sets` ("key=a,b"), by the text that names it.

    Raises:
        ConfigError: a key or a value that a candidate does not have.
    """
    choices: list[list[tuple[str, Any]]] = []
    for text in sets:
        key, _, values = text.partition("=")
        if key not in CandidateConfig.model_fields or not values:
            raise ConfigError(f"--set {text}: expected KEY=VALUE[,VALUE ...], KEY one of {_keys()}")
        choices.append([(key, YAML(typ="safe").load(value)) for value in values.split(",")])
    found = {}
    for chosen in itertools.product(*choices):
        name = " ".join(f"{key}={value}" for key, value in chosen) or "as it stands"
        try:
            found[name] = CandidateConfig.model_validate({**candidate.model_dump(), **dict(chosen)})
        except ValueError as error:
            raise ConfigError(f"--set {name}: {error}") from error
    return found


def _keys() -> str:
    return ", ".join(sorted(CandidateConfig.model_fields))


def _default_sets(candidate: str) -> list[str]:
    return ["learning_rate=" + ",".join(map(str, DLINEAR_RATES))] if candidate == "dlinear" else []


def _windows(project: Path, pipeline: str, group: str | None) -> Windows:
    made = Layout(root=project, project=project).of(pipeline).windows
    folders = {folder.name: folder for folder in group_folders(made)}
    if group is not None and group not in folders:
        raise ConfigError(f"{pipeline} has no group {group!r}; known: {', '.join(folders)}")
    return open_windows(folders[group or next(iter(folders))])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
