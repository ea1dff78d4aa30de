"""Beijing multi-site air quality: hourly pollutants and weather of stations, with the wind's direction as a category.

Zhang et al., Cautionary tales on air-quality improvement in Beijing, Proceedings of the Royal Society A, 2017; UCI
Machine Learning Repository, "Beijing Multi-Site Air Quality". The files' clock is local without a zone, and no hour is
missing or twice in four years: China has had no summer time since 1991.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from foresense.config.mixed import AirQualityIngestConfig
from foresense.signals.mixed import CategoricalChannel, MixedRecording, MixedSet, NumericChannel
from foresense.signals.mixed_columns import FIRST_VALUE, MISSING
from foresense.sources.checks import in_order_once
from foresense.sources.clock import read_clock
from foresense.sources.frames import read_csv_frame
from foresense.sources.mixed import FoundMixed, counted, files_of
from foresense.sources.tables import Finding, Places, RawTable, Refusal, SourceError
from foresense.sources.tabular import files_sha256

#: Channel -> unit, and whether it can be below zero (UCI, "Variables Table").
CHANNELS = {
    "PM2.5": ("ug/m3", False),
    "PM10": ("ug/m3", False),
    "SO2": ("ug/m3", False),
    "NO2": ("ug/m3", False),
    "CO": ("ug/m3", False),
    "O3": ("ug/m3", False),
    "TEMP": ("Cel", True),
    "PRES": ("hPa", False),
    "DEWP": ("Cel", True),
    "RAIN": ("mm", False),
    "WSPM": ("m/s", False),
}
#: The category, and its values: the sixteen directions of a compass.
DIRECTION = "wd"
DIRECTIONS = tuple(
    sorted(("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"))
)
CLOCK = ("year", "month", "day", "hour")
_UNUSED = "No"  # the number of the row
_HOUR_NS = 3600 * 10**9
_MOST_HOURS = 100 * 8766

#: Which rows, column, cells, reason.
Refuse = Callable[[np.ndarray, str, np.ndarray, str], None]


def read_air_quality(config: AirQualityIngestConfig, places: Places) -> FoundMixed:
    """Read CSV files of stations: year, month, day, hour, eleven numbers, wind direction, station; `NA` is missing.

    A station is a recording on a grid of hours; an hour without a row is missing in every channel, and reported. A row
    without a time or a station, and a cell that is no number, is infinite, is below zero where that cannot be, or is no
    direction of a compass, is refused and counted.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no file matches.
        SourceError: columns are missing, one hour has two different rows, no usable row, or a station that is asked
            for is not there.
    """
    folder, files = files_of(places.raw, config.raw, config.files)
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    refusals: list[Refusal] = []
    findings: list[Finding] = []
    frames = [_read(path, name, findings) for path, name in zip(files, names, strict=True)]
    tables = _tables(frames, names, config, refusals)
    wanted = config.stations or tuple(sorted(tables))
    absent = sorted(set(wanted) - set(tables))
    if absent or not wanted:
        raise SourceError(
            f"ingest.stations: {absent or 'none'} not found in {len(files)} file(s) of {folder} (found: "
            f"{', '.join(sorted(tables)) or 'not one usable row'}); correct the name, or look into refused rows"
        )
    recordings = tuple(_recording(tables[name], config, findings) for name in sorted(wanted))
    return FoundMixed(
        recordings=MixedSet(
            recordings=recordings,
            numeric=tuple(NumericChannel(name, unit) for name, (unit, _) in CHANNELS.items()),
            categorical=(CategoricalChannel(DIRECTION, DIRECTIONS),),
            static_numeric=(),
            static_categorical=(),
            outcomes=(),
            interval_s=3600.0,
            has_time=True,
            time_zone=config.time_zone,
        ),
        sha256=files_sha256(files, folder),
        findings=tuple(findings + counted(refusals)),
        refusals=tuple(refusals),
        facts={"set": "Beijing Multi-Site Air Quality", "citation": "Zhang et al., Proc. R. Soc. A 473, 2017"},
    )


def _read(path: Path, name: str, findings: list[Finding]) -> pd.DataFrame:
    """Cells as text, indexed by the number of the line; missing ones NA."""
    frame = read_csv_frame(path, name)
    wanted = [*CLOCK, *CHANNELS, DIRECTION, "station"]
    missing = [column for column in wanted if column not in frame.columns]
    if missing:
        raise SourceError(
            f"{name}: expected the columns {', '.join(wanted)}, found {', '.join(frame.columns)}; missing: "
            f"{', '.join(missing)}; name them so in the header"
        )
    unused = [column for column in frame.columns if column not in (*wanted, _UNUSED)]
    if unused:
        where = f"{name}: {', '.join(unused)}"
        findings.append(Finding("", "unused_columns", len(unused), where, "no channel names them"))
    return frame[wanted].dropna(how="all")


def _tables(
    frames: list[pd.DataFrame], names: tuple[str, ...], config: AirQualityIngestConfig, refusals: list[Refusal]
) -> dict[str, RawTable]:
    """Station to its usable rows, in the order of the files; the direction is a last column of codes."""
    frame = pd.concat(frames)
    rows = frame.index.to_numpy(np.int64)
    files = np.repeat(np.arange(len(frames)), [len(one) for one in frames])
    stations = np.asarray(frame["station"].str.strip().fillna(""), dtype=object)
    clock = frame[list(CLOCK)].fillna("?")

    def time_at(row: int) -> str:
        return "-".join(clock.iloc[row])

    def refuse(bad: np.ndarray, column: str, cells: np.ndarray, reason: str) -> None:
        refusals.extend(
            Refusal(stations[at], names[files[at]], int(rows[at]), time_at(at), column, str(cells[at]), reason)
            for at in np.flatnonzero(bad).tolist()
        )

    times_ns, reasons = _times(frame, config.time_zone)
    numbers = [_numbers(frame[channel], channel, refuse) for channel in CHANNELS]
    values = np.column_stack([*numbers, _codes(frame, refuse)])
    for reason in sorted(set(reasons) - {""}):
        refuse(reasons == reason, "hour", clock["hour"].to_numpy(object), str(reason))
    refuse(stations == "", "station", stations, "no station")
    usable = (reasons == "") & (stations != "")
    return {
        station: RawTable(station, times_ns[mine], values[mine], rows[mine], files[mine], names)
        for station in sorted(set(stations[usable]))
        for mine in (np.flatnonzero(usable & (stations == station)),)
    }


def _times(frame: pd.DataFrame, time_zone: str) -> tuple[np.ndarray, np.ndarray]:
    parts = {part: pd.to_numeric(frame[part], errors="coerce").astype("Float64") for part in CLOCK}
    local = pd.to_datetime(pd.DataFrame(parts), errors="coerce")
    in_day = (parts["hour"].between(0, 23) & (parts["hour"] % 1 == 0)).fillna(False).to_numpy(bool)
    clock = read_clock(local.where(in_day), time_zone, file="year-month-day-hour")
    no_hour = "no such hour: expected year, month 1..12, day, hour 0..23"
    return clock.times_ns, np.where(clock.reasons == "no time", no_hour, clock.reasons)


def _numbers(column: pd.Series, channel: str, refuse: Refuse) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    cells = column.to_numpy()
    no_number = np.isnan(numbers) & column.notna().to_numpy(bool)
    infinite = np.isinf(numbers)
    below = (numbers < 0) & ~infinite if not CHANNELS[channel][1] else np.zeros(len(numbers), bool)
    refuse(no_number, channel, cells, "not a number")
    refuse(infinite, channel, cells, "infinite")
    refuse(below, channel, cells, "below zero")
    numbers[no_number | infinite | below] = np.nan
    return numbers


def _codes(frame: pd.DataFrame, refuse: Refuse) -> np.ndarray:
    text = frame[DIRECTION].str.strip()
    codes = text.map({value: code for code, value in enumerate(DIRECTIONS, FIRST_VALUE)}).astype("Float64")
    refuse(
        (codes.isna() & text.notna()).to_numpy(bool),
        DIRECTION,
        text.to_numpy(),
        "none of the sixteen directions of a compass",
    )
    return codes.to_numpy(np.float64, na_value=np.nan)


def _recording(table: RawTable, config: AirQualityIngestConfig, findings: list[Finding]) -> MixedRecording:
    table, found = in_order_once(table, (*CHANNELS, DIRECTION))
    findings += found
    hours = (table.times_ns - table.times_ns[0]) // _HOUR_NS
    n_hours = int(hours[-1]) + 1
    if n_hours > _MOST_HOURS:
        raise SourceError(
            f"{table.asset}: {len(hours)} rows span {n_hours} hours, from {table.place(0)} to "
            f"{table.place(len(hours) - 1)}; expected at most {_MOST_HOURS} (100 years); remove the stray times"
        )
    findings += _gaps(table, hours)
    if config.first_hours is not None and n_hours > config.first_hours:
        findings.append(
            Finding(table.asset, "cut", n_hours - config.first_hours, "", "hours after the first ones were left out")
        )
        n_hours = config.first_hours
    grid = np.full((n_hours, len(CHANNELS) + 1), np.nan)
    grid[hours[hours < n_hours]] = table.values[hours < n_hours]
    missing = dict(zip((*CHANNELS, DIRECTION), np.isnan(grid).sum(axis=0).tolist(), strict=True))
    if any(missing.values()):
        shown = ", ".join(f"{name} {n}" for name, n in missing.items() if n)
        message = f"of {n_hours} hours have no value, by channel: {shown}; left missing"
        findings.append(Finding(table.asset, "missing", sum(missing.values()), "", message))
    return MixedRecording(
        name=table.asset,
        numeric=grid[:, :-1].astype(np.float32),
        categories=np.nan_to_num(grid[:, -1:], nan=MISSING).astype(np.int64),
        static_numeric=np.zeros(0, np.float32),
        static_categories=np.zeros(0, np.int64),
        outcomes=np.zeros(0, np.float32),
        start_ns=int(table.times_ns[0]),
    )


def _gaps(table: RawTable, hours: np.ndarray) -> list[Finding]:
    """Hours between the first and the last row that have no row."""
    before = np.flatnonzero(np.diff(hours) > 1)
    if not len(before):
        return []
    where = ", ".join(
        f"{pd.Timestamp(int(table.times_ns[at]), unit='ns', tz='UTC').isoformat()} "
        f"({int(hours[at + 1] - hours[at]) - 1} h after it)"
        for at in before[:3]
    )
    n_hours = int(np.diff(hours)[before].sum()) - len(before)
    return [Finding(table.asset, "gap", len(before), where, f"{n_hours} hours without a row, left missing")]
