"""Columns of a user's table to numbers and codes, and the errors that say which column does not fit a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from foresense.signals.recording import SignalError

#: Code of a category that was not measured.
MISSING = 0
#: Code of a category that the training part never showed (out of vocabulary).
UNSEEN = 1
#: Code of the first value of a vocabulary; the others follow in its order.
FIRST_VALUE = 2


class SchemaError(SignalError):
    """Data do not fit the schema of a model; the message says what, expected, found, where, and what to do."""


class MissingColumnError(SchemaError):
    """A channel of the schema is not there."""


class ExtraColumnError(SchemaError):
    """A column is no channel of the schema."""


class OtherUnitError(SchemaError):
    """A channel comes in another unit than the one that the model was trained in."""


class OtherIntervalError(SchemaError):
    """Steps are another time apart than those that the model was trained on."""


class InfiniteValueError(SchemaError):
    """A number is infinite, or beyond what float32 holds."""


class NotANumberError(SchemaError):
    """A cell of a numeric channel is text, or another thing that is no number."""


class WrongShapeError(SchemaError):
    """A column is not one value a step, or columns have different lengths."""


def check_names(found: Sequence[str], expected: Sequence[str], where: str) -> None:
    """Refuse columns that are not exactly the expected ones; their order does not matter.

    Raises:
        MissingColumnError: some are not there, all of them named with the nearest column that is.
        ExtraColumnError: some are not expected, or stand there twice.
    """
    extra = [name for name in found if name not in expected]
    missing = [name for name in expected if name not in found]
    if missing:
        shown = []
        for name in missing:
            near = get_close_matches(name, extra, n=1, cutoff=0.5)
            shown.append(f"{name!r}" + (f" (is it {near[0]!r}?)" if near else ""))
        raise MissingColumnError(
            f"{where}: no column {', '.join(shown)}; expected {list(expected)}, found {list(found)}; give every "
            "channel, NaN (or an empty category) where it was not measured"
        )
    if extra:
        raise ExtraColumnError(
            f"{where}: column(s) {extra} are no channels of this schema; expected {list(expected)}; leave them out, or "
            "train a model with them"
        )
    twice = sorted({name for name in found if list(found).count(name) > 1})
    if twice:
        raise ExtraColumnError(f"{where}: column(s) {twice} twice; expected each channel once; leave one out")


def check_units(found: Mapping[str, str], expected: Mapping[str, str], where: str) -> None:
    """Refuse units that differ from those of the schema; a channel without a unit in `found` is taken as it is.

    Raises:
        OtherUnitError: all channels that differ.
        ExtraColumnError: a unit of something that is no numeric channel.
    """
    extra = [name for name in found if name not in expected]
    if extra:
        raise ExtraColumnError(
            f"{where}: units for {extra}, which are no numeric channels of this schema; expected {list(expected)}; "
            "leave them out"
        )
    other = [name for name, unit in found.items() if unit != expected[name]]
    if other:
        shown = "; ".join(f"{name} in {found[name]!r}, expected {expected[name]!r}" for name in other)
        raise OtherUnitError(f"{where}: {shown}; convert the values and say the expected unit")


def numbers_of(name: str, column: object, n_rows: int, where: str) -> np.ndarray:
    """One column as (n_rows,) float32; None, NaN and pandas' NA are NaN: not measured.

    Raises:
        WrongShapeError: not (n_rows,).
        NotANumberError: a cell that is no number, with its row.
        InfiniteValueError: a cell that is infinite in float32, with its row.
    """
    import pandas as pd

    values = _column(name, column, n_rows, where)
    if values.dtype == object:
        values = np.where(pd.isna(values), np.nan, values)
    if values.dtype.kind not in "fiubO":
        raise NotANumberError(f"{where}: column {name!r} holds {values.dtype}, expected numbers; convert it")
    try:
        wide = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        row = next(row for row, cell in enumerate(values) if not _is_number(cell))
        raise NotANumberError(
            f"{where}: column {name!r}, row {row}: {values[row]!r} is no number; expected a number, or NaN where it "
            "was not measured"
        ) from error
    with np.errstate(over="ignore"):
        numbers = wide.astype(np.float32)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        row = int(infinite[0])
        raise InfiniteValueError(
            f"{where}: column {name!r}, row {row}: {wide[row]:g} is infinite in float32 ({len(infinite)} such values); "
            "expected a finite number; give NaN where it was not measured"
        )
    return numbers


def codes_of(name: str, values: tuple[str, ...], column: object, n_rows: int, where: str) -> tuple[np.ndarray, int]:
    """One column as (n_rows,) int64 codes of a vocabulary, and how many cells are out of it.

    None, NaN, pandas' NA and empty text are `MISSING`. A whole number counts as its digits: 4 and 4.0 are `4`.

    Raises:
        WrongShapeError: not (n_rows,).
    """
    import pandas as pd

    cells = _column(name, np.asarray(column, dtype=object), n_rows, where)  # else NaN beside text becomes text
    places, found = pd.factorize(cells)  # missing cells have place -1
    numbers = {value: number for number, value in enumerate(values, start=FIRST_VALUE)}
    of_place = np.array([*(_code(value, numbers) for value in found), MISSING], np.int64)
    codes = of_place[places]
    return codes, int((codes == UNSEEN).sum())


def _code(value: object, numbers: dict[str, int]) -> int:
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return numbers.get(text, UNSEEN) if text else MISSING


def _column(name: str, column: object, n_rows: int, where: str) -> np.ndarray:
    values = np.asarray(column)
    if values.shape != (n_rows,):
        raise WrongShapeError(
            f"{where}: column {name!r} has shape {values.shape}, expected ({n_rows},): one value a step, and as many "
            "as the other columns"
        )
    return values


def _is_number(cell: object) -> bool:
    try:
        np.float64(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
