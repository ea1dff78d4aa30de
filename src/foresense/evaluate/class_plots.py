"""Pictures of a classifier: who is taken for whom, scores side by side, and what a label costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from foresense.evaluate.plots import BASELINE_COLOURS, GREY, MODEL_COLOUR, TRUTH_COLOUR, save_figure

_DARK = 0.55  # share above which the text of a cell is white


@dataclass(frozen=True)
class Bars:
    """One set of scores in a comparison.

    Attributes:
        values: (n,).
        intervals: (n, 2), lower and upper; None where they are not known. NaN where one value has none.
    """

    values: np.ndarray
    intervals: np.ndarray | None = None


@dataclass(frozen=True)
class StageCost:
    """Time of one stage from a raw window to a label.

    Attributes:
        name: Of the stage.
        p50_ms: Median.
        p95_ms: 95th percentile.
    """

    name: str
    p50_ms: float
    p95_ms: float


def plot_confusions(path: Path, title: str, classes: Sequence[str], matrices: Mapping[str, np.ndarray]) -> None:
    """Confusion matrices side by side: colour is the share of the true class, text that share and the windows.

    Args:
        path: PNG to write.
        title: Above the picture.
        classes: Names of the k classes.
        matrices: Name (`raw`, `smoothed`) -> (k, k) windows, row = true class, column = predicted class. A class
            without windows has an empty row.
    """
    k, n = len(classes), len(matrices)
    side = max(3.6, 0.82 * k + 1.2)
    figure = Figure(figsize=(side * n + 2.0, side + 1.4), layout="compressed")  # square cells, no space between
    grid = figure.subplots(1, n, squeeze=False, sharey=True)[0]
    for axes, (name, matrix) in zip(grid, matrices.items(), strict=True):
        support = matrix.sum(1, keepdims=True)
        shares = np.divide(matrix, support, out=np.full(matrix.shape, np.nan), where=support > 0)
        drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in np.flatnonzero(support[:, 0] == 0):
            axes.text((k - 1) / 2, row, "no windows", ha="center", va="center", fontsize=8, color=GREY)
        for row, column in np.ndindex(k, k):
            if support[row, 0]:
                axes.text(
                    column,
                    row,
                    f"{_percent(shares[row, column])}\n{int(matrix[row, column])}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    linespacing=1.3,
                    color="white" if shares[row, column] > _DARK else TRUTH_COLOUR,
                )
        right = np.trace(matrix) / matrix.sum()
        axes.set_title(f"{name}: {right:.1%} of {int(matrix.sum())} windows right", fontsize=10)
        axes.set_xticks(np.arange(k), classes, rotation=35, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(np.arange(k), classes, fontsize=8)
        axes.set_xlabel("predicted", fontsize=9)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    grid[0].set_ylabel("true", fontsize=9)
    bar = figure.colorbar(drawn, ax=list(grid), shrink=0.8, label="share of the true class")
    bar.outline.set_visible(False)
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def plot_scores(path: Path, title: str, names: Sequence[str], scores: Mapping[str, Bars], axis: str) -> None:
    """Scores of several predictions side by side: F1 by class, or metric by metric.

    Args:
        path: PNG to write.
        title: Above the picture.
        names: (n,): classes or metrics.
        scores: Name (`raw`, `smoothed`, a rival) -> values (n,); the first one is the model.
        axis: Label of the values; they lie in 0..1 (a correlation may be below).
    """
    colours = (MODEL_COLOUR, *BASELINE_COLOURS)
    figure = Figure(figsize=(max(8.0, 0.3 * len(names) * (len(scores) + 1)), 4.4), layout="constrained")
    axes = figure.subplots()
    width = 0.84 / len(scores)
    for number, (name, bars) in enumerate(scores.items()):
        places = np.arange(len(names)) + (number + 0.5) * width - 0.42
        axes.bar(places, bars.values, width * 0.94, color=colours[number % len(colours)], label=name)
        tops = bars.values
        if bars.intervals is not None:
            axes.vlines(places, bars.intervals[:, 0], bars.intervals[:, 1], color=TRUTH_COLOUR, linewidth=1.0)
            tops = np.fmax(bars.values, bars.intervals[:, 1])
        for place, top, value in zip(places, np.maximum(tops, 0.0), bars.values, strict=True):
            axes.annotate(
                f"{value:.2f}",
                (place, top),
                textcoords="offset points",
                xytext=(0, 2),
                ha="center",
                fontsize=7 if len(scores) < 4 else 6,
            )
    axes.set_xticks(np.arange(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    if any(len(name) > 9 for name in names):
        for label in axes.get_xticklabels():
            label.set(rotation=25, ha="right", rotation_mode="anchor")
    lowest = min(float(np.min(bars.values)) for bars in scores.values())
    axes.set(ylabel=axis, title=title, ylim=(min(0.0, 1.1 * lowest), 1.08), yticks=np.arange(0, 1.01, 0.2))
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.02)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    save_figure(figure, path)


def plot_costs(path: Path, title: str, stages: Sequence[StageCost], *, limit_ms: float | None = None) -> None:
    """What each stage of a label takes: bars are medians, lines end at the 95th percentile.

    Args:
        path: PNG to write.
        title: Above the picture.
        stages: In the order in which a window goes through them.
        limit_ms: Of the whole, at the 95th percentile; told in the title of the axis.
    """
    medians = np.array([stage.p50_ms for stage in stages])
    whole = medians.sum()
    figure = Figure(figsize=(8.5, 0.5 * len(stages) + 1.7), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(stages))
    slowest = medians == medians.max()
    axes.barh(places, medians, 0.62, color=np.where(slowest, BASELINE_COLOURS[0], MODEL_COLOUR))
    ends = np.array([stage.p95_ms for stage in stages])
    axes.hlines(places, medians, ends, color=TRUTH_COLOUR, linewidth=1.0)
    axes.plot(ends, places, "|", color=TRUTH_COLOUR, markersize=8)
    for place, stage in zip(places, stages, strict=True):
        axes.annotate(
            f"{stage.p50_ms:.3g} ms ({_percent(stage.p50_ms / whole)}), p95 {stage.p95_ms:.3g} ms",
            (max(stage.p50_ms, stage.p95_ms), place),
            textcoords="offset points",
            xytext=(6, 0),
            va="center",
            fontsize=8,
        )
    told = "" if limit_ms is None else f"; limit of a label {limit_ms:g} ms at p95"
    axes.set_yticks(places, [stage.name for stage in stages], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=f"ms a window, medians add up to {whole:.3g} ms{told}", title=title, xlim=(0, 1.55 * ends.max()))
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    save_figure(figure, path)


def _percent(share: float) -> str:
    if 0 < share <= 0.005:
        return "<1 %"
    return ">99 %" if 0.995 <= share < 1 else f"{100 * share:.0f} %"
