"""Windows that others have cut: `manifest.csv` (participant, status, outfile) and one `<participant>.npz` each.

Each file holds `windows` (n, length, 3) float32, `labels_str` (n,) text, `first_ts_epoch_ns` (n,) int64; `classes.json`
beside the manifest, where there is one, orders the classes.
"""

import hashlib
from pathlib import Path

import numpy as np

from foresense.config.activity import ActivityIngestConfig
from foresense.signals import file_sha256, read_json
from foresense.signals.labelled import UNLABELLED, LabelledRecording, LabelledSet
from foresense.sources.people import STANDARD_GRAVITY, FoundPeople
from foresense.sources.tables import Finding, Places, Refusal, SourceError
from foresense.sources.text_table import read_text_table

ARRAYS = ("windows", "labels_str", "first_ts_epoch_ns")


def read_subject_files(config: ActivityIngestConfig, places: Places) -> FoundPeople:
    """Read the folder `data/raw/<raw>`.

    Windows that follow one another to within half a sample are one stretch. A window that is not finite is refused.

    Args:
        config: Section `ingest`; `rate_hz` is that of the windows, which the files do not say.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no manifest, or a file that it lists as `ok` is not there.
        SourceError: other columns or arrays, a participant twice, or not one usable participant.
    """
    folder = places.raw / (config.raw or "subject_files")
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise FileNotFoundError(f"{manifest}: not there; expected columns participant, status, outfile")
    table = read_text_table(manifest)
    rows = table.to_dict("records")
    missing = {"participant", "status", "outfile"} - set(table.columns)
    if missing or not rows:
        raise SourceError(
            f"{manifest}: columns {sorted(missing)} missing, {len(rows)} rows; expected participant, status, outfile"
        )
    names = [row["participant"] for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{manifest}: participants {twice} stand there twice; one row for each")
    findings = [
        Finding(row["participant"], "left_out", 1, str(manifest), f"status is {row['status']!r}, not 'ok'")
        for row in rows
        if row["status"] != "ok"
    ]
    refusals: list[Refusal] = []
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    absent = [row["outfile"] for row in rows if row["status"] == "ok" and row["outfile"] not in there]
    if absent:
        raise FileNotFoundError(f"{folder / absent[0][:200]}: listed in manifest.csv with status 'ok', and not there")
    opened = {row["participant"]: _opened(folder / row["outfile"]) for row in rows if row["status"] == "ok"}
    if not opened:
        raise SourceError(f"{manifest}: no participant with status 'ok' among {len(rows)}")
    classes = config.classes or _classes(folder, opened)
    people = tuple(_person(name, opened[name], classes, config, refusals) for name in sorted(opened))
    files = [manifest, *(folder / row["outfile"] for row in rows if row["status"] == "ok")]
    return FoundPeople(
        labelled=LabelledSet(
            people=people,
            channels=("x", "y", "z"),
            units=("g", "g", "g"),
            rate_hz=config.rate_hz,
            classes=classes,
            has_time=True,
            time_zone=config.time_zone,
        ),
        sha256=hashlib.sha256("".join(f"{file_sha256(one)}  {one.name}\n" for one in files).encode()).hexdigest(),
        findings=tuple(findings),
        refusals=tuple(refusals),
    )


def _opened(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in ARRAYS}
    except Exception as error:  # numpy may raise anything on a damaged file: it is what is wrong with the file
        raise SourceError(f"{path}: expected arrays {list(ARRAYS)} without Python objects: {error}") from error
    windows, labels, times = (found[name] for name in ARRAYS)
    is_whole = (
        labels.shape == times.shape == windows.shape[:1] and windows.dtype.kind == "f" and times.dtype.kind in "iu"
    )
    if windows.ndim != 3 or windows.shape[2] != 3 or not is_whole:
        raise SourceError(
            f"{path}: expected windows (n, length, 3) and n labels and times, found {windows.shape}, {labels.shape} "
            f"and {times.shape}, as {windows.dtype} and {times.dtype}; write floats and whole nanoseconds"
        )
    return found


def _classes(folder: Path, opened: dict[str, dict[str, np.ndarray]]) -> tuple[str, ...]:
    if (folder / "classes.json").is_file():
        return tuple(read_json(folder / "classes.json"))
    return tuple(sorted({str(label) for one in opened.values() for label in one["labels_str"]}))


def _person(
    name: str,
    found: dict[str, np.ndarray],
    classes: tuple[str, ...],
    config: ActivityIngestConfig,
    refusals: list[Refusal],
) -> LabelledRecording:
    order = np.argsort(found["first_ts_epoch_ns"], kind="stable")
    windows, labels = found["windows"][order], found["labels_str"][order].astype(str)
    times_ns = found["first_ts_epoch_ns"][order].astype(np.int64)
    is_finite = np.isfinite(windows).all(axis=(1, 2))
    refusals += [
        Refusal(name, f"{name}.npz", int(order[row]), str(times_ns[row]), "windows", "", "not finite")
        for row in np.flatnonzero(~is_finite)
    ]
    windows, labels, times_ns = windows[is_finite], labels[is_finite], times_ns[is_finite]
    length = windows.shape[1]
    expected_ns = times_ns[:-1] + round(length * 1e9 / config.rate_hz)
    is_apart = np.abs(times_ns[1:] - expected_ns) > 0.5e9 / config.rate_hz
    first = np.flatnonzero(np.append(np.ones(min(1, len(windows)), bool), is_apart))
    numbers = {known: number for number, known in enumerate(classes)}
    of_window = np.array([numbers.get(label, UNLABELLED) for label in labels], np.int16)
    scale = 1.0 if config.found_unit == "g" else 1 / STANDARD_GRAVITY
    return LabelledRecording(
        person=name,
        samples=(windows.reshape(-1, 3) * scale).astype(np.float32),
        labels=np.repeat(of_window, length),
        stretches=first.astype(np.int64) * length,
        start_ns=times_ns[first],
    )
