"""Tables of `foresense versions`."""

from datetime import UTC, datetime

from rich.markup import escape
from rich.table import Table

from foresense.registry import Registry


def versions_table(registry: Registry, asset: str) -> Table:
    """One row for each version that is still there, newest first."""
    table = Table(title=f"{registry.pipeline}/{asset}: versions", title_justify="left")
    for column in ("version", "alias", "registered", "night", "trained until", "weights", "digest"):
        table.add_column(column)
    named = {"champion": registry.champion(asset), "challenger": registry.challenger(asset)}
    for version in reversed(registry.versions(asset)):
        aliases = [alias for alias, one in named.items() if one is not None and one.number == version.number]
        table.add_row(
            str(version.number),
            ", ".join(aliases),
            version.created_utc,
            version.night or "",
            _utc(version.trained_until_s),
            version.model_sha256[:12],
            version.sha256[:12],
        )
    return table


def history_table(registry: Registry, asset: str) -> Table:
    """One row for each event, newest first; a version whose files were collected is marked."""
    there = {version.number for version in registry.versions(asset)}
    table = Table(title=f"{registry.pipeline}/{asset}: history", title_justify="left")
    for column in ("when (UTC)", "what", "from", "to", "who", "night", "reason"):
        table.add_column(column, overflow="fold")

    def said(number: int | None) -> str:
        return "" if number is None else str(number) if number in there else f"{number} (collected)"

    for event in reversed(registry.history(asset)):
        what = event.kind if event.is_done else f"{event.kind} (not finished)"
        reason = event.reason + (f"; OVERRULES: {event.overrules}" if event.overrules is not None else "")
        row = (
            event.when_utc[:19],
            what,
            said(event.from_version),
            said(event.to_version),
            event.who,
            event.night or "",
        )
        table.add_row(*row, escape(reason))
    return table


def _utc(time_s: int | None) -> str:
    return "" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
