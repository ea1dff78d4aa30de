"""Step `train` of a pipeline of mixed recordings: networks and rivals, judged on what none of them has seen."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foresense.config.mixed_pipeline import MixedTrainConfig
from foresense.evaluate.classification import Interval, best_of, verdict_of
from foresense.models import model_sha256
from foresense.models.dualpatch import DualPatch
from foresense.models.mixed import save_mixed
from foresense.models.mixed_rivals import RivalModel, save_rival
from foresense.signals import TrainReport, recordings_digest, replaced_folder, write_json
from foresense.steps.frame import StepRun
from foresense.steps.mixed_data import MixedData, MixedFold, folds_of, read_mixed
from foresense.steps.mixed_report import mixed_report
from foresense.steps.mixed_rivals import TrainedRival, rivals_of, shipped_rival, train_rival
from foresense.steps.mixed_scores import (
    CHOOSES,
    CHOSEN,
    NETWORK,
    OF_MODEL,
    Judge,
    Judged,
    Said,
    Task,
    metrics_of,
    said_of,
    task_of,
)
from foresense.steps.mixed_studies import study
from foresense.steps.mixed_training import TrainedMixed, train_mixed_network
from foresense.steps.training import digests_of, require_own_names, time_gate, track_model, tracked
from foresense.steps.window_mixed import GROUP
from foresense.training.mixed import outputs_of

LOG = logging.getLogger(__name__)
_CLOSE = 1e-3  # deviations of the target, or of a probability: what ships says the same as what was judged
_FAR_SHARE = 0.01  # of the windows: float32 may take another branch of a tree where a feature lies on its threshold


def train_mixed(run: StepRun, config: MixedTrainConfig) -> TrainReport:
    """Train every candidate and rival in every turn, and judge all of them on what is held out.

    In each turn validation picks the best candidate and the best rival. The candidate is the turn's choice where the
    interval of their difference on validation leaves out zero, else the rival is: networks chose their epoch there and
    compete as the best of many, which a rival never did. The choice is judged on the test: what is said of the
    pipeline is said of models that were neither trained nor chosen by it. That of the first turn ships, a rival too.
    Whether a network was worth it is the difference between the best network and the best rival.

    Args:
        run: The step's run.
        config: Section `train`.

    Returns:
        The report, also written to `reports/<pipeline>/train.json`; beside it `metrics.json`, `loss.csv` and plots.

    Raises:
        FileNotFoundError: the steps before have not finished.
        SignalError: a calendar that windows or rivals do not have.
        ValueError: a candidate with the name of a rival, or a training that diverges.
    """
    data = read_mixed(run.paths.windows, run.paths.features, config)
    task, folds = task_of(data, config.predicts), folds_of(data, config)
    require_own_names(config.candidates, {*rivals_of(data, config), CHOSEN, NETWORK})
    data_sha256 = recordings_digest(run.paths.windows)
    made_from = digests_of(run, "train_mixed")
    with tracked(run, data_sha256) as mlflow_run:
        kept = run.paths.checkpoints
        trained = _train_networks(data, folds, config, kept, made_from)
        rivals = {name: [train_rival(data, fold, name, config) for fold in folds] for name in rivals_of(data, config)}
        judged = judge_all(
            Judge(task, data, tuple(fold.test for fold in folds), config.block_weeks), folds, trained, rivals
        )
        studies = None
        if config.studies is not None:
            studies = study(
                data, folds, config, trained, judge=partial(_curve_value, judged.judge), kept=kept, made_from=made_from
            )
        with replaced_folder(run.paths.models) as models:
            evaluation = _ship(models / GROUP, data, folds[0], judged, trained, rivals)
        trained_s = sum(one.seconds for found in trained.values() for one in found)
        trained_s += sum(one.seconds for found in rivals.values() for one in found)
        seconds = max(run.elapsed_s(), trained_s)  # the first is short where an earlier start has trained
        report = mixed_report(
            run,
            config,
            data,
            folds,
            judged,
            trained,
            rivals,
            evaluation,
            studies=studies,
            time_gate=time_gate(seconds, config.budget_min),
            data_sha256=data_sha256,
            mlflow_run_id=mlflow_run.run_id,
        )
        track_model(
            mlflow_run,
            run.paths.models / GROUP,
            evaluation,
            parameters={"candidate": judged.choices[0], "n_folds": len(folds), "seed": config.seed},
            metrics=_flat(judged),
        )
    LOG.info("%s", report.conclusion)
    return report


def _train_networks(
    data: MixedData, folds: list[MixedFold], config: MixedTrainConfig, kept: Path, made_from: tuple[str, ...]
) -> dict[str, list[TrainedMixed]]:
    kept.mkdir(parents=True, exist_ok=True)
    return {
        name: [
            train_mixed_network(
                data,
                fold,
                name,
                candidate,
                predicts=config.predicts,
                seed=config.seed,
                kept=kept,
                made_from=made_from,
            )
            for fold in folds
        ]
        for name, candidate in config.candidates.items()
    }


def judge_all(
    judge: Judge,
    folds: list[MixedFold],
    trained: Mapping[str, list[TrainedMixed]],
    rivals: Mapping[str, list[TrainedRival]],
) -> Judged:
    """Choose on validation, then judge everyone on the test."""
    task, metric = judge.task, CHOOSES[judge.task]
    truths = [judge.data.truth(fold.validation, judge.predicts) for fold in folds]
    said = {
        name: said_of(
            task, truths, [answers(one.validation, task) for one in found], [answers(one.test, task) for one in found]
        )
        for name, found in trained.items()
    }
    said |= {
        name: said_of(task, truths, [one.validation for one in found], [one.test for one in found])
        for name, found in rivals.items()
    }
    networks, best = (_choose({name: said[name] for name in group}, metric) for group in (trained, rivals))
    choices = tuple(
        network if _is_surely_ahead(judge, fold, said[network], said[rival]) else rival
        for fold, network, rival in zip(folds, networks, best, strict=True)
    )
    said |= {CHOSEN: _turn_by_turn(said, choices), NETWORK: _turn_by_turn(said, networks)}
    scores = {name: judge.scores(one, by_group=name in (CHOSEN, NETWORK, *rivals)) for name, one in said.items()}
    rival = best_of(metric, {name: scores[name].metrics[metric] for name in rivals})
    return Judged(
        judge=judge,
        said=said,
        choices=choices,
        networks=networks,
        rivals=tuple(rivals),
        rival=rival,
        scores=scores,
        difference=judge.differences(said[NETWORK], said[rival]),
        by_group=judge.differences_by_group(said[NETWORK], said[rival]),
    )


def _is_surely_ahead(judge: Judge, fold: MixedFold, network: Said, rival: Said) -> bool:
    """Whether a network is ahead of a rival on the windows that choose, by more than chance."""
    metric, number = CHOOSES[judge.task], fold.number
    there = replace(judge, rows=(fold.validation,))
    sayings = [Said((), (one.validation[number],), (), one.thresholds[number : number + 1]) for one in (network, rival)]
    difference = there.differences(*sayings).get(metric)
    return difference is not None and verdict_of(metric, difference.interval) == "ahead"


def answers(outputs: np.ndarray, task: Task) -> np.ndarray:
    """What a network gives, as it is judged: (k, 1) values to (k,), (k, n_classes) logits to probabilities, float64."""
    found = outputs.astype(np.float64)
    if task == "value":
        return np.asarray(found[:, 0])
    powers = np.exp(found - found.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _curve_value(judge: Judge, outputs: np.ndarray) -> tuple[float, Interval]:
    """The metric that chooses, of what a network gives for everything held out, turns one after the other."""
    ends = np.cumsum([len(rows) for rows in judge.rows])[:-1]
    test = tuple(np.split(answers(outputs, judge.task), ends))
    halves = (0.5,) * len(test) if judge.task == "binary" else ()
    scores = judge.scores(Said(validation=(), test=test, chosen_by=(), thresholds=halves), by_group=False)
    metric = CHOOSES[judge.task]
    return scores.metrics[metric], scores.intervals[metric]


def _choose(said: Mapping[str, Said], metric: str) -> tuple[str, ...]:
    """For each turn, who is best on validation; of equals the first one."""
    n_turns = len(next(iter(said.values())).chosen_by)
    return tuple(
        best_of(metric, {name: one.chosen_by[number] for name, one in said.items()}) for number in range(n_turns)
    )


def _turn_by_turn(said: Mapping[str, Said], names: tuple[str, ...]) -> Said:
    numbered = list(enumerate(names))
    return Said(
        validation=tuple(said[name].validation[number] for number, name in numbered),
        test=tuple(said[name].test[number] for number, name in numbered),
        chosen_by=tuple(said[name].chosen_by[number] for number, name in numbered),
        thresholds=tuple(said[name].thresholds[number] for number, name in numbered if said[name].thresholds),
    )


def _ship(
    folder: Path,
    data: MixedData,
    fold: MixedFold,
    judged: Judged,
    trained: Mapping[str, list[TrainedMixed]],
    rivals: Mapping[str, list[TrainedRival]],
) -> dict[str, Any]:
    """Write the first turn's choice with all that an export needs; gives what `evaluation.json` holds."""
    folder.mkdir()
    name, task = judged.choices[0], judged.task
    is_rival = name in rivals
    model: nn.Module
    model = _ship_rival(folder, data, fold, rivals[name][0]) if is_rival else _ship_network(folder, trained[name][0])
    write_json(folder / "schema.json", data.windows.schemas[fold.number].to_json())
    truth = data.truth(fold.test, judged.judge.predicts)
    said = answers(outputs_of(model, data.items(fold.test, fold.number, judged.judge.predicts)), task)
    if is_rival:
        _require_same(name, task, said, judged.said[name].test[0], truth)
    evaluation = {
        "candidate": name,
        "is_rival": is_rival,
        "fold": fold.number,
        "predicts": judged.judge.predicts,
        "target": {"name": data.target.name, "unit": data.target.unit, "ahead": data.windows.ahead},
        "class_names": list(data.class_names),
        "calendar": data.calendar is not None,
        "model": {
            "name": name if is_rival else "dualpatch",
            "n_parameters": _n_parameters(model),
            "size_mib": round((folder / "model.safetensors").stat().st_size / 2**20, 3),
        },
        "model_sha256": model_sha256(folder),
        "windows": {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)},
        "test": metrics_of(task, truth, said),
        "baselines": {one: metrics_of(task, truth, judged.said[one].test[0]) for one in rivals},
        "held_out": {metric: judged.scores[CHOSEN].metrics[metric] for metric in OF_MODEL[task]},
    }
    write_json(folder / "evaluation.json", evaluation)
    return evaluation


def _ship_network(folder: Path, network: TrainedMixed) -> DualPatch:
    if not isinstance(network.model, DualPatch):
        raise TypeError(f"candidate {network.name!r}: expected a DualPatch, found {type(network.model).__name__}")
    save_mixed(folder, network.model)
    return network.model


def _ship_rival(folder: Path, data: MixedData, fold: MixedFold, rival: TrainedRival) -> RivalModel:
    model = shipped_rival(data, fold, rival)
    save_rival(folder, model)
    return model


def _require_same(name: str, task: Task, shipped: np.ndarray, judged: np.ndarray, truth: np.ndarray) -> None:
    """Refuse a rival that says something else as a network than it said when it was judged."""
    scale = max(float(truth.std()), 1e-12) if task == "value" else 1.0
    apart = np.abs(shipped - judged).reshape(len(judged), -1).max(axis=1) / scale
    n_far = int((apart > _CLOSE).sum())
    if n_far > _FAR_SHARE * len(apart):
        raise ValueError(
            f"rival {name!r}: as a network it is further than {_CLOSE:g} from what was judged in {n_far} of "
            f"{len(apart)} windows (worst {apart.max():.3g}), at most {_FAR_SHARE:.0%} may; a defect of "
            "foresense.models.mixed_rivals"
        )


def _n_parameters(model: nn.Module) -> int:
    """Parameters of a network; of a rival, which has none, all numbers of its file."""
    learnt: list[torch.Tensor] = [*model.parameters()] or [*model.state_dict().values()]
    return sum(tensor.numel() for tensor in learnt)


def _flat(judged: Judged) -> dict[str, float]:
    """Metrics for MLflow, flat and named alike in every run."""
    shown = {"test": CHOSEN, "network": NETWORK} | {f"baseline/{name}": name for name in judged.rivals}
    flat = {f"{key}/{name}": value for key, one in shown.items() for name, value in judged.scores[one].metrics.items()}
    for name, (low, high) in judged.scores[CHOSEN].intervals.items():
        flat |= {f"test/{name}_low": low, f"test/{name}_high": high}
    return flat
