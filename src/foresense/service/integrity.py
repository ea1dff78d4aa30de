"""Nothing of an artefact is loaded before every file of it is known to be the one that was exported."""

from pathlib import Path
from typing import Any

from foresense.export.manifest import SEAL, seal_of
from foresense.service.errors import SecurityError
from foresense.signals import file_sha256, read_json

MANIFEST = "manifest.json"


def verify_model_integrity(folder: Path, *, manifest_sha256: str | None = None) -> dict[str, Any]:
    """Compare every file of an artefact with its manifest, and the manifest with its seal.

    The seal lies beside the manifest: it shows damage, and a forger who replaces one file. Who can replace the whole
    folder can write another seal; against that stands `manifest_sha256`, kept elsewhere.

    Args:
        folder: The artefact.
        manifest_sha256: SHA-256 of the manifest as a lock file outside of the folder has it, in hex.

    Returns:
        Content of the manifest.

    Raises:
        FileNotFoundError: manifest, seal or a listed file is missing; says which.
        SecurityError: a digest differs, or a listed name is not a plain file of this folder; lists every one.
        ValueError: the manifest is not JSON.
    """
    manifest_path, seal_path = folder / MANIFEST, folder / SEAL
    for path in (manifest_path, seal_path):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: not there; give the folder of one artefact, as `foresense export` wrote it"
            )
    found = file_sha256(manifest_path)
    if manifest_sha256 is not None and found != manifest_sha256:
        raise _refused(folder, [_differs(MANIFEST, found, manifest_sha256, "the lock")])
    if seal_path.read_bytes() != seal_of(found):
        raise _refused(folder, [f"{MANIFEST}: SHA-256 is sha256:{found}, which {SEAL} does not say"])
    manifest: dict[str, Any] = read_json(manifest_path)
    _compare(folder, manifest.get("files", {}))
    return manifest


def _compare(folder: Path, files: dict[str, str]) -> None:
    foreign = [name for name in files if Path(name).name != name or (folder / name).is_symlink()]
    if foreign:
        raise _refused(folder, [f"{name}: not a plain file of this folder" for name in foreign])
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: {', '.join(missing)} not there, but in {MANIFEST}; export or fetch it again"
        )
    digests = {name: file_sha256(folder / name) for name in files}
    altered = [_differs(name, digests[name], files[name], MANIFEST) for name in files if digests[name] != files[name]]
    if altered:
        raise _refused(folder, altered)


def _differs(name: str, found: str, expected: str, who: str) -> str:
    return f"{name}: SHA-256 is sha256:{found}, {who} says sha256:{expected}"


def _refused(folder: Path, problems: list[str]) -> SecurityError:
    return SecurityError(f"{folder}: {'; '.join(problems)}; nothing was loaded: export or fetch it again")
