"""Why a challenger was promoted or refused: one JSON file for programs, one self-contained page for people."""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from foresense.evaluate.plots import BASELINE_COLOURS, plot_forecasts
from foresense.registry import CHALLENGER, Version
from foresense.signals import Windows, replaced_folder, write_bytes, write_json
from foresense.steps.comparison import Comparison, PromotionRule
from foresense.steps.decision import Decision
from foresense.steps.frame import git_commit

SCHEMA_VERSION = 1
EVIDENCE, PAGE = "evidence.json", "evidence.html"
N_SHOWN = 3  # windows of the picture, spread over those that were used

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.verdict { border-left: 8px solid; padding: .8rem 1rem; margin: 1rem 0; font-size: 1.1rem }
.yes { border-color: #2e7d32; background: #edf7ee } .no { border-color: #b3261e; background: #fdeeed }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ddd }
th { font-weight: 600; color: #555 } td.number { text-align: right; font-variant-numeric: tabular-nums }
.pass { color: #2e7d32; font-weight: 600 } .fail { color: #b3261e; font-weight: 600 }
code { font-size: .85em; word-break: break-all } img { max-width: 100%; display: block; margin: .5rem 0 }
"""


@dataclass(frozen=True)
class Case:
    """What is decided, and where that is written.

    Attributes:
        folder: `nights/<pipeline>/<night>/evidence/<asset>`; replaced.
        night: `YYYY-MM-DD`.
        champion: Before the decision; None where there was none.
        challenger: The version that is judged.
        basis: Digest of the rule and of the edge's verdict: with another one, this evidence holds no more.
        project: The checkout, whose commit is noted.
    """

    folder: Path
    night: str
    champion: Version | None
    challenger: Version
    basis: str
    project: Path


def write_evidence(
    case: Case, windows: Windows, found: Comparison, decision: Decision, rule: PromotionRule
) -> dict[str, Any]:
    """Write `evidence.json` and `evidence.html` of a challenger that forecasts, both or none.

    Args:
        case: What is decided.
        windows: Tonight's windows.
        found: What was measured.
        decision: Every criterion.
        rule: What promotion asked for.

    Returns:
        The content of `evidence.json`.
    """
    content = {
        **verdict(case, decision),
        "windows": {
            "n": len(found.starts),
            "n_left_out": found.n_left_out,
            "block": found.block,
            "n_blocks": round(found.n_blocks, 2),
            "trained_until_utc": utc(found.cut_s),
            "first_target_utc": utc(found.span_s[0]) if found.span_s else None,
            "last_target_utc": utc(found.span_s[1]) if found.span_s else None,
        },
        "mse": {name: float(values.mean()) for name, values in found.errors.items() if len(found.starts)},
        "mae_physical": found.mae,
        "units": dict(zip(windows.channels, windows.units, strict=True)),
        "against_champion": asdict(found.against_champion) if found.against_champion else None,
        "against_naive": asdict(found.against_naive) if found.against_naive else None,
        "rule": asdict(rule),
    }
    pictures = _pictures(windows, found) if len(found.starts) else {}
    measured = [
        "<h2>Errors on the windows that no version has seen</h2>",
        f"<p>{escape(_windows_said(content['windows']))}</p>",
        _errors_table(content),
        *(
            f"<h2>{escape(caption)}</h2>"
            f'<img alt="{escape(caption)}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
            for caption, picture in pictures.items()
        ),
    ]
    write_both(case.folder, content, measured)
    return content


def verdict(case: Case, decision: Decision) -> dict[str, Any]:
    """What every `evidence.json` says, whatever was measured."""
    return {
        "schema_version": SCHEMA_VERSION,
        "pipeline": case.challenger.pipeline,
        "asset": case.challenger.asset,
        "night": case.night,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(case.project),
        "promotes": decision.promotes,
        "reason": decision.reason,
        "criteria": [asdict(one) for one in decision.criteria],
        "challenger": asdict(case.challenger),
        "champion": asdict(case.champion) if case.champion else None,
        "basis": case.basis,
    }


def write_both(folder: Path, content: Mapping[str, Any], measured: Sequence[str]) -> None:
    """Write `evidence.json` and `evidence.html` into `folder`, which is replaced: both or none.

    Args:
        folder: Of the case.
        content: Of `evidence.json`.
        measured: HTML between the criteria and the versions.
    """
    with replaced_folder(folder) as beside:
        write_json(beside / EVIDENCE, content)
        write_bytes(beside / PAGE, _page(content, measured).encode())


def _page(content: Mapping[str, Any], measured: Sequence[str]) -> str:
    """The page of one decision: verdict, criteria, what was measured, versions."""
    promotes = content["promotes"]
    challenger, champion = content["challenger"], content["champion"]
    rival = f"champion version {champion['number']}" if champion else "no champion yet"
    said = "PROMOTED" if promotes else "NOT PROMOTED"
    title = f"{content['pipeline']} / {content['asset']}: version {challenger['number']}, night {content['night']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<div class="verdict {"yes" if promotes else "no"}"><b>{said}</b> against {rival}. '
        f"{escape(content['reason'])}</div>",
        "<h2>Criteria</h2>",
        table(("", "criterion", "asked", "found"), [_criterion(one) for one in content["criteria"]]),
        *measured,
        "<h2>Versions</h2>",
        _versions_table(challenger, champion),
        f"<p>Written {escape(content['created_utc'])}, commit <code>{escape(content['git_commit'])}</code>.</p>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def utc(time_s: int) -> str:
    """Seconds since 1970 as `2026-11-21 03:00 UTC`."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _criterion(one: Mapping[str, Any]) -> list[str]:
    mark = '<span class="pass">holds</span>' if one["passed"] else '<span class="fail">FAILS</span>'
    return [mark, escape(one["name"]), escape(one["asked"]), escape(one["found"])]


def _windows_said(windows: Mapping[str, Any]) -> str:
    if not windows["n"]:
        return f"None: all {windows['n_left_out']} test windows have a target up to {windows['trained_until_utc']}."
    return (
        f"{windows['n']} windows, targets from {windows['first_target_utc']} to {windows['last_target_utc']}; no "
        f"version was trained on anything after {windows['trained_until_utc']}. {windows['block']} neighbours share a "
        f"target, which gives {windows['n_blocks']:g} blocks. MSE is in squared units of each channel's range (or "
        "deviation) in tonight's training part; the columns of the channels are mean absolute errors in their own "
        "units."
    )


def _errors_table(content: Mapping[str, Any]) -> str:
    channels = list(content["units"])
    head = ["", "MSE", *(f"{channel} ({unit})" for channel, unit in content["units"].items())]
    rows = [
        [escape(name), _number(mse), *(_number(content["mae_physical"][name][channel]) for channel in channels)]
        for name, mse in content["mse"].items()
    ]
    return table(head, rows)


def _versions_table(challenger: Mapping[str, Any], champion: Mapping[str, Any] | None) -> str:
    rows = []
    for role, version in (("challenger", challenger), ("champion", champion)):
        if version is not None:
            digests = (f"<code>{escape(version[key])}</code>" for key in ("sha256", "model_sha256", "data_sha256"))
            until_s = version["trained_until_s"]
            row = [role, str(version["number"]), *digests, "-" if until_s is None else utc(until_s)]
            rows.append([*row, f"<code>{escape(version['run_id'])}</code>"])
    return table(("", "version", "digest", "weights", "recordings", "trained until", "run of MLflow"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of cells that are HTML already."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _pictures(windows: Windows, found: Comparison) -> dict[str, bytes]:
    chosen = found.starts[np.linspace(0, len(found.starts) - 1, min(N_SHOWN, len(found.starts))).astype(int)]
    physical = windows.scaler.inverse(windows.gather(chosen).astype(np.float64), windows.channels)
    context = physical[:, : windows.context]
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "forecasts.png"
        plot_forecasts(
            picture,
            title=f"{windows.group}: forecasts made at {', '.join(_origins(windows, chosen))}",
            channels=windows.channels,
            units=windows.units,
            contexts=context[:, -windows.horizon :],
            truth=physical[:, windows.context :],
            forecasts={name: forecast(context, chosen) for name, forecast in found.forecasts.items()},
            interval_h=windows.interval_s / 3600,
        )
        return {"Forecasts": picture.read_bytes(), "Difference window by window": _plot_differences(windows, found)}


def _origins(windows: Windows, starts: np.ndarray) -> list[str]:
    return [utc(int(windows.row_times_s[start + windows.context - 1])) for start in starts]


def _plot_differences(windows: Windows, found: Comparison) -> bytes:
    """MSE of the challenger minus that of each rival over the time of the first target."""
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    axes = figure.subplots()
    times = np.array(windows.row_times_s[found.starts + windows.context], "datetime64[s]")
    ours = found.errors[CHALLENGER].mean(1)
    for number, (name, errors) in enumerate(item for item in found.errors.items() if item[0] != CHALLENGER):
        colour = BASELINE_COLOURS[number]  # as in the picture of the forecasts
        axes.plot(times, ours - errors.mean(1), color=colour, linewidth=1.1, label=f"minus {name}")
    axes.axhline(0, color="#222", linewidth=0.8)
    axes.xaxis_date()
    axes.tick_params(axis="x", labelsize=8)
    axes.set(
        ylabel="difference of MSE", title="MSE of the challenger minus its rival's: below 0 the challenger is better"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
    return drawn.getvalue()
