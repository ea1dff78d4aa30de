"""Where raw samples come from: one module per source, imported when asked for."""

from difflib import get_close_matches
from importlib import import_module
from typing import cast

from foresense.sources.tables import Finding, Places, RawTable, RawTables, Refusal, Source, SourceError

__all__ = ["SOURCES", "Finding", "Places", "RawTable", "RawTables", "Refusal", "Source", "SourceError", "load_source"]

SOURCES: dict[str, str] = {  # name -> "module:function", imported when asked for
    "csv": "foresense.sources.tabular:read_csv_files",
    "ett": "foresense.sources.ett:read_ett",
    "parquet": "foresense.sources.tabular:read_parquet_files",
    "simulate": "foresense.sources.simulate:simulate_plant",
    "store": "foresense.sources.store:read_store",
}


def load_source(name: str) -> Source:
    """Import the source called `name` in params.yaml.

    Raises:
        SourceError: no such source; the message names the nearest and all known ones.
    """
    if name not in SOURCES:
        near = get_close_matches(name, list(SOURCES), n=1)
        advice = f"; did you mean {near[0]!r}?" if near else ""
        raise SourceError(f"ingest.source: no source {name!r}{advice} (known: {', '.join(sorted(SOURCES))})")
    module, _, function = SOURCES[name].partition(":")
    return cast(Source, getattr(import_module(module), function))
