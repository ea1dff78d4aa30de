"""The report of a training on weeks of minutes, its pictures, and the numbers of each picture beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foresense.config.actigraphy_pipeline import ActigraphyTrainConfig
from foresense.signals import Gate, TrainReport, write_json
from foresense.steps.actigraphy_pictures import draw_everyone, draw_metrics, draw_roc
from foresense.steps.actigraphy_rivals import Rival
from foresense.steps.actigraphy_scores import CHOOSES, CHOSEN, METRICS, NETWORK, Judged
from foresense.steps.actigraphy_training import TrainedWeeks
from foresense.steps.frame import StepRun
from foresense.steps.report_tables import VERDICTS, decimal, losses_of, write_csv, write_losses
from foresense.steps.window_actigraphy import GROUP


def actigraphy_report(
    run: StepRun,
    config: ActigraphyTrainConfig,
    judged: Judged,
    trained: Mapping[str, Sequence[TrainedWeeks]],
    rivals: Mapping[str, Sequence[Rival]],
    evaluation: dict[str, Any],
    *,
    clinical: tuple[Sequence[str], np.ndarray],
    time_gate: Gate,
    **provenance: Any,
) -> TrainReport:
    """Write the step's report, with `metrics.json`, `loss.csv`, pictures and tables beside it; no person is named.

    Args:
        run: The step that is running.
        config: Section `train`.
        judged: What everyone says, and how good that is.
        trained: Candidate -> its networks, turn by turn.
        rivals: Rival -> what it learnt, turn by turn.
        evaluation: Of what ships.
        clinical: Names and values (n_weeks, n_names) of what the rivals look at.
        time_gate: Minutes of the step, judged against the stated budget.
        **provenance: Fields of the report's header.
    """
    scores, plots = judged.scores, run.paths.reports / "plots"
    headline = {"test": CHOSEN, "best_network": NETWORK, "best_rival": judged.rival}
    write_json(
        run.paths.reports / "metrics.json",
        {f"{key}_{name}": round(scores[who].metrics[name], 6) for key, who in headline.items() for name in METRICS[:3]},
    )
    histories = {f"{name}/{turn}": one.fit.history for name, found in trained.items() for turn, one in enumerate(found)}
    write_losses(run.paths.reports / "loss.csv", losses_of(histories))
    candidates = _candidates(judged, trained, rivals)
    draw_everyone(plots / "candidates.png", run.pipeline, judged)
    draw_roc(plots / "roc.png", run.pipeline, judged)
    rows = draw_metrics(plots / "metrics.png", run.pipeline, judged.windows, *clinical)
    write_csv(plots / "metrics.csv", rows)
    write_csv(plots / "candidates.csv", _rows(candidates))
    write_json(
        plots / "difference.json",
        {
            "first": NETWORK,
            "second": judged.rival,
            "verdict": judged.verdict,
            **{name: {"value": one.value, "interval": list(one.interval)} for name, one in judged.difference.items()},
        },
    )
    step_ms = [ms for found in trained.values() for one in found for ms in one.fit.step_ms]
    n_judged = len(judged.said[CHOSEN].people)
    return run.finish(
        TrainReport,
        **provenance,
        seed=config.seed,
        gates=[time_gate],
        model={
            **evaluation["model"],
            "candidate": evaluation["candidate"],
            "is_rival": evaluation["is_rival"],
            "encoder_of": evaluation["encoder_of"],
            "model_sha256": evaluation["model_sha256"],
        },
        windows={**evaluation["windows"], "people_judged": n_judged},
        test=scores[CHOSEN].metrics,
        interval={name: list(bounds) for name, bounds in scores[CHOSEN].intervals.items()},
        baselines={name: scores[name].metrics for name in judged.rivals},
        per_channel={},
        timing={
            "step_ms_p50": round(float(np.median(step_ms)), 2),
            "networks_s": round(sum(one.seconds for found in trained.values() for one in found), 1),
            "training_min": time_gate.value,
        },
        candidates=candidates,
        groups={
            GROUP: {
                "candidate": evaluation["candidate"],
                "model_sha256": evaluation["model_sha256"],
                "n_turns": len(judged.choices),
                "chosen_by": CHOOSES,
                "choices": list(judged.choices),
                "best_networks": list(judged.networks),
                "of_what_ships": evaluation["test"],
                "best_network_minus_best_rival": {
                    "rival": judged.rival,
                    "verdict": judged.verdict,
                    **{name: [one.value, *one.interval] for name, one in judged.difference.items()},
                },
            }
        },
        beats_baselines=judged.verdict == "ahead",
        conclusion=_conclusion(run.pipeline, judged, n_judged),
    )


def _conclusion(pipeline: str, judged: Judged, n_judged: int) -> str:
    """In one breath: who was held out, the comparison, and what ships and why."""
    chosen, network, rival = (judged.scores[name] for name in (CHOSEN, NETWORK, judged.rival))
    (low, high), difference = chosen.intervals[CHOOSES], judged.difference[CHOOSES]
    ships, n_dealings = judged.choices[0], len(judged.said[CHOSEN].held_out)
    why = (
        "a network, ahead of every rival on the people who choose by more than chance"
        if ships not in judged.rivals
        else "A RIVAL: on the people who choose no network is ahead of it by more than chance"
    )
    return (
        f"{pipeline}: AUROC {chosen.metrics[CHOOSES]:.3f} [{low:.3f}, {high:.3f}] on {n_judged} people held out "
        f"(mean of {n_dealings} dealing(s)). The best network {VERDICTS[judged.verdict]} the best rival, "
        f"{judged.rival}: {network.metrics[CHOOSES]:.3f} against {rival.metrics[CHOOSES]:.3f}, "
        f"difference {difference.value:+.3f} [{difference.interval[0]:+.3f}, {difference.interval[1]:+.3f}]. "
        f"Ships: {ships}, {why}."
    )


def _candidates(
    judged: Judged, trained: Mapping[str, Sequence[TrainedWeeks]], rivals: Mapping[str, Sequence[Rival]]
) -> dict[str, dict[str, Any]]:
    """The table of everyone: what validation and the test say, sizes and seconds."""
    found: dict[str, dict[str, Any]] = {}
    for name, said in judged.said.items():
        scores = judged.scores[name]
        found[name] = {
            "kind": "network" if name in trained else "rival" if name in rivals else "choice",
            f"validation_{CHOOSES}": list(said.chosen_by),
            f"test_{CHOOSES}_by_turn": list(said.by_turn),
            "test": scores.metrics,
            "interval": {one: list(bounds) for one, bounds in scores.intervals.items()},
        }
        if name in trained:
            found[name] |= {
                "n_parameters": sum(one.size for one in (trained[name][0].encoder | trained[name][0].head).values()),
                "seconds": round(sum(one.seconds for one in trained[name]), 1),
                "best_epochs": [one.fit.best_epoch for one in trained[name]],
            }
        elif name in rivals:
            found[name] |= {"fitted": [one.fitted for one in rivals[name]]}
        found[name]["chosen_in"] = [turn for turn, choice in enumerate(judged.choices) if choice == name]
    return found


def _rows(candidates: Mapping[str, Mapping[str, Any]]) -> list[Sequence[object]]:
    metrics = [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
    rows: list[Sequence[object]] = [("name", "kind", f"validation_{CHOOSES}_mean", *metrics, "parameters", "seconds")]
    for name, row in candidates.items():
        values = [value for one in METRICS for value in (row["test"][one], *row["interval"][one])]
        validation = float(np.mean(row[f"validation_{CHOOSES}"]))
        rows.append(
            (
                name,
                row["kind"],
                *map(decimal, (validation, *values)),
                row.get("n_parameters", ""),
                row.get("seconds", ""),
            )
        )
    return rows
