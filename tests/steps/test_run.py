"""Runs that meet: two at once, a damaged file of weights, a clock that was set back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import torch

from foresense.config import PipelineConfig
from foresense.signals import Layout, tree_sha256
from foresense.steps import frame
from foresense.steps.frame import StepRun
from foresense.steps.process import StepBusyError, only_one
from foresense.steps.report import Overview
from foresense.steps.run import damaged_weights_said, run_smoke, run_step
from foresense.training.checkpoint import read_checkpoint, write_checkpoint

CONFIG = PipelineConfig.model_validate(
    {
        "description": "one mill",
        "ingest": {
            "source": "csv",
            "raw": "hall",
            "time_column": "time",
            "channels": [{"name": "temp_body", "unit": "Cel"}],
        },
        "window": {"context": 24, "horizon": 6},
        "train": {"candidates": {"only": {}}},
    }
)


def test_a_second_smoke_run_is_refused_and_touches_nothing_of_the_first(layout: Layout) -> None:
    section = CONFIG.model_dump_json(exclude_defaults=True)
    (layout.root / "params.yaml").write_text(f'{{"pipelines": {{"hall": {section}}}}}')
    first = layout.root / "runs" / "smoke-hall" / "data" / "recordings"
    first.mkdir(parents=True)
    with (
        only_one(layout.cache, "smoke", "hall"),
        pytest.raises(StepBusyError, match=r"smoke@hall is running already, in process \d+"),
    ):
        list(run_smoke(layout.project, "hall"))
    assert first.is_dir()


@pytest.mark.parametrize("n_bytes", [0, 7, 40])
def test_a_damaged_checkpoint_says_what_to_remove(n_bytes: int, tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, {"weight": torch.ones(3)}, {"epoch": 1})
    path.write_bytes(path.read_bytes()[:n_bytes])
    run = StepRun("train", "oil", layout)
    with (
        pytest.raises(
            RuntimeError, match=r"train@oil: a file of weights is damaged .*remove the checkpoints, and `fores"
        ),
        damaged_weights_said(run),
    ):
        read_checkpoint(path)
    with pytest.raises(KeyError), damaged_weights_said(run):
        raise KeyError("x")


def at(hours: int) -> type[datetime]:
    """A clock that stands so far from ours."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime.now(UTC) + timedelta(hours=hours)

    return Clock


def test_a_clock_that_was_set_back_changes_no_result_and_is_seen_in_the_reports(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layout.raw / "hall").mkdir(parents=True)
    times = pd.date_range("2024-01-01", periods=300, freq="h")
    pd.DataFrame({"time": times, "temp_body": range(300)}).to_csv(layout.raw / "hall" / "mill.csv", index=False)
    paths = layout.of("hall")
    digests = []
    for hours in (0, -48):
        monkeypatch.setattr(frame, "datetime", at(0))
        first = run_step(StepRun("ingest", "hall", layout), CONFIG)
        monkeypatch.setattr(frame, "datetime", at(hours))
        second = run_step(StepRun("window", "hall", layout), CONFIG)
        assert second.duration_s >= 0
        digests.append((tree_sha256(paths.recordings), tree_sha256(paths.windows)))
    assert digests[0] == digests[1]
    found = Overview("hall", reports={"ingest": first, "window": second})
    assert found.outdated == {"window": "ingest"}
