"""Pictures of a training of anomaly detectors: everyone side by side, ROC, scores, and what looks most anomalous."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foresense.evaluate.plots import BASELINE_COLOURS, GREY, MODEL_COLOUR, save_figure
from foresense.signals.clips import NORMAL
from foresense.steps.anomaly_data import ClipData
from foresense.steps.anomaly_scores import CHOOSES, Judged, placements
from foresense.steps.anomaly_training import TrainedDetector, rebuilt
from foresense.steps.mixed_pictures import curves_of

_N_SHOWN, _N_BINS = 10, 30


def draw_everyone(path: Path, pipeline: str, judged: Judged) -> None:
    """AUC of every network and rival, split by split, with its interval; the best of the first split on top."""
    first = judged.scores[judged.chooses]
    names = sorted(first, key=lambda name: first[name].overall.metrics[CHOOSES])
    n = len(judged.turns)
    figure = Figure(figsize=(4.2 * n + 3, 0.4 * len(names) + 1.6), layout="constrained")
    for axes, (split, scores) in zip(
        figure.subplots(1, n, squeeze=False, sharey=True)[0], judged.scores.items(), strict=True
    ):
        for place, name in enumerate(names):
            row = scores[name].overall
            colour = BASELINE_COLOURS[0] if name in judged.rivals else MODEL_COLOUR
            if CHOOSES in row.intervals:
                axes.hlines(place, *row.intervals[CHOOSES], color=colour, linewidth=2, alpha=0.5)
            value = row.metrics[CHOOSES]
            axes.plot(value, place, "o", color=colour)
            axes.annotate(
                f"{value:.3f}", (value, place), textcoords="offset points", xytext=(0, 5), ha="center", fontsize=7
            )
        axes.axvline(0.5, color=GREY, linestyle="--", linewidth=1)
        axes.set_title(f"{split}: {len(judged.turns[split])} turn(s)", fontsize=9)
        axes.set_xlabel("AUC (higher is better), 95 % interval; dashed: chance", fontsize=8)
        axes.grid(alpha=0.3, axis="x")
        axes.set_axisbelow(True)
        axes.set_ylim(-0.5, len(names) - 0.3)
        axes.set_yticks(np.arange(len(names)), [_shown(name, judged) for name in names], fontsize=8)
    figure.suptitle(f"{pipeline}: networks (blue) and rivals (orange) on clips held out", fontsize=10)
    save_figure(figure, path)


def draw_roc(path: Path, pipeline: str, judged: Judged) -> None:
    """ROC of what ships and of the best rival, split by split; clips are placed among the normal ones of a turn."""
    n = len(judged.turns)
    figure = Figure(figsize=(4.6 * n, 4.8), layout="constrained")
    for axes, (split, pooled) in zip(figure.subplots(1, n, squeeze=False)[0], judged.pooled.items(), strict=True):
        for colour, name in ((MODEL_COLOUR, judged.ships), (BASELINE_COLOURS[0], judged.rival)):
            placed = placements(pooled, pooled.of(judged.said[name]))
            false, hits, _ = curves_of(pooled.labels != NORMAL, placed)
            value = judged.scores[split][name].overall.metrics[CHOOSES]
            axes.plot(np.append(0, false), np.append(0, hits), color=colour, label=f"{name}: {value:.3f}")
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance: 0.5")
        axes.set_xlabel("share of normal clips taken for anomalous", fontsize=8)
        axes.set_ylabel("share of anomalous clips found", fontsize=8)
        axes.set_title(split, fontsize=9)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{pipeline}: ROC of clips held out, area beside the names", fontsize=10)
    save_figure(figure, path)


def draw_histograms(path: Path, pipeline: str, judged: Judged) -> None:
    """Scores of what ships, of normal and of anomalous clips, all turns of a split together."""
    n = len(judged.turns)
    figure = Figure(figsize=(4.6 * n, 3.6), layout="constrained")
    for axes, (split, pooled) in zip(figure.subplots(1, n, squeeze=False)[0], judged.pooled.items(), strict=True):
        scores = pooled.of(judged.said[judged.ships])
        bins = np.linspace(scores.min(), scores.max(), _N_BINS + 1)
        for colour, chosen, label in (
            (MODEL_COLOUR, pooled.labels == NORMAL, "normal"),
            (BASELINE_COLOURS[3], pooled.labels != NORMAL, "anomalous"),
        ):
            n_judged, n_clips = int(chosen.sum()), len(np.unique(pooled.numbers[chosen]))
            weights = np.full(n_judged, 1 / n_judged)
            times = f", judged {n_judged / n_clips:g} times" if n_judged > n_clips else ""
            said = f"{label}, {n_clips} clips{times}"
            axes.hist(scores[chosen], bins, weights=weights, alpha=0.6, color=colour, label=said)
        axes.set_xlabel("score: probability of an anomaly", fontsize=8)
        axes.set_ylabel("share of the clips of the kind", fontsize=8)
        axes.set_title(split, fontsize=9)
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"{pipeline}: scores of {judged.ships} on clips held out, each by its own turn's network", fontsize=10
    )
    save_figure(figure, path)


def draw_most_anomalous(path: Path, pipeline: str, data: ClipData, detector: TrainedDetector, turn: int) -> None:
    """The ten clips that an autoencoder finds most anomalous among those it never saw, above what it rebuilds."""
    test = data.turns.turn(turn).of("test")
    chosen = test[np.argsort(-detector.scores[test], kind="stable")[:_N_SHOWN]]
    pictures, back = data.pictures(chosen), rebuilt(detector, data, chosen)
    figure = Figure(figsize=(1.5 * len(chosen) + 1, 4.4), layout="constrained")
    grid = figure.subplots(2, len(chosen), squeeze=False)
    for column, number in enumerate(chosen):
        # one scale for both: what was not rebuilt shows
        low, high = float(pictures[column].min()), float(pictures[column].max())
        for row, picture in enumerate((pictures[column], back[column])):
            _show(grid[row][column], picture, low, high, is_sound=data.levels is not None)
        name = data.classes[data.labels[number]]
        grid[0][column].set_title(f"{name}\n{detector.scores[number]:.3g}", fontsize=7)
    grid[0][0].set_ylabel("clip", fontsize=8)
    grid[1][0].set_ylabel("rebuilt", fontsize=8)
    axes = "" if data.levels is None else "; mel bands upwards, time to the right"
    shown = f"condition, and mean squared error of standardised values{axes}"
    figure.suptitle(f"{pipeline}: most anomalous by {detector.name}; {shown}", fontsize=9)
    save_figure(figure, path)


def _show(axes: Any, picture: np.ndarray, low: float, high: float, *, is_sound: bool) -> None:
    axes.imshow(
        picture,
        cmap="magma" if is_sound else "inferno",
        vmin=low,
        vmax=high,
        origin="lower" if is_sound else "upper",
        aspect="auto" if is_sound else "equal",
    )
    axes.set_xticks([])
    axes.set_yticks([])


def _shown(name: str, judged: Judged) -> str:
    return f"{name} (ships)" if name == judged.ships else name
