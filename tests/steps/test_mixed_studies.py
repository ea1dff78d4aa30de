"""Curves of holes and of few labels: where they begin and end, which labels are kept, and what is not trained again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.config import STEPS, MixedConfig
from foresense.signals import Layout, TrainReport, read_json
from foresense.steps import mixed_training
from foresense.steps.features_mixed import features_mixed
from foresense.steps.frame import StepRun
from foresense.steps.ingest_mixed import ingest_mixed
from foresense.steps.mixed_studies import drawn_labels
from foresense.steps.train_mixed import train_mixed
from foresense.steps.window_mixed import window_mixed

NETWORK = {"patch_length": 4, "patch_stride": 4, "d_model": 16, "n_heads": 2, "n_layers": 1, "dropout": 0.0}
COMMON = {"network": NETWORK, "learning_rate": 5e-3, "n_epochs": 6, "patience": 6}


class Labelled:
    """As much of `MixedData` as the drawing of labels looks at."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    def truth(self, rows: np.ndarray, predicts: str) -> np.ndarray:
        return self.classes[rows]


class Asked:
    def __init__(self, predicts: str) -> None:
        self.predicts = predicts


@given(counts=st.lists(st.integers(1, 60), min_size=2, max_size=5), n=st.integers(5, 40), draw=st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_each_class_keeps_its_share_of_the_labels_and_at_least_one(counts: list[int], n: int, draw: int) -> None:
    classes = np.random.default_rng(draw).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = np.flatnonzero(np.arange(len(classes)) % 5 != 4)  # the others choose and test
    n = min(n, len(rows))
    found = drawn_labels(Labelled(classes), rows, Asked("class"), n, (draw,))
    assert len(np.unique(found)) == n
    assert np.isin(found, rows).all()
    assert (np.diff(found) > 0).all()
    there, kept = np.bincount(classes[rows], minlength=len(counts)), np.bincount(classes[found], minlength=len(counts))
    if n >= (there > 0).sum():
        assert (kept[there > 0] >= 1).all()
        expected = n * there / there.sum()
        assert (np.abs(kept - expected) <= len(counts) + 1).all()
    again = drawn_labels(Labelled(classes), rows, Asked("class"), n, (draw,))
    np.testing.assert_array_equal(found, again)


def test_values_keep_as_many_labels_as_asked_and_other_draws_keep_others() -> None:
    rows = np.arange(100, 200)
    first, second = (drawn_labels(Labelled(np.zeros(0)), rows, Asked("value"), 30, (draw,)) for draw in range(2))
    assert len(first) == len(second) == 30
    assert set(first) <= set(range(100, 200))
    assert set(first) != set(second)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainReport, Path, list[str]]:
    """A report with both curves, the folder of its reports, and what was pretrained."""
    root = tmp_path_factory.mktemp("project")
    (root / "code.json").write_text(
        json.dumps({f"{step}{end}": {"s": "0"} for step in STEPS for end in ("", "_mixed")})
    )
    studies = {"candidate": "both", "without_mask": "no_mask", "pretrained": "pretrained"}
    config = MixedConfig.model_validate(
        {
            "kind": "mixed",
            "description": "simulated",
            "ingest": {
                "source": "mixed_synthetic",
                "n_recordings": 180,
                "n_steps": 16,
                "n_classes": 2,
                "noise": 0.0,
                "holes": [{"kind": "random", "share": 0.2}],
                "seed": 5,
            },
            "window": {"target": "class", "bin_names": ["low", "high"], "n_folds": 3, "seed": 1},
            "features": {"family": "summary"},
            "train": {
                "predicts": "class",
                "common": COMMON,
                "candidates": {
                    "both": {},
                    "no_mask": {"network": {"missing_channels": False}},
                    "pretrained": {"pretrain_epochs": 2, "probe_epochs": 1, "layer_decay": 0.7},
                },
                "rivals": ["prevalence"],
                "folds": 2,
                "studies": {**studies, "removed": [0.0, 0.9], "labels": [8, 1000], "n_draws": 2},
            },
        }
    )
    pretrained: list[str] = []
    plain = mixed_training.pretrain_network

    def watched(*parts: Any, label: str, **given: Any) -> Any:
        pretrained.append(label)
        return plain(*parts, label=label, **given)

    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        patched.setattr(mixed_training, "pretrain_network", watched)
        layout = Layout(root, root)
        ingest_mixed(StepRun("ingest", "ward", layout), config.ingest)
        window_mixed(StepRun("window", "ward", layout), config.window)
        features_mixed(StepRun("features", "ward", layout), config.features)
        report = train_mixed(StepRun("train", "ward", layout), config.train)
    return report, layout.of("ward").reports, pretrained


@pytest.mark.slow
def test_curves_begin_at_what_was_judged_and_fall_with_what_is_removed(studied) -> None:
    report, _, _ = studied
    curves = report.groups["recordings"]["studies"]["removed"]
    assert set(curves) == {"random", "block", "channel"}
    for found in curves.values():
        assert set(found) == {"both", "no_mask"}
        for name, rows in found.items():
            assert [row["share"] for row in rows] == [0.0, 0.9]
            assert rows[0]["value"] == pytest.approx(report.candidates[name]["test"]["auroc"], abs=1e-12)
            assert rows[1]["value"] < rows[0]["value"]  # a rule that is learnt needs its values
            assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


@pytest.mark.slow
def test_the_curve_of_labels_ends_with_all_of_them(studied) -> None:
    report, _, _ = studied
    for name, rows in report.groups["recordings"]["studies"]["labels"].items():
        assert [row["n_labels"] for row in rows] == [8, 60]  # a third trains; 1000 are not there
        assert [len(row["values"]) for row in rows] == [2, 1]
        assert rows[-1]["value"] == pytest.approx(report.candidates[name]["test"]["auroc"], abs=1e-12)
        assert rows[0]["value"] in rows[0]["values"]


@pytest.mark.slow
def test_one_pretraining_serves_all_counts_and_draws_of_a_fold(studied) -> None:
    _, reports, pretrained = studied
    assert pretrained == ["pretrained, fold 0", "pretrained, fold 1"]
    assert read_json(reports / "plots" / "studies.json")["labels"]["pretrained"][0]["n_labels"] == 8
    assert (reports / "plots" / "studies.png").stat().st_size > 20_000
