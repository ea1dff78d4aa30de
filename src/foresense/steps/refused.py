"""Rows and cells that a source did not take, where a person can find them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from foresense.signals import write_bytes
from foresense.sources import Refusal


def write_refused(path: Path, refusals: Sequence[Refusal]) -> None:
    """Write every refused row and cell as CSV; where there is none, remove what an earlier run wrote."""
    if not refusals:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([field.name for field in fields(Refusal)])
    rows.writerows(astuple(refusal) for refusal in refusals)
    write_bytes(path, text.getvalue().encode())
