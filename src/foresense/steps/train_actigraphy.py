"""Step `train` of a pipeline of minute actigraphy: networks and rivals, judged on people that none of them has seen."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from foresense.config.actigraphy_pipeline import ActigraphyTrainConfig
from foresense.evaluate.classification import best_of
from foresense.models import model_sha256
from foresense.models.logistic_rule import turned
from foresense.signals import (
    SignalError,
    TrainReport,
    file_sha256,
    read_json,
    recordings_digest,
    replaced_folder,
    tree_sha256,
    write_json,
)
from foresense.signals.weeks import TEST, TRAIN, VALIDATION, WeekWindows, open_week_windows
from foresense.steps.actigraphy_report import actigraphy_report
from foresense.steps.actigraphy_rivals import (
    PAT_LOGISTIC,
    RIVALS,
    SHIPPABLE,
    Rival,
    first_before,
    train_rivals,
)
from foresense.steps.actigraphy_scores import (
    CHOOSES,
    CHOSEN,
    NETWORK,
    Judged,
    differences,
    is_surely_ahead,
    judge,
    said_of,
    turn_by_turn,
)
from foresense.steps.actigraphy_training import TrainedWeeks, Trainer, Turn, write_arrays
from foresense.steps.frame import StepRun
from foresense.steps.training import digests_of, require_own_names, time_gate, track_model, tracked
from foresense.steps.window_actigraphy import GROUP
from foresense.windows.minute_scaler import load_minute_scaler

LOG = logging.getLogger(__name__)


def train_actigraphy(run: StepRun, config: ActigraphyTrainConfig) -> TrainReport:
    """Train every candidate and rival in every turn, and judge all of them on the people who are held out.

    Args:
        run: The step's run.
        config: Section `train`.

    Returns:
        The report, also written to `reports/<pipeline>/train.json`; beside it `metrics.json`, `loss.csv` and plots.

    Raises:
        FileNotFoundError: the steps before have not finished.
        SignalError: features of other weeks.
        ValueError: a candidate with the name of a rival, or a training that diverges.
    """
    windows = open_week_windows(run.paths.windows / GROUP)
    windows_sha256 = tree_sha256(run.paths.windows)
    names, inputs = turned(*_clinical(run.paths.features, windows_sha256))
    require_own_names(config.candidates, {*RIVALS, CHOSEN, NETWORK})
    data_sha256 = recordings_digest(run.paths.windows)
    n_turns = len(windows.roles) if config.turns == "all" else config.turns
    with tracked(run, data_sha256) as mlflow_run:
        made_from = digests_of(run, "train_actigraphy")
        trainer = Trainer(run.paths.checkpoints, made_from, config.seed, run.layout.project)
        trained: dict[str, list[TrainedWeeks]] = {name: [] for name in config.candidates}
        rivals: dict[str, list[Rival]] = {}
        for number in range(n_turns):
            turn = _turn(run.paths.windows / GROUP, windows, number)
            for name, candidate in config.candidates.items():
                trained[name].append(trainer.train(turn, name, candidate))
            for name, rival in train_rivals(turn, names, inputs, trainer, config).items():
                rivals.setdefault(name, []).append(rival)
        judged = judge_all(windows, trained, rivals)
        with replaced_folder(run.paths.models) as models:
            evaluation = _ship(models / GROUP, run.paths.windows / GROUP, judged, trained, rivals, trainer, config)
            evaluation["preparation"] = {
                **read_json(run.paths.windows / GROUP / "rules.json"),
                **read_json(run.paths.features / "manifest.json")["sleep"],
            }
            evaluation |= {
                "data_sha256": data_sha256,
                "windows_sha256": windows_sha256,
                "files": {path.name: file_sha256(path) for path in sorted((models / GROUP).iterdir())},
            }
            write_json(models / GROUP / "evaluation.json", evaluation)
        trained_s = sum(one.seconds for found in trained.values() for one in found) + sum(
            trainer.pretraining_s.values()
        )
        seconds = max(run.elapsed_s(), trained_s)  # the first is short where an earlier start has trained
        report = actigraphy_report(
            run,
            config,
            judged,
            trained,
            rivals,
            evaluation,
            clinical=(names, inputs),
            time_gate=time_gate(seconds, config.budget_min),
            data_sha256=data_sha256,
            mlflow_run_id=mlflow_run.run_id,
        )
        track_model(
            mlflow_run,
            run.paths.models / GROUP,
            evaluation,
            parameters={"n_turns": n_turns, "seed": config.seed},
            metrics={
                f"{name.replace(' ', '_')}/{metric}": value
                for name, scores in judged.scores.items()
                for metric, value in scores.metrics.items()
            },
        )
    LOG.info("%s", report.conclusion)
    return report


def judge_all(
    windows: WeekWindows, trained: Mapping[str, list[TrainedWeeks]], rivals: Mapping[str, list[Rival]]
) -> Judged:
    """Choose on the people who choose, then judge everyone on those who are held out."""
    by_turn = {name: [one.said for one in found] for name, found in (trained | rivals).items()}  # type: ignore[operator]
    said = {name: said_of(windows, found) for name, found in by_turn.items()}
    turns = range(len(next(iter(by_turn.values()))))
    networks = tuple(best_of(CHOOSES, {name: said[name].chosen_by[turn] for name in trained}) for turn in turns)
    able = [name for name in rivals if name in SHIPPABLE]
    best = tuple(best_of(CHOOSES, {name: said[name].chosen_by[turn] for name in able}) for turn in turns)
    choices = tuple(
        network if is_surely_ahead(windows, turn, said[network], said[rival]) else rival
        for turn, network, rival in zip(turns, networks, best, strict=True)
    )
    said |= {CHOSEN: turn_by_turn(windows, by_turn, choices), NETWORK: turn_by_turn(windows, by_turn, networks)}
    scores = {name: judge(windows, one) for name, one in said.items()}
    rival = best_of(CHOOSES, {name: scores[name].metrics[CHOOSES] for name in rivals})
    return Judged(
        windows=windows,
        said=said,
        scores=scores,
        choices=choices,
        networks=networks,
        rivals=tuple(rivals),
        rival=rival,
        difference=differences(windows, said[NETWORK], said[rival]),
    )


def _clinical(folder: Path, windows_sha256: str) -> tuple[list[str], np.ndarray]:
    """Names and values (n_weeks, n_names) of the clinical metrics."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; run `foresense features {folder.name}` first")
    found = read_json(manifest)
    if found["windows_sha256"] != windows_sha256:
        raise SignalError(
            f"{folder}: metrics of the weeks {found['windows_sha256'][:12]}, there are {windows_sha256[:12]} now; run "
            f"`foresense features {folder.name}` again"
        )
    names = list(found["names"])
    return names, pd.read_parquet(folder / "features.parquet")[names].to_numpy(np.float64)


def _turn(folder: Path, windows: WeekWindows, number: int) -> Turn:
    scaler = load_minute_scaler(folder / f"scaler-{number}.safetensors")
    return Turn(number, windows, scaler.scale(windows.values, windows.weekdays, windows.unit).values)


def _ship(
    folder: Path,
    windows_folder: Path,
    judged: Judged,
    trained: Mapping[str, list[TrainedWeeks]],
    rivals: Mapping[str, list[Rival]],
    trainer: Trainer,
    config: ActigraphyTrainConfig,
) -> dict[str, Any]:
    """Write the first turn's encoder, reference and classifier; gives what `evaluation.json` holds.

    The encoder is that of the best network, or, where a regression on PAT features is chosen, the one it looks at.
    What gives the probability is the choice; `head.safetensors` is the network's own, where its encoder ships.
    """
    folder.mkdir()
    windows, choice = judged.windows, judged.choices[0]
    network = trained[judged.networks[0]][0]
    encoder, size, rule = network.encoder, network.size, None
    if choice in rivals:
        rule = rivals[choice][0].rule
    credit = network.attribution
    before = first_before(_turn(windows_folder, windows, 0), trainer, config) if choice == PAT_LOGISTIC else None
    if before is not None:
        encoder, size, credit = before.encoder, before.size, before.attribution
    write_arrays(folder / "model.safetensors", encoder)
    shutil.copyfile(windows_folder / "scaler-0.safetensors", folder / "scaler.safetensors")
    if choice != PAT_LOGISTIC:
        write_arrays(folder / "head.safetensors", network.head)
    looks_at = "pat" if choice in (PAT_LOGISTIC, *trained) else "clinical"
    classifier: dict[str, Any] = {"name": choice, "looks_at": looks_at, "label": windows.positive}
    if rule is not None:
        classifier["rule"] = rule.to_json()
    write_json(folder / "classifier.json", classifier)
    said = judged.said
    evaluation = {
        "candidate": choice,
        "is_rival": choice in rivals,
        "encoder_of": PAT_LOGISTIC if choice == PAT_LOGISTIC else judged.networks[0],
        "size": size.name,
        "turn": 0,
        "positive": windows.positive,
        "unit": windows.unit,
        "device": windows.device,
        "attribution": credit,
        "model": {
            "name": f"PAT-{size.name}",
            "n_parameters": size.n_parameters,
            "size_mib": round((folder / "model.safetensors").stat().st_size / 2**20, 3),
        },
        "model_sha256": model_sha256(folder),
        "windows": {
            part: len(windows.weeks_of(0, role))
            for part, role in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST))
        },
        "test": {"auroc": said[choice].by_turn[0]},
        "encoder_test": {"auroc": said[PAT_LOGISTIC if choice == PAT_LOGISTIC else judged.networks[0]].by_turn[0]},
        "baselines": {name: {"auroc": said[name].by_turn[0]} for name in rivals},
    }
    return evaluation
