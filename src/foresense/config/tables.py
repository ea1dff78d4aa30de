"""Files of rows, CSV or Parquet, in sections `ingest` of pipelines that do not forecast: one's own recordings."""

from typing import Literal

from foresense.config.section import Section


class TableFilesConfig(Section):
    """Which files, and what tells rows apart."""

    source: Literal["csv", "parquet"]
    raw: str  # folder below data/raw
    files: str | None = None  # glob below it; absent: every file that ends as `source` says
    time_zone: str = "UTC"  # of timestamps that carry none
    asset_column: str | None = None  # which machine, station or batch; absent: one in each file, named after it

    @property
    def pattern(self) -> str:
        """Glob of the files."""
        return self.files or f"*.{self.source}"
