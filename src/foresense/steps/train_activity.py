"""Step `train` of an activity pipeline: groups of people are held out in turn; what is best on validation ships."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.activity import ActivityTrainConfig
from foresense.evaluate.classification import ClassScores, Difference, compare_classes, judge_classes
from foresense.evaluate.hmm import Hmm, fit_hmm, smooth
from foresense.models import model_sha256
from foresense.models.classifiers import save_classifier
from foresense.signals import Gate, TrainReport, read_json, replaced_folder, tree_sha256, write_json
from foresense.steps.frame import StepRun, code_digest, git_commit
from foresense.steps.people_data import Fold, PeopleData, fold_of, read_people
from foresense.steps.people_report import people_report
from foresense.steps.people_rivals import RIVALS, rival_probabilities
from foresense.steps.people_training import TrainedClassifier, train_classifier
from foresense.steps.window_activity import GROUP
from foresense.training.wrist import macro_f1_and_kappa

LOG = logging.getLogger(__name__)
_SEED_OF_PEOPLE = 20_240_304  # of the bootstrap: intervals are a function of the predictions alone


@dataclass(frozen=True, eq=False)
class Said:
    """What one candidate or rival says of everyone held out.

    Attributes:
        validation: Macro-F1 on the people that choose, mean over the folds.
        test: (n, n_classes) of all people held out, folds one after the other.
    """

    validation: float
    test: np.ndarray

    @property
    def classes(self) -> np.ndarray:
        """(n,), int64: the most likely class."""
        return np.asarray(self.test.argmax(1))


@dataclass(frozen=True, eq=False)
class Judged:
    """What is known at the end of a training.

    Attributes:
        rows: (n,), int64: rows of everyone held out, as in `Said.test`.
        said: Candidate or rival -> what it says.
        best: The candidate that ships: best on validation.
        rival: The rival that is best on validation.
        scores: Candidate or rival -> its scores.
        difference: Metric -> best candidate minus that rival, by person.
        smoothed: Scores of the best candidate and of the forest after smoothing; None where nothing smooths.
        hmm: What ships beside the first fold's model; None where nothing smooths.
    """

    rows: np.ndarray
    said: dict[str, Said]
    best: str
    rival: str
    scores: dict[str, ClassScores]
    difference: dict[str, Difference]
    smoothed: dict[str, ClassScores] | None
    hmm: Hmm | None


def train_activity(run: StepRun, config: ActivityTrainConfig) -> TrainReport:
    """Train every candidate and rival with each group of people held out in turn, and judge all of them on those.

    What ships is the candidate with the best mean macro-F1 over the people that choose, as it was trained in the first
    fold; each person is tested once, by models that have not seen the person. The people held out choose nothing.

    Args:
        run: The step's run.
        config: Section `train`.

    Returns:
        The report, also written to `reports/<pipeline>/train.json`; beside it `metrics.json`, `loss.csv` and plots.

    Raises:
        FileNotFoundError: the steps before have not finished.
        ValueError: smoothing windows without time, a class that a fold's training people lack, or a diverging training.
    """
    from foresense.tracking import open_run

    data = read_people(run.paths.windows, run.paths.features)
    if config.smoothing and not data.windows.has_time:
        raise ValueError(
            "train.smoothing: these windows have no real time, so nothing follows anything; set it to false"
        )
    data_sha256 = read_json(run.paths.windows / "manifest.json")["recordings_sha256"]
    n_folds = data.windows.n_folds if config.folds == "all" else min(config.folds, data.windows.n_folds)
    folds = [fold_of(data, number) for number in range(n_folds)]
    code = code_digest(run.layout.project, "train_activity")
    made_from = (tree_sha256(run.paths.windows), tree_sha256(run.paths.features), code)
    tags = {
        "pipeline": run.pipeline,
        "profile": run.profile,
        "data_sha256": data_sha256,
        "git_commit": git_commit(run.layout.project),
    }
    with open_run(run.layout, run.pipeline, f"{run.pipeline} {run.profile}", tags) as mlflow_run:
        trained = _train_all(data, folds, config, run.paths.checkpoints, made_from)
        judged = _judge(data, folds, config, trained)
        with replaced_folder(run.paths.models) as models:
            evaluation = _ship(models / GROUP, data, folds[0], judged, trained[judged.best][0])
        gate = Gate.judge("training_min", round(run.elapsed_s() / 60, 2), "min", at_most=config.budget_min)
        report = people_report(
            run,
            config,
            data,
            folds,
            judged,
            {name: [one.fit for one in found] for name, found in trained.items()},
            evaluation,
            time_gate=gate,
            data_sha256=data_sha256,
            mlflow_run_id=mlflow_run.run_id,
        )
        mlflow_run.metrics(_flat(judged))
        mlflow_run.parameters(
            {"candidate": judged.best, "n_folds": n_folds, "seed": config.seed, **evaluation["model"]}
        )
        mlflow_run.tags({"model_sha256": evaluation["model_sha256"]})
        mlflow_run.dataset(run.pipeline, data_sha256)
        mlflow_run.artifact(run.paths.models / GROUP, "model")
        mlflow_run.artifact(run.paths.reports / "plots", "plots")
        mlflow_run.artifact(run.paths.reports / "train.json", "reports")
    shutil.rmtree(run.paths.checkpoints, ignore_errors=True)
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
    said = {name: _said(data, folds, [(one.validation, one.test) for one in found]) for name, found in trained.items()}
    for name in RIVALS:
        LOG.info("rival: %s", name)
        said[name] = _said(data, folds, [rival_probabilities(data, fold, name, seed=config.seed) for fold in folds])
    best = max(trained, key=lambda name: said[name].validation)
    rival = max(RIVALS, key=lambda name: said[name].validation)
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
        courses = {name: _smoothed(data, folds, rows, said[name]) for name in (best, "forest")}
        smoothed = {name: judge(course) for name, course in courses.items()}
        hmm = _hmm(data, rows, said[best], np.isin(rows, folds[0].test))
    return Judged(
        rows=rows,
        said=said,
        best=best,
        rival=rival,
        scores={name: judge(one.classes) for name, one in said.items()},
        difference=compare_classes(
            truth,
            said[best].classes,
            said[rival].classes,
            owners,
            n_classes=len(data.windows.classes),
            rng=np.random.default_rng(_SEED_OF_PEOPLE),
        ),
        smoothed=smoothed,
        hmm=hmm,
    )


def _said(data: PeopleData, folds: list[Fold], found: list[tuple[np.ndarray, np.ndarray]]) -> Said:
    n_classes = len(data.windows.classes)
    chosen = [
        macro_f1_and_kappa(data.labels[fold.validation], validation.argmax(1), n_classes)[0]
        for fold, (validation, _) in zip(folds, found, strict=True)
    ]
    return Said(float(np.mean(chosen)), np.concatenate([test for _, test in found]))


def _hmm(data: PeopleData, rows: np.ndarray, said: Said, held_out: np.ndarray) -> Hmm:
    """Counted on out-of-fold predictions of everyone but the people held out."""
    others = ~held_out if not held_out.all() else held_out
    order = np.flatnonzero(others)
    order = order[np.argsort(data.numbers[rows[order]], kind="stable")]
    return fit_hmm(
        said.test[order],
        data.labels[rows[order]],
        data.windows.sequences[data.numbers[rows[order]]],
        classes=data.windows.classes,
        kind="categorical",
    )


def _smoothed(data: PeopleData, folds: list[Fold], rows: np.ndarray, said: Said) -> np.ndarray:
    """(n,), int64: courses of everyone held out, each fold by a model of transitions of the people of other folds."""
    found = np.empty(len(rows), np.int64)
    for fold in folds:
        own = np.isin(rows, fold.test)
        hmm = _hmm(data, rows, said, own)
        found[own] = smooth(hmm, said.test[own], data.windows.sequences[data.numbers[rows[own]]])
    return found


def _ship(folder: Path, data: PeopleData, fold: Fold, judged: Judged, shipped: TrainedClassifier) -> dict[str, Any]:
    folder.mkdir()
    save_classifier(folder, shipped.model, classes=data.windows.classes)
    if judged.hmm is not None:
        write_json(folder / "hmm.json", judged.hmm.to_json())
    own = np.isin(judged.rows, fold.test)
    n_classes = len(data.windows.classes)
    truth = data.labels[fold.test]
    of_fold = {
        name: dict(
            zip(("macro_f1", "cohen_kappa"), macro_f1_and_kappa(truth, one.classes[own], n_classes), strict=True)
        )
        for name, one in judged.said.items()
    }
    evaluation = {
        "candidate": judged.best,
        "model": {
            "name": shipped.model.config.model,  # type: ignore[union-attr]
            "n_parameters": sum(weight.numel() for weight in shipped.model.parameters()),
            "size_mib": round((folder / "model.safetensors").stat().st_size / 2**20, 3),
        },
        "model_sha256": model_sha256(folder),
        "held_out": [data.windows.people[owner] for owner in np.unique(data.owners[fold.test])],
        "windows": {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)},
        "test": of_fold[judged.best],
        "baselines": {name: of_fold[name] for name in RIVALS},
        "cross_validated": judged.scores[judged.best].metrics,
    }
    write_json(folder / "evaluation.json", evaluation)
    return evaluation


def _flat(judged: Judged) -> dict[str, float]:
    """Metrics for MLflow, flat and named alike in every run."""
    best = judged.scores[judged.best]
    flat = {f"test/{name}": value for name, value in best.metrics.items()}
    for name, (low, high) in best.intervals.items():
        flat |= {f"test/{name}_low": low, f"test/{name}_high": high}
    for rival in RIVALS:
        flat |= {f"baseline/{rival}/{name}": value for name, value in judged.scores[rival].metrics.items()}
    for name, scores in (judged.smoothed or {}).items():
        flat |= {f"smoothed/{name}/{metric}": value for metric, value in scores.metrics.items()}
    return flat
