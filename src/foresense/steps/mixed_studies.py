"""Two curves of a training: what it costs to lose more values, and what few labels cost.

Both are read on the windows that are held out, and choose nothing.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.mixed_pipeline import MixedCandidateConfig, MixedTrainConfig
from foresense.evaluate.classification import Interval
from foresense.signals.holes import HoleKind, removed
from foresense.steps.mixed_data import MixedData, MixedFold
from foresense.steps.mixed_training import TrainedMixed, train_mixed_network
from foresense.training.mixed import outputs_of

LOG = logging.getLogger(__name__)
KINDS: tuple[HoleKind, ...] = ("random", "block", "channel")
#: Optimizer steps that a training on few labels takes at least, however few batches its epochs have.
N_STEPS = 300
_SEED = 20_120_106

#: Outputs on everyone held out, folds one after the other -> a metric and its interval.
Judge = Callable[[np.ndarray], tuple[float, Interval]]


def study(
    data: MixedData,
    folds: Sequence[MixedFold],
    config: MixedTrainConfig,
    trained: Mapping[str, Sequence[TrainedMixed]],
    *,
    judge: Judge,
    kept: Path,
    made_from: tuple[str, ...],
) -> dict[str, Any]:
    """Both curves, for a report.

    With n labels, n windows train and n others choose the epoch; a pretraining sees all training windows, unlabelled.

    Args:
        data: Windows.
        folds: Those of `trained`.
        config: Section `train`, with `studies`.
        trained: Candidate -> in each fold.
        judge: A metric of all that is held out.
        kept: Folder of finished networks and checkpoints.
        made_from: Digests of windows and code.

    Returns:
        `removed`: kind of holes -> candidate -> for each share `share`, `value`, `low`, `high`; `labels`: candidate ->
        for each count `n_labels`, `values` of the draws, and `value`, `low`, `high` of the draw in the middle.
    """
    return {
        "removed": _removed(data, folds, config, trained, judge),
        "labels": _labels(data, folds, config, trained, judge, kept, made_from),
    }


def _removed(
    data: MixedData,
    folds: Sequence[MixedFold],
    config: MixedTrainConfig,
    trained: Mapping[str, Sequence[TrainedMixed]],
    judge: Judge,
) -> dict[str, dict[str, list[dict[str, float]]]]:
    """The same values are gone for both candidates; nothing is trained again."""
    studies = _studies(config)
    names = (studies.candidate, studies.without_mask)
    found: dict[str, dict[str, list[dict[str, float]]]] = {kind: {name: [] for name in names} for kind in KINDS}
    for kind in KINDS:
        for share in studies.removed:
            said: dict[str, list[np.ndarray]] = {name: [] for name in names}
            for number, fold in enumerate(folds):
                items = data.items(fold.test, fold.number, config.predicts)
                rng = np.random.default_rng([_SEED, number])
                numbers = None if items.numbers is None else removed(items.numbers, share, kind, rng)
                for name in names:
                    said[name].append(outputs_of(trained[name][number].model, replace(items, numbers=numbers)))
            for name in names:
                value, interval = judge(np.concatenate(said[name]))
                found[kind][name].append({"share": share, "value": value, "low": interval[0], "high": interval[1]})
            LOG.info("%s holes, %.0f %% more: done", kind, share * 100)
    return found


def _labels(
    data: MixedData,
    folds: Sequence[MixedFold],
    config: MixedTrainConfig,
    trained: Mapping[str, Sequence[TrainedMixed]],
    judge: Judge,
    kept: Path,
    made_from: tuple[str, ...],
) -> dict[str, list[dict[str, Any]]]:
    studies = _studies(config)
    names = (studies.candidate, studies.pretrained)
    n_all = min(len(fold.train) for fold in folds)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for n_labels in sorted({n for n in studies.labels if n < n_all}):
        for name in names:
            candidate = _longer(config.candidates[name], n_labels)
            judged = []
            for draw in range(studies.n_draws):
                said = [
                    train_mixed_network(
                        data,
                        fold,
                        f"{name}, {n_labels} labels, draw {draw + 1}",
                        candidate,
                        predicts=config.predicts,
                        seed=config.seed,
                        kept=kept,
                        made_from=made_from,
                        labelled=drawn_labels(data, fold.train, config, n_labels, (fold.number, draw)),
                        choosing=drawn_labels(data, fold.validation, config, n_labels, (fold.number, draw)),
                    ).test
                    for fold in folds
                ]
                judged.append(judge(np.concatenate(said)))
            found[name].append(_in_the_middle(n_labels, judged))
    for name in names:
        found[name].append(_in_the_middle(n_all, [judge(np.concatenate([one.test for one in trained[name]]))]))
    return found


def drawn_labels(
    data: MixedData, rows: np.ndarray, config: MixedTrainConfig, n_labels: int, draw: tuple[int, ...]
) -> np.ndarray:
    """(n_labels,), int64: rows that keep their label, rising; with classes, each as often as among all of them.

    Every class has at least one, where there are labels enough; fewer rows than asked for all keep theirs. Equal for
    all candidates.
    """
    shuffled = np.random.default_rng([_SEED, n_labels, *draw]).permutation(rows)
    if config.predicts == "value":
        return np.sort(shuffled[:n_labels])
    classes = data.truth(shuffled, config.predicts)
    order = np.argsort(classes, kind="stable")
    counts = np.bincount(classes)
    first = np.cumsum(np.r_[0, counts[:-1]])
    rank = np.arange(len(order)) - first[classes[order]]
    place = np.where(rank == 0, -1.0, (rank + 0.5) / counts[classes[order]])  # within its class; the first ones first
    return np.sort(shuffled[order[np.argsort(place, kind="stable")[:n_labels]]])


def _longer(candidate: MixedCandidateConfig, n_labels: int) -> MixedCandidateConfig:
    """The same candidate with epochs enough for N_STEPS, and with its patience and its probe as much longer."""
    n_of_epoch = max(1, n_labels // candidate.batch_size)
    times = max(1.0, N_STEPS / (n_of_epoch * candidate.n_epochs))
    lengths = {name: math.ceil(getattr(candidate, name) * times) for name in ("n_epochs", "patience", "probe_epochs")}
    return candidate.model_copy(update=lengths)


def _in_the_middle(n_labels: int, judged: list[tuple[float, Interval]]) -> dict[str, Any]:
    """The draw with the median value; of an even count the lower one of the two."""
    value, interval = sorted(judged)[(len(judged) - 1) // 2]
    values = [value for value, _ in judged]
    return {"n_labels": n_labels, "values": values, "value": value, "low": interval[0], "high": interval[1]}


def _studies(config: MixedTrainConfig) -> Any:
    if config.studies is None:
        raise AssertionError("unreachable: asked for only where there is the section")
    return config.studies
