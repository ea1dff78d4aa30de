"""The probability of an artefact's label: what `classifier.json` makes of a week's features and clinical metrics."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from foresense.models.logistic_rule import LogisticRule, turned
from foresense.models.pat_head import head_probabilities
from foresense.signals import read_json

#: (n, 96) features, and metric -> (n,) values with NaN where one is undefined, to the probability (n,) of the label.
Labeller = Callable[[np.ndarray, Mapping[str, np.ndarray]], np.ndarray]


def probability_of(artefact: Path) -> Labeller:
    """How the label of an artefact is found: by a rule on clinical metrics, a rule on features, or the network's head.

    Args:
        artefact: `exports/<pipeline>/weeks`, or the model's folder.

    Raises:
        RuleError: a rule that is none.
        ValueError: a head that is none.
    """
    classifier = read_json(artefact / "classifier.json")
    if "rule" not in classifier:
        head = read_head(artefact)
        return lambda features, _: head_probabilities(head, features)
    rule = LogisticRule.from_json(classifier["rule"])
    if classifier["looks_at"] == "pat":
        return lambda features, _: rule.probabilities(np.asarray(features, np.float64))
    return lambda _, metrics: rule.probabilities(_inputs(rule, metrics))


def readout_of(artefact: Path) -> Callable[[np.ndarray], np.ndarray]:
    """How the encoder itself is read, (n, 96) to (n,): by its own head, else by the rule on its features."""
    if (artefact / HEAD).is_file():
        head = read_head(artefact)
        return lambda features: head_probabilities(head, features)
    rule = LogisticRule.from_json(read_json(artefact / "classifier.json")["rule"])
    return lambda features: rule.probabilities(np.asarray(features, np.float64))


#: The network's own head.
HEAD = "head.npz"


def read_head(artefact: Path) -> dict[str, np.ndarray]:
    """Arrays of `models.pat_head.HEAD_SHAPES`."""
    with np.load(artefact / HEAD, allow_pickle=False) as file:
        return {name.replace(".", "/"): file[name] for name in file.files}


def _inputs(rule: LogisticRule, metrics: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n, n_inputs) in the rule's order; times of day as sine and cosine."""
    names, values = turned(list(metrics), np.stack([np.asarray(one, np.float64) for one in metrics.values()], axis=1))
    missing = [name for name in rule.names if name not in names]
    if missing:
        raise ValueError(f"metrics {missing} are missing, found {list(metrics)}; give all that the service gives")
    return values[:, [names.index(name) for name in rule.names]]
