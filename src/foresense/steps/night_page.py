"""The page of a night: what a person wants to know in the morning, in one file."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from foresense.signals import Layout, TrainReport, read_json, read_report, write_bytes
from foresense.steps.night_name import night_of
from foresense.steps.promotion import night_folder

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th { font-weight: 600 } img { max-width: 100% }
td, th { border-bottom: 1px solid #ddd; padding: .3rem .5rem; text-align: left; vertical-align: top }
.loud { color: #a3262f; font-weight: 600 } .promoted { color: #0b6e99; font-weight: 600 } .quiet { color: #777 }
"""
#: Decisions that a person should look at come first.
_ORDER = ("failed", "promoted", "refused", "skipped", "unchanged")
N_LISTED = 30
_NOT_WATCHED = ["<h2>Data and drift</h2>", "<p>Not watched: only pipelines that forecast are watched for drift.</p>"]


def write_page(layout: Layout, pipeline: str) -> Path:
    """Write `nights/<pipeline>/<night>/index.html` of the newest night, and return its path.

    Raises:
        FileNotFoundError: the night has not come to its decisions yet.
    """
    night = night_of(layout, pipeline)
    folder = night_folder(layout, pipeline, night)
    decisions = read_json(folder / "decisions.json")
    report = read_report(layout.of(pipeline).reports, TrainReport)
    parts = [
        f"<h1>{escape(pipeline)}: the night of {escape(night)}</h1>",
        f"<p>{escape(report.conclusion)}</p>",
        *(_drift(read_json(folder / "drift.json")) if (folder / "drift.json").is_file() else _NOT_WATCHED),
        *_decisions(decisions["assets"]),
        *_outcomes(report.outcomes),
        *_picture(layout.of(pipeline).reports / "plots" / "fleet.png"),
    ]
    at_risk = layout.root / "forecasts" / pipeline / "at_risk.html"
    if at_risk.is_file():
        link = f"../../../forecasts/{pipeline}/at_risk.html"
        parts.insert(2, f'<p><a href="{escape(link)}">Machines at risk</a></p>')
    title = f"{pipeline} {night}"
    head = f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    text = "\n".join(["<!doctype html>", head, *parts, "</html>", ""])
    path = folder / "index.html"
    write_bytes(path, text.encode())
    return path


def _drift(drift: Mapping[str, Any]) -> list[str]:
    alarms = {asset: one for asset, one in drift["assets"].items() if one["alarm"]}
    moved = {asset: one for asset, one in drift["assets"].items() if one["moved"] and not one["alarm"]}
    unknown = sum(channel["verdict"] == "unknown" for one in drift["assets"].values() for channel in one["channels"])
    parts = ["<h2>Data and drift</h2>"]
    if alarms:
        rows = [[asset, f"version {one['champion']}", ", ".join(one["alarm"])] for asset, one in alarms.items()]
        who = "1 machine has" if len(alarms) == 1 else f"{len(alarms)} machines have"
        since = f"{drift['n_consecutive']} nights in a row"
        text = f"{who} moved away from what their champion was trained on, {since}."
        parts += [f'<p class="loud">{text}</p>', table(["machine", "champion", "channels"], rows)]
    errors = [[asset, one["error"]] for asset, one in drift["assets"].items() if one["error"]]
    if errors:
        parts += ['<p class="loud">Not judged:</p>', table(["machine", "why"], errors[:N_LISTED])]
    without = [asset for asset, one in drift["assets"].items() if one["champion"] is None and not one["error"]]
    if without:
        parts.append(f"<p>Without a champion, so nothing to compare with: {escape(', '.join(without[:N_LISTED]))}.</p>")
    if not alarms:
        parts.append("<p>No machine has moved away from what its champion was trained on.</p>")
    if moved:
        parts.append(f"<p>Moved tonight, for the first time: {escape(', '.join(moved))}.</p>")
    if unknown:
        parts.append(f'<p class="quiet">{unknown} channels had too little data for a verdict.</p>')
    if drift["problems"]:
        rows = [[one["asset"], one["kind"], one["text"]] for one in drift["problems"]]
        parts += ["<h2>Problems of the data</h2>", table(["machine", "kind", "what"], rows[:N_LISTED])]
    return parts


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = Counter(one["status"] for one in decisions)
    said = ", ".join(f"{counts[status]} {status}" for status in _ORDER if counts[status])
    rows = []
    for one in sorted(decisions, key=lambda found: (_ORDER.index(found["status"]), found["asset"])):
        name = escape(one["asset"])
        if one["evidence"]:
            place = quote(f"evidence/{Path(one['evidence']).name}/evidence.html")
            name = f'<a href="{place}">{name}</a>'
        kind = {"failed": "loud", "promoted": "promoted"}.get(one["status"], "")
        status = f'<span class="{kind}">{escape(one["status"])}</span>'
        versions = f"{one['challenger'] or '-'} against {one['champion'] or 'none'}"
        rows.append(f"<tr><td>{name}<td>{status}<td>{escape(versions)}<td>{escape(one['reason'])}</tr>")
    head = "<tr><th>model of<th>decision<th>versions<th>why</tr>"
    return [f"<h2>Challengers: {escape(said)}</h2>", f"<table>{head}{''.join(rows)}</table>"]


def _outcomes(outcomes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Machines without a model of their own; empty for a pipeline that trains no fleet."""
    others = {asset: one for asset, one in outcomes.items() if one["status"] != "success"}
    if not others:
        return []
    rows = [[asset, one["status"], one["model"] or "none", one["reason"]] for asset, one in others.items()]
    return ["<h2>Machines without a model of their own</h2>", table(["machine", "status", "served by", "why"], rows)]


def _picture(path: Path) -> list[str]:
    if not path.is_file():
        return []
    content = base64.b64encode(path.read_bytes()).decode()
    return [f'<h2>The fleet</h2><img alt="fleet" src="data:image/png;base64,{content}">']


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every cell is escaped."""
    top = "".join(f"<th>{escape(name)}" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"
