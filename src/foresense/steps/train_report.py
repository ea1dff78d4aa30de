"""The report of the step `train`: its groups joined, with one sentence for people, and the same flat for MLflow."""

from pathlib import Path
from typing import Any

import numpy as np

from foresense.config import TrainConfig
from foresense.signals import Gate, TrainReport, Windows, write_bytes, write_json
from foresense.steps.frame import StepRun
from foresense.steps.train_evaluation import GroupResult, interval_over


def report_of(
    run: StepRun, config: TrainConfig, results: dict[str, GroupResult], data_sha256: str, run_id: str
) -> TrainReport:
    """Join the groups into the step's report, and write it with `metrics.json` and `loss.csv` beside it.

    Args:
        run: The step that is running; its clock is judged against `config.budget_min`.
        config: Section `train`.
        results: Group -> what it gave.
        data_sha256: Digest of the recordings.
        run_id: MLflow's run of the whole step.
    """
    groups = {name: result.evaluation for name, result in results.items()}
    first = next(iter(groups.values()))
    test = _mean_of([group["test"] for group in groups.values()])
    baselines = {name: _mean_of([group["baselines"][name] for group in groups.values()]) for name in first["baselines"]}
    best_rival = min(baselines, key=lambda name: baselines[name]["mse"])
    interval = first["interval"] if len(groups) == 1 else interval_over(results, config.seed)
    step_ms = [ms for result in results.values() for one in result.fits.values() for ms in one.step_ms]
    shipped = [result.fits[result.evaluation["candidate"]] for result in results.values()]
    wins = test["mse"] <= baselines[best_rival]["mse"]
    conclusion = (
        f"{run.pipeline}: MSE {test['mse']:.4f} [{interval['mse'][0]:.4f}, {interval['mse'][1]:.4f}] on the test part; "
        f"best baseline {best_rival}: {baselines[best_rival]['mse']:.4f}. "
        + ("The model beats its baselines" if wins else f"THE MODEL DOES NOT BEAT ITS BASELINE {best_rival.upper()}")
        + f" ({certainty(groups)})."
    )
    metrics = {
        **{f"test_{name}": value for name, value in test.items()},
        "best_baseline_mse": baselines[best_rival]["mse"],
    }
    write_json(run.paths.reports / "metrics.json", metrics)
    _write_loss(run.paths.reports / "loss.csv", results)
    minutes = (run.elapsed_s() + sum(result.earlier_s for result in results.values())) / 60
    return run.finish(
        TrainReport,
        data_sha256=data_sha256,
        seed=config.seed,
        mlflow_run_id=run_id,
        gates=[Gate.judge("training_min", round(minutes, 2), "min", at_most=config.budget_min)],
        model={**first["model"], "candidates": {name: group["candidate"] for name, group in groups.items()}},
        windows={part: sum(group["windows"][part] for group in groups.values()) for part in first["windows"]},
        test=test,
        interval=interval,
        baselines=baselines,
        per_channel={
            channel: _mean_of([group["per_channel"][channel] for group in groups.values()])
            for channel in first["per_channel"]
        },
        timing={
            "n_epochs": float(np.mean([len(one.history) for one in shipped])),
            "best_epoch": float(np.mean([one.best_epoch for one in shipped])),
            "step_ms_p50": round(float(np.median(step_ms)), 2) if step_ms else 0.0,
            "windows_per_s": round(float(np.mean([one.items_per_s for one in shipped])), 2),
            "training_min": round(minutes, 2),
        },
        candidates={name: _over_groups(groups, name) for name in first["candidates"]},
        groups=groups,
        beats_baselines=wins,
        conclusion=conclusion,
    )


def certainty(groups: dict[str, dict[str, Any]]) -> str:
    """How surely the model is ahead of its best rival: a difference whose interval holds 0 may be chance."""
    bounds = [group["difference_to_best_baseline"]["interval"] for group in groups.values()]
    surely = sum(high < 0 for _, high in bounds)
    if len(bounds) > 1:
        return f"surely in {surely} of {len(bounds)}"
    low, high = bounds[0]
    return f"difference [{low:.4f}, {high:.4f}]" + (", perhaps chance" if low <= 0 <= high else "")


def _over_groups(groups: dict[str, dict[str, Any]], candidate: str) -> dict[str, Any]:
    """One candidate's numbers, averaged over the groups."""
    found = [group["candidates"][candidate] for group in groups.values()]
    return {
        "validation_mse": float(np.mean([one["validation_mse"] for one in found])),
        "test": _mean_of([one["test"] for one in found]),
        "ships_in": [name for name, group in groups.items() if group["candidate"] == candidate],
    }


def _mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _write_loss(path: Path, results: dict[str, GroupResult]) -> None:
    lines = ["training,epoch,train,validation"]
    for group, result in results.items():
        for name, found in result.fits.items():
            lines += [
                f"{group}/{name},{row['epoch']:.0f},{row['train']:.8g},{row['validation']:.8g}" for row in found.history
            ]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def flat_parameters(evaluation: dict[str, Any], config: TrainConfig, windows: Windows) -> dict[str, object]:
    """Parameters of what ships, flat and named alike in every run, so that MLflow's parallel coordinates line up."""
    candidate = config.candidates[evaluation["candidate"]]
    return {
        "candidate": evaluation["candidate"],
        "seed": config.seed,
        "validation_stride": config.validation_stride,
        "context": windows.context,
        "horizon": windows.horizon,
        "interval_s": windows.interval_s,
        "scaler": windows.scaler.kind,
        "channels": ",".join(windows.channels),
        **{f"n_windows_{part}": n for part, n in evaluation["windows"].items()},
        **candidate.model_dump(mode="json"),
        **evaluation["model"],
    }


def flat_metrics(report: dict[str, Any]) -> dict[str, float]:
    """Test metrics, their intervals, the baselines' and each channel's, flat and named alike in every run."""
    flat = {f"test/{name}": value for name, value in report["test"].items()}
    for name, (low, high) in report["interval"].items():
        flat |= {f"test/{name}_low": low, f"test/{name}_high": high}
    for rival, values in report["baselines"].items():
        flat |= {f"baseline/{rival}/{name}": value for name, value in values.items()}
    for channel, values in report["per_channel"].items():
        flat |= {f"channel/{channel}/{name}": value for name, value in values.items()}
    return flat
