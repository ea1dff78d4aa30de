"""Sounds and grey images of one's own machines, in folders that are named after their conditions."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from foresense.config.anomaly import ImageFoldersConfig, WavFoldersConfig
from foresense.signals.clips import FoundRecording, join_recordings
from foresense.sources.conditions import FoundConditions, counted_files, digest_of, refused, with_normal_first
from foresense.sources.tables import Finding, Places, Refusal, SourceError
from foresense.sources.waves import read_wave

#: Endings of what is read; other files are left alone.
SOUNDS = (".wav",)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

#: A file to its samples, and samples per second; None of an image.
Read = Callable[[Path], tuple[np.ndarray, float | None]]


def read_wav_folders(config: WavFoldersConfig, places: Places) -> FoundConditions:
    """Read `<condition>/<asset>/<any>.wav` or `<condition>/<asset>.wav` below `data/raw/<raw>/`, all at one rate.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no WAV file.
        SourceError: a file in another place, no normal condition, files of different rates, or none that can be used.
    """
    return _read(places.raw / config.raw, SOUNDS, config.normal, lambda file: read_wave(file, channel=config.channel))


def read_image_folders(config: ImageFoldersConfig, places: Places) -> FoundConditions:
    """Read `<condition>/<asset>/<any>.png` or `<condition>/<asset>.png` below `data/raw/<raw>/`, all of one size.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: no image.
        SourceError: a file in another place, no normal condition, images of different sizes, or none that can be used.
    """
    return _read(places.raw / config.raw, IMAGES, config.normal, lambda file: (_grey(file), None))


def _read(folder: Path, endings: tuple[str, ...], normal: str, read: Read) -> FoundConditions:
    """Equal files are of one asset: two of them in two parts of a split would be one file twice."""
    named = _named(folder, endings)
    classes = with_normal_first((condition for condition, _ in named.values()), normal, f"folders of {folder}")
    recordings: list[FoundRecording] = []
    refusals: list[Refusal] = []
    assets: dict[bytes, str] = {}
    kinds: dict[str, tuple[str, float | None]] = {}
    for file, (condition, asset) in named.items():
        name = file.relative_to(folder).as_posix()
        try:
            samples, rate_hz = read(file)
        except SourceError as error:
            refusals.append(refused(name, str(error)))
            continue
        kind = " x ".join(map(str, samples.shape[::-1])) + " pixels" if rate_hz is None else f"{rate_hz:g} Hz"
        kinds.setdefault(kind, (name, rate_hz))
        if len(kinds) > 1:
            (first, (other, _)), _ = kinds.items()
            raise SourceError(f"{file}: {kind}, but {other} has {first}; make all files alike first")
        own = assets.setdefault(hashlib.sha256(samples.tobytes()).digest(), asset)
        recordings.append(FoundRecording(name, own, classes.index(condition), samples, {"asset": own}))
    if not recordings:
        raise SourceError(f"{folder}: none of {len(named)} files can be used; the first: {refusals[0].reason}")
    ((_, rate_hz),) = kinds.values()
    n_twins = len(recordings) - len(assets)
    twins = [Finding("", "duplicate", n_twins, "", "files of equal content, kept as one asset")] if n_twins else []
    return FoundConditions(
        recordings=join_recordings(
            recordings, classes=classes, unit="grey level" if rate_hz is None else "1", rate_hz=rate_hz
        ),
        sha256=digest_of(folder, named),
        findings=(*counted_files(refusals), *twins),
        refusals=tuple(refusals),
        facts={"set": folder.name},
    )


def _named(folder: Path, endings: tuple[str, ...]) -> dict[Path, tuple[str, str]]:
    """File -> condition and asset; a file that lies in no folder of an asset is an asset of its own."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in endings and file.is_file())
    if not files:
        raise FileNotFoundError(
            f"{folder}: no {' or '.join(endings)} below it; expected <condition>/<asset>/<any>{endings[0]}"
        )
    found = {}
    for file in files:
        parts = file.relative_to(folder).with_suffix("").parts
        if len(parts) not in (2, 3):
            raise SourceError(
                f"{file}: expected <condition>/<asset>/<any>{file.suffix} or <condition>/<asset>{file.suffix} below "
                f"{folder.name}/; move it"
            )
        found[file] = (parts[0], parts[1] if len(parts) == 3 else "/".join(parts))
    return found


def _grey(file: Path) -> np.ndarray:
    """(height, width), uint8."""
    try:
        with Image.open(file) as image:
            image.load()
            if image.mode != "L":
                raise SourceError(f"expected a grey image of 8 bits (mode L), found mode {image.mode!r}; convert it")
            return np.asarray(image, np.uint8)
    except SourceError:
        raise
    except Exception as error:  # its reader may raise anything on a damaged file: it is what is wrong with the file
        raise SourceError(f"cannot be read as an image ({error})") from error
