"""Classes of people that are told apart, labels that mean nothing, and errors checked against torch and sklearn."""

from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from foresense.config.wrist import WristModelConfig
from foresense.models.classifiers import build_classifier, standardise_by
from foresense.training import FitPlan, fit
from foresense.training.wrist import (
    ClassificationObjective,
    LabelledBatch,
    class_weights,
    macro_f1_and_kappa,
    probabilities,
)
from foresense.training.wrist_augment import Augmentation
from foresense.training.wrist_items import WristItems

RATE_HZ, LENGTH, N_CLASSES = 10.0, 40, 3
TINY = {"window_length": LENGTH, "patch_length": 8, "rate_hz": RATE_HZ, "d_model": 16, "n_layers": 1, "dropout": 0.1}
BARE = {**TINY, "n_statistics": 0, "n_topology": 0, "n_times": 0}
CNN = {**BARE, "model": "cnn", "scaling": "training"}


def people(n_people: int, *, each: int, seed: int, first: int = 0) -> WristItems:
    """Arms that swing at 0.5, 1.25 or 3 Hz; each person wears the sensor another way and swings more or less wide."""
    windows, labels = [], []
    for person in range(first, first + n_people):
        rng = np.random.default_rng([seed, person])
        turn, width = scipy.stats.special_ortho_group.rvs(3, random_state=rng), rng.uniform(0.3, 1.0)
        own = rng.integers(0, N_CLASSES, each)
        phase = (
            2 * np.pi * (rng.random((each, 1)) + np.array([0.5, 1.25, 3.0])[own, None] * np.arange(LENGTH) / RATE_HZ)
        )
        swing = width * np.stack([np.sin(phase), np.cos(phase), np.zeros_like(phase)], axis=-1) + [0, 0, 1]
        windows.append((swing + rng.normal(0, 0.1, swing.shape)) @ turn)
        labels.append(own)
    return WristItems(np.concatenate(windows).astype(np.float32), labels=np.concatenate(labels))


def relabelled(items: WristItems, seed: int) -> WristItems:
    labels = np.random.default_rng(seed).integers(0, N_CLASSES, len(items))
    return WristItems(items.windows, labels=labels)


def network(changes: dict[str, object], windows: np.ndarray) -> nn.Module:
    torch.manual_seed(0)
    model = build_classifier(WristModelConfig.model_validate(changes), n_classes=N_CLASSES)
    standardise_by(model, windows=torch.from_numpy(windows))
    return model


def plan(**changes: object) -> FitPlan:
    return FitPlan(**{"n_epochs": 15, "batch_size": 16, "learning_rate": 3e-3, "patience": 99, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [BARE, CNN], ids=["transformer", "cnn"])
@pytest.mark.parametrize("labels", ["true", "shuffled"])
def test_people_never_seen_are_told_apart_and_labels_without_meaning_are_not(
    changes: dict[str, object], labels: str, tmp_path: Path
) -> None:
    train, validation, test = (people(n, each=60, seed=0, first=first) for n, first in ((4, 0), (2, 4), (2, 6)))
    if labels == "shuffled":
        train, validation, test = (relabelled(part, seed) for seed, part in enumerate((train, validation, test)))
    model = network(changes, train.windows)
    turning = Augmentation(turn_deg=180)
    objective = ClassificationObjective(train, validation, n_classes=N_CLASSES, augmentation=turning)
    fit(model, objective, plan(), checkpoint=tmp_path / "c")
    found = probabilities(model, test)
    n_right = int((found.argmax(1) == test.labels).sum())
    if labels == "true":
        assert n_right > 0.9 * len(test)
    else:  # labels drawn apart from everything else: the number of right answers is binomial, whatever was learnt
        low, high = scipy.stats.binom.interval(1 - 1e-6, len(test), 1 / N_CLASSES)
        assert low <= n_right <= high
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


class Watched(ClassificationObjective):
    """Notes the memory of this process after each epoch."""

    def __init__(self, items: WristItems) -> None:
        super().__init__(items, items, n_classes=N_CLASSES)
        self.rss: list[int] = []

    def validate(self, model) -> float:  # type: ignore[no-untyped-def]
        found = super().validate(model)
        self.rss.append(psutil.Process().memory_info().rss)
        return found


class Leaking(Watched):
    """Keeps what every epoch predicted with the graph behind it: what the bound must catch."""

    def __init__(self, items: WristItems) -> None:
        super().__init__(items)
        self.kept: list[torch.Tensor] = []

    def loss(self, model, batch) -> torch.Tensor:  # type: ignore[no-untyped-def]
        self.kept.append(super().loss(model, batch))
        return self.kept[-1] * 1.0


@pytest.mark.long
@pytest.mark.parametrize(("kind", "grows"), [(Watched, False), (Leaking, True)])
def test_two_hundred_epochs_do_not_grow_memory(kind: type[Watched], grows: bool, tmp_path: Path) -> None:
    items = people(4, each=8, seed=0)
    objective = kind(items)
    fit(network(BARE, items.windows), objective, plan(n_epochs=200, patience=999), checkpoint=tmp_path / "c")
    grown_mib = (objective.rss[-1] - objective.rss[19]) / 2**20
    assert (grown_mib > 6) is grows, f"{grown_mib:.1f} MiB from epoch 20 to 200"


@pytest.mark.parametrize(("n", "batch_size"), [(7, 16), (33, 16), (16, 5)])
def test_any_number_of_windows_and_any_batch_can_be_trained(n: int, batch_size: int, tmp_path: Path) -> None:
    items = people(1, each=n, seed=1)
    objective = ClassificationObjective(items, items, n_classes=N_CLASSES)
    result = fit(
        network(BARE, items.windows), objective, plan(n_epochs=2, batch_size=batch_size), checkpoint=tmp_path / "c"
    )
    assert result.n_steps == 2 * max(1, n // min(batch_size, n))
    assert probabilities(network(BARE, items.windows), items).shape == (n, N_CLASSES)


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=60).map(lambda drawn: [0, 1, 2, 3, *drawn]))
def test_classes_weigh_as_sklearn_balances_them(labels: list[int]) -> None:
    given = np.array(labels)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=given)
    weights = class_weights(given, 4, rarity=1.0)
    np.testing.assert_allclose(weights, expected)
    assert class_weights(given, 4, rarity=0.0) == pytest.approx(np.ones(4))
    assert weights[given].mean() == pytest.approx(1)
    counts = np.bincount(given)
    np.testing.assert_allclose(weights / weights.min(), counts.max() / counts)  # spec D4: max / count, normalised


pairs = st.integers(2, 5).flatmap(
    lambda k: st.tuples(st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1))
)


@given(drawn=pairs)
def test_macro_f1_and_kappa_are_sklearns(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    n_classes, rows = drawn
    truth, predicted = (np.array(column) for column in zip(*rows, strict=True))
    macro_f1, kappa = macro_f1_and_kappa(truth, predicted, n_classes)
    assert macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    if len({*truth.tolist(), *predicted.tolist()}) == 1:
        assert kappa == 0  # sklearn: not a number
    else:
        assert kappa == pytest.approx(cohen_kappa_score(truth, predicted), abs=1e-12)


def objective_of(logits: np.ndarray, labels: list[int], **changes: object) -> tuple[ClassificationObjective, nn.Module]:
    """An objective whose windows are logits, for a model that returns them."""
    items = WristItems(logits.astype(np.float32), labels=np.array(labels))

    class Same(nn.Module):
        def forward(self, windows: torch.Tensor, *_: None) -> torch.Tensor:
            return windows

    return ClassificationObjective(items, items, n_classes=3, **changes), Same()  # type: ignore[arg-type]


def test_the_loss_is_torchs_weighted_cross_entropy_and_micro_batches_add_up() -> None:
    rng = np.random.default_rng(0)
    labels = [0, 0, 0, 0, 1, 1, 2, 0]
    logits = rng.normal(size=(8, 3))
    objective, same = objective_of(logits, labels)
    whole = objective.loss(same, objective.batch(np.arange(8)))
    expected = nn.functional.cross_entropy(
        torch.from_numpy(logits), torch.tensor(labels), weight=objective.weights.double()
    )
    assert whole.shape == (1,)
    assert float(whole) == pytest.approx(float(expected), rel=1e-6)
    halves = [float(objective.loss(same, objective.batch(np.arange(n, n + 4)))) for n in (0, 4)]
    assert np.mean(halves) == pytest.approx(float(whole), rel=1e-6)


def test_an_epoch_is_judged_by_score_or_by_loss() -> None:
    right = 9.0 * np.eye(3)
    by_score, same = objective_of(right, [0, 1, 2])
    assert by_score.validate(same) == 0
    wrong, same = objective_of(right[[1, 2, 0]], [0, 1, 2])
    assert wrong.validate(same) == pytest.approx(1 - (0 - 0.5) / 2)  # macro-F1 0, kappa -1/2 when all three are wrong
    by_loss, same = objective_of(right, [0, 1, 2], select="loss")
    assert by_loss.validate(same) == pytest.approx(np.log(1 + 2 * np.exp(-9)), rel=1e-3)


def test_turned_windows_have_their_own_statistics() -> None:
    items = people(2, each=6, seed=2)
    with_statistics = WristItems(items.windows, statistics=np.zeros((12, 3)), labels=items.labels)
    turn = Augmentation(turn_deg=90)
    with pytest.raises(ValueError, match="turned windows have other statistics; give statistics_of"):
        ClassificationObjective(with_statistics, items, n_classes=3, augmentation=turn)
    objective = ClassificationObjective(
        with_statistics, items, n_classes=3, augmentation=turn, statistics_of=partial(np.mean, axis=1)
    )
    windows, statistics, topology, times = objective.batch(np.arange(12)).inputs
    assert statistics is not None
    assert topology is None
    assert times is None
    torch.testing.assert_close(statistics, windows.mean(1))
    assert not torch.allclose(windows, torch.from_numpy(items.windows), atol=0.1)


def test_mixed_windows_share_their_classes() -> None:
    items = people(2, each=6, seed=2)
    objective = ClassificationObjective(items, items, n_classes=3, augmentation=Augmentation(mixup=0.4))
    torch.manual_seed(0)
    batch = objective.batch(np.arange(12))
    torch.testing.assert_close(batch.targets.sum(1), torch.ones(12))
    assert ((batch.targets > 0.01).sum(1) == 2).any()
    hard = LabelledBatch(batch.inputs, nn.functional.one_hot(batch.targets.argmax(1), 3).float())
    model = network(BARE, items.windows)
    assert objective.loss(model, batch).isfinite().all()
    assert not torch.equal(objective.loss(model, batch), objective.loss(model, hard))


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([], [0, 1, 2], "no training windows; give more people to the training part"),
        ([0, 1, 2], [], "no validation windows; give more people to the validation part"),
        (None, [0, 1, 2], "the training windows have no labels; pretrain on them, or give labels"),
        ([0, 1, 3], [0], "training labels: expected whole numbers from 0 to 2, found int64 from 0 to 3"),
        ([0, 1, 2], [0.5], "validation labels: expected whole numbers from 0 to 2, found float64 from 0.5 to 0.5"),
        ([0, 2, 2], [0], r"classes \[1\] have no training window; leave them out of the classes, or split the people"),
    ],
)
def test_labels_that_nothing_can_be_learnt_from(train: list[int] | None, validation: list[float], message: str) -> None:
    def items(labels: list[int] | list[float] | None) -> WristItems:
        n = 3 if labels is None else len(labels)
        return WristItems(np.zeros((n, LENGTH, 3)), labels=None if labels is None else np.array(labels))

    with pytest.raises(ValueError, match=message):
        ClassificationObjective(items(train), items(validation), n_classes=3)


def test_rows_that_belong_together_are_equally_many() -> None:
    with pytest.raises(ValueError, match="one row for each of 4 windows, found 3 statistics, 5 labels; cut them"):
        WristItems(np.zeros((4, 8, 3)), statistics=np.zeros((3, 56)), times=np.zeros((4, 5)), labels=np.zeros(5, int))


def test_probabilities_leave_the_mode_of_the_model_as_it_was() -> None:
    items = people(1, each=300, seed=3)
    model = network({**BARE, "dropout": 0.5}, items.windows)
    for training in (True, False):
        model.train(training)
        assert np.array_equal(probabilities(model, items), probabilities(model, items))
        assert model.training is training
