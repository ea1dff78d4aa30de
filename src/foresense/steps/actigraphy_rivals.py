"""What a network of weeks has to beat, fitted in each turn on the same people."""

from dataclasses import dataclass

import numpy as np

from foresense.config.actigraphy_pipeline import ActigraphyTrainConfig
from foresense.models.logistic_rule import LogisticRule
from foresense.signals.weeks import TRAIN
from foresense.steps.actigraphy_training import PretrainedWeeks, Trainer, Turn
from foresense.training.actigraphy_rivals import fit_boosting, fit_logistic

#: Rivals: the share of the label; on clinical metrics; on features of a pretrained encoder that was not fine-tuned.
PREVALENCE, LOGISTIC, BOOSTING, PAT_LOGISTIC = "prevalence", "logistic", "boosting", "pat_logistic"
RIVALS = (PREVALENCE, LOGISTIC, BOOSTING, PAT_LOGISTIC)
#: Rivals that can ship: rules that a device computes without a library.
SHIPPABLE = (LOGISTIC, PAT_LOGISTIC)


@dataclass(frozen=True, eq=False)
class Rival:
    """One rival in one turn.

    Attributes:
        said: (n_weeks,), probability of the label, of all weeks.
        rule: What a device computes; None where it cannot.
        fitted: What was chosen inside the training part, in words.
    """

    said: np.ndarray
    rule: LogisticRule | None
    fitted: str


def train_rivals(
    turn: Turn, names: tuple[str, ...], inputs: np.ndarray, trainer: Trainer, config: ActigraphyTrainConfig
) -> dict[str, Rival]:
    """Fit every rival on the training people of a turn."""
    windows, rows = turn.windows, turn.rows(TRAIN)
    labels, owners = windows.week_labels[rows], windows.owners[rows]
    share = float(windows.labels[windows.people_of(turn.number, TRAIN)].mean())
    found = {PREVALENCE: Rival(np.full(len(inputs), share), None, f"{share:.3f}")}
    rule, penalty = fit_logistic(names, inputs[rows], labels, owners, seed=config.seed)
    found[LOGISTIC] = Rival(rule.probabilities(inputs), rule, f"C {penalty:g}")
    trees, n_rounds = fit_boosting(inputs[rows], labels, owners, seed=config.seed)
    found[BOOSTING] = Rival(trees.predict_proba(inputs)[:, 1], None, f"{n_rounds} rounds")
    before = first_before(turn, trainer, config)
    if before is not None:
        columns = tuple(f"pat_{number}" for number in range(before.features.shape[1]))
        features = before.features.astype(np.float64)
        rule, penalty = fit_logistic(columns, features[rows], labels, owners, seed=config.seed)
        found[PAT_LOGISTIC] = Rival(rule.probabilities(features), rule, f"C {penalty:g}")
    return found


def first_before(turn: Turn, trainer: Trainer, config: ActigraphyTrainConfig) -> PretrainedWeeks | None:
    """The pretrained encoder of the first candidate that begins with one: what the regression on PAT features sees."""
    first = next((one for one in config.candidates.values() if one.is_pretrained), None)
    return None if first is None else trainer.before(turn, first)
