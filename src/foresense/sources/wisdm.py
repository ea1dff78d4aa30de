"""WISDM smartwatch accelerometer, reduced: 51 people, 6 activities of two minutes each, 20 Hz, no timestamps.

Weiss, Yoneda, Hayajneh, Smartphone and Smartwatch-Based Biometrics Using Activities of Daily Living, 2019.
"""

import hashlib
from pathlib import Path

import numpy as np

from foresense.config.activity import ActivityIngestConfig
from foresense.signals import file_sha256
from foresense.signals.labelled import LabelledRecording, LabelledSet
from foresense.sources.people import STANDARD_GRAVITY, FoundPeople
from foresense.sources.sets import find_set
from foresense.sources.tables import Finding, Places, Refusal, SourceError

SET = "wisdm_watch_accel"
#: Code of each activity in the files -> its name.
ACTIVITIES = {
    "A": "walking",
    "B": "jogging",
    "C": "climbing stairs",
    "D": "sitting",
    "E": "standing",
    "M": "kicking a ball",
}


def read_wisdm(config: ActivityIngestConfig, places: Places) -> FoundPeople:
    """Read `data/raw/wisdm_watch_accel/data_<person>_accel_watch.txt`: lines `person,activity,x,y,z;` in m/s².

    Lines of one activity that follow one another are one stretch at 20 Hz; the file says no times, and their order is
    that of the protocol. A line that is not of this form is refused and ends the stretch.

    Args:
        config: Section `ingest`; `found_unit` must be `m/s2`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: not fetched yet.
        SourceError: not text, not one usable line, or an activity that is not asked for anywhere.
    """
    folder = places.raw / (config.raw or SET)
    files = sorted(folder.glob("data_*_accel_watch.txt"))
    if not files:
        raise FileNotFoundError(
            f"{folder}: no data_*_accel_watch.txt there; run `foresense fetch` for this pipeline first"
        )
    if config.found_unit != "m/s2":
        raise SourceError("ingest.found_unit: these files are in m/s2; set found_unit: m/s2")
    classes = config.classes or tuple(ACTIVITIES.values())
    unknown = sorted(set(classes) - set(ACTIVITIES.values()))
    if unknown:
        raise SourceError(f"ingest.classes: {unknown} are no activities here (known: {', '.join(ACTIVITIES.values())})")
    refusals: list[Refusal] = []
    people: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for file in files:
        for person, found in _read(file, classes, refusals).items():
            people.setdefault(person, []).append(found)
    findings = (
        [Finding("", "refused", len(refusals), refusals[0].file, "lines of another form, left out")] if refusals else []
    )
    if not people:
        raise SourceError(f"{folder}: no usable line in {len(files)} files; expected `person,activity,x,y,z;`")
    return FoundPeople(
        labelled=LabelledSet(
            people=tuple(_joined(person, people[person]) for person in sorted(people)),
            channels=("x", "y", "z"),
            units=("g", "g", "g"),
            rate_hz=config.rate_hz,
            classes=classes,
            has_time=False,
            time_zone=config.time_zone,
        ),
        sha256=_digest(files),
        findings=tuple(findings),
        refusals=tuple(refusals),
        facts=find_set(SET).facts(),
    )


def _read(
    file: Path, classes: tuple[str, ...], refusals: list[Refusal]
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Person to samples (g), labels and first rows of stretches, of one file."""
    numbers = {code: classes.index(name) for code, name in ACTIVITIES.items() if name in classes}
    rows: dict[str, list[tuple[float, float, float]]] = {}
    labels: dict[str, list[int]] = {}
    stretches: dict[str, list[int]] = {}
    last: tuple[str, str] | None = None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(f"{file}: not UTF-8 text ({error}); fetch this file again") from error
    for number, line in enumerate(lines, start=1):
        parts = line.strip().rstrip(";").split(",")
        try:
            person, code = parts[0], parts[1]
            x, y, z = map(float, parts[2:])
            if code not in ACTIVITIES or not np.isfinite(x + y + z):
                raise ValueError("not an activity, or not a number")
        except (ValueError, IndexError):
            refusals.append(Refusal("", file.name, number, "", "", line[:80], "expected `person,activity,x,y,z;`"))
            last = None
            continue
        if code not in numbers:
            last = None
            continue
        own = rows.setdefault(person, [])
        if last != (person, code):
            stretches.setdefault(person, []).append(len(own))
        own.append((x, y, z))
        labels.setdefault(person, []).append(numbers[code])
        last = (person, code)
    return {
        person: (
            (np.array(own) / STANDARD_GRAVITY).astype(np.float32),
            np.array(labels[person], np.int16),
            np.array(stretches[person], np.int64),
        )
        for person, own in rows.items()
    }


def _joined(person: str, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> LabelledRecording:
    offsets = np.cumsum([0, *(len(samples) for samples, _, _ in found)])
    stretches = np.concatenate([own + offset for (_, _, own), offset in zip(found, offsets[:-1], strict=True)])
    return LabelledRecording(
        person=person,
        samples=np.concatenate([samples for samples, _, _ in found]),
        labels=np.concatenate([labels for _, labels, _ in found]),
        stretches=stretches,
        start_ns=np.zeros(len(stretches), np.int64),
    )


def _digest(files: list[Path]) -> str:
    return hashlib.sha256("".join(f"{file_sha256(file)}  {file.name}\n" for file in files).encode()).hexdigest()
