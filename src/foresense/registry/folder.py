"""The folder of a version: all that its model needs, held together by a manifest with the digest of every file."""

from dataclasses import asdict
from pathlib import Path

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from foresense.signals import file_sha256, write_json
from foresense.signals.json_object import read_object

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
WEIGHTS = "model/model.safetensors"
#: What a version that forecasts holds; a folder that lacks one of them is refused.
PARTS = (
    WEIGHTS,
    "model/candidate.json",
    "scaler.json",
    "windowing.json",
    "conformal.json",
    "evaluation.json",
)
#: Kinds of versions: what forecasts here, and the artefact of every other pipeline, which a device runs as it is.
FORECAST, ARTEFACT = "forecast", "artefact"
#: Folder of the artefact inside its version, and the file that says what of it ships and how good that is.
ARTEFACT_FOLDER, SHIPPED = "artefact", "shipped.json"
PARTS_OF: dict[str, tuple[str, ...]] = {
    FORECAST: PARTS,
    ARTEFACT: (
        f"{ARTEFACT_FOLDER}/manifest.json",
        f"{ARTEFACT_FOLDER}/manifest.json.sha256",
        "evaluation.json",
        SHIPPED,
    ),
}


class VersionError(ValueError):
    """A version's folder is not what its manifest says."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Manifest:
    """What a version is.

    Attributes:
        pipeline: Whose model.
        asset: The machine, or `all`; of an artefact the group.
        model_sha256: Of the weights.
        data_sha256: Of the recordings that it was trained on.
        trained_until_s: Time of the last row of training and validation, seconds since 1970 UTC; None of an artefact:
            people, machines or recordings are held out, not the newest time.
        files: Path inside the folder -> SHA-256, of every file but the manifest.
        schema_version: Of this shape.
        kind: FORECAST or ARTEFACT.
    """

    pipeline: str
    asset: str
    model_sha256: str
    data_sha256: str
    trained_until_s: int | None
    files: dict[str, str]
    schema_version: int = SCHEMA_VERSION
    kind: str = FORECAST

    @property
    def cut_s(self) -> int:
        """`trained_until_s` of a version that forecasts.

        Raises:
            VersionError: it is an artefact.
        """
        if self.trained_until_s is None:
            raise VersionError(
                f"{self.pipeline}/{self.asset}: a version of the kind {self.kind!r} has no time of a cut"
            )
        return self.trained_until_s


def seal_version(folder: Path, *, pipeline: str, asset: str, data_sha256: str, trained_until_s: int) -> Manifest:
    """Write `manifest.json` over the files of a version that forecasts, as the last one.

    Raises:
        VersionError: a part is missing; says which.
    """
    files = _digests(folder, FORECAST)
    manifest = Manifest(pipeline, asset, files[WEIGHTS], data_sha256, trained_until_s, files)
    # Without its kind: the bytes are those of before there were others, so that equal weights stay one version.
    write_json(folder / MANIFEST, {name: value for name, value in asdict(manifest).items() if name != "kind"})
    return manifest


def seal_artefact(folder: Path, *, pipeline: str, asset: str, model_sha256: str, data_sha256: str) -> Manifest:
    """Write `manifest.json` over an artefact, its evaluation and what ships of it, as the last file.

    Args:
        folder: Holds `artefact/`, `evaluation.json` and `shipped.json`.
        pipeline: Whose artefact.
        asset: Name of the group.
        model_sha256: Of the weights that were exported.
        data_sha256: Of the recordings that they were trained on.

    Raises:
        VersionError: a part is missing; says which.
    """
    manifest = Manifest(pipeline, asset, model_sha256, data_sha256, None, _digests(folder, ARTEFACT), kind=ARTEFACT)
    write_json(folder / MANIFEST, asdict(manifest))
    return manifest


def verify_version(folder: Path) -> Manifest:
    """Compare every file of a version with its manifest, before anything of it is loaded.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: there is no manifest.
        VersionError: a file is altered, missing, or not in the manifest; says which.
        ValueError: the manifest is no JSON object.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there; a version is a folder that `foresense promote` or a night wrote")
    manifest = _read_manifest(path)
    _require_parts(folder, manifest.kind, manifest.files)
    found = set(_names(folder))
    problems = [f"{name} is missing" for name in sorted(set(manifest.files) - found)]
    problems += [f"{name} is not in the manifest" for name in sorted(found - set(manifest.files))]
    problems += [
        f"{name} is altered: SHA-256 {digest[:12]}… in the manifest, {now[:12]}… found"
        for name, digest in sorted(manifest.files.items())
        if name in found and (now := file_sha256(folder / name)) != digest
    ]
    if problems:
        raise VersionError(f"{folder}: {'; '.join(problems)}; nothing was loaded. Delete the folder to fetch it again")
    return manifest


def _read_manifest(path: Path) -> Manifest:
    content = read_object(path)
    if content.get("schema_version") != SCHEMA_VERSION:
        raise VersionError(
            f"{path}: shape version {content.get('schema_version')!r}, this program reads {SCHEMA_VERSION}; train again"
        )
    try:
        manifest = Manifest(**content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise VersionError(f"{path}: not the manifest of a version ({wrong}); train again") from error
    if manifest.kind not in PARTS_OF:
        raise VersionError(
            f"{path}: a version of the kind {manifest.kind!r}, this program knows {', '.join(PARTS_OF)}; update it"
        )
    return manifest


def _digests(folder: Path, kind: str) -> dict[str, str]:
    files = {name: file_sha256(folder / name) for name in _names(folder)}
    _require_parts(folder, kind, files)
    return files


def _require_parts(folder: Path, kind: str, files: dict[str, str]) -> None:
    missing = [name for name in PARTS_OF[kind] if name not in files]
    if missing:
        raise VersionError(f"{folder}: a version holds {', '.join(PARTS_OF[kind])}; missing: {', '.join(missing)}")


def _names(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if name != MANIFEST)
