"""Small CSV files that come beside recordings: who has which label, what became of a stay."""

import warnings
from pathlib import Path

import pandas as pd

from foresense.sources.tables import SourceError


def read_text_table(path: Path) -> pd.DataFrame:
    """Read a CSV file with one header line; every cell is text, an empty one "".

    Args:
        path: The file.

    Returns:
        One row for each line that is not empty; names of columns are stripped.

    Raises:
        FileNotFoundError: with the path.
        SourceError: not UTF-8, empty, or a row with more cells than the header.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error", pd.errors.ParserWarning
            )  # cells beyond the header are dropped with a warning
            table = pd.read_csv(path, dtype=str, na_filter=False, encoding="utf-8-sig", index_col=False)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not UTF-8 text ({error}); save the file as UTF-8") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        raise SourceError(
            f"{path}: not a CSV file whose rows have the cells of its header: {str(error).strip()}; repair the file"
        ) from error
    table.columns = [str(column).strip() for column in table.columns]
    return table
