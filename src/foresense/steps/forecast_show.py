"""What `foresense forecast` prints: every asset's outcome, and what earlier forecasts were worth."""

from collections import Counter
from statistics import median

from rich.table import Table
from rich.text import Text

from foresense.steps.anomalies import SEVERITIES, Anomaly
from foresense.steps.forecast import ForecastRun
from foresense.steps.forecast_context import shown
from foresense.steps.forecast_page import SCORES, score_texts

_STYLES = {"success": "green", "skipped": "yellow", "failed": "bold red"}
_MARKS = {"low": "yellow", "medium": "dark_orange", "high": "bold red"}


def outcome_table(run: ForecastRun) -> Table:
    """One row for each asset: those at risk first, by severity, then those that were not forecast."""
    worst = {anomaly.asset: anomaly for anomaly in sorted(run.anomalies, key=lambda one: one.rank)}
    table = Table(title=f"{run.pipeline}: forecasts of {shown(run.made_at_s)}", title_justify="left")
    for column in ("asset", "outcome", "at risk", "version", "newest sample (UTC)", "s", "reason"):
        table.add_column(column, justify="right" if column == "s" else "left")
    order = sorted(
        run.outcomes,
        key=lambda one: (one.asset not in worst, one.status == "success", -_rank(worst.get(one.asset)), one.asset),
    )
    for one in order:
        table.add_row(
            one.asset,
            Text(one.status, _STYLES[one.status]),
            _risk(worst.get(one.asset)),
            one.version,
            one.origin[:16].replace("T", " "),
            f"{one.seconds:.3f}",
            one.reason,
        )
    return table


def score_table(run: ForecastRun) -> Table | Text:
    """Errors of earlier forecasts by channel."""
    channels = run.report["channels"]
    if not channels:
        return Text("no earlier forecast has a target time that is measured by now", "dim")
    title = f"{run.report['n_forecasts']} earlier forecasts against what was measured, since {run.report['since']}"
    table = Table(title=title, title_justify="left")
    table.add_column("channel")
    for name in SCORES:
        table.add_column(name, justify="right")
    for channel, found in channels.items():
        table.add_row(channel, *score_texts(found))
    return table


def summary_lines(run: ForecastRun) -> list[str]:
    """What a person should not miss."""
    counts = Counter[str](one.status for one in run.outcomes)
    lines = [f"{run.pipeline}: " + ", ".join(f"{counts[status]} {status}" for status in _STYLES)]
    seconds = [one.seconds for one in run.outcomes if one.status == "success"]
    if seconds:
        at_risk = len({anomaly.asset for anomaly in run.anomalies})
        middle_ms = 1000 * median(seconds)  # the first one imports the network's library
        lines[0] += f"; {at_risk} at risk; {middle_ms:.0f} ms a machine (median); {run.path}"
    for rule, found in run.report["alarms"]["rules"].items():
        if found["per_1000_h"] is not None:
            hours = run.report["alarms"]["operating_hours"]
            lines.append(
                f"  {rule}: {found['n_alarms']} alarms in {hours:g} operating hours, "
                f"{found['per_1000_h']:.2f} per 1000 h"
            )
    unpromoted = sum(one.version.startswith("latest-") for one in run.outcomes)
    if unpromoted:
        lines.append(
            f"NOT PROMOTED: {unpromoted} machines were forecast with the newest training (--latest); no gate and no "
            "comparison stands behind it. Every row says so in its column `version`"
        )
    return lines


def _rank(anomaly: Anomaly | None) -> int:
    return -1 if anomaly is None else SEVERITIES.index(anomaly.severity)


def _risk(anomaly: Anomaly | None) -> Text:
    if anomaly is None:
        return Text("")
    return Text(
        f"{anomaly.severity}: {anomaly.channel} ({anomaly.rule}, {anomaly.share:.0%})", _MARKS[anomaly.severity]
    )
