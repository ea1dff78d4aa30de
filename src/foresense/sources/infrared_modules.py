"""Thermal images of photovoltaic modules: grey, 24 x 40 pixels (width x height), one module each.

A pixel is a relative grey level, not a temperature: a camera stretched each flight to its own range, so that levels of
two images can be compared only as far as that went alike.

Source: Millendorf, Obropta and Vadhavkar, Infrared Solar Module Dataset for Anomaly Detection, ICLR 2020 workshop
Tackling Climate Change with Machine Learning.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from foresense.config.anomaly import InfraredModulesConfig
from foresense.signals.clips import FoundRecording, join_recordings
from foresense.signals.json_object import read_object
from foresense.sources.anomaly_sets import facts_of
from foresense.sources.conditions import FoundConditions, counted_files, digest_of, refused
from foresense.sources.tables import Finding, Places, Refusal, SourceError

#: Width and height of every image, pixels.
SIZE = (24, 40)
METADATA = "module_metadata.json"
#: Groups of neighbouring numbers in each condition.
N_STRETCHES = 5
_NORMAL = "No-Anomaly"
CLASSES = (
    _NORMAL,
    "Cell",
    "Cell-Multi",
    "Cracking",
    "Diode",
    "Diode-Multi",
    "Hot-Spot",
    "Hot-Spot-Multi",
    "Offline-Module",
    "Shadowing",
    "Soiling",
    "Vegetation",
)


def read_infrared_modules(config: InfraredModulesConfig, places: Places) -> FoundConditions:
    """Read `images/<n>.jpg` below `data/raw/<raw>/`, with the conditions of `module_metadata.json`.

    The metadata may name more images than there are. Images of equal pixels are one asset: two of them in two parts
    of a split would be one image twice. Neighbouring numbers look alike, as if of one flight: the group `stretch` is
    the fifth of its condition that an image lies in by its number, "0" to "4", to be held out together.

    Args:
        config: Section `ingest`.
        places: `raw` holds the folder.

    Raises:
        FileNotFoundError: not fetched yet.
        SourceError: metadata of another form, an image that it does not name, or no usable image.
    """
    folder = places.raw / config.raw
    files = sorted((folder / "images").glob("*.jpg"), key=lambda file: (len(file.name), file.name))
    if not files:
        raise FileNotFoundError(f"{folder / 'images'}: no .jpg there; run `foresense fetch` for this pipeline first")
    conditions = _conditions(folder / METADATA)
    recordings: list[FoundRecording] = []
    refusals: list[Refusal] = []
    stretches = _stretches(files, conditions)
    first_with: dict[bytes, str] = {}
    for file in files:
        name = f"images/{file.name}"
        if name not in conditions:
            raise SourceError(f"{folder / METADATA}: does not name {name}; the two belong to one version of the set")
        try:
            image = _pixels(file)
        except SourceError as error:
            refusals.append(refused(name, str(error)))
            continue
        asset = first_with.setdefault(image.tobytes(), file.stem)
        recordings.append(FoundRecording(name, asset, conditions[name], image, {"stretch": stretches[name]}))
    if not recordings:
        raise SourceError(
            f"{folder}: none of {len(files)} images can be used; {refusals[0].file}: {refusals[0].reason}"
        )
    n_twins = len(recordings) - len(first_with)
    twins = [Finding("", "duplicate", n_twins, "", "images of equal pixels, kept as one asset")] if n_twins else []
    return FoundConditions(
        recordings=join_recordings(recordings, classes=CLASSES, unit="grey level", rate_hz=None),
        sha256=digest_of(folder, [*files, folder / METADATA]),
        findings=(*counted_files(refusals), *twins),
        refusals=tuple(refusals),
        facts=facts_of(config.raw),
    )


def _stretches(files: Sequence[Path], conditions: Mapping[str, int]) -> dict[str, str]:
    """Fifth of its condition that each image lies in by its number: those that follow each other are in one."""
    of_condition: dict[int | None, list[str]] = {}
    for file in files:
        name = f"images/{file.name}"
        of_condition.setdefault(conditions.get(name), []).append(name)
    return {
        name: str(place * N_STRETCHES // len(names))
        for names in of_condition.values()
        for place, name in enumerate(names)
    }


def _conditions(metadata: Path) -> dict[str, int]:
    if not metadata.is_file():
        raise FileNotFoundError(f"{metadata}: not there; run `foresense fetch` for this pipeline first")
    try:
        content = read_object(metadata)
        named = {one["image_filepath"]: one["anomaly_class"] for one in content.values()}
        unknown = sorted(set(named.values()) - set(CLASSES), key=str)
    except ValueError as error:
        raise SourceError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise SourceError(
            f"{metadata}: expected one entry a module with image_filepath and anomaly_class ({error!r})"
        ) from error
    if unknown:
        raise SourceError(f"{metadata}: classes {unknown} are not of this set (known: {', '.join(CLASSES)})")
    return {path: CLASSES.index(name) for path, name in named.items()}


def _pixels(file: Path) -> np.ndarray:
    """(height, width), uint8."""
    try:
        with Image.open(file) as image:
            image.load()
            if image.mode != "L" or image.size != SIZE:
                raise SourceError(f"expected a grey image of {SIZE} pixels, found {image.mode!r} of {image.size}")
            return np.asarray(image, np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        raise SourceError(f"cannot be read as an image ({error})") from error
