"""The section of windows of mixed recordings: what goes together, and what is said where it does not."""

from typing import Any

import pytest
from pydantic import ValidationError

from foresense.config import MixedConfig, read_any, steps_with_section
from foresense.config.mixed_pipeline import MixedWindowConfig
from foresense.config.smoke import shrink

SPLIT = {"train_until": "2015-03-01", "validation_until": "2016-03-01"}
AIR = {
    "target": "PM2.5",
    "length": 168,
    "ahead": 24,
    "stride": 5,
    "bins": [35, 75],
    "bin_names": ["good", "fair", "bad"],
    "split": SPLIT,
}
ICU = {"target": "death", "bin_names": ["survived", "died"], "n_folds": 5}


def section(base: dict[str, Any], **changed: object) -> MixedWindowConfig:
    return MixedWindowConfig.model_validate({**base, **changed})


def test_a_channel_ahead_and_an_outcome_are_told_apart() -> None:
    assert not section(AIR).is_outcome
    assert section(ICU).is_outcome
    assert section(ICU).length is None


@pytest.mark.parametrize(
    ("base", "changed", "message"),
    [
        (AIR, {"length": None}, "ahead without length"),
        (AIR, {"split": None}, "ahead without split"),
        (AIR, {"n_folds": 5}, "n_folds and seed deal recordings by an outcome"),
        (AIR, {"seed": 3}, "n_folds and seed deal recordings by an outcome"),
        (AIR, {"bins": [75, 35]}, r"bins must rise, each edge once; found \[75.0, 35.0\]"),
        (AIR, {"bins": [35, 35]}, "bins must rise"),
        (AIR, {"bins": [35, float("inf")]}, "bins.1: Input should be a finite number|finite number"),
        (AIR, {"bin_names": ["good", "bad"]}, "2 bins make 3 classes; found 2 bin_names"),
        (AIR, {"bin_names": []}, "2 bins make 3 classes; found 0 bin_names"),
        (AIR, {"bin_names": ["good", "good", "bad"]}, "bin_names must differ"),
        (AIR, {"bins": []}, "bin_names without bins"),
        (AIR, {"ahead": 0}, "ahead"),
        (AIR, {"split": {**SPLIT, "validation_until": "2015-03-01"}}, r"train_until \(2015-03-01\) must be before"),
        (ICU, {"length": 48}, "length with `ahead: null`: an outcome belongs to a whole recording"),
        (ICU, {"stride": 2}, "stride with `ahead: null`"),
        (ICU, {"stride_evaluation": 2}, "stride_evaluation with `ahead: null`"),
        (ICU, {"split": SPLIT}, "split with `ahead: null`"),
        (ICU, {"n_folds": None}, "an outcome without n_folds"),
        (ICU, {"n_folds": 2}, "n_folds"),
        (ICU, {"bin_names": ["all"]}, r"one class \(all\) tells nothing"),
    ],
)
def test_what_does_not_go_together_is_said(base: dict[str, Any], changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        section(base, **changed)


def test_all_problems_are_said_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        section(ICU, length=48, n_folds=None, bin_names=["a", "a"])
    assert all(text in str(error.value) for text in ("length with", "without n_folds", "must differ"))


PARAMS = """
pipelines:
  ward:
    kind: mixed
    description: stays
    ingest: {source: physionet2012}
    window: {target: In-hospital_death, n_folds: 5, bin_names: [survived, died]}
"""


def test_a_mixed_pipeline_is_read_and_has_two_steps_so_far(tmp_path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    found = read_any(tmp_path / "params.yaml", "ward")
    assert isinstance(found, MixedConfig)
    assert steps_with_section(found) == ("ingest", "window")
    assert found.ingest.raw == "physionet2012_icu"
    (tmp_path / "params.yaml").write_text(PARAMS.replace("n_folds", "n_fold"))
    with pytest.raises(ValueError, match=r"pipelines\.ward\.window\.n_fold: unknown key; did you mean 'n_folds'"):
        read_any(tmp_path / "params.yaml", "ward")


@pytest.mark.parametrize(
    ("ingest", "window", "asked"),
    [
        ({"source": "physionet2012"}, ICU, {"first_recordings": 60}),
        ({"source": "mixed_synthetic"}, ICU, {"n_recordings": 60}),
        ({"source": "air_quality"}, AIR, {"first_hours": None}),
    ],
)
def test_a_shrunk_pipeline_is_small_valid_and_itself(
    ingest: dict[str, Any], window: dict[str, Any], asked: dict[str, Any]
) -> None:
    full = MixedConfig.model_validate({"kind": "mixed", "description": "", "ingest": ingest, "window": window})
    small = shrink(full)
    assert isinstance(small, MixedConfig)
    assert small.ingest.model_dump() == full.ingest.model_dump() | asked
    assert (small.window.target, small.window.bins) == (full.window.target, full.window.bins)
    assert small.window.split == full.window.split
    assert small.window.n_folds == (3 if full.window.is_outcome else None)
    assert small.window.stride == (1 if full.window.is_outcome else 101)
    assert shrink(small) == small
