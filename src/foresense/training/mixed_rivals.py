"""What a network for mixed recordings has to beat: naive rules, linear models and trees on features.

Everything that a rival learns, its penalty, its rounds, its imputation and its scales included, comes from the training
rows. scikit-learn is imported where it is used.

Features are rounded to float32 before anything sees them, as a rival that ships computes them in float32.

One call on one core, disturbed by other work: trees for 300 stays of 753 features 13 s; for 13,586 windows of 154
features 28 s for six classes, 8 s for values by squared and by absolute errors; the regression of six classes 78 s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from foresense.models.mixed_rivals import Fitted, FittedRepeat
from foresense.training.mixed_fitted import (
    centre_thresholds,
    fitted_classes,
    fitted_shares,
    fitted_trees,
    fitted_values,
    steady,
)
from foresense.training.mixed_rows import ClassRows, RivalError, ValueRows

#: Names of the rivals for classes, in the order in which they are shown.
CLASS_RIVALS = ("prevalence", "logistic", "boosting")
#: Names of the rivals for values. `boosting` learns squared errors, `boosting_absolute` absolute ones.
VALUE_RIVALS = ("persistence", "last_day", "last_week", "ridge", "boosting", "boosting_absolute")
#: Inverse penalties of the logistic regression that are tried, on standardised features.
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
#: Penalties of the ridge regression that are tried, on standardised features.
PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
#: Parts of the inner cross-validation of classes; fewer where a class has fewer rows.
N_FOLDS = 5
#: Newest share of the training rows that chooses for values.
CHOOSING_SHARE = 0.2
#: Step of each round of trees.
LEARNING_RATE = 0.05
#: Where one inner split chooses the rounds: the most, and those without progress after which it gives up.
MAX_ROUNDS, PATIENCE = 1000, 20
#: Where all inner folds choose them together, by the sum of their losses: all of these are tried.
ROUNDS_OF_FOLDS = 150
#: Above this many training rows one inner fold chooses the rounds of classes.
MANY_ROWS = 10_000
_SMALLEST = float(np.finfo(np.float64).eps)
_DAY, _WEEK = 24, 168


Rows = TypeVar("Rows", ClassRows, ValueRows)
#: Predictions of each part, what was chosen, and what was fitted.
_Learnt = tuple[list[np.ndarray], dict[str, float], Fitted]


@dataclass(frozen=True, eq=False)
class RivalPredictions:
    """What a rival says.

    Attributes:
        name: In CLASS_RIVALS or VALUE_RIVALS.
        predictions: One array for each part that was asked for: probabilities (m, n_classes), or values (m,).
        chosen: What the inner split of the training rows chose: `inverse_penalty`, `penalty` or `rounds`.
        n_train: Training rows with a target.
        n_without_target: Training rows that were left out, because their target is not known.
        n_older: For each part, rows for which a naive rule had to take an older value than its first choice.
        n_nothing: For each part, rows without any value to repeat; they get the mean of the training targets.
        fitted: What was learnt, as plain arrays, of which `foresense.models.mixed_rivals.rival_model` makes what ships.
    """

    name: str
    predictions: tuple[np.ndarray, ...]
    chosen: dict[str, float]
    n_train: int
    n_without_target: int
    n_older: tuple[int, ...]
    n_nothing: tuple[int, ...]
    fitted: Fitted


def rival_predictions(name: str, train: Rows, others: Sequence[Rows], *, seed: int) -> RivalPredictions:
    """Train a rival and let it predict other rows.

    Classes: `prevalence` says the shares of the training classes; `logistic` is a regression on standardised features,
    imputed with their mean and an indicator, its penalty chosen by inner stratified cross-validation; `boosting` are
    trees whose number of rounds is chosen likewise. Values: `persistence` repeats the latest value; `last_day` and
    `last_week` that of the same hour of the day or the week, or else the latest one of the same hour of the day;
    `ridge` and the trees choose penalty and rounds on the newest training rows, by squared or absolute error. What has
    chosen is then trained again on all training rows.

    Args:
        name: In CLASS_RIVALS for `ClassRows`, in VALUE_RIVALS for `ValueRows`.
        train: Rows to learn from; those without a target are left out and counted.
        others: Parts to predict, row by row, without a look at their targets.
        seed: Of the inner folds and the trees.

    Raises:
        RivalError: no such rival, rows that it cannot learn from or do not look like the training rows.
    """
    rivals = CLASS_RIVALS if isinstance(train, ClassRows) else VALUE_RIVALS
    if name not in rivals:
        raise RivalError(f"no rival {name!r} for {type(train).__name__} (known: {', '.join(rivals)})")
    for part in others:
        _check_alike(train, part)
    train, others = _as_shipped(train, is_learnt=True), [_as_shipped(part) for part in others]
    known = ~np.isnan(train.target)
    if not known.any():
        raise RivalError(f"rival {name!r}: none of {len(known)} training rows has a target; give labelled rows")
    if isinstance(train, ClassRows):
        learn = _CLASSES[name]
        said, chosen, fitted = learn(train.only(known), [part.features for part in others], seed)
    elif name in _NAIVE:
        return _repeated(name, train, others, known)
    else:
        learn_values = _VALUES[name]
        said, chosen, fitted = learn_values(train.only(known), [part.features for part in others], seed)
    return RivalPredictions(
        name=name,
        predictions=tuple(said),
        chosen=chosen,
        n_train=int(known.sum()),
        n_without_target=int((~known).sum()),
        n_older=(0,) * len(others),
        n_nothing=(0,) * len(others),
        fitted=fitted,
    )


def _prevalence(train: ClassRows, others: Sequence[np.ndarray], seed: int) -> _Learnt:
    shares = np.bincount(_labels(train), minlength=train.n_classes) / len(train.target)
    fitted = fitted_shares(shares, train.features.shape[1])
    return [np.tile(shares, (len(features), 1)) for features in others], {}, fitted


def _logistic(train: ClassRows, others: Sequence[np.ndarray], seed: int) -> _Learnt:
    labels = _labels(train)
    losses = np.zeros(len(INVERSE_PENALTIES))
    for fitting, choosing in _folds(train, seed):
        scale = _scaled(train.features[fitting])
        inputs, held = scale.transform(train.features[fitting]), scale.transform(train.features[choosing])
        for at, inverse in enumerate(INVERSE_PENALTIES):
            model = _regression(inverse).fit(inputs, labels[fitting])
            losses[at] += _log_loss(_probabilities(model, held, train.n_classes), labels[choosing])
    best = INVERSE_PENALTIES[int(np.argmin(losses))]
    scale = _scaled(train.features)
    model = _regression(best).fit(scale.transform(train.features), labels)
    said = [_probabilities(model, scale.transform(features), train.n_classes) for features in others]
    return said, {"inverse_penalty": best}, fitted_classes(scale, model, train.n_classes)


def _boosted_classes(train: ClassRows, others: Sequence[np.ndarray], seed: int) -> _Learnt:
    from sklearn.ensemble import HistGradientBoostingClassifier

    labels = _labels(train)
    folds = _folds(train, seed)
    if len(labels) > MANY_ROWS:
        folds = folds[:1]
    rounds, patience = (MAX_ROUNDS, PATIENCE) if len(folds) == 1 else (ROUNDS_OF_FOLDS, ROUNDS_OF_FOLDS)
    losses = np.zeros(rounds + 1)
    for fitting, choosing in folds:
        held = choosing[np.isin(labels[choosing], labels[fitting])]  # trees cannot weigh a class they never saw
        if len(held):
            model = HistGradientBoostingClassifier(**_growing(rounds, patience, seed))
            inputs, judged = _never_empty(train.features[fitting], [train.features[fitting], train.features[held]])
            model.fit(inputs, labels[fitting], X_val=judged, y_val=labels[held])
            losses += _losses(model.validation_score_, rounds) * len(held)
    rounds = max(1, int(np.argmin(losses)))
    inputs, *asked = _never_empty(train.features, [train.features, *others])
    model = HistGradientBoostingClassifier(**_grown(rounds, seed)).fit(inputs, labels)
    centre_thresholds(model, inputs)
    said = [_probabilities(model, features, train.n_classes) for features in asked]
    return said, {"rounds": float(rounds)}, fitted_trees(model, train.n_classes)


def _ridge(train: ValueRows, others: Sequence[np.ndarray], seed: int) -> _Learnt:
    from sklearn.linear_model import Ridge

    fitting, choosing = _by_time(train)
    scale = _scaled(train.features[fitting])
    inputs, held = scale.transform(train.features[fitting]), scale.transform(train.features[choosing])
    errors = []
    for penalty in PENALTIES:
        model = Ridge(alpha=penalty).fit(inputs, train.target[fitting])
        errors.append(float(np.mean((model.predict(held) - train.target[choosing]) ** 2)))
    best = PENALTIES[int(np.argmin(errors))]
    scale = _scaled(train.features)
    model = Ridge(alpha=best).fit(scale.transform(train.features), train.target)
    said = [np.asarray(model.predict(scale.transform(features))) for features in others]
    return said, {"penalty": best}, fitted_values(scale, model)


def _boosted_values(train: ValueRows, others: Sequence[np.ndarray], seed: int, *, loss: str) -> _Learnt:
    from sklearn.ensemble import HistGradientBoostingRegressor

    fitting, choosing = _by_time(train)
    features, target = train.features, train.target
    inputs, judged = _never_empty(features[fitting], [features[fitting], features[choosing]])
    model = HistGradientBoostingRegressor(loss=loss, **_growing(MAX_ROUNDS, PATIENCE, seed))
    model.fit(inputs, target[fitting], X_val=judged, y_val=target[choosing])
    rounds = max(1, int(np.argmax(model.validation_score_)))
    inputs, *asked = _never_empty(features, [features, *others])
    model = HistGradientBoostingRegressor(loss=loss, **_grown(rounds, seed)).fit(inputs, target)
    centre_thresholds(model, inputs)
    return [np.asarray(model.predict(rows)) for rows in asked], {"rounds": float(rounds)}, fitted_trees(model)


def _repeated(name: str, train: ValueRows, others: Sequence[ValueRows], known: np.ndarray) -> RivalPredictions:
    """Repeat the first value that is there, in the order of the lags of the rule."""
    mean = float(train.target[known].mean(dtype=np.float64))
    said, n_older, n_nothing = [], [], []
    for part in others:
        n_steps = part.history.shape[1]
        lags = _lags(name, part.horizon_h, n_steps)
        candidates = part.history[:, n_steps - 1 - lags].astype(np.float64)
        is_there = ~np.isnan(candidates)
        place, some = is_there.argmax(axis=1), is_there.any(axis=1)
        said.append(np.where(some, candidates[np.arange(len(place)), place], mean))
        n_older.append(int((place > 0).sum()))
        n_nothing.append(int((~some).sum()))
    return RivalPredictions(
        name=name,
        predictions=tuple(said),
        chosen={},
        n_train=int(known.sum()),
        n_without_target=int((~known).sum()),
        n_older=tuple(n_older),
        n_nothing=tuple(n_nothing),
        fitted=FittedRepeat(tuple(_lags(name, train.horizon_h, train.history.shape[1]).tolist()), mean),
    )


def _lags(name: str, horizon_h: int, n_steps: int) -> np.ndarray:
    """Hours before the newest step at which a rule looks, in its order."""
    first = -horizon_h % _NAIVE[name]
    if first >= n_steps:
        raise RivalError(
            f"rival {name!r}: looks {first} h before the newest step, but the history has {n_steps} steps; give a "
            "longer history"
        )
    again = range(first, n_steps, _NAIVE[name])
    of_day = range(-horizon_h % min(_DAY, _NAIVE[name]), n_steps, min(_DAY, _NAIVE[name]))
    return np.array(list(dict.fromkeys((*again, *of_day))))


#: Rule -> hours after which the same hour comes again.
_NAIVE = {"persistence": 1, "last_day": _DAY, "last_week": _WEEK}
_CLASSES: dict[str, Callable[[ClassRows, Sequence[np.ndarray], int], _Learnt]] = {
    "prevalence": _prevalence,
    "logistic": _logistic,
    "boosting": _boosted_classes,
}
_VALUES: dict[str, Callable[[ValueRows, Sequence[np.ndarray], int], _Learnt]] = {
    "ridge": _ridge,
    "boosting": partial(_boosted_values, loss="squared_error"),
    "boosting_absolute": partial(_boosted_values, loss="absolute_error"),
}


def _as_shipped(rows: Rows, *, is_learnt: bool = False) -> Rows:
    """The same rows, features rounded to float32; what it cannot hold counts as not measured."""
    with np.errstate(over="ignore"):
        narrow = rows.features.astype(np.float32).astype(np.float64)
    narrow = np.where(np.isfinite(narrow), narrow, np.nan)
    return replace(rows, features=steady(narrow) if is_learnt else narrow)


def _labels(train: ClassRows) -> np.ndarray:
    return train.target.astype(np.int64)


def _folds(train: ClassRows, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows that fit and rows that choose, stratified by class; owners are never on both sides."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = _labels(train)
    owners = np.arange(len(labels)) if train.owners is None else train.owners
    pairs = np.unique(np.stack([labels, owners]), axis=1)
    n_owners = np.bincount(pairs[0], minlength=train.n_classes)  # of each class
    enough = n_owners >= 2
    if (n_owners > 0).sum() < 2 or not enough.any():
        raise RivalError(
            f"training rows: the classes have {n_owners.tolist()} rows of different owners; expected at least two "
            "classes, one of them with two; give more rows"
        )
    strata = np.where(enough[labels], labels, int(np.argmax(n_owners)))
    n_folds = min(N_FOLDS, int(n_owners[enough].min()))
    kind = StratifiedKFold if train.owners is None else StratifiedGroupKFold
    folds = kind(n_folds, shuffle=True, random_state=seed).split(strata, strata, train.owners)
    found = [(fitting, choosing) for fitting, choosing in folds if len(np.unique(labels[fitting])) > 1]
    if not found:
        raise RivalError(
            f"training rows: no {n_folds} parts of their owners leave two classes to learn; give more rows"
        )
    return found


def _by_time(train: ValueRows) -> tuple[np.ndarray, np.ndarray]:
    """Rows that fit and rows that choose: the newest; what fits has a target that is known when those begin."""
    begin = np.quantile(train.issued_h, 1 - CHOOSING_SHARE, method="higher")
    choosing = np.flatnonzero(train.issued_h >= begin)
    fitting = np.flatnonzero(train.issued_h + train.horizon_h <= begin)
    if not len(fitting):
        raise RivalError(
            f"training rows span {int(np.ptp(train.issued_h))} h, all too near to the newest {CHOOSING_SHARE:.0%} that "
            f"choose (horizon {train.horizon_h} h); give rows of a longer time"
        )
    return fitting, choosing


def _scaled(features: np.ndarray) -> Any:
    """Mean imputation with indicators, then standardisation, fitted on these rows; an empty column is 0."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    impute = SimpleImputer(strategy="mean", add_indicator=True, keep_empty_features=True)
    return make_pipeline(impute, StandardScaler()).fit(features)


def _regression(inverse_penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=inverse_penalty, max_iter=5000)


def _growing(rounds: int, patience: int, seed: int) -> dict[str, Any]:
    """Trees that stop without progress on the rows that choose."""
    return {**_grown(rounds, seed), "early_stopping": True, "n_iter_no_change": patience, "scoring": "loss"}


def _grown(rounds: int, seed: int) -> dict[str, Any]:
    return {"learning_rate": LEARNING_RATE, "max_iter": rounds, "early_stopping": False, "random_state": seed}


def _never_empty(learnt: np.ndarray, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Parts in which each column that has no value in the rows learnt from is 0.

    scikit-learn 1.9: trees fail on such a column, "window shape cannot be larger than input array shape".
    """
    is_shown = ~np.isnan(learnt).all(axis=0)
    return [part if is_shown.all() else np.where(is_shown, part, 0.0) for part in parts]


def _losses(scores: np.ndarray, rounds: int) -> np.ndarray:
    """(rounds + 1,): loss of the rows that choose after each round from 0 on, inf where the trees gave up before."""
    found = np.full(rounds + 1, np.inf)
    found[: len(scores)] = -np.asarray(scores)
    return found


def _probabilities(model: Any, inputs: np.ndarray, n_classes: int) -> np.ndarray:
    """(m, n_classes); 0 for a class that the model never saw."""
    said = np.zeros((len(inputs), n_classes))
    said[:, model.classes_] = model.predict_proba(inputs)
    return said


def _log_loss(said: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(said[np.arange(len(labels)), labels], _SMALLEST)).sum())


def _check_alike(train: ClassRows | ValueRows, part: ClassRows | ValueRows) -> None:
    mine, theirs = (
        (type(rows).__name__, rows.features.shape[1], rows.n_classes if isinstance(rows, ClassRows) else rows.horizon_h)
        for rows in (train, part)
    )
    if mine != theirs:
        raise RivalError(
            f"rows to predict: kind, features, and classes or horizon are {theirs}, but {mine} in training; compute "
            "both in the same way"
        )
