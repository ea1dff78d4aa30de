"""The morning's page: machines at risk first, each with a small picture; one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from foresense.steps.anomalies import SEVERITIES, Anomaly
from foresense.steps.forecast_context import shown, told
from foresense.steps.watch import Watched

_WIDTH, _HEIGHT = 760, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 10, 10, 24
#: Of the context, as much as of the forecast, and at least a week of hours.
_LEAST_SHOWN = 168
_COLOURS = {"low": "#b58900", "medium": "#cb6a16", "high": "#b3261e"}
_TOLD = {
    "measured-interval": "of the newest samples lie outside of what was forecast for them",
    "standing-still": "of the newest readings are equal: the sensor stands still",
    "forecast-range": "of the forecast lies outside of the range of its context",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 800px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem }
.note { color: #5b6770 } .loud { background: #fff3cd; border-left: 4px solid #cb6a16; padding: .5rem .8rem }
.mark { color: #fff; border-radius: 3px; padding: .05rem .45rem; font-size: .8rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .2rem .7rem .2rem 0 }
th { border-bottom: 1px solid #9aa5ad; font-weight: 600 } td.number, th.number { text-align: right }
svg { display: block; margin: .4rem 0 } svg text { font: 11px system-ui, sans-serif; fill: #5b6770 }
ul { margin: .2rem 0; padding-left: 1.2rem }
"""


@dataclass(frozen=True, eq=False)
class PageAsset:
    """One machine on the page.

    Attributes:
        asset: Name.
        status: `success`, `skipped` or `failed`.
        reason: Why it was not forecast; "" where it was.
        version: Label of the version, "" where there is none.
        watched: What the rules looked at; None where it was not forecast.
        anomalies: What they found.
    """

    asset: str
    status: str
    reason: str
    version: str
    watched: Watched | None
    anomalies: Sequence[Anomaly]

    @property
    def rank(self) -> tuple[int, float]:
        """Of its worst anomaly; below all others where there is none."""
        return max((one.rank for one in self.anomalies), default=(-1, 0.0))


def at_risk_page(pipeline: str, made_at_s: int, assets: Sequence[PageAsset], report: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
        pipeline: Name.
        made_at_s: When the forecasts were made, seconds since 1970 UTC.
        assets: Every machine, in any order.
        report: What `report.json` says: `channels` and `alarms`.
    """
    at_risk = sorted((one for one in assets if one.anomalies), key=lambda one: (one.rank, one.asset), reverse=True)
    sound = sorted(one.asset for one in assets if one.status == "success" and not one.anomalies)
    others = sorted((one for one in assets if one.status != "success"), key=lambda one: (one.status, one.asset))
    parts = [
        f"<h1>{len(at_risk)} of {len(assets)} machines at risk</h1>",
        f'<p class="note">pipeline {escape(pipeline)}, forecasts of {shown(made_at_s)} UTC. In the pictures: black was '
        "measured, orange had been forecast for it, blue is the forecast; shaded are the intervals.</p>",
        _unpromoted(assets),
        *map(_machine, at_risk),
        f"<h2>{len(sound)} without a finding</h2><p>{escape(', '.join(sound)) or 'none'}</p>",
        _not_forecast(others),
        _scores(report),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(pipeline)}: machines at risk</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</html>\n"
    )


def _unpromoted(assets: Sequence[PageAsset]) -> str:
    count = sum(one.version.startswith("latest-") for one in assets)
    told_of = f"{count} machines were forecast with the newest training, which nobody promoted (--latest)."
    return f'<p class="loud">{told_of}</p>' if count else ""


def _machine(one: PageAsset) -> str:
    worst = SEVERITIES[one.rank[0]]
    lines = [
        f"<li>{escape(row.channel)}: {row.share:.0%} {escape(_TOLD.get(row.rule, row.rule))}"
        f" ({row.severity}; {_where(row)})</li>"
        for row in one.anomalies
    ]
    channels = dict.fromkeys(row.channel for row in one.anomalies)
    pictures = [_picture(one.watched, channel) for channel in channels] if one.watched is not None else []
    return (
        f'<h2>{escape(one.asset)} <span class="mark" style="background:{_COLOURS[worst]}">{worst}</span> '
        f'<span class="note">version {escape(one.version)}</span></h2><ul>{"".join(lines)}</ul>{"".join(pictures)}'
    )


def _where(row: Anomaly) -> str:
    if row.rule == "standing-still":
        return f"at {row.actual:.4g} until {shown(row.time_s)}"
    return f"furthest at {shown(row.time_s)}" + ("" if row.deviation is None else f", by {row.deviation:+.3g}")


def _not_forecast(others: Sequence[PageAsset]) -> str:
    if not others:
        return ""
    rows = [
        f"<tr><td>{escape(one.asset)}</td><td>{one.status}</td><td>{escape(one.reason)}</td></tr>" for one in others
    ]
    head = "<tr><th>machine</th><th>outcome</th><th>reason</th></tr>"
    return f"<h2>{len(others)} not forecast</h2><table>{head}{''.join(rows)}</table>"


def _scores(report: Mapping[str, Any]) -> str:
    channels = report["channels"]
    if not channels:
        return '<h2>Earlier forecasts</h2><p class="note">none has a target time that is measured by now</p>'
    rows = [
        f"<tr><td>{escape(name)}</td>"
        + "".join(f'<td class="number">{text}</td>' for text in score_texts(found))
        + "</tr>"
        for name, found in channels.items()
    ]
    head = "".join(f'<th class="number">{name}</th>' for name in SCORES)
    return (
        f"<h2>Earlier forecasts against what was measured</h2><table><tr><th>channel</th>{head}</tr>"
        f"{''.join(rows)}</table><p class='note'>since {report['since']}; MASE below 1: better than as yesterday at "
        "the same hour</p>"
    )


#: Headings of `score_texts`.
SCORES = ("samples", "MAE", "RMSE", "MASE", "inside interval")


def score_texts(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores of one channel as people read them, in the order of `SCORES`."""
    unit = {"Cel": " °C", "1": ""}.get(found["unit"], f" {found['unit']}")
    mase = "-" if found["mase"] is None else f"{found['mase']:.3f}"
    return (
        str(found["n_samples"]),
        f"{found['mae']:.3g}{unit}",
        f"{found['rmse']:.3g}{unit}",
        mase,
        f"{found['coverage']:.1%}",
    )


def _picture(watched: Watched, channel: str) -> str:
    """Context, what was forecast for its end, the forecast with its interval, and what was measured: as SVG."""
    forecast, context, earlier = watched.forecast, watched.context, watched.earlier
    number = forecast.channels.index(channel)
    n_shown = max(_LEAST_SHOWN, len(forecast.times_s))
    past_s, past = context.times_s[-n_shown:], context.samples[-n_shown:, number]
    bands = [
        (earlier.times_s, earlier.lower[:, number], earlier.upper[:, number], "#d9822b"),
        (forecast.times_s, forecast.lower[:, number], forecast.upper[:, number], "#0b6e99"),
    ]
    lines = [
        (earlier.times_s, earlier.predicted[:, number], "#d9822b"),
        (forecast.times_s, forecast.predicted[:, number], "#0b6e99"),
        (past_s, past, "#222"),
        (earlier.times_s, earlier.actual[:, number], "#222"),
    ]
    plane = _Plane.around([past_s, forecast.times_s], [past, *(one for band in bands for one in band[1:3])])
    drawn = [plane.band(*band) for band in bands] + [plane.line(*line) for line in lines]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="{escape(channel)}">'
        f"{plane.axes(f'{channel} ({forecast.units[number]})', context.origin_s)}{''.join(drawn)}</svg>"
    )


@dataclass(frozen=True)
class _Plane:
    """Maps times and values to the picture."""

    first_s: float
    last_s: float
    low: float
    high: float

    @classmethod
    def around(cls, times_s: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> "_Plane":
        every = np.concatenate(values)
        low, high = float(np.nanmin(every)), float(np.nanmax(every))
        margin = 0.05 * (high - low) or 1.0
        together = np.concatenate(times_s)
        return cls(float(together.min()), float(together.max()), low - margin, high + margin)

    def points(self, times_s: np.ndarray, values: np.ndarray) -> str:
        """Points of a path, those without a value left out."""
        there = ~np.isnan(values)
        return " ".join(
            f"{self.x(time_s):.1f},{self.y(value):.1f}"
            for time_s, value in zip(times_s[there].tolist(), values[there].tolist(), strict=True)
        )

    def x(self, time_s: float) -> float:
        return _LEFT + (time_s - self.first_s) / (self.last_s - self.first_s) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low) * (_HEIGHT - _TOP - _BOTTOM)

    def line(self, times_s: np.ndarray, values: np.ndarray, colour: str) -> str:
        return f'<polyline points="{self.points(times_s, values)}" fill="none" stroke="{colour}" stroke-width="1.3"/>'

    def band(self, times_s: np.ndarray, lower: np.ndarray, upper: np.ndarray, colour: str) -> str:
        around = f"{self.points(times_s, upper)} {self.points(times_s[::-1], lower[::-1])}"
        return f'<polygon points="{around}" fill="{colour}" fill-opacity=".2"/>'

    def axes(self, title: str, origin_s: int) -> str:
        """Title, round values at the side, up to eight days below, and a line where the forecast begins."""
        day_s = 86_400
        days = np.arange(-(-self.first_s // day_s) * day_s, self.last_s, day_s)
        days = days[:: max(1, -(-len(days) // 8))]
        below = [
            f'<text x="{self.x(at):.1f}" y="{_HEIGHT - 7}" text-anchor="middle">{told(int(at))[5:10]}</text>'
            for at in days.tolist()
            if self.x(at) > _LEFT + 15
        ]
        side = [
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{self.y(value):.1f}" y2="{self.y(value):.1f}" '
            f'stroke="#e3e7ea"/><text x="{_LEFT - 5}" y="{self.y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
            for value in _round_values(self.low, self.high)
        ]
        x = self.x(origin_s)
        origin = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#9aa5ad"/>'
        return "".join([*side, *below, origin]) + f'<text x="{_LEFT + 6}" y="{_TOP + 10}">{escape(title)}</text>'


def _round_values(low: float, high: float) -> list[float]:
    """Two to five values between the bounds, 1, 2 or 5 times a power of ten apart."""
    apart = 10 ** np.floor(np.log10(high - low))
    step = next(one for one in (5 * apart, 2 * apart, apart, apart / 2) if (high - low) / one >= 2)
    first = np.ceil(low / step)
    return [float(f"{number * step:.10g}") + 0.0 for number in np.arange(first, np.floor(high / step) + 1)]
