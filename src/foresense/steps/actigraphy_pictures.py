"""Pictures of a training on weeks of minutes: everyone side by side, ROC, and what the metrics tell apart."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from foresense.evaluate.actigraphy import METRICS as DEFINITIONS
from foresense.evaluate.plots import BASELINE_COLOURS, GREY, MODEL_COLOUR, save_figure
from foresense.signals.weeks import WeekWindows
from foresense.steps.actigraphy_scores import CHOOSES, CHOSEN, NETWORK, Judged
from foresense.steps.mixed_pictures import curves_of


def draw_everyone(path: Path, pipeline: str, judged: Judged) -> None:
    """AUROC of every candidate and rival over the people who were held out, with its interval; the best on top."""
    names = [name for name in judged.said if name not in (CHOSEN, NETWORK)]
    names.sort(key=lambda name: judged.scores[name].metrics[CHOOSES])
    figure = Figure(figsize=(8, 0.4 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        colour = BASELINE_COLOURS[0] if name in judged.rivals else MODEL_COLOUR
        value = judged.scores[name].metrics[CHOOSES]
        axes.hlines(place, *judged.scores[name].intervals[CHOOSES], color=colour, linewidth=2, alpha=0.5)
        axes.plot(value, place, "o", color=colour)
        axes.annotate(
            f"{value:.3f}", (value, place), textcoords="offset points", xytext=(0, 5), ha="center", fontsize=7
        )
    labels = [f"{name} (ships)" if name == judged.choices[0] else name for name in names]
    axes.set_yticks(np.arange(len(names)), labels, fontsize=8)
    axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1)
    n_people = len(judged.said[CHOSEN].people)
    axes.set_xlabel("AUROC (higher is better), 95 % interval by person; dashed: chance")
    axes.set_title(f"{pipeline}: networks (blue) and rivals (orange) on {n_people} people held out", fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    axes.set_ylim(-0.5, len(names) - 0.3)
    save_figure(figure, path)


def draw_roc(path: Path, pipeline: str, judged: Judged) -> None:
    """ROC of the best network and the best rival: people ranked within their turn, those of all dealings together."""
    figure = Figure(figsize=(5.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for colour, name in ((MODEL_COLOUR, NETWORK), (BASELINE_COLOURS[0], judged.rival)):
        said = judged.said[name]
        truth = np.tile(judged.windows.labels[said.people], len(said.ranks)).astype(bool)
        false, hits, _ = curves_of(truth, said.ranks.ravel())
        low, high = judged.scores[name].intervals[CHOOSES]
        area = judged.scores[name].metrics[CHOOSES]
        label = f"{name}: {area:.3f} [{low:.3f}, {high:.3f}]"
        axes.plot(np.append(0, false), np.append(0, hits), color=colour, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance: 0.5")
    axes.set_xlabel(f"share of the others taken for {judged.windows.positive}")
    axes.set_ylabel(f"share of {judged.windows.positive} found")
    axes.set_title(f"{pipeline}: ROC of people who were held out, area below", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    save_figure(figure, path)


def draw_metrics(
    path: Path, pipeline: str, windows: WeekWindows, names: Sequence[str], values: np.ndarray
) -> list[Sequence[object]]:
    """How far each clinical metric tells the labels apart by itself, and the rows of that picture.

    Args:
        path: Of the picture.
        pipeline: Its name, in the title.
        windows: Whose weeks they are.
        names: Of the metrics.
        values: (n_weeks, n_names), NaN where undefined; a person's value is the mean of the person's weeks.

    Returns:
        A header, then name, AUROC and the quartiles of both labels; these are not held out: nothing is trained.
    """
    rows: list[tuple[object, ...]] = []
    for name, column in zip(names, values.T, strict=True):
        people = np.array([_mean(column[windows.owners == person]) for person in range(len(windows.people))])
        known = ~np.isnan(people)
        truth = windows.labels[known] == 1
        quartiles = [np.quantile(people[known][truth == label], (0.25, 0.5, 0.75)) for label in (True, False)]
        rows.append((name, _area(truth, people[known]), *quartiles[0].tolist(), *quartiles[1].tolist()))
    rows.sort(key=lambda row: abs(float(str(row[1])) - 0.5))
    figure = Figure(figsize=(8, 0.27 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.plot([0.5, float(str(row[1]))], [place, place], color=MODEL_COLOUR, linewidth=5, solid_capstyle="butt")
    labels = [DEFINITIONS[str(row[0])].label if str(row[0]) in DEFINITIONS else str(row[0]) for row in rows]
    axes.set_yticks(np.arange(len(rows)), labels, fontsize=7)
    axes.axvline(0.5, color=GREY, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"AUROC of the metric alone: right of 0.5 it is higher in {windows.positive}, left lower")
    axes.set_title(
        f"{pipeline}: {len(windows.people)} people, mean of their weeks; nothing is trained here", fontsize=10
    )
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    save_figure(figure, path)
    ends = ("25", "50", "75")
    sides = (windows.positive, "others")
    header = ("metric", "auroc", *(f"{side}_p{end}" for side in sides for end in ends))
    decimals = [(row[0], *(f"{float(str(value)):.6f}" for value in row[1:])) for row in reversed(rows)]
    return [header, *decimals]


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def _area(truth: np.ndarray, values: np.ndarray) -> float:
    """AUROC by ranks, ties one half (Mann and Whitney)."""
    n_true = int(truth.sum())
    ranks = rankdata(values)
    return float((ranks[truth].sum() - n_true * (n_true + 1) / 2) / (n_true * (len(truth) - n_true)))
