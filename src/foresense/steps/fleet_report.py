"""The report, the table and the pictures of a fleet's training."""

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import FleetConfig
from foresense.engine import Outcome
from foresense.evaluate import seasonal_naive
from foresense.evaluate.fleet_plot import Machine, plot_fleet
from foresense.evaluate.scaled_error import error_ratio
from foresense.models import load_model
from foresense.signals import Gate, TrainReport, open_windows, write_bytes, write_json
from foresense.steps.candidates import best_linear
from foresense.steps.fleet_assets import SHARED, Forecast
from foresense.steps.frame import StepRun
from foresense.steps.report_tables import write_losses
from foresense.steps.train_evaluation import GroupResult, Joined, joined
from foresense.steps.train_pictures import draw_group
from foresense.steps.train_report import certainty
from foresense.training.forecast import forecaster

MANY = 4  # machines with pictures of their own each; of a larger fleet the median one has
#: What stays of each asset's evaluation in the report; all of it lies in models/<pipeline>/<asset>/evaluation.json.
KEPT = ("candidate", "model_sha256", "windows", "test", "difference_to_best_baseline")


def fleet_report(
    run: StepRun,
    config: FleetConfig,
    results: Mapping[str, GroupResult],
    outcomes: Mapping[str, Outcome],
    *,
    why_not: Mapping[str, str],
    left_out: Mapping[str, str],
    time_gate: Gate,
    **provenance: Any,
) -> TrainReport:
    """Write the step's report, with `metrics.json` and `loss.csv` beside it.

    Args:
        run: The step that is running.
        config: Section `fleet`.
        results: Asset to what its model reached.
        outcomes: Asset to what became of its training.
        why_not: Assets that the shared model serves, with the reason.
        left_out: Assets that have no windows, with the reason.
        time_gate: Minutes of the whole step, judged against the night's budget.
        **provenance: Fields of the report's header.

    Raises:
        ValueError: not one asset has a model.
    """
    if not results:
        reasons = "; ".join(f"{asset}: {outcome.reason}" for asset, outcome in list(outcomes.items())[:5])
        raise ValueError(f"{run.pipeline}: not one of {len(outcomes)} assets has a model: {reasons}")
    table = fleet_table(results, outcomes, why_not, left_out)
    for row in table.values():
        if row["log"]:
            row["log"] = Path(row["log"]).relative_to(run.layout.root).as_posix()
    bare = {name: replace(one, evaluation={**one.evaluation, "candidates": {}}) for name, one in results.items()}
    found = joined(bare, config.seed)
    groups = {name: {key: one.evaluation[key] for key in KEPT} for name, one in results.items()}
    candidates = _candidates(results, [SHARED, *config.candidates])
    judged = [row for row in table.values() if row["test_mse"] is not None]
    ratios = [ratio for row in judged if np.isfinite(ratio := error_ratio(row["test_mse"], row["naive_mse"]))]
    n_still = len(judged) - len(ratios)
    n_failed = sum(row["status"] == "failed" for row in table.values())
    first = next(iter(results.values())).evaluation
    headline = {
        **found.headline,
        "median_ratio_to_seasonal_naive": float(np.median(ratios)) if ratios else None,
        "n_better_than_seasonal_naive": float(sum(ratio < 1 for ratio in ratios)),
        "n_assets": float(len(table)),
        "n_failed": float(n_failed),
    }
    write_json(run.paths.reports / "metrics.json", headline)
    write_losses(run.paths.reports / "loss.csv", _losses(results))
    seconds = [outcome.seconds for outcome in outcomes.values()]
    return run.finish(
        TrainReport,
        **provenance,
        seed=config.seed,
        gates=[time_gate, Gate.judge("failed_share", n_failed / len(table), "1", at_most=config.max_failed)],
        model={**first["model"], "candidates": {name: group["candidate"] for name, group in groups.items()}},
        windows=found.windows,
        test=found.test,
        interval=found.interval,
        baselines=found.baselines,
        per_channel=found.per_channel,
        timing={
            "training_min": time_gate.value,
            "seconds_per_asset_p50": round(float(np.median(seconds)), 3),
            "seconds_per_asset_max": round(float(np.max(seconds)), 3),
        },
        candidates=candidates,
        groups=groups,
        outcomes=table,
        beats_baselines=found.wins,
        conclusion=_conclusion(run.pipeline, found.test["mse"], found, table, ratios)
        + (f"; {n_still} stood still in their whole test part" if n_still else "")
        + f" ({certainty(groups)}).",
    )


def fleet_table(
    results: Mapping[str, GroupResult],
    outcomes: Mapping[str, Outcome],
    why_not: Mapping[str, str],
    left_out: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """One row for each asset, also for those without a model: status, reason, who forecasts, errors, cost."""
    table: dict[str, dict[str, Any]] = {}
    for asset in sorted({*outcomes, *left_out}):
        if asset not in outcomes:
            table[asset] = _row("skipped", left_out[asset])
            continue
        outcome = outcomes[asset]
        is_served = outcome.status == "success" and asset in why_not
        row = _row("skipped", why_not[asset], outcome) if is_served else _row(outcome.status, outcome.reason, outcome)
        if asset in results:
            evaluation = results[asset].evaluation
            naive = [one["mse"] for name, one in evaluation["baselines"].items() if name.startswith("seasonal naive")]
            row |= {
                "model": evaluation["candidate"],
                "test_mse": evaluation["test"]["mse"],
                "naive_mse": min(naive),
                "best_baseline": evaluation["difference_to_best_baseline"]["baseline"],
                "best_baseline_mse": min(one["mse"] for one in evaluation["baselines"].values()),
            }
        table[asset] = row
    return table


def draw_fleet(folder: Path, run: StepRun, report: TrainReport, results: Mapping[str, GroupResult]) -> None:
    """Write `fleet.png`, `fleet.csv` and pictures of the median machine; of a few machines, those of all of them."""
    rows = report.outcomes
    machines = [
        Machine(asset, row["status"], row["model"], row["test_mse"], row["naive_mse"], row["best_baseline_mse"])
        for asset, row in rows.items()
    ]
    plot_fleet(folder / "fleet.png", report.pipeline, machines)
    write_bytes(folder / "fleet.csv", _csv(rows).encode())
    judged = sorted((one for one in machines if np.isfinite(one.ratio)), key=lambda one: one.ratio)
    if not judged:
        return
    drawn = judged if len(judged) <= MANY else [judged[len(judged) // 2]]
    for machine in drawn:
        _draw_machine(folder, run, machine.asset, results[machine.asset])


def _draw_machine(folder: Path, run: StepRun, asset: str, result: GroupResult) -> None:
    windows = open_windows(run.paths.windows / asset)
    forecast = forecaster(load_model(run.paths.models / asset), "cpu")
    rivals: dict[str, Forecast] = {"linear map": best_linear(windows)}
    for name in result.rivals:
        if name.startswith("seasonal naive "):
            rivals[name] = seasonal_naive(windows.horizon, int(name.removeprefix("seasonal naive ")))
    histories = {name: fit.history for name, fit in result.fits.items()}
    name = result.evaluation["candidate"]
    draw_group(folder, windows, name, forecast, rivals, result.errors, result.rivals, histories)


def _row(status: str, reason: str, outcome: Outcome | None = None) -> dict[str, Any]:
    return {
        "status": status,
        "reason": reason,
        "model": None,
        "test_mse": None,
        "naive_mse": None,
        "best_baseline": None,
        "best_baseline_mse": None,
        "seconds": None if outcome is None else round(outcome.seconds, 3),
        "peak_rss_mib": None if outcome is None else round(outcome.peak_rss_mib, 1),
        "log": None if outcome is None else outcome.log,
    }


def _candidates(results: Mapping[str, GroupResult], names: list[str]) -> dict[str, dict[str, Any]]:
    """Each candidate over the assets that have a model of their own, so that all are compared on the same ones."""
    found = {
        asset: one.evaluation["candidates"] for asset, one in results.items() if len(one.evaluation["candidates"]) > 1
    }
    if not found:
        return {}
    return {
        name: {
            "validation_mse": float(np.mean([one[name]["validation_mse"] for one in found.values()])),
            "validation_mse_median": float(np.median([one[name]["validation_mse"] for one in found.values()])),
            "test": {
                metric: float(np.mean([one[name]["test"][metric] for one in found.values()]))
                for metric in ("mse", "mae")
            },
            "ships_in": [asset for asset, one in found.items() if one[name]["ships"]],
        }
        for name in names
    }


def _conclusion(
    pipeline: str, mse: float, found: Joined, table: Mapping[str, dict[str, Any]], ratios: list[float]
) -> str:
    counts = {
        status: sum(row["status"] == status for row in table.values()) for status in ("success", "skipped", "failed")
    }
    better = sum(ratio < 1 for ratio in ratios)
    rival = found.best_baseline
    verdict = (
        f"the mean over machines, {mse:.4f}, beats the best baseline, {rival} ({found.baselines[rival]['mse']:.4f})"
        if found.wins
        else f"THE MEAN OVER MACHINES, {mse:.4f}, DOES NOT BEAT THE BASELINE {rival.upper()} "
        f"({found.baselines[rival]['mse']:.4f})"
    )
    return (
        f"{pipeline}: {counts['success']} machines with a model of their own, {counts['skipped']} skipped, "
        f"{counts['failed']} failed; MSE of the median machine {np.median(ratios or [np.nan]):.2f} of seasonal "
        f"naive's, better in {better} of {len(ratios)}; {verdict}"
    )


def _losses(results: Mapping[str, GroupResult]) -> list[tuple[str, int, float, float]]:
    """Median over the assets, by candidate and epoch."""
    by_epoch: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for result in results.values():
        for name, fit in result.fits.items():
            for row in fit.history:
                by_epoch.setdefault((name, round(row["epoch"])), []).append((row["train"], row["validation"]))
    rows = []
    for (name, epoch), values in sorted(by_epoch.items()):
        train, validation = np.median(values, axis=0)
        rows.append((name, epoch, float(train), float(validation)))
    return rows


def _csv(rows: Mapping[str, dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["asset", *next(iter(rows.values()))], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"asset": asset, **row} for asset, row in rows.items())
    return text.getvalue()
