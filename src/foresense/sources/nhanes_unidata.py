"""Five weeks of NHANES 2003-2004: ActiGraph AM-7164 on the hip, counts per minute, 10,080 minutes each.

The set says the day of the week and no date, and its people took the device off at night: no label, no sleep.
"""

import numpy as np
import pandas as pd

from foresense.config.actigraphy import ActigraphyIngestConfig
from foresense.signals import Recording
from foresense.signals.actigraphy import MINUTE_S, MINUTES_PER_DAY, MINUTES_PER_WEEK
from foresense.sources.actigraphy import FoundActigraphy, Person, require_unit
from foresense.sources.actigraphy_sets import find_actigraphy_set
from foresense.sources.tables import Finding, Places, SourceError
from foresense.sources.tabular import files_sha256

SET = "nhanes_unidata"
FILE = "unidata.csv"
COLUMNS = ("seqn", "paxday", "paxinten")
#: A Sunday; `paxday` 1 is a Sunday. The dates are made up, the day of the week and the minute of the day are not.
NOMINAL_SUNDAY = pd.Timestamp("2003-01-05", tz="UTC")


def read_nhanes_unidata(config: ActigraphyIngestConfig, places: Places) -> FoundActigraphy:
    """Read `unidata.csv`: seqn, paxday (1 = Sunday), paxinten (counts), in the order of time from a midnight on.

    Args:
        config: Section `ingest`; a time zone is refused, because there is no date that it could be of.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no such file.
        SourceError: another unit, a time zone, other columns, counts that are no numbers of at least 0, or a person
            without exactly seven whole days that follow one another.
    """
    require_unit(config, "counts", SET)
    if config.time_zone is not None:
        raise SourceError(f"ingest.time_zone: {SET} has no dates, found {config.time_zone!r}; leave it out")
    folder = places.raw / (config.raw or SET)
    if not (folder / FILE).is_file():
        raise FileNotFoundError(f"{folder / FILE}: not there; set FORESENSE_DATA and run `foresense fetch`")
    try:
        table = pd.read_csv(folder / FILE, low_memory=False)
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise SourceError(f"{FILE}: cannot be read as CSV ({str(error).strip()}); fetch it again") from error
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise SourceError(f"{FILE}: columns {missing} missing, found {list(table.columns)}; expected {list(COLUMNS)}")
    if table.empty:
        raise SourceError(f"{FILE}: no row below the header; fetch it again")
    counts = pd.to_numeric(table["paxinten"], errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(counts) | (counts < 0))
    if len(bad):
        raise SourceError(
            f"{FILE}:{bad[0] + 2}: paxinten is {table['paxinten'].iloc[bad[0]]}, expected counts of at least 0"
        )
    for column in ("seqn", "paxday"):
        whole = pd.to_numeric(table[column], errors="coerce") % 1 == 0
        if not whole.all():
            row = int(whole.argmin())
            raise SourceError(f"{FILE}:{row + 2}: {column} is {table[column].iloc[row]}, expected a whole number")
        table[column] = pd.to_numeric(table[column]).astype(np.int64)
    names = [int(one) for one in pd.unique(table["seqn"])[: config.first_people]]
    recordings = tuple(_recording(name, table, counts) for name in names)
    return FoundActigraphy(
        recordings=recordings,
        people=tuple(Person(one.asset, None) for one in recordings),
        unit="counts",
        has_time=False,
        sha256=files_sha256([folder / FILE], folder),
        findings=(Finding("", "nominal_dates", len(names), FILE, "there are no dates: those of one week stand in"),),
        facts=find_actigraphy_set(SET).facts(),
    )


def _recording(name: int, table: pd.DataFrame, counts: np.ndarray) -> Recording:
    mine = table["seqn"].to_numpy() == name
    days = table["paxday"].to_numpy(np.int64)[mine]
    expected = (np.arange(MINUTES_PER_WEEK) // MINUTES_PER_DAY + days[0] - 1) % 7 + 1
    if len(days) != MINUTES_PER_WEEK or (days != expected).any():
        raise SourceError(
            f"{FILE}: person {name} has {len(days)} minutes, expected {MINUTES_PER_WEEK}: seven days of 1440 rows, "
            "paxday rising by 1 and after 7 beginning at 1"
        )
    return Recording(
        asset=str(name),
        samples=counts[mine][:, None],
        channels=("activity",),
        units=("counts",),
        interval_s=MINUTE_S,
        start=NOMINAL_SUNDAY + pd.Timedelta(days=int(days[0]) - 1),
    )
