"""Trainings of mixed windows: partly labelled errors against torch's own, what is hidden, rules learnt and not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, mse_loss

from foresense.config.dualpatch import DualPatchConfig
from foresense.models.dualpatch import DualPatch
from foresense.models.dualpatch_pretraining import MaskedMixed, freeze_encoder, start_from_pretrained
from foresense.training import FitPlan, fit
from foresense.training.mixed import LabelObjective, RebuildingObjective, outputs_of
from foresense.training.mixed_hiding import KINDS, Hiding, hidden_places
from foresense.training.mixed_items import MixedItems
from foresense.training.mixed_losses import class_error, value_error

SIZES: dict[str, Any] = {
    "n_numeric": 2,
    "cardinalities": (3,),
    "n_steps": 16,
    "patch_length": 8,
    "patch_stride": 4,
    "d_model": 16,
    "n_heads": 2,
    "n_layers": 1,
    "dropout": 0.0,
    "n_outputs": 2,
}


def config_of(**changes: Any) -> DualPatchConfig:
    return DualPatchConfig.model_validate({**SIZES, **changes})


def windows(n: int, *, seed: int, rule: bool = True) -> MixedItems:
    """Class 1 where the second half of channel 0 is above its first half; a fifth of the values is missing."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 2, 16)).astype(np.float32)
    labels = rng.integers(0, 2, n)
    if rule:
        numbers[:, 0, 8:] += np.where(labels, 1.0, -1.0)[:, None]
    numbers[rng.random(numbers.shape) < 0.2] = np.nan
    return MixedItems(numbers=numbers, categories=rng.integers(0, 5, (n, 1, 16)), labels=labels)


def plan(n_epochs: int = 12, **changes: Any) -> FitPlan:
    return FitPlan(**{"n_epochs": n_epochs, "batch_size": 32, "learning_rate": 3e-3, "patience": 99, **changes})


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), share=st.floats(0, 1))
def test_errors_of_classes_are_torchs_over_the_labels_that_there_are(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(6, 5, 3))).float().requires_grad_()
    labels = torch.from_numpy(np.where(rng.random((6, 5)) < share, rng.integers(0, 3, (6, 5)), -1))
    error = class_error(logits, labels)
    assert error.n_labels.tolist() == [int((labels >= 0).sum())]
    error.mean.sum().backward()
    assert logits.grad is not None
    if not (labels >= 0).any():
        assert float(error.total.detach()) == 0
        assert not logits.grad.any()
        return
    torch.testing.assert_close(error.mean[0], cross_entropy(logits[labels >= 0], labels[labels >= 0]))
    assert not logits.grad[labels < 0].any()
    assert logits.grad.isfinite().all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), share=st.floats(0, 1), not_said=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_errors_of_values_are_torchs_target_by_target(seed: int, share: float, not_said: float) -> None:
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(7, 3))).float().requires_grad_()
    labels = torch.from_numpy(np.where(rng.random((7, 3)) < share, rng.normal(size=(7, 3)), not_said)).float()
    scales = torch.tensor([1.0, 2.0, 0.5])
    error = value_error(values, labels, scales)
    error.mean.sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    for target in range(3):
        said = labels[:, target].isfinite()
        assert float(error.n_labels[target]) == int(said.sum())
        if said.any():
            expected = mse_loss(values[said, target], labels[said, target]) / scales[target] ** 2
            torch.testing.assert_close(error.mean[target], expected)
        else:
            assert float(error.total[target].detach()) == 0
    assert not values.grad[~labels.isfinite()].any()


@pytest.mark.parametrize(
    ("values", "labels"),
    [((4, 1), (1, 4)), ((4, 2), (4,)), ((4,), (4, 1)), ((4, 5, 1), (4, 1)), ((4, 1), (4, 4)), ((4, 2), (4, 1))],
)
def test_labels_of_another_shape_are_never_stretched(values: tuple[int, ...], labels: tuple[int, ...]) -> None:
    """DX-4: (B,) against (B, 1) became B x B."""
    with pytest.raises(ValueError, match=r"labels of values: expected float \(.*\), found float32 \(.*\); give one"):
        value_error(torch.zeros(values), torch.zeros(labels))


def test_one_target_may_go_without_its_axis() -> None:
    values, labels = torch.randn(4, 1), torch.randn(4)
    assert torch.equal(value_error(values, labels).total, value_error(values, labels[:, None]).total)
    torch.testing.assert_close(value_error(values, labels).mean[0], mse_loss(values[:, 0], labels))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.zeros(4, 1, dtype=torch.int64),
            r"expected whole numbers \(4,\) for logits \(4, 3\), found int64 \(4, 1\)",
        ),
        (torch.zeros(4), "found float32"),
        (torch.tensor([0, 1, 2, 3]), "expected below 3, found 3; see n_outputs"),
    ],
)
def test_labels_of_classes_that_are_none(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_error(torch.zeros(4, 3), labels)


@pytest.mark.parametrize("kind", ["classes", "values", "steps of classes", "steps of values"])
def test_errors_of_micro_batches_add_up_to_those_of_the_windows(kind: str) -> None:
    rng = np.random.default_rng(0)
    items = windows(30, seed=0)
    steps = (16,) if "steps" in kind else ()
    labels: np.ndarray = rng.integers(-1, 2, (30, *steps))
    if "values" in kind:
        labels = np.where(rng.random((30, *steps, 2)) < 0.5, rng.normal(size=(30, *steps, 2)), np.nan)
    lengths = rng.integers(1, 17, 30)
    items = MixedItems(items.numbers, items.categories, lengths, labels=labels)
    config = config_of(head="steps" if steps else kind)
    targets = ("one", "other") if "values" in kind else ("target",)
    objective = LabelObjective(items, items, config, targets=targets)
    model = DualPatch(config).eval()
    whole = objective.loss(model, objective.batch(np.arange(30)))
    parts = [objective.loss(model, objective.batch(np.arange(first, first + 5))) for first in range(0, 30, 5)]
    torch.testing.assert_close(torch.stack(parts).mean(0), whole)
    assert float(whole.mean().detach()) == pytest.approx(objective.validate(model), rel=1e-5)
    if steps:
        assert objective.expected.sum() * 30 < (labels >= 0).sum() if "classes" in kind else True  # not under padding


def test_a_batch_without_a_label_changes_nothing_and_is_counted() -> None:
    items = windows(8, seed=0)
    assert items.labels is not None
    items.labels[:5] = -1
    objective = LabelObjective(items, items, config_of())
    model = DualPatch(config_of())
    loss = objective.loss(model, objective.batch(np.arange(5)))
    loss.mean().backward()
    assert loss.tolist() == [0.0]
    assert objective.n_without_labels == 1
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())
    assert float(objective.loss(model, objective.batch(np.arange(8))).detach()) > 0
    assert objective.n_without_labels == 1


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({}, None, "the training windows have no labels"),
        ({}, np.zeros((9, 1), int), r"training labels: expected whole numbers \(9,\), found int64 \(9, 1\)"),
        ({}, np.zeros((9, 2)), "expected numbers of classes for head 'classes', found float64"),
        ({"head": "values"}, np.zeros((9, 2), int), r"expected whole numbers \(9,\), found int64 \(9, 2\)"),
        ({"head": "values"}, np.zeros(9, int), "expected floats for head 'values', found int64"),
        ({}, np.full(9, 2), "expected classes below 2, found 2; see n_outputs"),
        ({}, np.full(9, -1), "training labels: none for target; leave the target out"),
        ({"head": "steps"}, np.zeros((9, 15), int), r"expected whole numbers \(9, 16\), found int64 \(9, 15\)"),
    ],
)
def test_labels_that_a_model_cannot_learn(changes: dict[str, Any], labels: np.ndarray | None, message: str) -> None:
    items = windows(9, seed=0)
    items = MixedItems(items.numbers, items.categories, labels=labels)
    targets = ("one", "other") if labels is not None and labels.dtype.kind == "f" else ("target",)
    with pytest.raises(ValueError, match=message):
        LabelObjective(items, items, config_of(**changes), targets=targets)


def test_targets_and_scales_one_for_each_output() -> None:
    items = MixedItems(windows(9, seed=0).numbers, windows(9, seed=0).categories, labels=np.zeros((9, 2)))
    with pytest.raises(
        ValueError, match="expected 2 names, and as many scales for values only, found 1 names and none"
    ):
        LabelObjective(items, items, config_of(head="values"))
    with pytest.raises(ValueError, match="found 2 names and 1 scales"):
        LabelObjective(items, items, config_of(head="values"), targets=("a", "b"), scales=(1.0,))


def test_windows_that_are_not_alike_are_refused() -> None:
    with pytest.raises(
        ValueError, match="expected one row for each window, found 3 numbers, 2 lengths; cut them alike"
    ):
        MixedItems(numbers=np.zeros((3, 2, 16)), lengths=np.ones(2))
    with pytest.raises(ValueError, match="expected numbers or categories, found neither"):
        MixedItems(labels=np.zeros(3))


@pytest.mark.parametrize("branches", ["both", "temporal", "channels", "pointwise"])
def test_a_rule_is_learnt_and_labels_by_lot_are_not(branches: str, tmp_path: Path) -> None:
    train, validation, test = windows(192, seed=1), windows(64, seed=2), windows(256, seed=3)
    config = config_of(branches=branches)
    right = {}
    for name in ("rule", "lot"):
        if name == "lot":
            assert train.labels is not None
            np.random.default_rng(0).shuffle(train.labels)
        torch.manual_seed(0)
        model = DualPatch(config)
        fit(model, LabelObjective(train, validation, config), plan(), checkpoint=tmp_path / name)
        right[name] = float((outputs_of(model, test).argmax(1) == test.labels).mean())
    assert right["rule"] > 0.85
    assert (
        abs(right["lot"] - 0.5) < 0.2
    )  # of 256: three standard deviations are 0.09, and a model has a slope of its own


def test_values_and_steps_are_learnt_in_their_units(tmp_path: Path) -> None:
    items = windows(128, seed=4)
    assert items.numbers is not None
    level = np.nan_to_num(items.numbers[:, 0, 8:]).mean(1)
    labels = np.stack([100 + 50 * level, np.where(np.arange(128) % 2, level, np.nan)], axis=1)
    items = MixedItems(items.numbers, items.categories, labels=labels)
    config = config_of(head="values")
    torch.manual_seed(0)
    model = DualPatch(config)
    model.target.take([100.0, 0.0], [50.0, 1.0])
    objective = LabelObjective(items, items, config, targets=("a", "b"), scales=(50.0, 1.0))
    before = objective.validate(model)
    found = fit(model, objective, plan(), checkpoint=tmp_path / "c")
    assert set(found.history[0]) >= {"train/a", "train/b"}
    assert objective.validate(model) == found.best_validation < before / 3
    assert np.nanmean(np.abs(outputs_of(model, items)[:, 0] - labels[:, 0])) < 25


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(KINDS), share=st.floats(0.05, 0.95), n_channels=st.integers(1, 5), n_steps=st.integers(2, 40)
)
def test_as_much_is_hidden_as_asked_for_and_never_all(kind: Any, share: float, n_channels: int, n_steps: int) -> None:
    hiding = Hiding(share=share, patch_length=4, kinds=(kind,))
    places = hidden_places(6, n_channels=n_channels, n_steps=n_steps, hiding=hiding)
    assert places.shape == (6, n_channels, n_steps)
    assert places.any((1, 2)).all()
    if kind == "patch":
        assert (places == places[:, :1]).all()
        cut = places[:, 0, : n_steps // 4 * 4].reshape(6, -1, 4)
        assert (cut.any(2) == cut.all(2)).all()
    elif kind == "channel" and n_channels > 1:
        assert (places == places[..., :1]).all()
        n_hidden = max(1, min(round(share * n_channels), n_channels - 1))
        assert (places[..., 0].sum(1) == n_hidden).all()
    else:
        length = max(1, min(round(share * n_steps), n_steps - 1))
        assert (places.sum(2) == length).all()
        assert (places.int().diff(dim=2).abs().sum(2) <= 2).all()  # one run
    if n_channels > 1 and (kind != "patch" or n_steps > 4):
        assert not places.all((1, 2)).any()


def test_hiding_that_cannot_be() -> None:
    with pytest.raises(
        ValueError, match=r"share: .* found 1; patch_length: .* found 0; kinds: expected some of patch, ch"
    ):
        Hiding(share=1.0, patch_length=0, kinds=())


def test_a_pretraining_learns_what_is_hidden_and_its_encoder_starts_a_probe(tmp_path: Path) -> None:
    """Channel 1 is channel 0 again, so that what is hidden can be told from what is seen."""
    rng = np.random.default_rng(0)
    course = np.cumsum(rng.normal(size=(256, 16)), axis=1) / 3
    numbers = np.stack([course, course], axis=1).astype(np.float32)
    codes = 2 + (course > 0)[:, None].astype(np.int64)
    items = MixedItems(numbers[:192], codes[:192])
    held_out = MixedItems(numbers[192:], codes[192:])
    config = config_of(cardinalities=(2,))
    torch.manual_seed(0)
    model = MaskedMixed(config)
    objective = RebuildingObjective(items, held_out, config, hiding=Hiding(kinds=("channel", "block"), patch_length=4))
    before = objective.validate(model)
    found = fit(model, objective, plan(20), checkpoint=tmp_path / "c")
    assert objective.parts == ("numbers", "categories")
    assert found.best_validation < 0.5 * before
    probe = DualPatch(config)
    start_from_pretrained(probe, model.encoder)
    freeze_encoder(probe)
    kept = {name: weight.clone() for name, weight in probe.encoder.named_parameters()}
    labelled = MixedItems(numbers[:192], codes[:192], labels=(course[:192, -1] > 0).astype(int))
    fit(probe, LabelObjective(labelled, labelled, config), plan(2), checkpoint=tmp_path / "probe")
    assert all(torch.equal(weight, kept[name]) for name, weight in probe.encoder.named_parameters())


def test_a_pretraining_with_nothing_to_ask_for_has_an_error_of_zero() -> None:
    items = MixedItems(np.full((4, 2, 16), np.nan), np.zeros((4, 1, 16)))
    objective = RebuildingObjective(items, items, config_of())
    model = MaskedMixed(config_of())
    loss = objective.loss(model, objective.batch(np.arange(4)))
    loss.mean().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert objective.validate(model) == 0
