"""Build the service from the folder that `foresense export` writes for a pipeline of weeks.

What the folder holds, beside what every artefact has (`README.md`, `manifest.json.sha256`, ...):

- one file for each variant: one input (n, 10080), scaled; one output (n, 96); n is free or 1; float32, or int8 in a
  full-integer TFLite file;
- the reference scaler, in whatever form `read_preparation` reads; absent where no reference was fitted;
- `known_answer.npz`: `activity`, (10080,) float64, >= 0, the unscaled minutes of one week (NaN: not recorded); and for
  each variant an array of its name, (96,) float32: what that exported file gave for it.

What `manifest.json` says, beside what every manifest says:

```json
{"schema_version": 1, "kind": "weeks",
 "variants": {"tflite-float32": {"file": "tflite-float32.tflite", "tolerance": 1e-5}},
 "scaler": {"file": "scaler.safetensors"},
 "preparation": {"wear": {"min_valid_days": 4}},
 "known_answer": {"file": "known_answer.npz", "start": "2004-05-03T00:00:00+02:00", "time_zone": "Europe/Oslo",
                  "unit": "counts"},
 "files": {"tflite-float32.tflite": "<SHA-256>", "scaler.safetensors": "<SHA-256>", "known_answer.npz": "<SHA-256>"}}
```

`scaler` is null where there is none; `preparation` is what `read_preparation` takes beside it; `tolerance` is the
largest difference between two runs of that variant that is rounding; the first variant is served unless another is
asked for.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.actigraphy_service import ActigraphyServiceConfig
from foresense.service.actigraphy import ActigraphyService
from foresense.service.encoder import open_encoder
from foresense.service.errors import SecurityError, ServiceError
from foresense.service.integrity import verify_model_integrity
from foresense.service.parts import (
    N_FEATURES,
    WEEK_MINUTES,
    ActigraphyParts,
    KnownAnswer,
    Prepare,
)
from foresense.signals import Recording

SCHEMA_VERSION = 1
MINUTE_S = 60.0
#: Makes what prepares weeks from the scaler's file (None: there is no reference) and the manifest's `preparation`.
ReadPreparation = Callable[[Path | None, Mapping[str, Any]], Prepare]


def service_from_artefact(
    folder: Path,
    config: ActigraphyServiceConfig | None = None,
    *,
    read_preparation: ReadPreparation,
    variant: str | None = None,
    n_threads: int = 2,
    manifest_sha256: str | None = None,
) -> ActigraphyService:
    """A service that opens an artefact when it is initialised; reads nothing yet.

    Args:
        folder: `exports/<pipeline>/weeks`.
        config: Batches and limits.
        read_preparation: Of this artefact's kind of scaler and settings.
        variant: Name of a variant in the manifest; None: its first one.
        n_threads: Of the runtime.
        manifest_sha256: SHA-256 of the manifest from a lock file outside of the folder.
    """
    opening = partial(
        open_artefact,
        folder,
        read_preparation=read_preparation,
        variant=variant,
        n_threads=n_threads,
        manifest_sha256=manifest_sha256,
    )
    return ActigraphyService(opening, config)


def open_artefact(
    folder: Path,
    *,
    read_preparation: ReadPreparation,
    variant: str | None = None,
    n_threads: int = 2,
    manifest_sha256: str | None = None,
) -> ActigraphyParts:
    """Verify an artefact, then load it. Arguments as `service_from_artefact`.

    Raises:
        FileNotFoundError: a file is missing.
        SecurityError: a file is altered, or used and not listed in the manifest.
        ServiceError: the manifest or the known answer is of another shape; or there is no such variant.
        EncoderError: the variant's file is not an encoder of weeks.
    """
    manifest = verify_model_integrity(folder, manifest_sha256=manifest_sha256)
    _require_shape(folder, manifest)
    name = variant or next(iter(manifest["variants"]))
    if name not in manifest["variants"]:
        raise ServiceError(f"{folder}: no variant {name!r} (known: {', '.join(manifest['variants'])})")
    scaler = manifest["scaler"]
    encoder = open_encoder(_listed(folder, manifest, manifest["variants"][name]["file"]), n_threads)
    return ActigraphyParts(
        encode=encoder,
        prepare=read_preparation(
            None if scaler is None else _listed(folder, manifest, scaler["file"]), manifest["preparation"]
        ),
        known_answer=_known_answer(folder, manifest, name),
        takes_batches=encoder.takes_batches,
    )


def _require_shape(folder: Path, manifest: dict[str, Any]) -> None:
    expected = (SCHEMA_VERSION, "weeks")
    found = manifest.get("schema_version"), manifest.get("kind")
    if found != expected:
        raise ServiceError(
            f"{folder}: manifest.json has schema_version and kind {found}, expected {expected}; give the artefact of a "
            "pipeline of weeks, written by this version of foresense"
        )
    absent = sorted({"variants", "scaler", "preparation", "known_answer", "files"} - set(manifest))
    if absent or not manifest["variants"]:
        raise ServiceError(f"{folder}: manifest.json: {', '.join(absent) or 'a variant'} missing; export again")


def _listed(folder: Path, manifest: dict[str, Any], name: str) -> Path:
    if name not in manifest["files"]:
        raise SecurityError(f"{folder}: manifest.json uses {name} and does not list its SHA-256; nothing was loaded")
    return folder / name


def _known_answer(folder: Path, manifest: dict[str, Any], variant: str) -> KnownAnswer:
    import pandas as pd

    told = manifest["known_answer"]
    file = _listed(folder, manifest, told["file"])
    with np.load(file, allow_pickle=False) as arrays:
        found = {name: arrays[name].shape for name in arrays.files}
        expected = {"activity": (WEEK_MINUTES,), variant: (N_FEATURES,)}
        if {name: found.get(name) for name in expected} != expected:
            raise ServiceError(f"{file}: expected arrays {expected}, found {found}; export again")
        activity, features = arrays["activity"], arrays[variant]
    return KnownAnswer(
        recording=Recording(
            asset="known answer",
            samples=activity[:, None],
            channels=("activity",),
            units=(told["unit"],),
            interval_s=MINUTE_S,
            start=pd.Timestamp(told["start"]),
            time_zone=told["time_zone"],
        ),
        features=features,
        tolerance=manifest["variants"][variant]["tolerance"],
    )
