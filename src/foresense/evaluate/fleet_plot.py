"""The picture of a fleet: every machine against its naive forecast, and what became of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from foresense.evaluate.plots import BASELINE_COLOURS, GREY, MODEL_COLOUR, save_figure
from foresense.evaluate.scaled_error import error_ratio

STATUS_COLOURS = {"success": MODEL_COLOUR, "skipped": BASELINE_COLOURS[0], "failed": BASELINE_COLOURS[3]}
N_NAMED = 5  # machines that the picture names


@dataclass(frozen=True)
class Machine:
    """One machine of a fleet; errors are None where it has no model.

    Attributes:
        asset: Its name.
        status: `success`, `skipped` or `failed`.
        model: Name of the candidate that forecasts for it.
        test_mse: Of that model, squared scaled units.
        naive_mse: Of the better seasonal naive forecast.
        best_baseline_mse: Of the best baseline of all.
    """

    asset: str
    status: str
    model: str | None
    test_mse: float | None
    naive_mse: float | None
    best_baseline_mse: float | None

    @property
    def ratio(self) -> float:
        """Error over that of seasonal naive, below 1 is better; not a number without a model."""
        if self.test_mse is None or self.naive_mse is None:
            return float("nan")
        return error_ratio(self.test_mse, self.naive_mse)


def plot_fleet(path: Path, pipeline: str, machines: Sequence[Machine]) -> None:
    """Left: error of each machine's model against its seasonal naive forecast; right: their ratio, machine by machine.

    Args:
        path: PNG to write.
        pipeline: In the title.
        machines: All machines, also those without a model: the title counts them.
    """
    judged = sorted((one for one in machines if np.isfinite(one.ratio)), key=lambda one: one.ratio)
    counts = ", ".join(f"{sum(one.status == status for one in machines)} {status}" for status in STATUS_COLOURS)
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for status, colour in STATUS_COLOURS.items():
        own = [one for one in judged if one.status == status]
        if not own:
            continue
        left.scatter(
            [one.naive_mse for one in own],
            [one.test_mse for one in own],
            s=18,
            color=colour,
            alpha=0.8,
            label=f"{status} ({len(own)})",
        )
    low, high = _bounds(judged)
    left.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="MSE of the better seasonal naive forecast",
        ylabel="MSE of the model",
        title="Each machine on its own test part: below the line the model is better",
    )
    for axis in (left.xaxis, left.yaxis):
        axis.set_minor_formatter(NullFormatter())  # else the labels of half a decade lie upon each other
    left.legend(fontsize=8, frameon=False)
    left.grid(alpha=0.3)
    ratios = np.array([one.ratio for one in judged])
    right.bar(np.arange(len(judged)), ratios, width=1.0, color=[STATUS_COLOURS[one.status] for one in judged])
    right.axhline(1.0, color=GREY, linewidth=0.8)
    right.axhline(float(np.median(ratios)), color="#222222", linewidth=0.9, linestyle="--")
    right.annotate(
        f"median {np.median(ratios):.2f}",
        (0, float(np.median(ratios))),
        textcoords="offset points",
        xytext=(4, 4),
        fontsize=8,
    )
    worst = "\n".join(f"{one.ratio:.2f}  {one.asset}" for one in judged[: -N_NAMED - 1 : -1])
    right.annotate(f"the worst:\n{worst}", (0.02, 0.97), xycoords="axes fraction", va="top", fontsize=8)
    right.set(
        xlabel="machines, the best first",
        ylabel="MSE of the model / MSE of seasonal naive",
        title=f"Better than seasonal naive in {int((ratios < 1).sum())} of {len(judged)} machines",
    )
    right.margins(x=0.01, y=0.2)
    right.grid(alpha=0.3, axis="y")
    figure.suptitle(f"{pipeline}: {len(machines)} machines: {counts}", fontsize=11)
    save_figure(figure, path)


def _bounds(judged: Sequence[Machine]) -> tuple[float, float]:
    values = [value for one in judged for value in (one.test_mse, one.naive_mse) if value]
    return min(values) * 0.8, max(values) * 1.25
