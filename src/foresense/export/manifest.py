"""The manifest of an artefact, written last: every other file by its digest; and the seal that shows a changed one."""

from pathlib import Path
from typing import Any

from foresense.signals import file_sha256, write_bytes, write_json

SCHEMA_VERSION = 1
#: SHA-256 of the manifest, as `sha256sum` writes and checks it: the one file that the manifest cannot list.
SEAL = "manifest.json.sha256"


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `manifest.json` and its seal.

    Args:
        folder: Holds all other files of the artefact.
        manifest: Its content but `files`, which is added.
    """
    manifest["files"] = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    write_json(folder / "manifest.json", manifest)
    write_bytes(folder / SEAL, seal_of(file_sha256(folder / "manifest.json")))


def seal_of(manifest_sha256: str) -> bytes:
    """What the seal of a manifest holds."""
    return f"{manifest_sha256}  manifest.json\n".encode()
