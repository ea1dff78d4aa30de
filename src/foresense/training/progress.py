"""Progress of a training: a bar for a person at a terminal, lines for a log."""

import logging
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LOG = logging.getLogger(__name__)
LOG_EVERY_S = 15.0


class ShownProgress:
    """Shows the newest metrics of one training; use as a context manager."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Progress | None = None
        self.begun_s = self.logged_s = time.monotonic()
        self.first_step: int | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, TextColumn("{task.fields[metrics]}"), console=Console(stderr=True))
            self.task = self.bar.add_task(self.title, metrics="")
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, *, epoch: int, n_epochs: int, step: int, n_steps: int, metrics: dict[str, float]) -> None:
        """Show one optimizer step."""
        text = "  ".join(f"{name} {value:.5f}" for name, value in metrics.items())
        if self.bar is not None:
            self.bar.update(self.task, completed=step, total=n_steps, metrics=f"epoch {epoch}/{n_epochs}  {text}")
            return
        now = time.monotonic()
        if self.first_step is None:
            self.first_step = step
        if now - self.logged_s < LOG_EVERY_S and step < n_steps:
            return
        self.logged_s = now
        done = max(1, step - self.first_step)
        left_min = (now - self.begun_s) / done * (n_steps - step) / 60
        LOG.info(
            "%s: epoch %d/%d, step %d/%d, %s, at most %.1f min left",
            self.title,
            epoch,
            n_epochs,
            step,
            n_steps,
            text,
            left_min,
        )
