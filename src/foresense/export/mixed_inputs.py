"""Windows of mixed recordings as an exported file takes them: plain ones, hard ones, and one as a CSV file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from foresense.export.mixed_predict import MISSING, TIME, UNSEEN, calendar_of
from foresense.signals.mixed import CategoricalChannel
from foresense.signals.mixed_schema import MixedSchema
from foresense.signals.mixed_windows import MixedWindows

#: In the order in which a model takes them.
INPUTS = ("numbers", "categories", "static_numbers", "static_categories")
#: Written in a CSV file for a value that the training part never showed.
NEVER_SEEN = "<unseen>"
_S_NS = 10**9


@dataclass(frozen=True, eq=False)
class MixedInputs:
    """Windows by the name of each input.

    Attributes:
        arrays: `numbers` (n, n_numeric, n_steps), float32, NaN: not measured; `categories` (n, n_categorical, n_steps),
            int64; `static_numbers` (n, n_static), float32, the calendar at its end; `static_categories` (n, n_static),
            int64. An input without a channel is left out.
        newest_s: (n,), begin of the newest step, seconds since 1970 UTC; 0 in a set without time.
    """

    arrays: dict[str, np.ndarray]
    newest_s: np.ndarray

    def __len__(self) -> int:
        return len(self.newest_s)

    def only(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Some of the inputs."""
        return {name: self.arrays[name] for name in names}


def inputs_of(windows: MixedWindows, numbers: np.ndarray, fold: int, *, calendar: bool) -> MixedInputs:
    """Copy windows, in the codes of the schema of `fold`.

    Args:
        windows: What the step `window` wrote.
        numbers: (n,), int: which.
        fold: Whose schema.
        calendar: Whether the local hour and month of the newest step come behind the static numbers.
    """
    batch = windows.gather(numbers, fold)
    steps_ahead = 1 if windows.ahead is None else windows.ahead  # the time of an outcome is the recording's end
    ahead_ns = round(steps_ahead * windows.schemas[fold].interval_s * _S_NS)
    newest_ns = windows.times_ns[numbers] - ahead_ns
    newest_s = newest_ns / _S_NS if windows.has_time else np.zeros(len(numbers))
    arrays = {name: getattr(batch, name) for name in INPUTS}
    if calendar:
        clock = calendar_of(newest_s, windows.time_zone)
        arrays["static_numbers"] = np.concatenate([arrays["static_numbers"], clock], axis=1)
    return MixedInputs({name: rows for name, rows in arrays.items() if rows.shape[1]}, newest_s)


def hard_inputs(one: MixedInputs, n_calendar: int) -> tuple[MixedInputs, tuple[str, ...]]:
    """What no training shows often, made of the first window, and what each of it is.

    Args:
        one: At least one window.
        n_calendar: How many of the static numbers are the clock, which is always known.

    Returns:
        Windows: one channel without a value; infinite values; categories that nobody has seen; nothing measured at all.
    """
    made: dict[str, dict[str, np.ndarray]] = {}

    def fresh(what: str) -> dict[str, np.ndarray]:
        made[what] = {name: rows[:1].copy() for name, rows in one.arrays.items()}
        return made[what]

    if "numbers" in one.arrays:
        fresh("one channel without a value")["numbers"][:, 0] = np.nan
        infinite = fresh("infinite values")["numbers"]
        infinite[:, -1, ::2], infinite[:, -1, 1::2] = np.inf, -np.inf
    coded = [name for name in ("categories", "static_categories") if name in one.arrays]
    if coded:
        unseen = fresh("unseen categories")
        for name in coded:
            unseen[name][:] = UNSEEN
    for kind, rows in fresh("nothing measured").items():
        known = n_calendar if kind == "static_numbers" else 0
        rows[:, : rows.shape[1] - known] = MISSING if kind in coded else np.nan
    arrays = {name: np.concatenate([window[name] for window in made.values()]) for name in one.arrays}
    return MixedInputs(arrays, np.repeat(one.newest_s[:1], len(made))), tuple(made)


def joined(first: MixedInputs, second: MixedInputs) -> MixedInputs:
    """The windows of both, one after the other."""
    arrays = {name: np.concatenate([rows, second.arrays[name]]) for name, rows in first.arrays.items()}
    return MixedInputs(arrays, np.concatenate([first.newest_s, second.newest_s]))


def example_csv(
    one: MixedInputs, schema: MixedSchema, *, length: int, time_zone: str | None
) -> tuple[bytes, list[str]]:
    """The first window as `predict.py` reads it: a CSV file, and `NAME=VALUE` of what never changes.

    Args:
        one: At least one window, without infinite values.
        schema: Of its channels.
        length: Steps.
        time_zone: Of the column `time`; None in a set without time.
    """
    columns: dict[str, list[str]] = {}
    if time_zone is not None:
        zone, newest_s = ZoneInfo(time_zone), float(one.newest_s[0])
        seconds = [newest_s - schema.interval_s * back for back in range(length - 1, -1, -1)]
        columns[TIME] = [datetime.fromtimestamp(second, zone).isoformat() for second in seconds]
    for place, channel in enumerate(schema.numeric):
        columns[f"{channel.name} [{channel.unit}]"] = [_number(value) for value in one.arrays["numbers"][0, place]]
    for place, category in enumerate(schema.categorical):
        columns[category.name] = [_value(code, category) for code in one.arrays["categories"][0, place].tolist()]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([list(columns), *zip(*columns.values(), strict=True)])
    statics = [
        f"{channel.name}={_number(one.arrays['static_numbers'][0, place])}"
        for place, channel in enumerate(schema.static_numeric)
    ]
    statics += [
        f"{category.name}={_value(int(one.arrays['static_categories'][0, place]), category)}"
        for place, category in enumerate(schema.static_categorical)
    ]
    return text.getvalue().encode(), statics


def _number(value: np.float32) -> str:
    return "" if np.isnan(value) else str(value)


def _value(code: int, channel: CategoricalChannel) -> str:
    return ("", NEVER_SEEN, *channel.values)[code]
