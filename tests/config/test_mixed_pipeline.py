"""The section of windows of mixed recordings: what goes together, and what is said where it does not."""

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from foresense.config import STEPS, MixedConfig, read_any, read_pipelines, steps_with_section
from foresense.config.dualpatch import Branches
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
    features: {family: summary}
    train:
      predicts: class
      candidates: {both: {}, no_mask: {network: {missing_channels: false}}}
"""


def test_a_mixed_pipeline_is_read_and_has_every_step(tmp_path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    found = read_any(tmp_path / "params.yaml", "ward")
    assert isinstance(found, MixedConfig)
    assert steps_with_section(found) == STEPS
    assert not found.train.candidates["no_mask"].network.missing_channels
    assert found.ingest.raw == "physionet2012_icu"
    (tmp_path / "params.yaml").write_text(PARAMS.replace("n_folds", "n_fold"))
    with pytest.raises(ValueError, match=r"pipelines\.ward\.window\.n_fold: unknown key; did you mean 'n_folds'"):
        read_any(tmp_path / "params.yaml", "ward")


TRAIN = {
    "predicts": "class",
    "common": {"n_epochs": 9, "pretrain_epochs": 5},
    "candidates": {"both": {}, "no_mask": {"network": {"missing_channels": False}}, "pretrained": {"probe_epochs": 2}},
    "studies": {"candidate": "both", "without_mask": "no_mask", "pretrained": "pretrained"},
}


ICU_INGEST = {"source": "physionet2012"}


def pipeline(**changed: Any) -> MixedConfig:
    sections = {
        "kind": "mixed",
        "description": "",
        "ingest": ICU_INGEST,
        "window": ICU,
        "features": {"family": "summary"},
        "train": TRAIN,
    }
    return MixedConfig.model_validate(sections | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train": TRAIN | {"studies": TRAIN["studies"] | {"pretrained": "hidden"}}},  # type: ignore[operator]
            r"train.studies.pretrained: no candidate 'hidden' \(known: \['both', 'no_mask', 'pretrained'\]\)",
        ),
        ({"window": ICU | {"bin_names": []}}, "train.predicts is class, but window has no bin_names"),
        ({"features": {"family": "lagged"}}, "features.family lagged looks at the local clock: set train.calendar"),
        (
            {"train": TRAIN | {"studies": TRAIN["studies"] | {"without_mask": "both"}}},  # type: ignore[operator]
            "train.studies.without_mask: 'both' has network.missing_channels",
        ),
        (
            {"train": TRAIN | {"common": {}, "candidates": {"both": {}, "no_mask": {}, "pretrained": {}}}},
            "train.studies.pretrained: 'pretrained' has no pretrain_epochs",
        ),
        ({"train": TRAIN | {"common": {}}}, r"pretrain_epochs is 0: give some, or leave both out"),
        ({"train": TRAIN | {"folds": 6}}, r"train.folds is 6, but these windows have 5 \(window.n_folds\)"),
        (
            {"train": TRAIN | {"common": {"network": {"patch_length": 60}}}, "ingest": {**ICU_INGEST, "n_hours": 48}},
            r"patch_length \(60\) is longer than n_steps \(48\)",
        ),
        ({"train": TRAIN | {"candidates": {}}}, "train.candidates"),
        ({"train": TRAIN | {"predicts": "rank"}}, "train.predicts"),
    ],
)
def test_sections_that_do_not_go_together_are_said(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        pipeline(**changed)


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
    full = pipeline(ingest=ingest, window=window)
    small = shrink(full)
    assert isinstance(small, MixedConfig)
    assert small.ingest.model_dump() == full.ingest.model_dump() | asked
    assert (small.window.target, small.window.bins) == (full.window.target, full.window.bins)
    assert small.window.split == full.window.split
    assert small.window.n_folds == (3 if full.window.is_outcome else None)
    assert small.window.stride == (1 if full.window.is_outcome else 101)
    assert list(small.train.candidates) == ["both", "no_mask"]
    assert {one.n_epochs + one.pretrain_epochs for one in small.train.candidates.values()} == {2}
    assert {one.network.d_model for one in small.train.candidates.values()} == {16}
    assert (small.train.folds, small.train.studies, len(small.export.variants)) == (1, None, 1)
    assert shrink(small) == small


def test_the_pipelines_of_params_shrink_to_themselves_and_train_what_studies_ask_for() -> None:
    found = read_pipelines(Path(__file__).resolve().parents[2] / "params.yaml")
    mixed = {name: one for name, one in found.items() if isinstance(one, MixedConfig)}
    assert set(mixed) == {"air", "air-class", "icu"}
    assert mixed["air"].window == mixed["air-class"].window
    assert mixed["air"].features == mixed["air-class"].features
    for name, one in mixed.items():
        small = shrink(one)
        assert isinstance(small, MixedConfig)
        assert small.train.predicts == one.train.predicts
        assert shrink(small) == small
        assert {one.network.branches for one in one.train.candidates.values()} == set(get_args(Branches))
        assert one.train.candidates["both"].network.missing_channels
        assert not one.train.candidates["no_mask"].network.missing_channels
        assert one.train.candidates["pretrained"].pretrain_epochs
        assert {one.network.patch_length for one in one.train.candidates.values()} == {24 if "air" in name else 12}
    for name in ("air", "icu"):
        assert mixed[name].train.studies is not None


def test_what_all_candidates_have_is_said_once_and_each_may_say_otherwise() -> None:
    common = {"batch_size": 7, "network": {"d_model": 32, "dropout": 0.4}}
    candidates = {"both": {}, "other": {"batch_size": 9, "network": {"d_model": 16}}}
    found = pipeline(train={"predicts": "class", "common": common, "candidates": candidates}).train.candidates
    assert [one.batch_size for one in found.values()] == [7, 9]
    assert [one.network.d_model for one in found.values()] == [32, 16]
    assert [one.network.dropout for one in found.values()] == [0.4, 0.4]
    with pytest.raises(ValidationError, match=r"candidates\.both\.batch"):
        pipeline(train={"predicts": "class", "common": {"batch": 7}, "candidates": {"both": {}}})
