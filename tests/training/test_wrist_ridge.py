import numpy as np
import pytest
import torch
from scipy.signal import correlate
from sklearn.linear_model import Ridge

from foresense.config.wrist import WristModelConfig
from foresense.models.classifiers import build_classifier
from foresense.models.wrist_rocket import KERNEL, RAMP, RandomKernels, WristRocket
from foresense.training.wrist_items import WristItems
from foresense.training.wrist_ridge import FEATURE_FAVOUR, fit_rocket

CONFIG = WristModelConfig(
    model="rocket", window_length=60, rate_hz=20, n_kernels=20, n_topology=0, n_times=0, fusion="late"
)


def people(n: int, seed: int) -> WristItems:
    """Three classes that differ in how fast the wrist turns, at three heights of noise; features that say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    turns = 2 * np.pi * (0.5 + labels)[:, None] * np.arange(60) / 20 + rng.uniform(0, 6, (n, 1))
    windows = np.stack([0.3 * np.sin(turns), 0.3 * np.cos(turns), np.ones_like(turns)], axis=2)
    noise = 0.2 * rng.standard_normal(windows.shape)
    statistics = rng.standard_normal((n, 56)).astype(np.float32)
    return WristItems((windows + noise).astype(np.float32), statistics=statistics, labels=labels)


def fitted(seed: int = 0, **changes: object) -> tuple[WristRocket, list[dict[str, float]]]:
    torch.manual_seed(seed)
    model = build_classifier(CONFIG, n_classes=3)
    assert isinstance(model, WristRocket)
    asked = {"penalties": (1.0, 1e6), "rarity": 0.5, **changes}
    return model, fit_rocket(model, people(150, 1), people(90, 2), **asked).history


def test_the_head_is_the_ridge_regression_of_another_library() -> None:
    """Scikit-learn solves the same sums by another way; float32 weights are right to seven digits."""
    model, _ = fitted(penalties=(3.0,))
    train = people(150, 1)
    with torch.no_grad():
        regressors = model.regressors(
            model.shares(torch.from_numpy(train.windows)), torch.from_numpy(train.statistics)
        ).numpy()
    scale = np.ones(regressors.shape[1])
    scale[-56:] = np.sqrt(FEATURE_FAVOUR)  # a penalty divided by 100 is a regressor times 10
    counts = np.bincount(train.labels)
    weights = counts[train.labels] ** -0.5
    weights *= len(weights) / weights.sum()
    target = np.where(train.labels[:, None] == np.arange(3), 1.0, -1.0)
    other = Ridge(alpha=3.0, solver="cholesky").fit(regressors * scale, target, sample_weight=weights)
    np.testing.assert_allclose(model.head.weight.detach().numpy(), other.coef_ * scale, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.head.bias.detach().numpy(), other.intercept_, rtol=1e-4, atol=1e-6)


def test_people_that_choose_pick_the_penalty_and_how_sharp_the_shares_are() -> None:
    model, history = fitted()
    chosen, other = fitted(penalties=(1.0,))[0], fitted(penalties=(1e6,))[0]
    errors = [row["validation"] for row in history]
    assert [row["train/penalty"] for row in history] == [1.0, 1e6]
    assert errors[0] < errors[1]  # so large a penalty leaves nothing of the weights but noise
    assert errors[0] < 0.3  # chance is 0.83
    assert torch.equal(model.head.weight, chosen.head.weight)
    assert not torch.equal(model.head.weight, other.head.weight)
    validation = people(90, 2)
    with torch.no_grad():
        logits = model(torch.from_numpy(validation.windows), torch.from_numpy(validation.statistics)).double().numpy()
    losses = []
    for factor in (0.8, 1.0, 1.25):
        scores = logits * factor
        losses.append(np.mean(np.logaddexp.reduce(scores, axis=1) - scores[np.arange(90), validation.labels]))
    assert losses[1] == min(losses)


def test_shuffled_labels_are_not_learnt() -> None:
    train, validation = people(150, 1), people(90, 2)
    shuffled = WristItems(
        train.windows, statistics=train.statistics, labels=np.random.default_rng(5).permutation(train.labels)
    )
    torch.manual_seed(0)
    model = build_classifier(CONFIG, n_classes=3)
    result = fit_rocket(model, shuffled, validation, penalties=(100.0,), rarity=0.0)
    assert result.best_validation > 0.65  # chance: 1 - (1/3 + 0) / 2 = 0.83


def test_equal_seeds_give_equal_networks_and_training_windows_alone_decide() -> None:
    first, again, other = fitted()[0], fitted()[0], fitted(seed=1)[0]
    assert all(torch.equal(first.state_dict()[name], values) for name, values in again.state_dict().items())
    assert not torch.equal(first.kernels[0].weight, other.kernels[0].weight)
    torch.manual_seed(0)
    elsewhere = build_classifier(CONFIG, n_classes=3)
    fit_rocket(elsewhere, people(150, 1), people(90, 7), penalties=(1.0,), rarity=0.5)
    assert torch.equal(first.head.weight, elsewhere.head.weight)
    assert not torch.equal(first.sharpness, elsewhere.sharpness)


def test_shares_and_maxima_are_those_of_a_written_out_correlation() -> None:
    torch.manual_seed(3)
    kernels = RandomKernels(6, 7, dilation=2)
    courses = torch.randn(4, 7, 50)
    kernels.draw(courses)
    found = kernels(courses).numpy()
    weight = kernels.weight.numpy().astype(np.float64)
    n_seen = (np.abs(weight).sum(2) > 0).sum(1)
    assert set(n_seen) <= {1, 2, 3}
    np.testing.assert_allclose(np.linalg.norm(weight, axis=(1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(weight.sum(2), 0, atol=1e-6)  # a level of a course is not seen
    spread = np.zeros((*weight.shape[:2], 2 * KERNEL - 1))
    spread[:, :, ::2] = weight
    for window, row in zip(courses.numpy().astype(np.float64), found, strict=True):
        for number, kernel in enumerate(spread):
            output = sum(correlate(window[c], kernel[c], mode="same") for c in range(7))
            ramp = float(kernels.ramps[number])
            lowest = kernels.thresholds[:, number, 0].double().numpy() * ramp
            shares = [np.clip((output - level) / ramp, 0, 1).mean() for level in lowest]
            np.testing.assert_allclose(row[[number, 6 + number, 12 + number]], shares, atol=1e-5)
            assert row[18 + number] == pytest.approx(output.max() / ramp, rel=1e-5)
    deviations = kernels.outputs(courses).transpose(0, 1).flatten(1).std(1)
    np.testing.assert_allclose(kernels.ramps[:, 0], RAMP * deviations, rtol=1e-5)


def test_courses_are_the_axes_their_length_without_gravity_and_what_changes_fast() -> None:
    model = build_classifier(CONFIG, n_classes=3)
    steps = np.arange(60)
    windows = np.stack([0.01 * steps, np.ones(60), np.where(steps == 30, 1.0, 0.0)], axis=1)[None]
    courses = model.courses(torch.from_numpy(windows.astype(np.float32)))[0].numpy()
    np.testing.assert_allclose(courses[:3], windows[0].T, rtol=1e-6)
    np.testing.assert_allclose(courses[3], np.linalg.norm(windows[0], axis=1) - 1, atol=1e-6)
    np.testing.assert_allclose(courses[4][10:-10], 0, atol=1e-6)  # a straight line is its own mean over 1.05 s
    np.testing.assert_allclose(courses[5], 0, atol=1e-6)
    assert courses[6][30] == pytest.approx(1 - 1 / 21)
    assert courses[6][25] == pytest.approx(-1 / 21)


def test_what_a_rocket_needs_is_said() -> None:
    train, validation = people(30, 1), people(30, 2)
    model = build_classifier(CONFIG, n_classes=3)
    with pytest.raises(ValueError, match="needs at least one penalty, and labels of both parts"):
        fit_rocket(model, train, validation, penalties=(), rarity=1.0)
    bare = WristItems(train.windows, statistics=train.statistics)
    with pytest.raises(ValueError, match="labels of both parts"):
        fit_rocket(model, bare, validation, penalties=(1.0,), rarity=1.0)
