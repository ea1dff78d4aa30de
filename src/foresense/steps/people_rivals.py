"""What a network has to beat: the most frequent class, and trees on the features."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from foresense.steps.people_data import Fold, PeopleData

#: Names of the rivals, in the order in which they are shown.
RIVALS = ("majority", "forest", "boosting")
#: What is judged beside them: in each fold, the network that was chosen there.
CHOSEN = "chosen"
N_TREES = 300
MAX_BINS = 255  # of a feature, in boosting


def rival_probabilities(data: PeopleData, fold: Fold, name: str, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a rival says of the people that choose and of those held out, (k, n_classes) each.

    Args:
        data: Windows and features.
        fold: Who trains, chooses and tests.
        name: In RIVALS.
        seed: Of the trees.

    Raises:
        ValueError: no such rival.
    """
    n_classes = len(data.windows.classes)
    labels = data.labels[fold.train]
    if name == "majority":
        shares = np.bincount(labels, minlength=n_classes) / len(labels)
        return np.tile(shares, (len(fold.validation), 1)), np.tile(shares, (len(fold.test), 1))
    if name == "forest":
        model = RandomForestClassifier(N_TREES, class_weight="balanced_subsample", random_state=seed, n_jobs=-1)
    elif name == "boosting":
        model = HistGradientBoostingClassifier(max_bins=MAX_BINS, class_weight="balanced", random_state=seed)
    else:
        raise ValueError(f"no rival {name!r} (known: {', '.join(RIVALS)})")
    model.fit(data.features[fold.train], labels)
    found = []
    for rows in (fold.validation, fold.test):
        said = np.zeros((len(rows), n_classes))
        said[:, model.classes_] = model.predict_proba(data.features[rows])
        found.append(said)
    return found[0], found[1]
