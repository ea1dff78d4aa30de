"""Tables beside reports, as text: rows of CSV, and the losses of trainings; and verdicts in words."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from foresense.evaluate.classification import Verdict
from foresense.signals import write_bytes

#: A verdict in a sentence.
VERDICTS: dict[Verdict, str] = {"ahead": "is AHEAD of", "not sure": "is NOT SURELY AHEAD of", "behind": "is BEHIND"}


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows as text; the first one holds the names of the columns."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_bytes(path, text.getvalue().encode())


def decimal(value: float | str | None) -> str:
    """A number with six decimals; empty where there is none."""
    return f"{value:.6f}" if isinstance(value, float | int) else ""


def write_losses(path: Path, rows: Iterable[tuple[str, int, float, float]]) -> None:
    """Write (training, epoch, loss on the training part, loss on validation) as CSV, which DVC plots."""
    lines = ["training,epoch,train,validation"]
    lines += [f"{name},{epoch},{train:.8g},{validation:.8g}" for name, epoch, train, validation in rows]
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def losses_of(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> list[tuple[str, int, float, float]]:
    """Rows for `write_losses`.

    Args:
        histories: Name of a training -> its epochs, {epoch, train, validation}.
    """
    return [
        (name, round(row["epoch"]), row["train"], row["validation"])
        for name, history in histories.items()
        for row in history
    ]
