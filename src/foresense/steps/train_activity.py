"""Step `train` of an activity pipeline: groups of people are held out in turn; who chooses is never held out."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.activity import ActivityTrainConfig
from foresense.evaluate.classification import ClassScores, best_of, compare_classes, judge_classes
from foresense.evaluate.hmm import Hmm, fit_hmm, smooth
from foresense.models import model_sha256
from foresense.models.classifiers import save_classifier
from foresense.signals import TrainReport, recordings_digest, replaced_folder, write_json
from foresense.steps.frame import StepRun
from foresense.steps.people_data import Fold, PeopleData, fold_of, read_people
from foresense.steps.people_report import people_report
from foresense.steps.people_rivals import CHOSEN, RIVALS, rival_probabilities
from foresense.steps.people_scores import Judged, Said, said_of
from foresense.steps.people_training import TrainedClassifier, train_classifier
from foresense.steps.training import digests_of, require_own_names, time_gate, track_model, tracked
from foresense.steps.window_activity import GROUP
from foresense.training.wrist import macro_f1_and_kappa

LOG = logging.getLogger(__name__)
_SEED_OF_PEOPLE = 20_240_304  # of the bootstrap: intervals are a function of the predictions alone


def train_activity(run: StepRun, config: ActivityTrainConfig) -> TrainReport:
    """Train every candidate and rival with each group of people held out in turn, and judge all of them on those.

    In each fold the people that choose pick a candidate by macro-F1, and that one is judged on the people held out. So
    each person is tested once, by a model that was neither trained on the person nor chosen by it. The first one ships.

    Args:
        run: The step's run.
        config: Section `train`.

    Returns:
        The report, also written to `reports/<pipeline>/train.json`; beside it `metrics.json`, `loss.csv` and plots.

    Raises:
        FileNotFoundError: the steps before have not finished.
        ValueError: a candidate with the name of a rival, smoothing windows without time, a class that a fold's training
            people lack, or a diverging training.
    """
    require_own_names(config.candidates, {*RIVALS, CHOSEN})
    data = read_people(run.paths.windows, run.paths.features)
    if config.smoothing and not data.windows.has_time:
        raise ValueError(
            "train.smoothing: these windows have no real time, so nothing follows anything; set it to false"
        )
    data_sha256 = recordings_digest(run.paths.windows)
    n_folds = data.windows.n_folds if config.folds == "all" else min(config.folds, data.windows.n_folds)
    folds = [fold_of(data, number) for number in range(n_folds)]
    made_from = digests_of(run, "train_activity")
    with tracked(run, data_sha256) as mlflow_run:
        trained = _train_all(data, folds, config, run.paths.checkpoints, made_from)
        judged = _judge(data, folds, config, trained)
        with replaced_folder(run.paths.models) as models:
            evaluation = _ship(models / GROUP, data, folds[0], judged, trained[judged.choices[0]][0])
        report = people_report(
            run,
            config,
            data,
            folds,
            judged,
            {name: [one.fit for one in found] for name, found in trained.items()},
            evaluation,
            time_gate=time_gate(run.elapsed_s(), config.budget_min),
            data_sha256=data_sha256,
            mlflow_run_id=mlflow_run.run_id,
        )
        track_model(
            mlflow_run,
            run.paths.models / GROUP,
            evaluation,
            parameters={"candidate": judged.choices[0], "n_folds": n_folds, "seed": config.seed},
            metrics=_flat(judged),
        )
    LOG.info("%s", report.conclusion)
    return report


def _train_all(
    data: PeopleData, folds: list[Fold], config: ActivityTrainConfig, kept: Path, made_from: tuple[str, ...]
) -> dict[str, list[TrainedClassifier]]:
    kept.mkdir(parents=True, exist_ok=True)
    return {
        name: [
            train_classifier(data, fold, name, candidate, seed=config.seed, kept=kept, made_from=made_from)
            for fold in folds
        ]
        for name, candidate in config.candidates.items()
    }


def _judge(
    data: PeopleData, folds: list[Fold], config: ActivityTrainConfig, trained: Mapping[str, list[TrainedClassifier]]
) -> Judged:
    rows = np.concatenate([fold.test for fold in folds])
    said = {
        name: said_of(data, folds, [(one.validation, one.test) for one in found]) for name, found in trained.items()
    }
    for name in RIVALS:
        LOG.info("rival: %s", name)
        said[name] = said_of(data, folds, [rival_probabilities(data, fold, name, seed=config.seed) for fold in folds])
    choices = tuple(
        best_of("macro_f1", {name: said[name].macro_f1[number] for name in trained}) for number in range(len(folds))
    )
    said[CHOSEN] = Said(
        validation=tuple(said[name].validation[number] for number, name in enumerate(choices)),
        test=tuple(said[name].test[number] for number, name in enumerate(choices)),
        macro_f1=tuple(said[name].macro_f1[number] for number, name in enumerate(choices)),
    )
    truth, owners = data.labels[rows], data.owners[rows]
    sequences = data.windows.sequences[data.numbers[rows]] if data.windows.has_time else None

    def judge(predicted: np.ndarray) -> ClassScores:
        rng = np.random.default_rng(_SEED_OF_PEOPLE)
        return judge_classes(
            truth,
            predicted,
            owners,
            classes=data.windows.classes,
            people=data.windows.people,
            rng=rng,
            sequences=sequences,
        )

    smoothed, hmm = None, None
    if config.smoothing:
        smoothed = {name: judge(_smoothed(data, folds, said[name])) for name in (CHOSEN, "forest")}
        hmm = _hmm(data, folds[0], said[CHOSEN].validation[0])
    scores = {name: judge(one.classes) for name, one in said.items()}
    rival = best_of("macro_f1", {name: scores[name].metrics["macro_f1"] for name in RIVALS})
    return Judged(
        rows=rows,
        said=said,
        choices=choices,
        rival=rival,
        scores=scores,
        difference=compare_classes(
            truth,
            said[CHOSEN].classes,
            said[rival].classes,
            owners,
            n_classes=len(data.windows.classes),
            rng=np.random.default_rng(_SEED_OF_PEOPLE),
        ),
        smoothed=smoothed,
        hmm=hmm,
    )


def _hmm(data: PeopleData, fold: Fold, validation: np.ndarray) -> Hmm:
    """Counted on the people that choose: the model has not been trained on them, and they are not held out."""
    return fit_hmm(
        validation,
        data.labels[fold.validation],
        data.windows.sequences[data.numbers[fold.validation]],
        classes=data.windows.classes,
        kind="categorical",
    )


def _smoothed(data: PeopleData, folds: list[Fold], said: Said) -> np.ndarray:
    """(n,), int64: courses of everyone held out, folds one after the other."""
    return np.concatenate(
        [
            smooth(_hmm(data, fold, validation), test, data.windows.sequences[data.numbers[fold.test]])
            for fold, validation, test in zip(folds, said.validation, said.test, strict=True)
        ]
    )


def _ship(folder: Path, data: PeopleData, fold: Fold, judged: Judged, shipped: TrainedClassifier) -> dict[str, Any]:
    folder.mkdir()
    save_classifier(folder, shipped.model, classes=data.windows.classes)
    if judged.hmm is not None:
        write_json(folder / "hmm.json", judged.hmm.to_json())
    n_classes = len(data.windows.classes)
    truth = data.labels[fold.test]
    of_fold = {
        name: dict(
            zip(("macro_f1", "cohen_kappa"), macro_f1_and_kappa(truth, one.test[0].argmax(1), n_classes), strict=True)
        )
        for name, one in judged.said.items()
    }
    evaluation = {
        "candidate": judged.choices[0],
        "model": {
            "name": shipped.model.config.model,  # type: ignore[union-attr]
            "n_parameters": sum(weight.numel() for weight in shipped.model.parameters()),
            "size_mib": round((folder / "model.safetensors").stat().st_size / 2**20, 3),
        },
        "model_sha256": model_sha256(folder),
        "held_out": [data.windows.people[owner] for owner in np.unique(data.owners[fold.test])],
        "windows": {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)},
        "test": of_fold[judged.choices[0]],
        "baselines": {name: of_fold[name] for name in RIVALS},
        "cross_validated": judged.scores[CHOSEN].metrics,
    }
    write_json(folder / "evaluation.json", evaluation)
    return evaluation


def _flat(judged: Judged) -> dict[str, float]:
    """Metrics for MLflow, flat and named alike in every run."""
    best = judged.scores[CHOSEN]
    flat = {f"test/{name}": value for name, value in best.metrics.items()}
    for name, (low, high) in best.intervals.items():
        flat |= {f"test/{name}_low": low, f"test/{name}_high": high}
    for rival in RIVALS:
        flat |= {f"baseline/{rival}/{name}": value for name, value in judged.scores[rival].metrics.items()}
    for name, scores in (judged.smoothed or {}).items():
        flat |= {f"smoothed/{name}/{metric}": value for metric, value in scores.metrics.items()}
    return flat
