"""Rivals: naive rules by hand, others against scikit-learn alone, and that nothing but training rows is learnt from."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from foresense.training import mixed_rivals
from foresense.training.mixed_rivals import CLASS_RIVALS, VALUE_RIVALS, rival_predictions
from foresense.training.mixed_rows import ClassRows, RivalError, ValueRows


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_rivals, "MAX_ROUNDS", 30)
    monkeypatch.setattr(mixed_rivals, "ROUNDS_OF_FOLDS", 15)


def class_rows(n: int = 90, *, seed: int = 0, n_classes: int = 2) -> ClassRows:
    """The first feature says the class, the second is a hole half of the time."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, n_classes, n).astype(np.float64)
    features = rng.normal(size=(n, 4))
    features[:, 0] += 3 * target
    features[rng.random(n) < 0.5, 1] = np.nan
    features[:, 3] = np.nan  # never measured
    target[:3] = np.nan
    return ClassRows(features, target, n_classes)


def value_rows(n: int = 160, *, seed: int = 0) -> ValueRows:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 3)).astype(np.float32).astype(np.float64)
    target = 10 + 4 * features[:, 0] + rng.normal(size=n)
    features[rng.random(n) < 0.3, 2] = np.nan
    target[5:9] = np.nan
    history = rng.normal(10, 4, (n, 169))
    return ValueRows(features, target, history, rng.permutation(np.arange(n) * 3), 24)


def rows_of(name: str, *, kind: str, seed: int) -> ClassRows | ValueRows:
    return class_rows(seed=seed) if kind == "class" else value_rows(seed=seed)


ALL = [("class", name) for name in CLASS_RIVALS] + [("value", name) for name in VALUE_RIVALS]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_nothing_is_learnt_from_rows_that_are_judged(kind: str, name: str) -> None:
    """Other labels and features in validation and test: the same choice, and the same word on unchanged rows."""
    train, judged, probe = (rows_of(name, kind=kind, seed=seed) for seed in range(3))
    before = rival_predictions(name, train, [judged, probe], seed=0)
    rng = np.random.default_rng(9)
    poisoned = dataclasses.replace(
        judged, features=rng.normal(1e6, 1e6, judged.features.shape), target=rng.permutation(judged.target)[::-1]
    )
    hidden = dataclasses.replace(probe, target=np.full(len(probe.target), np.nan))
    after = rival_predictions(name, train, [poisoned, hidden], seed=0)
    np.testing.assert_array_equal(before.predictions[1], after.predictions[1])
    assert before.chosen == after.chosen
    assert (before.n_train, before.n_without_target) == (after.n_train, after.n_without_target)
    alone = rival_predictions(name, train, [probe], seed=0)
    np.testing.assert_array_equal(before.predictions[1], alone.predictions[0])
    assert np.isfinite(alone.predictions[0]).all()


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_rows_without_a_target_are_left_out_and_counted(kind: str, name: str) -> None:
    train, probe = rows_of(name, kind=kind, seed=0), rows_of(name, kind=kind, seed=1)
    known = ~np.isnan(train.target)
    found = rival_predictions(name, train, [probe], seed=0)
    without = rival_predictions(name, train.only(known), [probe], seed=0)
    np.testing.assert_array_equal(found.predictions[0], without.predictions[0])
    assert (found.n_train, found.n_without_target) == (known.sum(), (~known).sum())
    assert found.n_without_target > 0 == without.n_without_target


@pytest.mark.parametrize("name", CLASS_RIVALS)
def test_probabilities_are_shares_and_who_learns_beats_prevalence(name: str) -> None:
    train, test = class_rows(150, n_classes=3), class_rows(100, n_classes=3, seed=1)
    said = rival_predictions(name, train, [test], seed=0).predictions[0]
    assert said.shape == (100, 3)
    np.testing.assert_allclose(said.sum(axis=1), 1.0)
    known = ~np.isnan(test.target)
    right = (said.argmax(axis=1) == test.target)[known].mean()
    if name == "prevalence":
        shares = pd.Series(train.target).value_counts(normalize=True).sort_index()
        np.testing.assert_allclose(said, np.tile(shares, (100, 1)))
    else:
        assert right > 0.8


def test_a_class_that_training_never_shows_has_probability_zero() -> None:
    train = dataclasses.replace(class_rows(), n_classes=4)
    for name in CLASS_RIVALS:
        said = rival_predictions(name, train, [dataclasses.replace(class_rows(seed=1), n_classes=4)], seed=0)
        assert (said.predictions[0][:, 2:] == 0).all()
        np.testing.assert_allclose(said.predictions[0].sum(axis=1), 1.0)


def test_logistic_is_a_regression_on_imputed_standardised_features_and_indicators() -> None:
    train, test = class_rows(), class_rows(seed=1)
    found = rival_predictions("logistic", train, [test], seed=0)
    known = ~np.isnan(train.target)

    def inputs(features: np.ndarray) -> np.ndarray:
        frame, learnt = pd.DataFrame(features), pd.DataFrame(train.features[known])
        holes = frame[[1, 3]].isna().astype(float)
        both = pd.concat([frame.fillna(learnt.mean()).fillna(0.0), holes], axis=1).to_numpy()
        own = pd.concat([learnt.fillna(learnt.mean()).fillna(0.0), learnt[[1, 3]].isna().astype(float)], axis=1)
        return (both - own.mean().to_numpy()) / own.std(ddof=0).replace(0, 1).to_numpy()

    model = LogisticRegression(C=found.chosen["inverse_penalty"], max_iter=5000)
    model.fit(inputs(train.features[known]), train.target[known])
    np.testing.assert_allclose(found.predictions[0], model.predict_proba(inputs(test.features)), atol=1e-4)


def test_labels_without_a_rule_get_a_strong_penalty() -> None:
    train = class_rows()
    noise = dataclasses.replace(train, features=np.random.default_rng(5).normal(size=(90, 30)))
    assert rival_predictions("logistic", noise, [], seed=0).chosen["inverse_penalty"] <= 1e-2
    assert rival_predictions("logistic", train, [], seed=0).chosen["inverse_penalty"] >= 1e-2


def test_owners_are_never_on_both_sides_and_every_fold_has_both_classes() -> None:
    rows = class_rows(120).only(np.arange(3, 120))
    owned = dataclasses.replace(rows, owners=np.arange(117) // 6)
    for fitting, choosing in mixed_rivals._folds(owned, 0):
        assert not set(owned.owners[fitting]) & set(owned.owners[choosing])
    seen = np.concatenate([choosing for _, choosing in mixed_rivals._folds(rows, 0)])
    np.testing.assert_array_equal(np.sort(seen), np.arange(117))
    for fitting, choosing in mixed_rivals._folds(rows, 0):
        assert set(rows.target[fitting]) == set(rows.target[choosing]) == {0.0, 1.0}
    rival_predictions("boosting", owned, [], seed=0)


def test_one_fold_chooses_where_there_are_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_rivals, "MANY_ROWS", 50)
    found = rival_predictions("boosting", class_rows(), [class_rows(seed=1)], seed=0)
    assert 1 <= found.chosen["rounds"] <= 30


def test_the_newest_rows_choose_and_what_fits_is_known_when_they_begin() -> None:
    rows = value_rows()
    fitting, choosing = mixed_rivals._by_time(rows)
    assert len(choosing) == pytest.approx(0.2 * 160, abs=1)
    begin = rows.issued_h[choosing].min()
    assert (rows.issued_h[fitting] + 24 <= begin).all()
    left_out = np.setdiff1d(np.arange(160), np.concatenate([fitting, choosing]))
    assert ((rows.issued_h[left_out] + 24 > begin) & (rows.issued_h[left_out] < begin)).all()


def test_ridge_with_the_chosen_penalty_is_scikit_learns() -> None:
    train, test = value_rows(), value_rows(seed=1)
    found = rival_predictions("ridge", train, [test], seed=0)
    known = ~np.isnan(train.target)
    learnt = train.features[known]
    mean = np.nanmean(learnt, axis=0)

    def inputs(features: np.ndarray) -> np.ndarray:
        return np.column_stack([np.where(np.isnan(features), mean, features), np.isnan(features[:, 2])])

    own = inputs(learnt)
    scaled = [(inputs(features) - own.mean(axis=0)) / own.std(axis=0) for features in (learnt, test.features)]
    model = Ridge(alpha=found.chosen["penalty"]).fit(scaled[0], train.target[known])
    np.testing.assert_allclose(found.predictions[0], model.predict(scaled[1]), rtol=1e-8)
    errors = np.abs(found.predictions[0] - test.target)
    assert np.nanmean(errors) < 1.3  # noise of deviation 1: 0.8


@pytest.mark.parametrize("name", ["boosting", "boosting_absolute"])
def test_trees_learn_values(name: str) -> None:
    train, test = value_rows(400), value_rows(seed=1)
    said = rival_predictions(name, train, [test], seed=0).predictions[0]
    assert np.nanmean(np.abs(said - test.target)) < 0.75 * np.nanmean(np.abs(test.target - np.nanmean(test.target)))


def test_trees_take_a_column_that_training_never_shows_and_all_columns_empty() -> None:
    train, test = value_rows(), value_rows(seed=1)
    hidden = dataclasses.replace(train, features=np.where(np.arange(3) == 0, train.features, np.nan))
    found = rival_predictions("boosting", hidden, [test], seed=0).predictions[0]
    other = dataclasses.replace(test, features=np.where(np.arange(3) == 0, test.features, 1e3))
    np.testing.assert_array_equal(found, rival_predictions("boosting", hidden, [other], seed=0).predictions[0])
    assert found.std() > 1
    empty = dataclasses.replace(train, features=np.full((160, 3), np.nan))
    said = rival_predictions("boosting", empty, [test], seed=0).predictions[0]
    np.testing.assert_allclose(said, np.nanmean(train.target))


def history_rows(history: list[list[float]], horizon_h: int = 24) -> ValueRows:
    n = len(history)
    return ValueRows(np.zeros((n, 1)), np.full(n, 7.0), np.array(history), np.arange(n), horizon_h)


def course(n_steps: int = 200, **changes: float) -> list[float]:
    """Hour of the step as its value; `at_<lag>` changes the value so many hours before the newest."""
    values = np.arange(n_steps, dtype=np.float64)
    for name, value in changes.items():
        values[n_steps - 1 - int(name.removeprefix("at_"))] = value
    return values.tolist()


nan = float("nan")


@pytest.mark.parametrize(
    ("name", "horizon_h", "changes", "expected", "n_older"),
    [
        ("persistence", 24, {}, 199, 0),
        ("persistence", 24, {"at_0": nan, "at_1": nan}, 197, 1),
        ("last_day", 24, {}, 199, 0),
        ("last_day", 24, {"at_0": nan}, 175, 1),
        ("last_day", 1, {}, 199 - 23, 0),
        ("last_day", 30, {}, 199 - 18, 0),
        ("last_week", 24, {}, 199 - 144, 0),
        ("last_week", 24, {"at_144": nan}, 199, 1),
        ("last_week", 24, {"at_144": nan, "at_0": nan}, 199 - 24, 1),
        ("last_week", 168, {"at_0": nan}, 199 - 168, 1),
    ],
)
def test_naive_rules_repeat_the_same_hour(name, horizon_h, changes, expected, n_older) -> None:
    rows = history_rows([course(**changes)], horizon_h)
    found = rival_predictions(name, rows, [rows], seed=0)
    assert found.predictions[0].tolist() == [expected]
    assert (found.n_older, found.n_nothing) == ((n_older,), (0,))


@pytest.mark.parametrize("name", ["persistence", "last_day", "last_week"])
def test_a_naive_rule_without_any_value_says_the_training_mean_and_counts_it(name: str) -> None:
    rows = history_rows([course(), [nan] * 200])
    found = rival_predictions(name, rows, [rows, rows.only(np.array([0]))], seed=0)
    assert found.predictions[0][1] == 7.0
    assert found.n_nothing == (1, 0)
    assert found.n_older == (0, 0)


def test_a_week_needs_a_week_of_history() -> None:
    rows = history_rows([course(100)])
    with pytest.raises(RivalError, match="looks 144 h before the newest step, but the history has 100 steps"):
        rival_predictions("last_week", rows, [rows], seed=0)


def test_an_unknown_rival_and_rows_that_do_not_fit_are_refused() -> None:
    classes, values = class_rows(), value_rows()
    with pytest.raises(RivalError, match=r"no rival 'ridge' for ClassRows \(known: prevalence, logistic, boosting\)"):
        rival_predictions("ridge", classes, [], seed=0)
    with pytest.raises(RivalError, match="no rival 'logistic' for ValueRows"):
        rival_predictions("logistic", values, [], seed=0)
    other = dataclasses.replace(classes, features=classes.features[:, :3])
    with pytest.raises(RivalError, match=r"are \('ClassRows', 3, 2\), but \('ClassRows', 4, 2\) in training"):
        rival_predictions("logistic", classes, [other], seed=0)
    nothing = dataclasses.replace(classes, target=np.full(90, np.nan))
    with pytest.raises(RivalError, match="none of 90 training rows has a target"):
        rival_predictions("prevalence", nothing, [], seed=0)
    single = dataclasses.replace(classes, target=np.zeros(90))
    with pytest.raises(RivalError, match=r"the classes have \[90, 0\] rows of different owners"):
        rival_predictions("logistic", single, [], seed=0)
    near = dataclasses.replace(values, issued_h=np.arange(160) // 10)
    with pytest.raises(RivalError, match="training rows span 15 h, all too near to the newest 20%"):
        rival_predictions("ridge", near, [], seed=0)


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (class_rows(), {"target": np.full(90, 2.0)}, r"expected classes 0 to 1, NaN: not known; found 2\.0"),
        (class_rows(), {"target": np.full(90, 0.5)}, r"found 0\.5"),
        (class_rows(), {"features": np.full((90, 4), np.inf)}, r"features\[0, 0\] is infinite"),
        (class_rows(), {"owners": np.zeros(3, int)}, r"'owners': \(3,\)"),
        (class_rows(), {"features": np.zeros((90, 0))}, "at least one of each"),
        (value_rows(), {"target": np.full(160, np.inf)}, "target: infinite"),
        (value_rows(), {"history": np.zeros((160, 0))}, r"history: expected \(160, n_steps\), found \(160, 0\)"),
        (value_rows(), {"history": np.full((160, 2), np.inf)}, "history: infinite"),
        (value_rows(), {"horizon_h": 0}, "horizon_h: expected at least 1, found 0"),
    ],
)
def test_rows_that_cannot_be_are_refused(rows, changes, message) -> None:
    with pytest.raises(RivalError, match=message):
        dataclasses.replace(rows, **changes)
