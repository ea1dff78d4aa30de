"""Every public set that can be fetched, whatever kind of pipeline reads it.

A module of its own, which no step can reach: a set more makes no pipeline old.
"""

from difflib import get_close_matches

from foresense.sources.actigraphy_sets import ACTIGRAPHY_SETS, find_actigraphy_set
from foresense.sources.anomaly_sets import ANOMALY_SETS
from foresense.sources.mixed_sets import MIXED_SETS, known_set
from foresense.sources.sets import SETS, RawSet
from foresense.sources.tables import SourceError

#: Names of all of them.
KNOWN_SETS = (*SETS, "wisdm_watch_accel", *MIXED_SETS, *ACTIGRAPHY_SETS, *ANOMALY_SETS)


def any_known_set(name: str) -> RawSet:
    """The known set called `name`, with all of its files.

    Raises:
        SourceError: no such set; the message names the nearest and all known ones.
    """
    if name in ANOMALY_SETS:
        return ANOMALY_SETS[name].complete(name)
    if name in ACTIGRAPHY_SETS:
        return find_actigraphy_set(name)
    if name in KNOWN_SETS:
        return known_set(name)
    near = get_close_matches(name, KNOWN_SETS, n=1)
    advice = f"; did you mean {near[0]!r}?" if near else ""
    raise SourceError(
        f"no public data set {name!r}{advice} (known: {', '.join(KNOWN_SETS)}); put files of your own into "
        f"data/raw/{name}/ and use a source that reads them, such as 'csv', 'parquet' or 'event_tables'"
    )
