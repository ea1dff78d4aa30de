"""The topological features as a family of the catalog."""

from foresense.features.contexts import Contexts, Features
from foresense.features.topological import NAMES, UNITS, topological_features
from foresense.features.topological import VERSION as VERSION


def topological(contexts: Contexts) -> Features:
    """The 24 topological features of every context of a wrist: see `features/topological.py`.

    Args:
        contexts: (n, context, 3), in g, gravity included.

    Raises:
        ValueError: not three channels in g, or a context that `topological_features` refuses.
    """
    if contexts.units != ("g", "g", "g"):
        found = ", ".join(f"{name} in {unit}" for name, unit in zip(contexts.channels, contexts.units, strict=True))
        raise ValueError(
            f"features.families: wrist_topology expects three channels in g, found {found}; give the source's channels "
            "in g, or take the family out"
        )
    return Features(NAMES, UNITS, topological_features(contexts.samples, 1 / contexts.interval_s).values)
