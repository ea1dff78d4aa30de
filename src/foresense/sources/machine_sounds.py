"""Sounds of machines as WAV files, in the layouts of DCASE 2020 Task 2 and of MIMII.

Source: Koizumi et al., Description and Discussion on DCASE2020 Challenge Task 2, 2020, section 3; Purohit et al.,
MIMII Dataset: Sound Dataset for Malfunctioning Industrial Machine Investigation and Inspection, 2019, section 3.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from foresense.config.anomaly import DcaseConfig, MimiiConfig
from foresense.signals.clips import UNKNOWN, FoundRecording, join_recordings
from foresense.sources.anomaly_sets import facts_of
from foresense.sources.conditions import FoundConditions, counted_files, digest_of, refused
from foresense.sources.tables import Places, Refusal, SourceError
from foresense.sources.waves import read_wave

CLASSES = ("normal", "anomaly")
#: Name of a machine whose files do not say what it is.
UNNAMED = "machine"
_DCASE = re.compile(r"(?:(?P<condition>normal|anomaly)_)?(?P<id>id_\d\d)_\d{8}\.wav")
_MIMII_LEVEL = re.compile(r"(?P<level>-?\d+)_dB_\w+")
_MIMII_CONDITIONS = {"normal": 0, "abnormal": 1}


@dataclass(frozen=True)
class _Named:
    """What a path says: machine and id, condition, and groups that a split can hold out."""

    asset: str
    label: int
    groups: dict[str, str]


def read_dcase2020(config: DcaseConfig, places: Places) -> FoundConditions:
    """Read `[<machine>/][<part>/]<condition>_id_XX_<number>.wav` below `data/raw/<raw>/`.

    The published layout is `<machine>/train/normal_id_00_00000000.wav`; `<machine>/test/id_00_00000000.wav` without a
    condition, as in the evaluation set, is UNKNOWN. Groups: `machine`, `id` (of the machine) and `part` (the name of
    the folder that the file lies in: `train`, `test`). Assets are `<machine>/<id>`.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no WAV file.
        SourceError: a file of another name, files of different rates, or none that can be used.
    """
    folder = places.raw / config.raw
    return _read(folder, _named(folder, _dcase_name), config.channel)


def read_mimii(config: MimiiConfig, places: Places) -> FoundConditions:
    """Read `[<level>_dB_<machine>/]<machine>/id_XX/{normal,abnormal}/<number>.wav` below `data/raw/<raw>/`.

    One of the eight microphones is taken, `channel`. Groups: `machine`, `id` and `level` (signal to noise, dB; `none`
    where the path does not say). Assets are `<machine>/<id>`. Of several levels one must be chosen (`level_db`): a
    recording and the same one with more noise in two parts of a split would be a leak.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no WAV file.
        SourceError: a file in another place, several levels or not the asked one, files of different rates, or none
            that can be used.
    """
    folder = places.raw / config.raw
    found = _named(folder, _mimii_name)
    levels = {named.groups["level"] for named in found.values()}
    wanted = levels if config.level_db is None else {str(config.level_db)}
    if len(wanted) > 1 or not wanted <= levels:
        raise SourceError(
            f"{folder}: levels {sorted(levels)} dB are there, which hold the same sounds, and ingest.level_db is "
            f"{config.level_db}; choose one of them"
        )
    return _read(
        folder, {file: named for file, named in found.items() if named.groups["level"] in wanted}, config.channel
    )


def _dcase_name(path: Path) -> _Named:
    named = _DCASE.fullmatch(path.name)
    if named is None:
        raise SourceError(f"{path}: expected normal_id_XX_<8 digits>.wav, anomaly_… or id_…; take other files out")
    label = UNKNOWN if named["condition"] is None else CLASSES.index(named["condition"])
    machine = path.parts[-3] if len(path.parts) > 2 else UNNAMED
    part = path.parts[-2] if len(path.parts) > 1 else "none"
    return _Named(f"{machine}/{named['id']}", label, {"machine": machine, "id": named["id"], "part": part})


def _mimii_name(path: Path) -> _Named:
    parts = path.parts
    if len(parts) < 4 or parts[-2] not in _MIMII_CONDITIONS or not parts[-3].startswith("id_"):
        raise SourceError(f"{path}: expected <machine>/id_XX/normal or abnormal/<number>.wav; take other files out")
    level = _MIMII_LEVEL.fullmatch(parts[-5]) if len(parts) > 4 else None
    machine = parts[-4]
    groups = {"machine": machine, "id": parts[-3], "level": level["level"] if level else "none"}
    return _Named(f"{machine}/{parts[-3]}", _MIMII_CONDITIONS[parts[-2]], groups)


def _named(folder: Path, name_of: Callable[[Path], _Named]) -> dict[Path, _Named]:
    files = sorted(folder.rglob("*.wav"))
    if not files:
        raise FileNotFoundError(f"{folder}: no .wav below it; fetch or unpack the set there first")
    return {file: name_of(file.relative_to(folder)) for file in files}


def _read(folder: Path, files: dict[Path, _Named], channel: int) -> FoundConditions:
    recordings: list[FoundRecording] = []
    refusals: list[Refusal] = []
    first: tuple[float, str] | None = None
    for file, named in files.items():
        below = file.relative_to(folder)
        try:
            heard, rate_hz = read_wave(file, channel=channel)
        except SourceError as error:
            refusals.append(refused(below.as_posix(), str(error)))
            continue
        first = first or (rate_hz, below.as_posix())
        if rate_hz != first[0]:
            raise SourceError(
                f"{file}: {rate_hz:g} Hz, but {first[1]} has {first[0]:g} Hz; bring all files to one rate first"
            )
        recordings.append(FoundRecording(below.as_posix(), named.asset, named.label, heard, named.groups))
    if first is None:
        raise SourceError(f"{folder}: none of {len(files)} files can be used; the first: {refusals[0].reason}")
    return FoundConditions(
        recordings=join_recordings(recordings, classes=CLASSES, unit="1", rate_hz=first[0]),
        sha256=digest_of(folder, files),
        findings=tuple(counted_files(refusals)),
        refusals=tuple(refusals),
        facts={**facts_of(folder.name), "channel": channel},
    )
