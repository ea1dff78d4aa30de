"""Pictures of a training: what a person would rather look at than read."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from foresense.signals import write_bytes

MODEL_COLOUR, TRUTH_COLOUR, GREY = "#0b6e99", "#222222", "#9aa5ad"
BASELINE_COLOURS = ("#d98324", "#7a9e3f", "#a05195", "#c14953", "#7f6a4d", "#59a5d8")


def plot_loss(path: Path, histories: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Training and validation error by epoch, one colour per training."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    histories = {name: history for name, history in histories.items() if history}  # what was not trained has none
    for colour, (name, history) in zip(_cycle(len(histories)), histories.items(), strict=True):
        epochs = [row["epoch"] for row in history]
        axes.plot(epochs, [row["train"] for row in history], color=colour, linestyle="--", linewidth=1)
        axes.plot(epochs, [row["validation"] for row in history], color=colour, label=name)
    axes.set(
        xlabel="epoch",
        ylabel="MSE (scaled units²)",
        yscale="log",
        title="Error by epoch: validation solid, training dashed",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if histories:
        axes.legend(fontsize=8)
    save_figure(figure, path)


def plot_forecasts(
    path: Path,
    *,
    title: str,
    channels: Sequence[str],
    units: Sequence[str],
    contexts: np.ndarray,
    truth: np.ndarray,
    forecasts: Mapping[str, np.ndarray],
    interval_h: float,
) -> None:
    """Forecast against truth with the baselines, a row per channel, a column per window.

    Args:
        path: PNG to write.
        title: Above the picture.
        channels: Name of each channel.
        units: Unit of each channel.
        contexts: (n_windows, n_shown, n_channels): the newest part of each context, physical units.
        truth: (n_windows, horizon, n_channels), physical units.
        forecasts: Name -> the shape of `truth`; the first one is the model.
        interval_h: Hours from one sample to the next.
    """
    n_windows, n_shown, n_channels = contexts.shape
    figure = Figure(figsize=(4.6 * n_windows, 1.9 * n_channels + 0.9), layout="constrained")
    grid = figure.subplots(n_channels, n_windows, squeeze=False, sharex=True)
    past = np.arange(-n_shown + 1, 1) * interval_h
    ahead = np.arange(1, truth.shape[1] + 1) * interval_h
    for row in range(n_channels):
        for column in range(n_windows):
            axes = grid[row][column]
            axes.plot(past, contexts[column, :, row], color=GREY, linewidth=0.9)
            axes.plot(ahead, truth[column, :, row], color=TRUTH_COLOUR, linewidth=1.1, label="truth")
            for number, (name, values) in enumerate(forecasts.items()):
                colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[(number - 1) % len(BASELINE_COLOURS)]
                width = (1.6 if truth.shape[1] <= 100 else 1.0) if number == 0 else 0.8
                axes.plot(
                    ahead,
                    values[column, :, row],
                    color=colour,
                    linewidth=width,
                    label=name,
                    zorder=3 if number == 0 else 2,
                )
            axes.axvline(0, color=GREY, linewidth=0.6)
            axes.margins(x=0)
            if column == 0:
                unit = "" if units[row] == "1" else f" ({_unit(units[row])})"
                axes.set_ylabel(f"{channels[row]}{unit}", fontsize=8)
            axes.tick_params(labelsize=7)
    for axes in grid[-1]:
        axes.set_xlabel("hours from the forecast's origin", fontsize=8)
    figure.suptitle(title, fontsize=11)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    save_figure(figure, path)


def plot_error_by_step(path: Path, errors: Mapping[str, np.ndarray], interval_h: float) -> None:
    """Mean squared error by hours ahead; `errors`: name -> (horizon,), the first one is the model."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(errors.items()):
        colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[(number - 1) % len(BASELINE_COLOURS)]
        hours = np.arange(1, len(values) + 1) * interval_h
        axes.plot(hours, values, color=colour, linewidth=1.8 if number == 0 else 1.0, label=name)
    axes.set(xlabel="hours ahead", ylabel="MSE (scaled units²)", title="Error by horizon, test part", yscale="log")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    save_figure(figure, path)


def plot_error_by_channel(path: Path, errors: Mapping[str, np.ndarray], channels: Sequence[str]) -> None:
    """Mean squared error by channel; `errors`: name -> (n_channels,), the first one is the model."""
    figure = Figure(figsize=(max(8.0, 1.5 * len(channels)), 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(errors)
    for number, (name, values) in enumerate(errors.items()):
        colour = MODEL_COLOUR if number == 0 else BASELINE_COLOURS[(number - 1) % len(BASELINE_COLOURS)]
        axes.bar(np.arange(len(channels)) + number * width - 0.4 + width / 2, values, width, color=colour, label=name)
    axes.set_xticks(np.arange(len(channels)), channels, fontsize=8)
    axes.set(ylabel="MSE (scaled units²)", title="Error by channel, test part", yscale="log")
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    save_figure(figure, path)


def _cycle(n: int) -> list[str]:
    colours = (MODEL_COLOUR, *BASELINE_COLOURS)
    return [colours[number % len(colours)] for number in range(n)]


def _unit(unit: str) -> str:
    return {"Cel": "°C"}.get(unit, unit)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, equal bytes for equal figures."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
    write_bytes(path, drawn.getvalue())
