"""Pictures of a training of mixed recordings: everyone side by side, and where the chosen one is right and wrong."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foresense.evaluate.class_plots import Bars, plot_confusions, plot_scores
from foresense.evaluate.classification import LOWER_IS_BETTER
from foresense.evaluate.plots import BASELINE_COLOURS, GREY, MODEL_COLOUR, TRUTH_COLOUR, save_figure
from foresense.steps.mixed_scores import CHOOSES, CHOSEN, NETWORK, Judged, ranks_in_turns

_COURSE_NS = 14 * 86_400 * 10**9
_HOLES = {"random": "at random", "block": "in one block of each channel", "channel": "whole channels"}
_N_PARTS = 5  # of a calibration, each with as many recordings


def draw(folder: Path, pipeline: str, judged: Judged) -> None:
    """Draw what its task asks for.

    Args:
        folder: Where pictures are written.
        pipeline: Its name, in the titles.
        judged: What everyone says, and how good that is.
    """
    draw_everyone(folder / "candidates.png", pipeline, judged)
    if judged.task == "value":
        draw_groups(folder / "errors-by-group.png", pipeline, judged)
        draw_course(folder / "course.png", pipeline, judged)
        draw_scatter(folder / "scatter.png", pipeline, judged)
    elif judged.task == "binary":
        draw_curves(folder / "roc-and-precision.png", pipeline, judged)
        draw_calibration(folder / "calibration.png", pipeline, judged)
    else:
        _draw_classes(folder, pipeline, judged)


def compared(judged: Judged) -> dict[str, str]:
    """Label -> name of those that stand in the detailed pictures: the best network, then the best rival."""
    names = list(dict.fromkeys(judged.networks))
    which = names[0] if len(names) == 1 else f"{len(names)} kinds in {len(judged.networks)} turns"
    return {f"best network ({which})": NETWORK, judged.rival: judged.rival}


def draw_everyone(path: Path, pipeline: str, judged: Judged) -> None:
    """The metric that chooses, of every candidate and rival on what is held out, with its interval; the best on top."""
    metric = CHOOSES[judged.task]
    names = [name for name in judged.said if name not in (CHOSEN, NETWORK)]
    names.sort(key=lambda name: judged.scores[name].metrics[metric], reverse=metric in LOWER_IS_BETTER)
    figure = Figure(figsize=(8, 0.36 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        scores = judged.scores[name]
        colour = BASELINE_COLOURS[0] if name in judged.rivals else MODEL_COLOUR
        value, bounds = scores.metrics[metric], scores.intervals.get(metric)
        if bounds is not None:
            axes.hlines(place, *bounds, color=colour, linewidth=2, alpha=0.5)
        axes.plot(value, place, "o", color=colour)
        axes.annotate(
            f"{value:.3f}", (value, place), textcoords="offset points", xytext=(0, 5), ha="center", fontsize=7
        )
    labels = [f"{name} (ships)" if name == judged.choices[0] else name for name in names]
    axes.set_yticks(np.arange(len(names)), labels, fontsize=8)
    unit = f", {judged.judge.data.target.unit}" if judged.task == "value" else ""
    sense = "lower" if metric in LOWER_IS_BETTER else "higher"
    axes.set(
        xlabel=f"{metric.replace('_', ' ')}{unit} ({sense} is better), 95 % interval",
        title=f"{pipeline}: networks (blue) and rivals (orange) on {len(judged.judge.all_rows)} windows held out",
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)
    axes.set_ylim(-0.5, len(names) - 0.3)
    save_figure(figure, path)


def draw_groups(path: Path, pipeline: str, judged: Judged) -> None:
    """MAE by season and station, of the best network and the best rival, with intervals."""
    groupings = {name: one for name, one in judged.scores[CHOSEN].detail["groups"].items() if "," not in name}
    if not groupings:
        return
    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    grid = figure.subplots(1, len(groupings), squeeze=False, sharey=True)[0]
    shown = compared(judged)
    for axes, grouping in zip(grid, groupings, strict=True):
        labels = _in_order(list(groupings[grouping]))
        for number, (label, name) in enumerate(shown.items()):
            rows = [judged.scores[name].detail["groups"][grouping][one] for one in labels]
            places = np.arange(len(labels)) + (number - (len(shown) - 1) / 2) * 0.4
            values = [row["metrics"]["mae"] for row in rows]
            colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[number - 1]
            axes.bar(places, values, 0.37, color=colour, label=label if axes is grid[0] else None)
            for place, value, row in zip(places, values, rows, strict=True):
                bounds = row["intervals"]["mae"]
                if bounds is not None:
                    axes.vlines(place, *bounds, color=TRUTH_COLOUR, linewidth=1)
                top = value if bounds is None else max(value, bounds[1])
                axes.annotate(
                    f"{value:.1f}", (place, top), textcoords="offset points", xytext=(0, 2), ha="center", fontsize=7
                )
        axes.set_xticks(np.arange(len(labels)), labels, fontsize=8)
        axes.set_title(f"by {grouping}", fontsize=10)
        axes.grid(alpha=0.3, axis="y")
        axes.set_axisbelow(True)
    grid[0].set_ylabel(f"MAE, {judged.judge.data.target.unit}")
    figure.legend(loc="outside lower center", ncols=len(shown), fontsize=8, frameon=False)
    figure.suptitle(f"{pipeline}: absolute error on the test part, 95 % intervals by blocks of weeks", fontsize=11)
    save_figure(figure, path)


def draw_course(path: Path, pipeline: str, judged: Judged) -> None:
    """Two weeks of every station: those whose error is the median of all of them, no lucky and no unlucky ones."""
    data, rows = judged.judge.data, judged.judge.all_rows
    if not data.is_over_time:
        return
    times, truth = data.windows.times_ns[rows], judged.judge.truth
    said = {label: np.concatenate(judged.said[name].test) for label, name in compared(judged).items()}
    chosen = _typical_weeks(times, np.abs(np.concatenate(judged.said[CHOSEN].test) - truth))
    stations = np.unique(data.stations[rows[chosen]])
    figure = Figure(figsize=(10, 1.75 * len(stations) + 1.0), layout="constrained")
    grid = figure.subplots(len(stations), 1, squeeze=False, sharex=True)[:, 0]
    begin = times[chosen].min()
    for axes, station in zip(grid, stations, strict=True):
        mine = np.flatnonzero(chosen & (data.stations[rows] == station))
        mine = mine[np.argsort(times[mine])]
        days = (times[mine] - begin) / (86_400 * 10**9)
        axes.plot(days, truth[mine], color=TRUTH_COLOUR, linewidth=1.2, label="measured")
        for number, (label, values) in enumerate(said.items()):
            colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[number - 1]
            axes.plot(days, values[mine], color=colour, linewidth=1.1, label=label)
        axes.set_title(str(station), fontsize=9, loc="left")
        axes.grid(alpha=0.3)
    grid[-1].set_xlabel(f"days from {np.datetime64(int(begin), 'ns').astype('datetime64[m]')} UTC, time of the target")
    figure.supylabel(f"{data.target.name}, {data.target.unit}", fontsize=9)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    ahead_h = (data.windows.ahead or 0) * data.windows.schemas[0].interval_s / 3600
    figure.suptitle(f"{pipeline}: {ahead_h:g} h ahead, two weeks of the test part with a median error", fontsize=11)
    save_figure(figure, path)


def draw_scatter(path: Path, pipeline: str, judged: Judged) -> None:
    """Forecast against truth, of the best network and the best rival; darker: more windows."""
    truth, target = judged.judge.truth, judged.judge.data.target
    shown = {label: np.concatenate(judged.said[name].test) for label, name in compared(judged).items()}
    top = float(max(truth.max(), *(values.max() for values in shown.values())))
    bottom = float(min(truth.min(), *(values.min() for values in shown.values())))
    figure = Figure(figsize=(4.6 * len(shown), 4.4), layout="constrained")
    for axes, (label, values) in zip(
        figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown.items(), strict=True
    ):
        axes.hexbin(truth, values, gridsize=50, bins="log", cmap="Blues", mincnt=1, extent=(bottom, top, bottom, top))
        axes.plot([bottom, top], [bottom, top], color=GREY, linewidth=1)
        bias = float((values - truth).mean())
        axes.set_title(f"{label}: on average {bias:+.1f} {target.unit}", fontsize=9)
        axes.set_xlabel(f"measured, {target.unit}")
        axes.set_aspect("equal")
        if axes.get_subplotspec().is_first_col():
            axes.set_ylabel(f"forecast, {target.unit}")
    figure.suptitle(f"{pipeline}: {target.name}, {len(truth)} windows of the test part", fontsize=11)
    save_figure(figure, path)


def draw_curves(path: Path, pipeline: str, judged: Judged) -> None:
    """ROC and precision by recall, of the best network and the best rival: recordings ranked within their turn."""
    truth = judged.judge.truth.astype(bool)
    figure = Figure(figsize=(9.2, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (label, name) in enumerate(compared(judged).items()):
        scores, metrics = ranks_in_turns(judged.said[name].test), judged.scores[name].metrics
        false, hits, precision = curves_of(truth, scores)
        colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[number - 1]
        left.plot(np.append(0, false), np.append(0, hits), color=colour, label=f"{label}: {metrics['auroc']:.3f}")
        right.step(
            np.append(0, hits),
            np.append(precision[0], precision),
            where="pre",
            color=colour,
            label=f"{label}: {metrics['auprc']:.3f}",
        )
    left.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="chance: 0.5")
    right.axhline(truth.mean(), color=GREY, linestyle="--", linewidth=1, label=f"chance: {truth.mean():.3f}")
    positive = judged.judge.data.class_names[1]
    left.set(
        xlabel="share of the others taken for it", ylabel=f"share of class {positive} found", title="ROC, area below"
    )
    right.set(xlabel=f"share of class {positive} found", ylabel="precision", title="precision, average", ylim=(0, 1.02))
    for axes in (left, right):
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(
        f"{pipeline}: {len(truth)} recordings, {int(truth.sum())} {positive}, each held out once", fontsize=11
    )
    save_figure(figure, path)


def curves_of(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of false alarms, share found, and precision at each distinct score, from the highest down.

    Args:
        truth: (n,), bool.
        scores: (n,), of being true.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = truth[order].cumsum()[last_of_tie]
    alarms = last_of_tie + 1
    return (alarms - hits) / (~truth).sum(), hits / truth.sum(), hits / alarms


def draw_calibration(path: Path, pipeline: str, judged: Judged) -> None:
    """How often it happened, by what was said: fifths of the recordings, with 95 % Wilson intervals."""
    truth, positive = judged.judge.truth.astype(bool), judged.judge.data.class_names[1]
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    axes = figure.subplots()
    top = 0.0
    for number, (label, name) in enumerate(compared(judged).items()):
        said = np.concatenate(judged.said[name].test)[:, 1]
        parts = np.array_split(np.argsort(said, kind="stable"), min(_N_PARTS, len(said)))
        told = np.array([said[part].mean() for part in parts])
        share = np.array([truth[part].mean() for part in parts])
        low, high = wilson(share, np.array([len(part) for part in parts]))
        top = max(top, float(told.max()), float(high.max()))
        colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[number - 1]
        axes.vlines(told, low, high, color=colour, alpha=0.5)
        brier = judged.scores[name].metrics["brier"]
        axes.plot(told, share, "o-", color=colour, markersize=4, linewidth=1, label=f"{label}: Brier {brier:.3f}")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.set(
        xlabel=f"probability of {positive} that was said, mean of a fifth",
        ylabel=f"share of {positive} among them",
        title=f"{pipeline}: fifths of {len(truth)} recordings held out",
        xlim=(0, min(1, 1.05 * top)),
        ylim=(0, min(1, 1.05 * top)),
    )
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8, frameon=False)
    save_figure(figure, path)


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share of n (Wilson, Journal of the American Statistical Association 22, 1927)."""
    z = 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def draw_studies(path: Path, pipeline: str, judged: Judged, studies: dict[str, Any]) -> None:
    """What more holes cost, one panel for each kind, and what few labels cost: the metric that chooses, held out."""
    metric = CHOOSES[judged.task]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, len(studies["removed"]) + 1, sharey=True)
    for axes, (kind, found) in zip(panels, studies["removed"].items(), strict=False):
        for (name, rows), colour in zip(found.items(), (MODEL_COLOUR, BASELINE_COLOURS[0]), strict=True):
            _band(axes, [100 * row["share"] for row in rows], rows, name, colour)
        axes.set(xlabel="values removed, %", title=_HOLES[kind])
    for (name, rows), colour in zip(studies["labels"].items(), (MODEL_COLOUR, BASELINE_COLOURS[1]), strict=True):
        _band(panels[-1], [row["n_labels"] for row in rows], rows, name, colour)
        panels[-1].plot(
            [row["n_labels"] for row in rows for _ in row["values"]],
            [value for row in rows for value in row["values"]],
            "x",
            color=colour,
            markersize=4,
        )
    panels[-1].set(xlabel="labels in training (x: each draw)", xscale="log", title="few labels")
    counts = [row["n_labels"] for row in next(iter(studies["labels"].values()))]
    panels[-1].set_xticks(counts, [str(n) for n in counts])
    panels[-1].minorticks_off()
    best = judged.scores[judged.rival].metrics[metric]
    panels[-1].axhline(best, color=GREY, linestyle="--", linewidth=1, label=f"{judged.rival}, all labels")
    unit = f", {judged.judge.data.target.unit}" if judged.task == "value" else ""
    panels[0].set_ylabel(
        f"{metric.replace('_', ' ')}{unit} ({'lower' if metric in LOWER_IS_BETTER else 'higher'} is better)"
    )
    for axes in panels:
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(f"{pipeline}: held out, 95 % intervals; nothing was trained again for the holes", fontsize=11)
    save_figure(figure, path)


def _band(axes: Any, places: list[float], rows: list[dict[str, Any]], label: str, colour: str) -> None:
    axes.plot(places, [row["value"] for row in rows], "o-", color=colour, label=label, markersize=4)
    axes.fill_between(places, [row["low"] for row in rows], [row["high"] for row in rows], color=colour, alpha=0.15)


def _draw_classes(folder: Path, pipeline: str, judged: Judged) -> None:
    classes = judged.judge.data.class_names
    shown = compared(judged)
    details: dict[str, dict[str, Any]] = {label: judged.scores[name].detail for label, name in shown.items()}
    plot_confusions(
        folder / "confusion.png",
        f"{pipeline}: {len(judged.judge.all_rows)} windows held out",
        classes,
        {label: np.array(detail["overall"]["confusion"]) for label, detail in details.items()},
    )
    bars = {
        label: Bars(
            np.array([detail["f1"][name] for name in classes]),
            np.array([detail["f1_intervals"][name] or (np.nan, np.nan) for name in classes]),
        )
        for label, detail in details.items()
    }
    plot_scores(folder / "f1-by-class.png", f"{pipeline}: F1 of each class", classes, bars, "F1")


def _typical_weeks(times_ns: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(n,), bool: the windows of that stretch of two weeks whose mean error is the median of all such stretches."""
    stretch = (times_ns - times_ns.min()) // _COURSE_NS
    numbers, sizes = np.unique(stretch, return_counts=True)
    full = numbers[sizes >= sizes.max() / 2]
    means = np.array([errors[stretch == number].mean() for number in full])
    return np.asarray(stretch == full[np.argsort(means)[len(means) // 2]])


def _in_order(labels: list[str]) -> list[str]:
    """Seasons as the year has them, other labels by name."""
    seasons = ["winter", "spring", "summer", "autumn"]
    return sorted(labels, key=lambda label: (seasons.index(label) if label in seasons else 0, label))
