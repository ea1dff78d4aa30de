"""Pictures of one person's actigraphy: the double-plotted actogram, and the mean day."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from foresense.evaluate.actigraphy import Clinical
from foresense.evaluate.plots import BASELINE_COLOURS, GREY, MODEL_COLOUR, TRUTH_COLOUR, save_figure
from foresense.signals.actigraphy import MINUTES_PER_DAY, days_by_clock
from foresense.windows.runs import Runs, painted

REST_COLOUR, NOT_WORN_COLOUR, M10_COLOUR = "#cfe3ee", "#e3e3e3", "#f3dfc8"
_BIN_MIN = 5  # of the actogram: 576 bars in 48 h
_PROFILE_MIN = 15
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, eq=False)
class PersonDays:
    """What an actogram shows of one person, by day and minute of the wall clock.

    Attributes:
        first_day: Of row 0.
        activity: (n_days, 1440); NaN where nothing was recorded.
        is_rest: (n_days, 1440), bool: in a main rest period.
        is_not_worn: (n_days, 1440), bool: recorded and not worn.
        unit: Of the activity.
    """

    first_day: date
    activity: np.ndarray
    is_rest: np.ndarray
    is_not_worn: np.ndarray
    unit: str


def days_of(clinical: Clinical, person: str) -> PersonDays:
    """The days of one person, from the first to the last with a recorded minute."""
    minutes, row = clinical.minutes, clinical.people.index(person)
    nights = clinical.nights
    found = nights.found[row]
    rest = Runs(np.full(int(found.sum()), row), nights.begins[row][found], nights.ends[row][found])
    worn_not = clinical.wear.not_worn
    shape = minutes.values.shape
    laid = [
        days_by_clock(minutes, values).values[row]
        for values in (
            minutes.values,
            painted(rest, shape).astype(np.float64),
            painted(worn_not, shape).astype(np.float64),
        )
    ]
    n_days = int(np.flatnonzero(~np.isnan(laid[0]).all(axis=1))[-1]) + 1
    first_day = _EPOCH + timedelta(days=int(minutes.clock[row, 0]) // MINUTES_PER_DAY)
    activity, is_rest, is_not_worn = (one[:n_days] for one in laid)
    return PersonDays(first_day, activity, is_rest == 1, is_not_worn == 1, minutes.unit)


def plot_actogram(path: Path, title: str, days: PersonDays, attention: np.ndarray | None = None) -> None:
    """Double-plotted actogram: each row shows a day and the next one, so that no night is cut.

    Args:
        path: PNG to write.
        title: Above the picture.
        days: Of one person.
        attention: (n_days, 1440), >= 0: how much a model looked at each minute, drawn as a strip below each row; NaN
            where it saw nothing. Absent: no strip.
    """
    n_days = len(days.activity)
    bars = _binned(days.activity)
    top = float(np.nanquantile(bars, 0.99)) or 1.0
    figure = Figure(figsize=(10.5, 0.36 * n_days + 1.9), layout="constrained")
    axes = figure.subplots()
    edges = np.arange(2 * MINUTES_PER_DAY // _BIN_MIN + 1) * _BIN_MIN / 60
    hours = np.repeat(edges, 2)[1:-1]  # both edges of every bar
    for row in range(n_days):
        _shade(axes, row, _doubled(_binned(days.is_not_worn) > 0.5, row), NOT_WORN_COLOUR)
        _shade(axes, row, _doubled(_binned(days.is_rest) > 0.5, row), REST_COLOUR)
        heights = 0.92 * np.minimum(np.nan_to_num(_doubled(bars, row, np.nan)) / top, 1.0)
        axes.fill_between(hours, -row, np.repeat(heights, 2) - row, color=TRUTH_COLOUR, linewidth=0)
        axes.axhline(-row, color=GREY, linewidth=0.4)
    if attention is not None:
        _strip(axes, _binned(attention), n_days)
    labels = [days.first_day + timedelta(days=row) for row in range(n_days)]
    axes.set_yticks(-np.arange(n_days) + 0.4, [f"{one:%a %d %b}" for one in labels], fontsize=8)
    ticks = np.arange(0, 49, 6)
    axes.set_xticks(ticks, [f"{hour % 24:02d}" for hour in ticks], fontsize=8)
    axes.set(xlim=(0, 48), ylim=(-n_days + 0.75, 1.1), xlabel="hour of the wall clock")
    axes.axvline(24, color=GREY, linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, fontsize=11)
    shown = [Patch(color=TRUTH_COLOUR, label=f"activity, full height {top:.0f} {days.unit} a minute")]
    shown += [Patch(color=REST_COLOUR, label="main rest period"), Patch(color=NOT_WORN_COLOUR, label="not worn")]
    if attention is not None:
        shown.append(Patch(color=BASELINE_COLOURS[0], label="the model's attention"))
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown), fontsize=8, frameon=False)
    save_figure(figure, path)


def plot_mean_day(path: Path, title: str, clinical: Clinical, person: str) -> None:
    """Mean activity over 24 h of the days that count, its quartiles, L5 and M10, and the cosine.

    Args:
        path: PNG to write.
        title: Above the picture.
        clinical: Of several people.
        person: Whose day; metrics that are undefined are not drawn.
    """
    row = clinical.people.index(person)
    days = clinical.days.values[row]
    blocks = days.reshape(len(days), -1, _PROFILE_MIN)
    known = ~np.isnan(blocks).all(axis=2)
    means = np.full(blocks.shape[:2], np.nan)
    means[known] = np.nanmean(blocks[known], axis=1)
    seen = known.any(axis=0)
    low, middle, high = np.full((3, means.shape[1]), np.nan)
    if seen.any():
        low[seen], high[seen] = np.nanquantile(means[:, seen], [0.25, 0.75], axis=0)
        middle[seen] = np.nanmean(means[:, seen], axis=0)
    hours = (np.arange(means.shape[1]) + 0.5) * _PROFILE_MIN / 60
    found = {name: value for name, value, _, reason in clinical.of(person) if not reason}
    figure = Figure(figsize=(9.5, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, length_h, colour in (("m10", 10, M10_COLOUR), ("l5", 5, REST_COLOUR)):
        if f"{name}_onset" in found:
            begin = found[f"{name}_onset"]
            label = f"{name.upper()}: {found[name]:.0f} {clinical.minutes.unit} a minute, from {clock_text(begin)}"
            _span(axes, begin, length_h, colour, label)
    axes.fill_between(hours, low, high, color=MODEL_COLOUR, alpha=0.25, linewidth=0, label="middle half of the days")
    n_days = int(known.any(axis=1).sum())
    axes.plot(hours, middle, color=MODEL_COLOUR, linewidth=1.6, label=f"mean of {n_days} days")
    if "acrophase" in found:
        wave = found["mesor"] + found["amplitude"] * np.cos(2 * np.pi * (hours - found["acrophase"]) / 24)
        share = found["cosinor_r_squared"]
        label = f"cosinor, R² {share:.2f}, peak at {clock_text(found['acrophase'])}"
        axes.plot(hours, wave, color=TRUTH_COLOUR, linewidth=0.9, linestyle="--", label=label)
    ticks = np.arange(0, 25, 3)
    axes.set_xticks(ticks, [f"{hour % 24:02d}" for hour in ticks])
    axes.set(xlim=(0, 24), xlabel="hour of the wall clock", ylabel=f"{clinical.minutes.unit} a minute", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    save_figure(figure, path)


def clock_text(hour: float) -> str:
    """Hours since midnight as a clock shows them: 6.5 is 06:30."""
    minute = round(hour * 60) % MINUTES_PER_DAY
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _binned(days: np.ndarray) -> np.ndarray:
    """(n_days, 288): means of 5 minutes; NaN where none of them is known."""
    bins = days.reshape(len(days), -1, _BIN_MIN)
    known = ~np.isnan(bins)
    sums = np.where(known, bins, 0.0).sum(axis=2)
    return np.asarray(np.divide(sums, known.sum(axis=2), out=np.full(sums.shape, np.nan), where=known.any(axis=2)))


def _doubled(bins: np.ndarray, row: int, beyond: float = 0.0) -> np.ndarray:
    """A day and the next one; `beyond` after the last."""
    after = bins[row + 1] if row + 1 < len(bins) else np.full(bins.shape[1], beyond)
    return np.concatenate([bins[row], after])


def _shade(axes: Axes, row: int, mask: np.ndarray, colour: str) -> None:
    edges = np.flatnonzero(np.diff(np.r_[False, mask > 0, False])) * _BIN_MIN / 60
    spans = list(zip(edges[::2].tolist(), (edges[1::2] - edges[::2]).tolist(), strict=True))
    axes.broken_barh(spans, (-row, 0.92), facecolors=colour, linewidth=0, zorder=0)


def _strip(axes: Axes, bins: np.ndarray, n_days: int) -> None:
    """Attention below each row: clear is the least of this recording, dark the most."""
    least, most = float(np.nanmin(bins)), float(np.nanmax(bins))
    spread = most - least or 1.0
    for row in range(n_days):
        shown = np.nan_to_num((_doubled(bins, row, np.nan) - least) / spread)
        colours = np.zeros((1, len(shown), 4))
        colours[..., :3] = np.array([int(BASELINE_COLOURS[0][at : at + 2], 16) / 255 for at in (1, 3, 5)])
        colours[..., 3] = shown
        axes.imshow(colours, extent=(0, 48, -row - 0.07, -row), aspect="auto", interpolation="nearest", zorder=2)


def _span(axes: Axes, begin: float, length_h: float, colour: str, label: str) -> None:
    """A stretch of hours that may go over midnight."""
    end = begin + length_h
    axes.axvspan(begin, min(end, 24), color=colour, linewidth=0, zorder=0, label=label)
    if end > 24:
        axes.axvspan(0, end - 24, color=colour, linewidth=0, zorder=0)
