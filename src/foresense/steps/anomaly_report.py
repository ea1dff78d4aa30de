"""The report of a training of anomaly detectors, its pictures, and the numbers of each picture beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.anomaly import ConvAutoencoderConfig
from foresense.config.anomaly_pipeline import AnomalyTrainConfig
from foresense.evaluate.anomaly import ANOMALY_METRICS, LEAST_UNITS
from foresense.evaluate.class_plots import plot_confusions
from foresense.evaluate.classification import Difference
from foresense.signals import Gate, TrainReport, write_json
from foresense.steps.anomaly_pictures import draw_everyone, draw_histograms, draw_most_anomalous, draw_roc
from foresense.steps.anomaly_scores import CHOOSES, Judged
from foresense.steps.anomaly_training import TrainedDetector
from foresense.steps.frame import StepRun
from foresense.steps.report_tables import VERDICTS, decimal, write_csv, write_losses
from foresense.steps.window_anomaly import GROUP

_TELLS = "macro_f1"  # of conditions
_MANY_UNITS = 20  # from here on an interval of 95 % holds the truth in more than 90 of 100 cases
_EASY = 0.99  # of a rival's AUC: from here on a split tells little about a detector


def anomaly_report(
    run: StepRun,
    config: AnomalyTrainConfig,
    judged: Judged,
    trained: Mapping[str, Mapping[int, TrainedDetector]],
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
    write_losses(run.paths.reports / "loss.csv", _losses(trained))
    write_csv(plots / "candidates.csv", _rows(judged, trained))
    _draw(plots, run.pipeline, config, judged, trained)
    return run.finish(
        TrainReport,
        **provenance,
        seed=config.seed,
        gates=gates,
        model={**evaluation["model"], "candidate": ships, "model_sha256": evaluation["model_sha256"]},
        windows={**evaluation["windows"], "judged": sum(judged.pooled[judged.chooses].n_clips)},
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
                "against_default": _against_default(config, judged, trained),
                "easy_splits": _easy(judged),
            }
        },
        per_class={name: asdict(row) for name, row in shipped[judged.chooses].conditions.items()},
        beats_baselines=judged.verdict(judged.chooses) == "ahead",
        conclusion=_conclusion(run.pipeline, config, judged, trained),
    )


def _easy(judged: Judged) -> list[str]:
    """Splits on which a rival is near 1 already."""
    return [
        split
        for split, scores in judged.scores.items()
        if max(scores[name].overall.metrics[CHOOSES] for name in judged.rivals) >= _EASY
    ]


def _conclusion(
    pipeline: str,
    config: AnomalyTrainConfig,
    judged: Judged,
    trained: Mapping[str, Mapping[int, TrainedDetector]],
) -> str:
    """In one breath: what each split says, how candidates that could ship compare, and what ships and why."""
    parts = []
    for split, scores in judged.scores.items():
        mine, other = scores[judged.ships].overall, scores[judged.rival].overall
        n_as_good = sum(scores[name].overall.metrics[CHOOSES] >= other.metrics[CHOOSES] for name in judged.rivals)
        rival = f"{judged.rival} ({other.metrics[CHOOSES]:.3f})"
        rival += f", one of {n_as_good} that reach it" if n_as_good > 1 else ""
        n_clips, n_units = judged.pooled[split].n_clips, mine.n_units
        difference = judged.difference[split][CHOOSES]
        interval = "[{:.3f}, {:.3f}]".format(*mine.intervals[CHOOSES]) if mine.intervals else "(no interval)"
        parts.append(
            f"{split}: AUC {mine.metrics[CHOOSES]:.3f} {interval} {VERDICTS[judged.verdict(split)]} the "
            f"best rival, {rival}, difference {_signed(difference.value)} [{_signed(difference.interval[0])}, "
            f"{_signed(difference.interval[1])}], {n_clips[0]} normal and {n_clips[1]} anomalous clips{_few(n_units)}"
        )
        parts += _told_apart(judged, split)
    easy = _easy(judged)
    note = f" A rival alone reaches {_EASY:g} in {', '.join(easy)}: that question is easy." if easy else ""
    against = "".join(
        f" {config.default} is {found['verdict']} {name}, with 1/{found['parameters_ratio']:.0f} of its parameters: "
        f"{_signed(-found[CHOOSES][0])} [{_signed(-found[CHOOSES][2])}, {_signed(-found[CHOOSES][1])}]."
        for name, found in _against_default(config, judged, trained).items()
    )
    return f"{pipeline}: {'; '.join(parts)}.{note}{against} Ships: {judged.ships}: {judged.why}."


def _against_default(
    config: AnomalyTrainConfig, judged: Judged, trained: Mapping[str, Mapping[int, TrainedDetector]]
) -> dict[str, dict[str, Any]]:
    """Every other candidate that could ship, minus the default, on clips held out in the split that chooses."""
    sizes = {name: next(iter(found.values())).n_parameters for name, found in trained.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, candidate in config.candidates.items():
        if not candidate.can_ship or name == config.default:
            continue
        ahead = judged.to_default[name][CHOOSES]
        found[name] = {
            "verdict": _against(ahead),
            "parameters_ratio": sizes[name] / sizes[config.default],
            CHOOSES: [ahead.value, *ahead.interval],
        }
    return found


def _against(ahead: Difference) -> str:
    """What the default is to another candidate that is so far ahead of it."""
    low, high = ahead.interval
    if high < 0:
        return "surely better than"
    if ahead.value <= 0:
        return "at least as good as"
    return "surely WORSE than" if low > 0 else "worse than, but not surely,"


def _few(n_units: tuple[int, int]) -> str:
    """A warning where an interval draws so few units that it holds the truth less often than it says."""
    if min(n_units) >= _MANY_UNITS:
        return ""
    if min(n_units) < LEAST_UNITS:
        return f" ({n_units[0]} normal and {n_units[1]} anomalous units: an interval needs {LEAST_UNITS} of each)"
    return f" (the interval draws {n_units[0]} normal and {n_units[1]} anomalous units: so few cover less than it says)"


def _told_apart(judged: Judged, split: str) -> list[str]:
    """How well conditions are told apart in a split, by the best network and the best rival; empty where nobody was."""
    scores = {name: one.metrics[_TELLS] for name, one in judged.conditions[split].items()}
    if not scores:
        return []
    best = [
        max((name for name in scores if (name in judged.rivals) == is_rival), key=lambda name: scores[name])
        for is_rival in (False, True)
    ]
    low, high = judged.conditions[split][best[0]].intervals[_TELLS]
    return [
        f"{split}, which condition: macro-F1 {scores[best[0]]:.3f} [{low:.3f}, {high:.3f}] of {best[0]}, "
        f"{scores[best[1]]:.3f} of the best rival, {best[1]}"
    ]


def _candidates(judged: Judged, trained: Mapping[str, Mapping[int, TrainedDetector]]) -> dict[str, dict[str, Any]]:
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


def _rows(judged: Judged, trained: Mapping[str, Mapping[int, TrainedDetector]]) -> list[Sequence[object]]:
    ends = [f"{name}{end}" for name in ANOMALY_METRICS for end in ("", "_low", "_high")]
    units = ("n_normal_units", "n_anomalous_units")
    told = [f"conditions_{name}" for name in ("macro_f1", "accuracy")]
    last = ("alarms_per_hour", *units, *told, "parameters", "seconds")
    rows: list[Sequence[object]] = [("split", "name", "kind", f"validation_{CHOOSES}", *ends, *last)]
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
                    *map(decimal, (judged.validation[name], *values)),
                    decimal(one.alarms_per_hour),
                    *row.n_units,
                    *map(decimal, told_values),
                    own[0].n_parameters if own else "",
                    round(sum(each.seconds for each in own), 1) if own else "",
                )
            )
    return rows


def _draw(
    plots: Path,
    pipeline: str,
    config: AnomalyTrainConfig,
    judged: Judged,
    trained: Mapping[str, Mapping[int, TrainedDetector]],
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


def _signed(value: float) -> str:
    """With its sign, and none that a rounded zero had."""
    return f"{round(value, 3) + 0.0:+.3f}"


def _losses(trained: Mapping[str, Mapping[int, TrainedDetector]]) -> list[tuple[str, int, float, float]]:
    return [
        (f"{name}/{turn}", epoch, train, validation)
        for name, found in trained.items()
        for turn, one in found.items()
        for epoch, (train, validation) in enumerate(one.losses)
    ]
