"""The report of a training of mixed recordings, its pictures, and the numbers of each picture beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.mixed_pipeline import MixedTrainConfig
from foresense.evaluate.classification import best_of
from foresense.signals import Gate, TrainReport, write_json
from foresense.steps.frame import StepRun
from foresense.steps.mixed_data import MixedData, MixedFold
from foresense.steps.mixed_pictures import draw, draw_studies
from foresense.steps.mixed_rivals import TrainedRival
from foresense.steps.mixed_scores import CHOOSES, CHOSEN, NETWORK, OF_MODEL, Judged
from foresense.steps.mixed_training import TrainedMixed
from foresense.steps.report_tables import VERDICTS, decimal, losses_of, write_csv, write_losses
from foresense.steps.window_mixed import GROUP


def mixed_report(
    run: StepRun,
    config: MixedTrainConfig,
    data: MixedData,
    folds: Sequence[MixedFold],
    judged: Judged,
    trained: Mapping[str, Sequence[TrainedMixed]],
    rivals: Mapping[str, Sequence[TrainedRival]],
    evaluation: dict[str, Any],
    *,
    studies: dict[str, Any] | None,
    time_gate: Gate,
    **provenance: Any,
) -> TrainReport:
    """Write the step's report, with `metrics.json`, `loss.csv`, pictures and tables beside it.

    Args:
        run: The step that is running.
        config: Section `train`.
        data: Windows and features.
        folds: What was held out in turn.
        judged: What everyone says, and how good that is.
        trained: Candidate -> its networks, turn by turn.
        rivals: Rival -> what it learnt, turn by turn.
        evaluation: Of what ships.
        studies: Curves of more holes and of few labels; None where nobody asked.
        time_gate: Minutes of the step, judged against the stated budget.
        **provenance: Fields of the report's header.
    """
    chosen, metric = judged.scores[CHOSEN], CHOOSES[judged.task]
    shown = OF_MODEL[judged.task]
    write_json(
        run.paths.reports / "metrics.json",
        {
            **{f"test_{name}": round(chosen.metrics[name], 6) for name in shown},
            **{f"best_network_{name}": round(judged.scores[NETWORK].metrics[name], 6) for name in shown},
            **{f"best_rival_{name}": round(judged.scores[judged.rival].metrics[name], 6) for name in shown},
        },
    )
    histories = {f"{name}/{turn}": one.fit.history for name, found in trained.items() for turn, one in enumerate(found)}
    write_losses(run.paths.reports / "loss.csv", losses_of(histories))
    candidates = _candidates(judged, trained, rivals)
    plots = run.paths.reports / "plots"
    draw(plots, run.pipeline, judged)
    _write_tables(plots, judged, candidates)
    if studies is not None:
        write_json(plots / "studies.json", studies)
        draw_studies(plots / "studies.png", run.pipeline, judged, studies)
    step_ms = [ms for found in trained.values() for one in found for ms in one.fit.step_ms]
    return run.finish(
        TrainReport,
        **provenance,
        seed=config.seed,
        gates=[time_gate],
        model={
            **evaluation["model"],
            "candidate": evaluation["candidate"],
            "is_rival": evaluation["is_rival"],
            "model_sha256": evaluation["model_sha256"],
        },
        windows={**evaluation["windows"], "judged": len(judged.judge.all_rows)},
        test=chosen.metrics,
        interval={name: list(bounds) for name, bounds in chosen.intervals.items()},
        baselines={name: judged.scores[name].metrics for name in judged.rivals},
        per_channel={},
        per_class=_per_class(chosen.detail),
        timing={
            "step_ms_p50": round(float(np.median(step_ms)), 2) if step_ms else 0.0,
            "networks_s": round(sum(row["seconds"] for name, row in candidates.items() if name in trained), 1),
            "rivals_s": round(sum(row["seconds"] for name, row in candidates.items() if name in rivals), 1),
            "training_min": time_gate.value,
        },
        candidates=candidates,
        groups={
            GROUP: {
                "candidate": evaluation["candidate"],
                "model_sha256": evaluation["model_sha256"],
                "n_folds": len(folds),
                "chosen_by": metric,
                "choices": list(judged.choices),
                "best_networks": list(judged.networks),
                "of_what_ships": evaluation["test"],
                "best_network_minus_best_rival": {
                    "rival": judged.rival,
                    "verdict": judged.verdict,
                    **{name: [one.value, *one.interval] for name, one in judged.difference.items()},
                    "by_group": judged.by_group,
                },
                "scores": {name: judged.scores[name].detail for name in (CHOSEN, NETWORK, judged.rival)},
                "studies": studies,
            }
        },
        beats_baselines=judged.verdict == "ahead",
        conclusion=_conclusion(run.pipeline, data, judged),
    )


def _conclusion(pipeline: str, data: MixedData, judged: Judged) -> str:
    """In one breath: what is held out, the comparison, and what ships and why."""
    metric = CHOOSES[judged.task]
    unit = f" {data.target.unit}" if judged.task == "value" else ""
    chosen, network, rival = (judged.scores[name] for name in (CHOSEN, NETWORK, judged.rival))
    low, high = chosen.intervals[metric]
    difference = judged.difference[metric]
    by_rivals = {name: judged.said[name].chosen_by[0] for name in judged.rivals}
    first = best_of(metric, by_rivals)
    ships = judged.choices[0]
    of_network = judged.said[NETWORK].chosen_by[0]
    why = (
        "A RIVAL: on validation no network is surely ahead of it"
        if ships in judged.rivals
        else "a network, surely ahead of every rival on validation"
    )
    return (
        f"{pipeline}: {metric} {chosen.metrics[metric]:.3f} [{low:.3f}, {high:.3f}]{unit} on "
        f"{len(judged.judge.all_rows)} windows held out. The best network {VERDICTS[judged.verdict]} the best rival, "
        f"{judged.rival}: {network.metrics[metric]:.3f} against {rival.metrics[metric]:.3f}, "
        f"difference {difference.value:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]. "
        f"Ships: {ships}, {why} ({metric} of the best network, {judged.networks[0]}, {of_network:.3f}; "
        f"of the best rival, {first}, {by_rivals[first]:.3f})."
    )


def _candidates(
    judged: Judged,
    trained: Mapping[str, Sequence[TrainedMixed]],
    rivals: Mapping[str, Sequence[TrainedRival]],
) -> dict[str, dict[str, Any]]:
    """The table of everyone: what validation and the test say, sizes and seconds."""
    metric = CHOOSES[judged.task]
    found: dict[str, dict[str, Any]] = {}
    for name, said in judged.said.items():
        scores = judged.scores[name]
        found[name] = {
            "kind": "network" if name in trained else "rival" if name in rivals else "choice",
            f"validation_{metric}": [float(value) for value in said.chosen_by],
            "test": scores.metrics,
            "interval": {one: list(bounds) for one, bounds in scores.intervals.items()},
        }
        if name in trained:
            found[name] |= {
                "n_parameters": sum(weight.numel() for weight in trained[name][0].model.parameters()),
                "seconds": round(sum(one.seconds for one in trained[name]), 1),
                "best_epochs": [one.fit.best_epoch for one in trained[name]],
            }
        elif name in rivals:
            found[name] |= {
                "seconds": round(sum(one.seconds for one in rivals[name]), 1),
                "fitted": [one.found.chosen for one in rivals[name]],
                "n_older": [list(one.found.n_older) for one in rivals[name]],
                "n_nothing": [list(one.found.n_nothing) for one in rivals[name]],
            }
        found[name]["chosen_in"] = [number for number, choice in enumerate(judged.choices) if choice == name]
    return found


def _per_class(detail: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of what is chosen: F1 and support of each class; nothing where there are no such classes."""
    if "f1" not in detail:
        return {}
    support = np.sum(detail["overall"]["confusion"], axis=1)
    return {
        name: {"f1": detail["f1"][name], "f1_interval": detail["f1_intervals"][name], "support": int(support[number])}
        for number, name in enumerate(detail["classes"])
    }


def _write_tables(folder: Path, judged: Judged, candidates: Mapping[str, Mapping[str, Any]]) -> None:
    """`candidates.csv`: everyone; `groups.csv`: stations and seasons; `difference.json`: network minus rival."""
    metric = CHOOSES[judged.task]
    names = list(judged.scores[CHOSEN].metrics)
    rows: list[Sequence[object]] = [
        (
            "name",
            "kind",
            f"validation_{metric}_mean",
            *names,
            f"{metric}_low",
            f"{metric}_high",
            "parameters",
            "seconds",
        )
    ]
    for name, row in candidates.items():
        low, high = row["interval"].get(metric, ("", ""))
        validation = float(np.mean(row[f"validation_{metric}"]))
        values = [row["test"].get(one, "") for one in names]
        rows.append(
            (
                name,
                row["kind"],
                *map(decimal, (validation, *values, low, high)),
                row.get("n_parameters", ""),
                row.get("seconds", ""),
            )
        )
    write_csv(folder / "candidates.csv", rows)
    write_json(
        folder / "difference.json",
        {
            "first": NETWORK,
            "second": judged.rival,
            "verdict": judged.verdict,
            **{name: {"value": one.value, "interval": list(one.interval)} for name, one in judged.difference.items()},
            "by_group": judged.by_group,
        },
    )
    groups = judged.scores[CHOSEN].detail.get("groups")
    if groups:
        write_csv(folder / "groups.csv", _group_rows(judged))


def _group_rows(judged: Judged) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [("predictor", "grouping", "group", "n", "metric", "value", "low", "high")]
    for name in (CHOSEN, NETWORK, *judged.rivals):
        for grouping, labels in judged.scores[name].detail["groups"].items():
            for label, row in labels.items():
                for metric, value in row["metrics"].items():
                    low, high = row["intervals"].get(metric) or ("", "")
                    rows.append((name, grouping, label, row["n"], metric, *map(decimal, (value, low, high))))
    return rows
