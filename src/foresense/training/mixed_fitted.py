"""From what scikit-learn has learnt to plain arrays, of which `foresense.models.mixed_rivals` makes what ships.

The trees lie in private attributes of scikit-learn (`_predictors`, `_baseline_prediction`); a test compares every kind
of rival with what scikit-learn says, so that another release cannot change their meaning unseen.
"""

from itertools import accumulate
from typing import Any

import numpy as np

from foresense.features.mixed_summary import LAGS_H, MEANS_H
from foresense.models.mixed_features import N_CLOCK, MixedFeatureConfig
from foresense.models.mixed_rivals import NEVER, FittedLinear, FittedTrees
from foresense.signals.mixed_schema import MixedSchema

#: Relative difference below which two values of a feature are one: sums in float32 part them.
NOISE = 2.0**-20
#: Training values beyond which a threshold does not move.
REACH = 16


def feature_config(schema: MixedSchema, *, family: str, n_steps: int, has_clock: bool) -> MixedFeatureConfig:
    """Describe the features of a family as `foresense.features.mixed_summary` computes them by default.

    Args:
        schema: Of the windows, without the clock.
        family: "summary" or "lagged".
        n_steps: Of each window.
        has_clock: Whether the four numbers of the clock stand behind the static numbers.

    Raises:
        ValueError: no such family, one that needs the clock, or windows that are too short for its lags.
    """
    interval_h = schema.interval_s / 3600
    is_lagged = family == "lagged"
    return MixedFeatureConfig.model_validate(
        {
            "family": family,
            "n_numeric": len(schema.numeric),
            "cardinalities": tuple(len(channel.values) for channel in schema.categorical),
            "n_static_numeric": len(schema.static_numeric) + N_CLOCK * has_clock,
            "static_cardinalities": tuple(len(channel.values) for channel in schema.static_categorical),
            "n_steps": n_steps,
            "interval_h": interval_h,
            "has_clock": has_clock,
            "lags": tuple(lag / interval_h for lag in LAGS_H) if is_lagged else (),
            "means": tuple(span / interval_h for span in MEANS_H) if is_lagged else (),
        }
    )


def fitted_shares(shares: np.ndarray, n_features: int) -> FittedLinear:
    """Logits of (k,) shares, whatever the features say."""
    nothing = np.zeros((len(shares), n_features))
    offset = np.full(len(shares), NEVER)
    offset[shares > 0] = np.log(shares[shares > 0])
    return FittedLinear(np.zeros(n_features), np.ones(n_features), nothing, nothing, offset)


def fitted_classes(scale: Any, model: Any, n_classes: int) -> FittedLinear:
    """Arrays of a logistic regression behind imputation, indicators and scales.

    Args:
        scale: Fitted pipeline of `SimpleImputer` with indicators and `StandardScaler`.
        model: Fitted `LogisticRegression`; of two classes it has one score, that of the second one.
        n_classes: k; a class that it never saw gets `NEVER`.
    """
    seen = np.asarray(model.classes_)
    weights, holes, offset = (_one_for_each(part, seen, n_classes) for part in _unscaled(scale, model))
    offset[~np.isin(np.arange(n_classes), seen)] = NEVER
    mean, deviation = _scales(scale)
    return FittedLinear(mean, deviation, weights, holes, offset)


def fitted_values(scale: Any, model: Any) -> FittedLinear:
    """Likewise of a `Ridge`: one output."""
    return FittedLinear(*_scales(scale), *_unscaled(scale, model))


def _scales(scale: Any) -> tuple[np.ndarray, np.ndarray]:
    n_features = scale[0].n_features_in_
    return scale[1].mean_[:n_features], scale[1].scale_[:n_features]


def _unscaled(scale: Any, model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of standardised features, what a hole adds, and the offset: one row for each score of the model."""
    impute, standardise = scale[0], scale[1]
    n_features, with_indicator = impute.n_features_in_, impute.indicator_.features_
    coefficients = np.atleast_2d(model.coef_)
    weights, flags = coefficients[:, :n_features], coefficients[:, n_features:]
    mean, deviation = _scales(scale)
    flag_mean, flag_deviation = standardise.mean_[n_features:], standardise.scale_[n_features:]
    holes = weights * (impute.statistics_ - mean) / deviation
    holes[:, with_indicator] += flags / flag_deviation
    offset = np.atleast_1d(model.intercept_) - flags @ (flag_mean / flag_deviation)
    return weights, holes, offset


def _one_for_each(part: np.ndarray, seen: np.ndarray, n_classes: int) -> np.ndarray:
    """Rows of the classes that a model saw to rows of all; 0 for others, and for the first of two with one score."""
    every = np.zeros((n_classes, *part.shape[1:]))
    every[seen[-len(part) :]] = part
    return every


def centre_thresholds(model: Any, features: np.ndarray) -> None:
    """Move each threshold of fitted trees into the middle of the nearest gap between training values.

    Quantiles put many of them on a training value exactly, where the last bit of a feature would decide; another
    runtime sums in another order. A gap is wider than NOISE; where none is near, it is the one next to the threshold.

    Args:
        model: Fitted `HistGradientBoostingClassifier` or `-Regressor`; changed, so that it says what ships.
        features: (n, n_features) that it was fitted on; NaN: not measured.
    """
    trees = [tree.nodes for of_round in model._predictors for tree in of_round]
    inner = [np.flatnonzero(nodes["is_leaf"] == 0) for nodes in trees]
    columns, thresholds = (
        np.concatenate([nodes[name][places] for nodes, places in zip(trees, inner, strict=True)])
        for name in ("feature_idx", "num_threshold")
    )
    for column in np.unique(columns):
        values = features[:, column]
        mine = columns == column
        thresholds[mine] = _into_gaps(thresholds[mine], np.unique(values[~np.isnan(values)]))
    ends = np.cumsum([len(places) for places in inner])[:-1]
    for nodes, places, moved in zip(trees, inner, np.split(thresholds, ends), strict=True):
        nodes["num_threshold"][places] = moved


def _into_gaps(thresholds: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Thresholds into gaps of rising values; one that has no value on a side parts measured from missing, and stays."""
    own = np.searchsorted(known, thresholds, side="right") - 1  # the gap behind value `own`
    between = (own >= 0) & (own < len(known) - 1)
    own = own[between]
    wide = np.flatnonzero(np.diff(known) > NOISE * (np.abs(known[1:]) + known.std()))
    if len(wide):
        after = np.searchsorted(wide, own)
        below, above = wide[np.maximum(after - 1, 0)], wide[np.minimum(after, len(wide) - 1)]
        nearest = np.where(np.abs(own - below) < np.abs(above - own), below, above)
        own = np.where(np.abs(nearest - own) <= REACH, nearest, own)
    moved = thresholds.copy()
    moved[between] = (known[own] + known[own + 1]) / 2
    return moved


def steady(features: np.ndarray) -> np.ndarray:
    """Training features (n, n_features) in which a column that only NOISE moves has one value; NaN stays.

    Otherwise a linear model would standardise noise: the slope of "hours since" is 1, and its last bit anything.
    """
    shown = np.where(np.isnan(features), -np.inf, features)
    highest, lowest = shown.max(axis=0), np.where(np.isnan(features), np.inf, features).min(axis=0)
    is_noise = highest - lowest <= NOISE * np.maximum(np.abs(highest), np.abs(lowest))
    return np.where(is_noise & ~np.isnan(features), highest, features)


def fitted_trees(model: Any, n_classes: int | None = None) -> FittedTrees:
    """Arrays of gradient-boosted trees.

    Args:
        model: Fitted `HistGradientBoostingClassifier` or `-Regressor` without categorical features; of two classes
            it has one score, that of the second one.
        n_classes: k; a class that it never saw gets `NEVER`. None: values, one output.
    """
    seen = np.arange(1) if n_classes is None else np.asarray(model.classes_)
    n_outputs = n_classes or 1
    offset = np.zeros(n_outputs) if n_classes is None else np.full(n_outputs, NEVER)
    offset[seen] = 0.0
    scored = seen[-model.n_trees_per_iteration_ :]
    offset[scored] = np.ravel(model._baseline_prediction)
    nodes = [
        trees[int(np.flatnonzero(scored == output)[0])].nodes if output in scored else _no_tree(trees[0].nodes.dtype)
        for trees in model._predictors
        for output in range(n_outputs)
    ]
    roots = np.array([0, *accumulate(map(len, nodes))])[:-1]
    first = np.repeat(roots, [len(of_tree) for of_tree in nodes])
    every = np.concatenate(nodes)
    is_leaf, own = every["is_leaf"] == 1, np.arange(len(every))
    return FittedTrees(
        feature=np.where(is_leaf, 0, every["feature_idx"]),
        threshold=np.where(is_leaf, 0.0, every["num_threshold"]),
        left=np.where(is_leaf, own, first + every["left"]),
        right=np.where(is_leaf, own, first + every["right"]),
        missing_left=every["missing_go_to_left"] == 1,
        value=np.where(is_leaf, every["value"], 0.0),
        roots=roots,
        offset=offset,
        depth=int(every["depth"].max()),
    )


def _no_tree(kind: np.dtype[Any]) -> np.ndarray:
    """One leaf that adds nothing."""
    leaf = np.zeros(1, kind)
    leaf["is_leaf"] = 1
    return leaf
