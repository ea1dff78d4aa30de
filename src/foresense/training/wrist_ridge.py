"""The head of a `WristRocket` in closed form: ridge regression of the classes on everything that is standardised.

Source: Hoerl and Kennard, Ridge Regression, Technometrics 12, 1970; as a classifier beside random kernels: Dempster et
al., ROCKET, 2020, section 3.3 (one regression for each class, -1 and 1).
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar

from foresense.models.wrist_rocket import WristRocket
from foresense.training.loop import FitResult
from foresense.training.wrist import class_weights, macro_f1_and_kappa
from foresense.training.wrist_items import WristItems

LOG = logging.getLogger(__name__)
#: A feature of the window is penalised so many times less than what a random kernel finds: there are few of them.
FEATURE_FAVOUR = 100.0
#: Windows whose regressors are computed, and added up, at a time.
CHUNK = 512


def fit_rocket(
    model: WristRocket, train: WristItems, validation: WristItems, *, penalties: Sequence[float], rarity: float
) -> FitResult:
    """Draw kernels, solve the head for each penalty, keep what says most of the people that choose.

    Args:
        model: Kernels and head are replaced; kernels are drawn from torch's generator.
        train: Windows, features and labels of training people.
        validation: Of the people that choose: the penalty, and how sharp the shares of the classes are.
        penalties: Of the squared weights, each tried.
        rarity: A class weighs 1 / count to this power.

    Returns:
        One row of `history` for each penalty, in their order; `best_epoch` counts them from 1.

    Raises:
        ValueError: no penalty, no labels, or a class without a training window.
    """
    if not penalties or train.labels is None or validation.labels is None:
        raise ValueError("a rocket needs at least one penalty, and labels of both parts")
    labels, chosen_by = np.asarray(train.labels, np.int64), np.asarray(validation.labels, np.int64)
    n_classes = model.n_classes
    weights = class_weights(labels, n_classes, rarity=rarity)[labels]
    model.eval()
    model.meet(torch.from_numpy(train.windows))
    for part, values in ((model.statistics, train.statistics), (model.topology, train.topology)):
        if part is not None and values is not None:
            part.fit(torch.from_numpy(values))
    regressors = _regressors(model, train, scale=True)
    target = np.where(labels[:, None] == np.arange(n_classes), 1.0, -1.0)
    gram, right, mean, target_mean = _moments(regressors, target, weights)
    relative = np.ones(regressors.shape[1])
    relative[model.found.mean.numel() :] = 1 / FEATURE_FAVOUR
    seen = _regressors(model, validation, scale=False)
    history, heads = [], []
    for number, penalty in enumerate(penalties, start=1):
        damped = gram.copy()
        damped[np.diag_indices_from(damped)] += penalty * relative
        solved = cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), right, check_finite=False)
        heads.append((solved.astype(np.float32), (target_mean - mean @ solved).astype(np.float32)))
        said = [_scores(rows, *heads[-1]).argmax(1) for rows in (regressors, seen)]
        errors = [
            1 - sum(macro_f1_and_kappa(truth, classes, n_classes)) / 2
            for truth, classes in zip((labels, chosen_by), said, strict=True)
        ]
        LOG.info("penalty %g: validation %.4f", penalty, errors[1])
        history.append({"epoch": number, "train": errors[0], "validation": errors[1], "train/penalty": penalty})
    best = min(range(len(history)), key=lambda number: history[number]["validation"])
    solved, offset = heads[best]
    model.head.weight.data.copy_(torch.from_numpy(solved.T))
    model.head.bias.data.copy_(torch.from_numpy(offset))
    model.sharpness.fill_(_sharpness(_scores(seen, solved, offset), chosen_by))
    return FitResult(best_validation=history[best]["validation"], best_epoch=best + 1, history=history)


@torch.no_grad()
def _regressors(model: WristRocket, items: WristItems, *, scale: bool) -> np.ndarray:
    """(n, n_regressors), float32; `scale`: the scale of what the kernels find is taken from these items."""
    windows, statistics, topology, _ = items.inputs(slice(None))
    shares = torch.cat([model.shares(part) for part in windows.split(CHUNK)])
    if scale:
        model.found.fit(shares)
    found: np.ndarray = model.regressors(shares, statistics, topology).numpy()
    return found


def _moments(
    regressors: np.ndarray, target: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Weighted second moments about the weighted means, float64: of the regressors, and of them with the target."""
    chunks = [slice(n, n + CHUNK) for n in range(0, len(regressors), CHUNK)]
    share = weights / weights.sum()
    mean = np.sum([share[rows] @ regressors[rows].astype(np.float64) for rows in chunks], axis=0)
    target_mean = share @ target
    root = np.sqrt(weights)[:, None]
    gram = np.zeros((regressors.shape[1],) * 2)
    right = np.zeros((regressors.shape[1], target.shape[1]))
    for rows in chunks:
        centred = (regressors[rows] - mean) * root[rows]
        gram += centred.T @ centred
        right += centred.T @ ((target[rows] - target_mean) * root[rows])
    return gram, right, mean, target_mean


def _scores(regressors: np.ndarray, solved: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.asarray(regressors @ solved + offset)


def _sharpness(scores: np.ndarray, truth: np.ndarray) -> float:
    """The factor of the scores whose shares are most likely to be these labels, 1 to 100."""

    def surprise(log_factor: float) -> float:
        logits = scores.astype(np.float64) * np.exp(log_factor)
        own = logits[np.arange(len(truth)), truth]
        return float(np.mean(np.logaddexp.reduce(logits, axis=1) - own))

    return float(np.exp(minimize_scalar(surprise, bounds=(0.0, np.log(100.0)), method="bounded").x))
