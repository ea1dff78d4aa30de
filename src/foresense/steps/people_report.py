"""The report of a training of people, its pictures, and the numbers of each picture beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.activity import ActivityTrainConfig
from foresense.evaluate.class_plots import Bars, plot_confusions, plot_scores
from foresense.evaluate.classification import ClassRow, ClassScores
from foresense.signals import Gate, TrainReport, write_json
from foresense.steps.frame import StepRun
from foresense.steps.people_data import Fold, PeopleData
from foresense.steps.people_rivals import CHOSEN, RIVALS
from foresense.steps.people_scores import Judged
from foresense.steps.report_tables import decimal, losses_of, write_csv, write_losses
from foresense.training import FitResult

#: Metrics that stand in a picture, in this order.
SHOWN = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "cohen_kappa", "mcc")


def people_report(
    run: StepRun,
    config: ActivityTrainConfig,
    data: PeopleData,
    folds: Sequence[Fold],
    judged: Judged,
    fits: Mapping[str, Sequence[FitResult]],
    evaluation: dict[str, Any],
    *,
    time_gate: Gate,
    **provenance: Any,
) -> TrainReport:
    """Write the step's report, with `metrics.json`, `loss.csv`, pictures and tables beside it.

    Args:
        run: The step that is running.
        config: Section `train`.
        data: Windows and features.
        folds: Who was held out in turn.
        judged: What everyone says, and how good that is.
        fits: Candidate -> its trainings, fold by fold.
        evaluation: Of what ships.
        time_gate: Minutes of the step, judged against the stated budget.
        **provenance: Fields of the report's header.
    """
    best, rival = judged.scores[CHOSEN], judged.scores[judged.rival]
    ahead = judged.difference["macro_f1"]
    wins = ahead.value >= config.margin and ahead.interval[0] > 0
    shown = best if judged.smoothed is None else judged.smoothed[CHOSEN]
    write_json(
        run.paths.reports / "metrics.json",
        {
            **{f"test_{name}": round(best.metrics[name], 6) for name in ("macro_f1", "accuracy", "cohen_kappa")},
            "best_rival_macro_f1": round(rival.metrics["macro_f1"], 6),
        },
    )
    histories = {f"{name}/{fold}": one.history for name, found in fits.items() for fold, one in enumerate(found)}
    write_losses(run.paths.reports / "loss.csv", losses_of(histories))
    _draw(run, data, judged)
    write_tables(run.paths.reports / "plots", judged.scores, judged.smoothed)
    step_ms = [ms for found in fits.values() for one in found for ms in one.step_ms]
    shipped = fits[judged.choices[0]][0]
    return run.finish(
        TrainReport,
        **provenance,
        seed=config.seed,
        gates=[time_gate],
        model={**evaluation["model"], "candidate": judged.choices[0], "model_sha256": evaluation["model_sha256"]},
        windows={**evaluation["windows"], "judged": len(judged.rows)},
        test=best.metrics,
        interval={name: list(bounds) for name, bounds in best.intervals.items()},
        baselines={name: judged.scores[name].metrics for name in RIVALS},
        per_channel={},
        per_class={name: vars(row) for name, row in best.per_class.items()},
        people={name: vars(row) for name, row in best.per_person.items()},
        smoothed={name: one.to_json() for name, one in (judged.smoothed or {}).items()},
        timing={
            "n_epochs": float(len(shipped.history)),
            "best_epoch": float(shipped.best_epoch),
            "step_ms_p50": round(float(np.median(step_ms)), 2) if step_ms else 0.0,
            "training_min": time_gate.value,
        },
        candidates={
            name: {
                "validation_macro_f1": list(judged.said[name].macro_f1),
                "test": judged.scores[name].metrics,
                "best_epochs": [one.best_epoch for one in fits.get(name, ())],
                "chosen_in": [number for number, choice in enumerate(judged.choices) if choice == name],
            }
            for name in judged.said
        },
        groups={
            "people": {
                "candidate": judged.choices[0],
                "model_sha256": evaluation["model_sha256"],
                "held_out": evaluation["held_out"],
                "n_folds": len(folds),
                "confusion": [list(row) for row in best.confusion],
                "difference_to_best_rival": {
                    "rival": judged.rival,
                    **{name: [one.value, *one.interval] for name, one in judged.difference.items()},
                },
            }
        },
        beats_baselines=wins,
        conclusion=_conclusion(run.pipeline, judged, best, rival, shown, wins=wins, margin=config.margin),
    )


def _conclusion(
    pipeline: str,
    judged: Judged,
    best: ClassScores,
    rival: ClassScores,
    shown: ClassScores,
    *,
    wins: bool,
    margin: float,
) -> str:
    low, high = best.intervals["macro_f1"]
    ahead = judged.difference["macro_f1"]
    verdict = (
        "the network beats the best rival" if wins else f"THE NETWORK IS NOT SURELY {margin:g} AHEAD OF THE BEST RIVAL"
    )
    smoothed = f", smoothed {shown.metrics['macro_f1']:.3f}" if judged.smoothed is not None else ""
    chosen_by = {name: float(np.mean(judged.said[name].macro_f1)) for name in (CHOSEN, *RIVALS)}
    first = max(RIVALS, key=lambda name: chosen_by[name])
    ships = (
        f"Ships: {judged.choices[0]}, ahead of the rivals on the people that choose"
        if chosen_by[CHOSEN] >= chosen_by[first]
        else f"Ships: {judged.choices[0]}, BEHIND {first.upper()} ON THE PEOPLE THAT CHOOSE (rivals are not exported)"
    )
    return (
        f"{pipeline}: macro-F1 {best.metrics['macro_f1']:.3f} [{low:.3f}, {high:.3f}] on {best.n_people} people held "
        f"out in turn{smoothed}; {verdict}, {judged.rival} ({rival.metrics['macro_f1']:.3f}): difference "
        f"{ahead.value:+.3f} [{ahead.interval[0]:+.3f}, {ahead.interval[1]:+.3f}]. {ships} "
        f"(mean of the turns: {chosen_by[CHOSEN]:.3f}, {first} {chosen_by[first]:.3f})."
    )


def _draw(run: StepRun, data: PeopleData, judged: Judged) -> None:
    plots = run.paths.reports / "plots"
    classes = data.windows.classes
    best = judged.scores[CHOSEN]
    matrices = {"network": np.array(best.confusion), judged.rival: np.array(judged.scores[judged.rival].confusion)}
    if judged.smoothed is not None:
        matrices = {"raw": np.array(best.confusion), "smoothed": np.array(judged.smoothed[CHOSEN].confusion)}
    plot_confusions(
        plots / "confusion.png", f"{run.pipeline}: {best.n_people} people held out in turn", classes, matrices
    )
    shown = {"network": best, **{name: judged.scores[name] for name in RIVALS if name != "majority"}}
    if judged.smoothed is not None:
        shown |= {f"{'network' if name == CHOSEN else name}, smoothed": one for name, one in judged.smoothed.items()}
    by_class = {
        name: Bars(
            np.array([scores.per_class[each].f1 for each in classes]),
            np.array([scores.per_class[each].f1_interval or (np.nan, np.nan) for each in classes]),
        )
        for name, scores in shown.items()
    }
    plot_scores(plots / "f1-by-class.png", f"{run.pipeline}: F1 of each class", classes, by_class, "F1")
    by_metric = {
        name: Bars(
            np.array([scores.metrics[metric] for metric in SHOWN]),
            np.array([scores.intervals[metric] for metric in SHOWN]),
        )
        for name, scores in shown.items()
    }
    plot_scores(plots / "metrics.png", f"{run.pipeline}: scores on people held out", SHOWN, by_metric, "score")


def write_tables(folder: Path, scores: Mapping[str, ClassScores], smoothed: Mapping[str, ClassScores] | None) -> None:
    """The numbers behind the pictures of a training, for others' programs.

    `scores-<kind>.json` has everything of what was chosen, `confusion-<kind>.csv` its confusion matrix (row = true
    class, column = predicted class, windows); `metrics.csv` and `f1-by-class.csv` compare all predictors. `<kind>` is
    `raw`, and `smoothed` where a pipeline smooths.

    Args:
        folder: Where they are written.
        scores: Candidate, rival or CHOSEN -> its raw scores.
        smoothed: The same of those that were smoothed.
    """
    kinds = {"raw": scores} if smoothed is None else {"raw": scores, "smoothed": smoothed}
    by_metric: list[Sequence[object]] = [("predictor", "kind", "metric", "value", "low", "high")]
    by_class: list[Sequence[object]] = [
        ("predictor", "kind", "class", "precision", "recall", "f1", "f1_low", "f1_high", "support")
    ]
    for kind, found in kinds.items():
        chosen = found[CHOSEN]
        write_json(folder / f"scores-{kind}.json", chosen.to_json())
        rows = [(name, *row) for name, row in zip(chosen.classes, chosen.confusion, strict=True)]
        write_csv(folder / f"confusion-{kind}.csv", [("true", *chosen.classes), *rows])
        for predictor, one in found.items():
            by_metric += [
                (predictor, kind, metric, *map(decimal, (value, *one.intervals[metric])))
                for metric, value in one.metrics.items()
            ]
            by_class += [(predictor, kind, name, *_class_values(row)) for name, row in one.per_class.items()]
    write_csv(folder / "metrics.csv", by_metric)
    write_csv(folder / "f1-by-class.csv", by_class)


def _class_values(row: ClassRow) -> list[object]:
    """As text; an interval that is not known is empty."""
    interval = ("", "") if row.f1_interval is None else tuple(map(decimal, row.f1_interval))
    return [*map(decimal, (row.precision, row.recall, row.f1)), *interval, row.support]
