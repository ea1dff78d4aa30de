"""The report of the step `train`: its groups joined, with one sentence for people, and the same flat for MLflow."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from foresense.config import CandidateConfig, TrainConfig
from foresense.signals import Gate, TrainReport, Windows, write_json
from foresense.steps.frame import StepRun
from foresense.steps.report_tables import losses_of, write_losses
from foresense.steps.train_evaluation import GroupResult, Joined


def report_of(
    run: StepRun, results: dict[str, GroupResult], found: Joined, time_gate: Gate, **provenance: Any
) -> TrainReport:
    """Write the step's report, with `metrics.json` and `loss.csv` beside it.

    Args:
        run: The step that is running.
        results: Group -> what it gave.
        found: The groups joined.
        time_gate: Minutes that the trainings took, judged against the stated budget.
        **provenance: Fields of the report's header: `data_sha256`, `seed`, `mlflow_run_id`.
    """
    groups = {name: result.evaluation for name, result in results.items()}
    step_ms = [ms for result in results.values() for one in result.fits.values() for ms in one.step_ms]
    shipped = [result.fits[result.evaluation["candidate"]] for result in results.values()]
    mse, rival, (low, high) = found.test["mse"], found.best_baseline, found.interval["mse"]
    conclusion = (
        f"{run.pipeline}: MSE {mse:.4f} [{low:.4f}, {high:.4f}] on the test part; "
        f"best baseline {rival}: {found.baselines[rival]['mse']:.4f}. "
        + ("The model beats its baselines" if found.wins else f"THE MODEL DOES NOT BEAT ITS BASELINE {rival.upper()}")
        + f" ({certainty(groups)})."
    )
    write_json(run.paths.reports / "metrics.json", found.headline)
    histories = {f"{group}/{name}": fit.history for group, one in results.items() for name, fit in one.fits.items()}
    write_losses(run.paths.reports / "loss.csv", losses_of(histories))
    return run.finish(
        TrainReport,
        **provenance,
        gates=[time_gate],
        model={
            **next(iter(groups.values()))["model"],
            "candidates": {name: group["candidate"] for name, group in groups.items()},
        },
        windows=found.windows,
        test=found.test,
        interval=found.interval,
        baselines=found.baselines,
        per_channel=found.per_channel,
        timing={
            "n_epochs": float(np.mean([len(one.history) for one in shipped])),
            "best_epoch": float(np.mean([one.best_epoch for one in shipped])),
            "step_ms_p50": round(float(np.median(step_ms)), 2) if step_ms else 0.0,
            "windows_per_s": round(float(np.mean([one.items_per_s for one in shipped])), 2),
            "training_min": time_gate.value,
        },
        candidates=found.candidates,
        groups=groups,
        beats_baselines=found.wins,
        conclusion=conclusion,
    )


def certainty(groups: dict[str, dict[str, Any]]) -> str:
    """How surely the model is ahead of its best rival: a difference whose interval holds 0 may be chance."""
    bounds = [group["difference_to_best_baseline"]["interval"] for group in groups.values()]
    if len(bounds) > 1:
        ahead, behind = sum(high < 0 for _, high in bounds), sum(low > 0 for low, _ in bounds)
        return f"surely ahead in {ahead}, surely behind in {behind} of {len(bounds)}"
    low, high = bounds[0]
    return f"difference [{low:.4f}, {high:.4f}]" + (", perhaps chance" if low <= 0 <= high else "")


def flat_parameters(
    evaluation: dict[str, Any],
    config: TrainConfig,
    windows: Windows,
    candidates: Mapping[str, CandidateConfig] | None = None,
) -> dict[str, object]:
    """Parameters of what ships, flat and named alike in every run, so that MLflow's parallel coordinates line up.

    Args:
        evaluation: Of one group.
        config: Section `train` or `fleet`.
        windows: The group.
        candidates: Where `evaluation["candidate"]` is looked up; those of `config` where absent.
    """
    candidate = (candidates or config.candidates)[evaluation["candidate"]]
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
