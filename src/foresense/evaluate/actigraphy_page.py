"""One page about one person's rest and activity, in one file that a clinician can read and keep."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from pathlib import Path

import numpy as np

from foresense.evaluate.actigraphy import METRICS, Clinical
from foresense.evaluate.actigraphy_plots import clock_text
from foresense.signals import write_bytes
from foresense.signals.actigraphy import MINUTES_PER_DAY

NOT_A_DEVICE = (
    "Not a medical device. This page describes a recording of movement for research; it is no diagnosis, and nobody "
    "should be treated, or not treated, because of it."
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100%; font-size: .92rem } th { font-weight: 600 } img { max-width: 100% }
td, th { border-bottom: 1px solid #ddd; padding: .35rem .6rem .35rem 0; text-align: left; vertical-align: top }
td.n { white-space: nowrap; font-variant-numeric: tabular-nums } .quiet { color: #666 } small { color: #666 }
.note { border-left: 4px solid #a3262f; background: #faf1f1; padding: .6rem .9rem; margin: 1rem 0 }
.outside { color: #a3262f; font-weight: 600; white-space: nowrap } dl { display: grid;
grid-template-columns: max-content 1fr; gap: .15rem 1.2rem } dt { color: #666 } dd { margin: 0 }
@media print { body { margin: 0 } h2 { break-after: avoid } img, tr { break-inside: avoid } }
"""
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Peers:
    """People measured alike, whom a person is compared with.

    Attributes:
        label: Who they are.
        ranges: Metric -> 5th percentile, median, 95th percentile; without the metrics that fewer than 5 of them have.
    """

    label: str
    ranges: dict[str, tuple[float, float, float]]


#: An hour of the clock has no percentiles: 23:50 and 00:10 are neighbours.
_CYCLIC = ("l5_onset", "m10_onset", "acrophase")
_LEAST_PEERS = 5


def peers_of(clinical: Clinical, rows: np.ndarray, label: str) -> Peers:
    """Percentiles of the metrics of some people.

    Args:
        clinical: Of all.
        rows: (n,), positions or a mask of all: which of them; leave the person out whom the page is about.
        label: Who they are, `31 controls of this set`.
    """
    ranges = {}
    for name, one in clinical.metrics.items():
        known = one.values[rows][~np.isnan(one.values[rows])]
        if name not in _CYCLIC and len(known) >= _LEAST_PEERS:
            low, middle, high = np.quantile(known, [0.05, 0.5, 0.95]).tolist()
            ranges[name] = (low, middle, high)
    return Peers(label, ranges)


def write_person_page(
    path: Path,
    clinical: Clinical,
    person: str,
    *,
    facts: Mapping[str, str],
    pictures: Mapping[str, Path],
    peers: Peers | None = None,
) -> None:
    """Write one self-contained HTML page: no script, no address outside of the file.

    Args:
        path: File to write.
        clinical: Of several people.
        person: Whom the page is about.
        facts: What else is known of the recording, in the order to show: device, time zone.
        pictures: Caption -> PNG, put into the page.
        peers: Whom the person is compared with; absent: nobody.
    """
    title = f"Rest and activity: {person}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="note">{NOT_A_DEVICE}</p>',
        *_recording(clinical, person, facts),
        *_metrics(clinical, person, peers),
        *(line for caption, file in pictures.items() for line in _picture(caption, file)),
        *_nights(clinical, person),
        *_methods(clinical),
    ]
    head = f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    write_bytes(path, "\n".join(["<!doctype html>", head, *parts, "</html>", ""]).encode())


def _recording(clinical: Clinical, person: str, facts: Mapping[str, str]) -> list[str]:
    row = clinical.people.index(person)
    known = np.flatnonzero(~np.isnan(clinical.minutes.values[row]))
    clock = clinical.minutes.clock[row]
    first, last = (_moment(int(clock[at])) for at in (known[0], known[-1]))
    wear = clinical.wear
    n_worn = int(wear.worn[row].sum())
    stretches = wear.not_worn.taken(wear.not_worn.rows == row)
    longest = f", the longest {_hours(int(stretches.lengths.max()))}" if len(stretches.rows) else ""
    shown = {
        "Recorded": f"{first} to {last} ({len(known) / MINUTES_PER_DAY:.1f} days)",
        "Worn": f"{n_worn / 60:.0f} of {len(known) / 60:.0f} hours ({n_worn / len(known):.0%})",
        "Not worn": f"{len(stretches.rows)} stretch(es){longest}",
        "Days that count": f"{wear.n_valid_days[row]} with at least {wear.rules.min_wear_h:g} h of wear; at least "
        f"{wear.rules.min_valid_days} are needed",
        **facts,
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in shown.items())
    return ["<h2>The recording</h2>", f"<dl>{listed}</dl>"]


def _metrics(clinical: Clinical, person: str, peers: Peers | None) -> list[str]:
    rows = []
    for name, value, unit, reason in clinical.of(person):
        one = METRICS[name]
        cell = f'<td class="quiet">not available: {escape(reason)}' if reason else f"<td class=n>{_value(value, unit)}"
        outside = not reason and not ((one.low is None or value >= one.low) and (one.high is None or value <= one.high))
        mark = '<br><span class="outside">outside of the usual range</span>' if outside else ""
        compared = ""
        if peers is not None:
            found = peers.ranges.get(name)
            compared = "<td class=n>" + ("" if found is None else _range(*found, unit))
        rows.append(
            f"<tr><td>{escape(one.label)}<br><small>{escape(one.meaning)}</small>{cell}{mark}"
            f"<td>{_usual(name, unit)}{compared}<td><small>{escape(one.source)}</small></tr>"
        )
    compared = "" if peers is None else f"<th>{escape(peers.label)}<br><small>5 %, median, 95 %</small>"
    head = f"<tr><th>Metric<th>Value<th>Usual in healthy adults{compared}<th>Definition</tr>"
    note = (
        "A usual range stands only where experts agreed on one; they spoke of sleep, not of this way of measuring it. "
        "The other metrics depend on the counter, on where it is worn and on age: compare them with people measured "
        "alike. Time in bed is a rest period found in the movement, not in a diary: efficiency tends to be higher."
    )
    quality = [f'<p class="note">{escape(clinical.scores.note)}</p>'] if clinical.scores.note else []
    return ["<h2>Metrics</h2>", *quality, f"<table>{head}{''.join(rows)}</table>", f'<p class="quiet">{note}</p>']


def _usual(name: str, unit: str) -> str:
    one = METRICS[name]
    limits = [
        f"{word} {_value(limit, unit)}" for word, limit in (("at least", one.low), ("at most", one.high)) if limit
    ]
    if not limits:
        return '<span class="quiet">none accepted</span>'
    return f"{', '.join(limits)}<br><small>{escape(one.range_source)}</small>"


def _nights(clinical: Clinical, person: str) -> list[str]:
    row = clinical.people.index(person)
    nights, sleep, clock = clinical.nights, clinical.sleep, clinical.minutes.clock[row]
    recorded = np.flatnonzero(~np.isnan(clinical.minutes.values[row]))
    last = (int(clock[recorded[-1]]) - MINUTES_PER_DAY // 2) // MINUTES_PER_DAY - int(nights.first_night[row])
    rows = []
    for night in range(last + 1):
        evening = _EPOCH + timedelta(days=int(nights.first_night[row]) + night)
        if not nights.found[row, night]:
            reason = escape(str(nights.reasons[row, night]))
            rows.append(f'<tr><td>{evening:%a %d %b %Y}<td colspan=7 class="quiet">{reason}</tr>')
            continue
        begin, end = (clock_text(int(clock[at]) / 60) for at in (nights.begins[row, night], nights.ends[row, night]))
        cells = [
            _night_value(values[row, night], unit)
            for values, unit in (
                (sleep.time_in_bed_min, "min"),
                (sleep.total_sleep_min, "min"),
                (sleep.efficiency, "%"),
                (sleep.onset_latency_min, "min"),
                (sleep.wake_after_onset_min, "min"),
            )
        ]
        rows.append(
            f"<tr><td>{evening:%a %d %b %Y}<td class=n>{begin}<td class=n>{end}"
            + "".join(f"<td class=n>{cell}" for cell in cells)
            + "</tr>"
        )
    head = "<tr><th>Evening of<th>Rest from<th>to<th>In bed<th>Asleep<th>Efficiency<th>Latency<th>Awake after</tr>"
    return ["<h2>Nights</h2>", f"<table>{head}{''.join(rows)}</table>"]


def _methods(clinical: Clinical) -> list[str]:
    rules, unit = clinical.wear.rules, clinical.minutes.unit
    text = (
        f"Sleep and wake by {clinical.scores.method}. Not worn: {rules.window_min} min or more with at most "
        f"{rules.idle:g} {unit} a minute (Choi et al., Medicine and Science in Sports and Exercise 43, 2011), or one "
        f"value above that for {rules.stuck_min} min. Rest periods by the first stage of Crespo et al., Medical & "
        "Biological Engineering & Computing 50, 2012, with a limit between the person's own rest and activity. Days, "
        "L5, M10 and the cosine are by the wall clock; sleep is by elapsed minutes: a clock change lengthens nothing."
    )
    return ["<h2>How this was measured</h2>", f'<p class="quiet">{escape(text)}</p>', f"<p>{NOT_A_DEVICE}</p>"]


def _picture(caption: str, file: Path) -> list[str]:
    drawn = base64.b64encode(file.read_bytes()).decode()
    return [
        f"<h2>{escape(caption)}</h2>",
        f'<p><img src="data:image/png;base64,{drawn}" alt="{escape(caption, quote=True)}"></p>',
    ]


def _moment(minute: int) -> str:
    day, of_day = divmod(minute, MINUTES_PER_DAY)
    return f"{_EPOCH + timedelta(days=day):%a %d %b %Y} {clock_text(of_day / 60)}"


def _hours(minutes: int) -> str:
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _night_value(value: float, unit: str) -> str:
    return "-" if np.isnan(value) else _value(value, unit)


def _value(value: float, unit: str) -> str:
    if unit == "min":
        return _hours(round(value))
    if unit == "h":
        return clock_text(value)
    if unit == "%":
        return f"{value:.0f} %"
    if unit == "nights":
        return f"{value:.0f}"
    return f"{value:.3g}" if unit == "1" else f"{value:.3g} {escape(unit)}"


def _range(low: float, middle: float, high: float, unit: str) -> str:
    return f"{_value(low, unit)} .. <b>{_value(middle, unit)}</b> .. {_value(high, unit)}"
