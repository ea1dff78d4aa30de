"""Step `train` of a pipeline of anomaly detectors: networks and rivals, judged on machines or times held out."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.anomaly_pipeline import AnomalyTrainConfig
from foresense.evaluate.classification import verdict_of
from foresense.models.anomaly import DESCRIPTION, WEIGHTS, is_autoencoder
from foresense.signals import Gate, TrainReport, read_json, recordings_digest, replaced_folder, write_json
from foresense.steps.anomaly_data import ClipData, open_data
from foresense.steps.anomaly_report import anomaly_report
from foresense.steps.anomaly_scores import (
    CHOOSES,
    ByTurn,
    Judged,
    Pooled,
    auc_of,
    compare,
    judge,
    judge_conditions,
    placements,
    pool,
    thresholds,
)
from foresense.steps.anomaly_training import TrainedDetector, Trainer
from foresense.steps.frame import StepRun
from foresense.steps.training import digests_of, require_own_names, time_gate, track_model, tracked
from foresense.steps.window_anomaly import GROUP
from foresense.training.anomaly_rivals import ANOMALY_RIVALS, CONDITION_RIVALS, rival_conditions, rival_scores

LOG = logging.getLogger(__name__)
#: What a smoke run has to reach on validation: its clips can be learnt, and accuracy says nothing after two epochs.
SMOKE_AUC = 0.9
DENSITY_OF = "{} density"  # name of what the embeddings of a candidate say


def train_anomaly(run: StepRun, config: AnomalyTrainConfig) -> TrainReport:
    """Train every candidate and rival in every turn, and judge all of them on what each turn holds out.

    Args:
        run: The step's run.
        config: Section `train`.

    Returns:
        The report, also written to `reports/<pipeline>/train.json`; beside it `metrics.json`, `loss.csv` and plots.

    Raises:
        FileNotFoundError: the steps before have not finished.
        SignalError: features of other clips.
        ValueError: a candidate with the name of a rival, a part without normal clips, or a training that diverges.
        AnomalyScoreError: too few normal validation clips for the false alarm rate.
    """
    _require_own_names(config)
    data = open_data(run)
    data_sha256 = recordings_digest(run.paths.windows)
    made_from = digests_of(run, "train_anomaly")
    most = None if config.turns == "all" else config.turns
    turns = {split: data.turns.turns_of(split)[:most] for split in data.turns.names}
    with tracked(run, data_sha256) as mlflow_run:
        trainer = Trainer(data, run.paths.checkpoints, made_from)
        trained: dict[str, dict[int, TrainedDetector]] = {name: {} for name in config.candidates}
        rivals: dict[str, dict[int, np.ndarray]] = {name: {} for name in ANOMALY_RIVALS}
        telling: dict[str, dict[int, np.ndarray]] = {name: {} for name in CONDITION_RIVALS}
        for turn in (number for numbers in turns.values() for number in numbers):
            for name, candidate in config.candidates.items():
                trained[name][turn] = trainer.train(turn, name, candidate)
            _ask_rivals(data, turn, rivals, telling, config)
        judged = judge_all(data, config, turns, trained, rivals, telling)
        with replaced_folder(run.paths.models) as models:
            evaluations = {
                name: _write_model(
                    models / (GROUP if name == judged.ships else name),
                    name,
                    judged,
                    trained,
                    config,
                    windows_sha256=made_from[0],
                    spectrogram=read_json(run.paths.features / "manifest.json")["spectrogram"],
                )
                for name, candidate in config.candidates.items()
                if candidate.can_ship
            }
        evaluation = evaluations[judged.ships]
        trained_s = sum(one.seconds for found in trained.values() for one in found.values())
        seconds = max(run.elapsed_s(), trained_s)  # the first is short where an earlier start has trained
        gates = [time_gate(seconds, config.budget_min)]
        if run.profile == "smoke":
            gates.append(Gate.judge("validation_auc", judged.validation[judged.ships], "1", at_least=SMOKE_AUC))
        report = anomaly_report(
            run,
            config,
            judged,
            trained,
            evaluation,
            gates=gates,
            data_sha256=data_sha256,
            mlflow_run_id=mlflow_run.run_id,
        )
        track_model(
            mlflow_run,
            run.paths.models / GROUP,
            evaluation,
            parameters={"n_turns": sum(map(len, turns.values())), "seed": config.seed},
            metrics={
                f"{split}/{name.replace(' ', '_')}/{metric}": value
                for split, scores in judged.scores.items()
                for name, one in scores.items()
                for metric, value in one.overall.metrics.items()
            },
        )
    LOG.info("%s", report.conclusion)
    return report


def judge_all(
    data: ClipData,
    config: AnomalyTrainConfig,
    turns: Mapping[str, list[int]],
    trained: Mapping[str, Mapping[int, TrainedDetector]],
    rivals: Mapping[str, Mapping[int, np.ndarray]],
    rivals_telling: Mapping[str, Mapping[int, np.ndarray]],
) -> Judged:
    """Choose on the validation clips of the first split, then judge everyone on the test clips of every split."""
    said = _said(config, trained) | dict(rivals)
    chooses = next(iter(turns))
    choosing = pool(data.turns, turns[chooses], "validation", config.unit_s)
    validation = {name: auc_of(choosing.labels, placements(choosing, choosing.of(one))) for name, one in said.items()}
    ships, why = choose(config, choosing, said, validation)
    rival = max(rivals, key=lambda name: validation[name])
    pooled = {split: pool(data.turns, numbers, "test", config.unit_s) for split, numbers in turns.items()}
    scores = {
        split: {
            name: judge(pooled[split], one, thresholds(data.turns, turns[split], one, rate=config.false_alarm_rate))
            for name, one in said.items()
        }
        for split in turns
    }
    telling = {
        name: {turn: one.conditions for turn, one in trained[name].items() if one.conditions is not None}
        for name, candidate in config.candidates.items()
        if candidate.n_outputs > 1
    }
    asked: dict[str, ByTurn] = {**telling, **rivals_telling} if telling else {}
    return Judged(
        data=data,
        turns=dict(turns),
        pooled=pooled,
        said=said,
        rivals=tuple(rivals),
        scores=scores,
        validation=validation,
        ships=ships,
        why=why,
        rival=rival,
        difference={split: compare(pooled[split], said[ships], said[rival]) for split in turns},
        to_default={
            name: compare(pooled[chooses], one, said[config.default])
            for name, one in said.items()
            if name != config.default
        },
        conditions={
            split: {name: judge_conditions(pooled[split], one) for name, one in asked.items()} for split in turns
        },
    )


def choose(
    config: AnomalyTrainConfig, choosing: Pooled, said: Mapping[str, ByTurn], validation: Mapping[str, float]
) -> tuple[str, str]:
    """The candidate that ships and why: the default, unless another one is surely ahead on the clips that choose."""
    ahead = {}
    for name, candidate in config.candidates.items():
        if candidate.can_ship and name != config.default:
            found = compare(choosing, said[name], said[config.default])[CHOOSES]
            if verdict_of(CHOOSES, found.interval) == "ahead":
                ahead[name] = found
    if not ahead:
        return config.default, "the default; no other candidate is surely ahead of it on the clips that choose"
    best = max(ahead, key=lambda name: validation[name])
    found = ahead[best]
    return best, (
        f"it is surely ahead of the default, {config.default}, on the clips that choose: AUC {found.value:+.3f} "
        f"[{found.interval[0]:+.3f}, {found.interval[1]:+.3f}]"
    )


def _said(config: AnomalyTrainConfig, trained: Mapping[str, Mapping[int, TrainedDetector]]) -> dict[str, ByTurn]:
    said: dict[str, ByTurn] = {}
    for name, by_turn in trained.items():
        said[name] = {turn: one.scores for turn, one in by_turn.items()}
        if config.candidates[name].density:
            far = {turn: one.density for turn, one in by_turn.items() if one.density is not None}
            said[DENSITY_OF.format(name)] = far
    return said


def _ask_rivals(
    data: ClipData,
    turn: int,
    rivals: dict[str, dict[int, np.ndarray]],
    telling: dict[str, dict[int, np.ndarray]],
    config: AnomalyTrainConfig,
) -> None:
    """Fit every rival on the training clips of a turn, and let it score those that choose and test."""
    clips = data.turns.turn(turn)
    train = data.rival_inputs(clips.of("train"))
    numbers = np.concatenate([clips.of("validation"), clips.of("test")])
    others, n = data.rival_inputs(numbers), len(clips.starts)
    for name, by_turn in rivals.items():
        by_turn[turn] = np.full(n, np.nan)
        by_turn[turn][numbers] = rival_scores(name, train, (others,), seed=config.seed)[0]
    if any(candidate.n_outputs > 1 for candidate in config.candidates.values()):
        n_conditions = len(data.classes)
        for name, by_turn in telling.items():
            by_turn[turn] = np.full((n, n_conditions), np.nan)
            said = rival_conditions(name, train, (others,), n_conditions=n_conditions, seed=config.seed)
            by_turn[turn][numbers] = said[0]


def _require_own_names(config: AnomalyTrainConfig) -> None:
    densities = [DENSITY_OF.format(name) for name in config.candidates]
    require_own_names(config.candidates, {*ANOMALY_RIVALS, *densities, GROUP, "pi"})
    odd = [name for name, one in config.candidates.items() if one.density and not is_autoencoder(one.network)]
    if odd:
        raise ValueError(
            f"train.candidates.{odd[0]}.density: its embeddings learnt from anomalous clips, too; ask an autoencoder"
        )


def _write_model(
    folder: Path,
    name: str,
    judged: Judged,
    trained: Mapping[str, Mapping[int, TrainedDetector]],
    config: AnomalyTrainConfig,
    *,
    windows_sha256: str,
    spectrogram: dict[str, Any] | None,
) -> dict[str, Any]:
    """Write the network of a candidate's first turn in the split that chooses; gives its `evaluation.json`."""
    folder.mkdir()
    split = judged.chooses
    turn = judged.turns[split][0]
    detector, data = trained[name][turn], judged.data
    for file in (WEIGHTS, DESCRIPTION):
        shutil.copyfile(detector.folder / file, folder / file)
    clips, labels = data.turns.turn(turn), data.labels
    limit = thresholds(data.turns, [turn], judged.said[name], rate=config.false_alarm_rate)[turn]
    parts = {part: clips.of(part) for part in ("train", "validation", "test")}
    auc = {part: auc_of(labels[parts[part]], detector.scores[parts[part]]) for part in ("validation", "test")}
    evaluation: dict[str, Any] = {
        "candidate": name,
        "why": judged.why if name == judged.ships else "exported to be compared with what ships",
        "windows_sha256": windows_sha256,
        "spectrogram": spectrogram,
        "split": split,
        "turn": turn,
        "threshold": limit,
        "false_alarm_rate": config.false_alarm_rate,
        "classes": list(data.classes),
        "model": {
            "name": name,
            "n_parameters": detector.n_parameters,
            "size_mib": round((folder / WEIGHTS).stat().st_size / 2**20, 3),
        },
        "model_sha256": detector.sha256,
        "training": {
            "n_epochs": detector.n_epochs,
            "validation_loss": min(loss for _, loss in detector.losses),
        },
        "windows": {part: len(numbers) for part, numbers in parts.items()},
        "validation": {"auc": auc["validation"]},
        "test": {"auc": auc["test"]},
        "all_turns": judged.scores[split][name].overall.metrics,
        "rivals": {rival: judged.scores[split][rival].overall.metrics for rival in judged.rivals},
    }
    write_json(folder / "evaluation.json", evaluation)
    return evaluation
