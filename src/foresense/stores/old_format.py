"""The fields that the earlier implementation wrote, and what they are called and mean today.

The bridge reads them in messages, `migrate` in a store; both by what stands here.
"""

import numpy as np

VIBRATION = "vibration_magnitude"
#: Today's channels: °C, °C, A, g.
CHANNELS = ("temp_body", "temp_shaft", "current", VIBRATION)
#: Fields that changed only their names.
RENAMED = {"tempA": "temp_body", "tempB": "temp_shaft"}
#: Acceleration, in g.
AXES = ("accX", "accY", "accZ")
#: Fields that only the old format has; a row with one of them is an old row.
MARKERS = (*AXES, *RENAMED)
#: Everything that an old row may have; `current` is called so in both formats.
FIELDS = (*MARKERS, "current")
#: Channels that only today's format has.
NEW_MARKERS = tuple(name for name in CHANNELS if name not in FIELDS)


def magnitude(axes: np.ndarray) -> np.ndarray:
    """Vibration of each sample, sqrt(ax² + ay² + az²).

    It is taken of every sample, before any mean: the mean of norms is not the norm of means.

    Args:
        axes: (n, 3), g; NaN where not measured.

    Returns:
        (n,), g; NaN where an axis is missing, or the sum of squares is beyond what a float can hold.
    """
    with np.errstate(over="ignore"):
        found: np.ndarray = np.sqrt((axes**2).sum(axis=1))
    found[~np.isfinite(found)] = np.nan
    return found


def to_new(values: np.ndarray) -> np.ndarray:
    """Old rows in today's channels; what was not measured stays so.

    Args:
        values: (n, 6), in the order of `FIELDS`; NaN where not measured.

    Returns:
        (n, 4), in the order of `CHANNELS`.
    """
    found = np.full((len(values), len(CHANNELS)), np.nan)
    for number, name in enumerate(FIELDS):
        new = RENAMED.get(name, name)
        if new in CHANNELS:
            found[:, CHANNELS.index(new)] = values[:, number]
    found[:, CHANNELS.index(VIBRATION)] = magnitude(values[:, : len(AXES)])
    return found
