"""What a network of mixed recordings has to beat, trained in each turn on the same windows."""

import logging
import time
from dataclasses import dataclass

import numpy as np

from foresense.config.mixed_pipeline import MixedTrainConfig
from foresense.models.mixed_rivals import RivalModel, rival_model
from foresense.steps.mixed_data import MixedData, MixedFold
from foresense.training.mixed_fitted import feature_config
from foresense.training.mixed_rivals import CLASS_RIVALS, VALUE_RIVALS, RivalPredictions, rival_predictions

LOG = logging.getLogger(__name__)
#: Rivals that repeat an earlier value.
NAIVE_RULES = ("persistence", "last_day", "last_week")


@dataclass(frozen=True, eq=False)
class TrainedRival:
    """One rival in one turn.

    Attributes:
        name: In CLASS_RIVALS or VALUE_RIVALS.
        validation: Probabilities (k, n_classes) or values (k,) of the windows that choose.
        test: Likewise of those that are held out.
        found: What was fitted and chosen.
        seconds: That it took.
    """

    name: str
    validation: np.ndarray
    test: np.ndarray
    found: RivalPredictions
    seconds: float


def rivals_of(data: MixedData, config: MixedTrainConfig) -> tuple[str, ...]:
    """Names of the rivals that are asked for; a rule that finds nothing to repeat in these windows is left out.

    Raises:
        ValueError: a name that is no rival here, or none that is left.
    """
    rules = data.naive_rules()
    values = tuple(name for name in VALUE_RIVALS if name in rules or name not in NAIVE_RULES)
    there = CLASS_RIVALS if config.predicts == "class" else values
    asked = there if config.rivals is None else config.rivals
    unknown = [name for name in asked if name not in there]
    if unknown:
        raise ValueError(f"train.rivals: {', '.join(unknown)} is no rival of these windows (known: {', '.join(there)})")
    return asked


def train_rival(data: MixedData, fold: MixedFold, name: str, config: MixedTrainConfig) -> TrainedRival:
    """Train a rival on the training windows of a turn; what it chooses, it chooses inside them.

    Raises:
        RivalError: windows that it cannot learn from.
    """
    begun = time.perf_counter()
    parts = (fold.train, fold.validation, fold.test)
    if config.predicts == "class":
        classes = [data.class_rows(rows, fold.number, block_weeks=config.block_weeks) for rows in parts]
        found = rival_predictions(name, classes[0], classes[1:], seed=config.seed)
    else:
        values = [data.value_rows(rows, fold.number) for rows in parts]
        found = rival_predictions(name, values[0], values[1:], seed=config.seed)
    seconds = time.perf_counter() - begun
    LOG.info("rival %s, turn %d: %.1f s, %s", name, fold.number, seconds, found.chosen)
    return TrainedRival(name, found.predictions[0], found.predictions[1], found, seconds)


def shipped_rival(data: MixedData, fold: MixedFold, rival: TrainedRival) -> RivalModel:
    """A rival as a network that takes raw windows, in evaluation mode.

    Raises:
        ValueError: features that are not those which such a network computes.
    """
    channel = data.target_channel
    if channel is None and rival.name in NAIVE_RULES:
        raise AssertionError("unreachable: such a rule is a rival only where its channel is an input")
    features = feature_config(
        data.windows.schemas[fold.number],
        family=data.family,
        n_steps=data.windows.length,
        has_clock=data.calendar is not None,
    )
    names = data.names[fold.number]
    return rival_model(rival.name, rival.found.fitted, features, feature_names=names, channel=channel or 0)
