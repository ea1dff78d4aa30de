"""The report of a training of anomaly detectors, its pictures, and the numbers of each picture beside it."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foresense.config.anomaly import ConvAutoencoderConfig
from foresense.config.anomaly_pipeline import AnomalyTrainConfig
from foresense.evaluate.anomaly import ANOMALY_METRICS
from foresense.evaluate.class_plots import plot_confusions
from foresense.signals import Gate, TrainReport, write_bytes, write_json
from foresense.steps.anomaly_pictures import draw_everyone, draw_histograms, draw_most_anomalous, draw_roc
from foresense.steps.anomaly_scores import CHOOSES
from foresense.steps.frame import StepRun
from foresense.steps.window_anomaly import GROUP

if TYPE_CHECKING:
    from foresense.steps.anomaly_training import TrainedDetector
    from foresense.steps.train_anomaly import Judged

_WORDS = {"ahead": "is AHEAD of", "not sure": "is NOT SURELY AHEAD of", "behind": "is BEHIND"}
_EASY = 0.99  # of a rival's AUC: from here on a split tells little about a detector


def anomaly_report(
    run: StepRun,
    config: AnomalyTrainConfig,
    judged: "Judged",
    trained: Mapping[str, Mapping[int, "TrainedDetector"]],
    evaluation: dict[str, Any],
    *,
    gates: list[Gate],
    **provenance: Any,
) -> TrainReport:
    """Write the step's report, with `metrics.json`, `loss.csv`, pictures and tables beside it.

    Args:
        run: The step that is running.
        config: Section `train`.
        judged: What everyone says, and how good that is.
        trained: Candidate -> its networks, turn by turn.
        evaluation: Of what ships.
        gates: The stated budget, and in a smoke run the AUC on validation.
        **provenance: Fields of the report's header.
    """
    plots, ships = run.paths.reports / "plots", judged.ships
    shipped = {split: scores[ships] for split, scores in judged.scores.items()}
    first = shipped[judged.chooses].overall
    headline = {"test": ships, "best_rival": judged.rival}
    write_json(
        run.paths.reports / "metrics.json",
        {
            f"{split}_{key}_{name}": round(judged.scores[split][who].overall.metrics[name], 6)
            for split in judged.turns
            for key, who in headline.items()
            for name in ANOMALY_METRICS
        },
    )
    write_bytes(run.paths.reports / "loss.csv", _loss(trained).encode())
    _write_csv(plots / "candidates.csv", _rows(judged, trained))
    _draw(plots, run.pipeline, config, judged, trained)
    return run.finish(
        TrainReport,
        **provenance,
        seed=config.seed,
        gates=gates,
        model={**evaluation["model"], "candidate": ships, "model_sha256": evaluation["model_sha256"]},
        windows={**evaluation["windows"], "judged": first.n_normal + first.n_anomalous},
        test=first.metrics,
        interval={name: list(bounds) for name, bounds in first.intervals.items()},
        baselines={name: judged.scores[judged.chooses][name].overall.metrics for name in judged.rivals},
        per_channel={},
        timing={
            "networks_s": round(sum(one.seconds for found in trained.values() for one in found.values()), 1),
            "training_min": gates[0].value,
        },
        candidates=_candidates(judged, trained),
        groups={
            GROUP: {
                "candidate": ships,
                "why": judged.why,
                "model_sha256": evaluation["model_sha256"],
                "splits": {split: len(numbers) for split, numbers in judged.turns.items()},
                "chosen_by": f"{CHOOSES} on validation, {judged.chooses}",
                "threshold": evaluation["threshold"],
                "minus_best_rival": {
                    split: {
                        "rival": judged.rival,
                        "verdict": judged.verdict(split),
                        **{name: [one.value, *one.interval] for name, one in found.items()},
                    }
                    for split, found in judged.difference.items()
                },
                "easy_splits": _easy(judged),
            }
        },
        per_class={name: asdict(row) for name, row in shipped[judged.chooses].conditions.items()},
        beats_baselines=judged.verdict(judged.chooses) == "ahead",
        conclusion=_conclusion(run.pipeline, config, judged, trained),
    )


def _easy(judged: "Judged") -> list[str]:
    """Splits on which a rival is near 1 already."""
    return [
        split
        for split, scores in judged.scores.items()
        if max(scores[name].overall.metrics[CHOOSES] for name in judged.rivals) >= _EASY
    ]


def _conclusion(
    pipeline: str,
    config: AnomalyTrainConfig,
    judged: "Judged",
    trained: Mapping[str, Mapping[int, "TrainedDetector"]],
) -> str:
    """In one breath: what each split says, how candidates that could ship compare, and what ships and why."""
    parts = []
    for split, scores in judged.scores.items():
        mine, other = scores[judged.ships].overall, scores[judged.rival].overall
        difference = judged.difference[split][CHOOSES]
        low, high = mine.intervals.get(CHOOSES, (float("nan"), float("nan")))
        parts.append(
            f"{split}: AUC {mine.metrics[CHOOSES]:.3f} [{low:.3f}, {high:.3f}] {_WORDS[judged.verdict(split)]} the "
            f"best rival, {judged.rival} ({other.metrics[CHOOSES]:.3f}), difference {difference.value:+.3f} "
            f"[{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]"
        )
    easy = _easy(judged)
    note = f" A rival alone reaches {_EASY:g} in {', '.join(easy)}: that question is easy." if easy else ""
    sizes = {name: next(iter(found.values())).n_parameters for name, found in trained.items()}
    against = ""
    for name, candidate in config.candidates.items():
        if candidate.can_ship and name != config.default:
            found = judged.to_default[name][CHOOSES]
            against += (
                f" {name} ({sizes[name]:,} parameters) minus {config.default} ({sizes[config.default]:,}), held out: "
                f"{found.value:+.3f} [{found.interval[0]:+.3f}, {found.interval[1]:+.3f}]."
            )
    return f"{pipeline}: {'; '.join(parts)}.{note}{against} Ships: {judged.ships}: {judged.why}."


def _candidates(judged: "Judged", trained: Mapping[str, Mapping[int, "TrainedDetector"]]) -> dict[str, dict[str, Any]]:
    """The table of everyone: what validation and each split say, sizes and seconds."""
    found: dict[str, dict[str, Any]] = {}
    for name in judged.said:
        overall = judged.scores[judged.chooses][name].overall
        found[name] = {
            "kind": "rival" if name in judged.rivals else "network",
            f"validation_{CHOOSES}": judged.validation[name],
            "test": overall.metrics,
            "interval": {one: list(bounds) for one, bounds in overall.intervals.items()},
            "splits": {split: scores[name].to_json() for split, scores in judged.scores.items()},
            "conditions": {
                split: _told(scores[name].to_json()) for split, scores in judged.conditions.items() if name in scores
            },
        }
        if name in judged.to_default:
            found[name]["minus_default"] = {
                metric: [one.value, *one.interval] for metric, one in judged.to_default[name].items()
            }
        if name in trained:
            own = list(trained[name].values())
            found[name] |= {
                "n_parameters": own[0].n_parameters,
                "seconds": round(sum(one.seconds for one in own), 1),
                "best_epochs": [one.best_epoch for one in own],
            }
    return found


def _told(scores: dict[str, Any]) -> dict[str, Any]:
    """How well conditions are told apart, without a row for each asset."""
    return {name: scores[name] for name in ("metrics", "intervals", "confusion", "per_class", "n_windows", "n_people")}


def _rows(judged: "Judged", trained: Mapping[str, Mapping[int, "TrainedDetector"]]) -> list[Sequence[object]]:
    ends = [f"{name}{end}" for name in ANOMALY_METRICS for end in ("", "_low", "_high")]
    told = [f"conditions_{name}" for name in ("macro_f1", "accuracy")]
    rows: list[Sequence[object]] = [
        ("split", "name", "kind", f"validation_{CHOOSES}", *ends, "alarms_per_hour", *told, "parameters", "seconds")
    ]
    for split, scores in judged.scores.items():
        for name, one in scores.items():
            row = one.overall
            values = [
                value
                for metric in ANOMALY_METRICS
                for value in (row.metrics[metric], *row.intervals.get(metric, ("", "")))
            ]
            conditions = judged.conditions[split].get(name)
            told_values = ("", "") if conditions is None else tuple(conditions.metrics[key[11:]] for key in told)
            own = list(trained[name].values()) if name in trained else []
            rows.append(
                (
                    split,
                    name,
                    "rival" if name in judged.rivals else "network",
                    *map(_decimal, (judged.validation[name], *values)),
                    "" if one.alarms_per_hour is None else _decimal(one.alarms_per_hour),
                    *map(_decimal, told_values),
                    own[0].n_parameters if own else "",
                    round(sum(each.seconds for each in own), 1) if own else "",
                )
            )
    return rows


def _draw(
    plots: Path,
    pipeline: str,
    config: AnomalyTrainConfig,
    judged: "Judged",
    trained: Mapping[str, Mapping[int, "TrainedDetector"]],
) -> None:
    draw_everyone(plots / "candidates.png", pipeline, judged)
    draw_roc(plots / "roc.png", pipeline, judged)
    draw_histograms(plots / "scores.png", pipeline, judged)
    for split, scores in judged.conditions.items():
        if scores:
            matrices = {name: np.array(one.confusion) for name, one in scores.items()}
            title = f"{pipeline}, {split}: conditions told apart, clips held out"
            plot_confusions(plots / f"confusion_{split}.png", title, judged.data.classes, matrices)
    rebuilds = [name for name, one in config.candidates.items() if isinstance(one.network, ConvAutoencoderConfig)]
    if rebuilds:
        turn = judged.turns[judged.chooses][0]
        draw_most_anomalous(plots / "most_anomalous.png", pipeline, judged.data, trained[rebuilds[0]][turn], turn)


def _decimal(value: object) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_bytes(path, text.getvalue().encode())


def _loss(trained: Mapping[str, Mapping[int, "TrainedDetector"]]) -> str:
    lines = ["training,epoch,train,validation"]
    lines += [
        f"{name}/{turn},{epoch},{train:.8g},{validation:.8g}"
        for name, found in trained.items()
        for turn, one in found.items()
        for epoch, (train, validation) in enumerate(one.losses)
    ]
    return "\n".join(lines) + "\n"
