"""What a source found and what it did not take, where a person can find it."""

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path

from foresense.signals import write_bytes
from foresense.sources import Refusal
from foresense.sources.tables import Finding


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


def warn_of(findings: Iterable[Finding], source: str, log: logging.Logger) -> None:
    """Log each finding with its place; `source` names those of no asset."""
    for found in findings:
        where = f" ({found.where})" if found.where else ""
        log.warning("%s: %s, n = %d: %s%s", found.asset or source, found.kind, found.n, found.message, where)
