"""ETTh1: hourly loads and oil temperature of an electricity transformer (Zhou et al., Informer, AAAI 2021)."""

from dataclasses import replace

from foresense.config import IngestConfig
from foresense.sources.sets import find_set
from foresense.sources.tables import Places, RawTables
from foresense.sources.tabular import read_csv_files


def read_ett(config: IngestConfig, places: Places) -> RawTables:
    """Read `data/raw/ett/ETTh1.csv`: 17,420 hourly rows without gaps, columns HUFL ... LULL and OT (°C).

    The file's times are local without a zone, and no hour is missing or twice in two years: that clock never
    changes, so `time_zone: UTC` keeps every row.

    Args:
        config: Section `ingest`; `raw` names the folder, `ett` where absent.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: not fetched yet.
        SourceError: columns are not those of the channels.
    """
    here = config.model_copy(
        update={"raw": config.raw or "ett", "files": "ETTh1.csv", "asset": config.asset or "ETTh1"}
    )
    return replace(read_csv_files(here, places), facts=find_set("ett").facts())
