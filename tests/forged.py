"""Artefacts as a careful forger leaves them: changed, listed with the new digests, and sealed again."""

import marshal
import shutil
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path

import numpy as np

from foresense.export.manifest import SEAL
from foresense.signals import file_sha256, read_json, write_json
from foresense.steps.verify import verify


def seal_again(artefact: Path) -> None:
    """Digests of the files as they are now into the manifest, and its own beside it."""
    path = artefact / "manifest.json"
    manifest = read_json(path)
    manifest["files"] = {name: file_sha256(artefact / name) for name in manifest["files"]}
    for facts in manifest.get("variants", {}).values():
        facts["sha256"] = manifest["files"][facts["file"]]
    write_json(path, manifest)
    (artefact / SEAL).write_text(f"{file_sha256(path)}  manifest.json\n")


def plant_compiled(file: Path, code: str) -> Path:
    """Code in place of that of a module, in the compiled file that Python runs without a look at the module."""
    compiled = Path(cache_from_source(str(file)))
    compiled.parent.mkdir()
    never_checked = (1).to_bytes(4, "little") + bytes(8)  # PEP 552: by hash, unchecked
    compiled.write_bytes(MAGIC_NUMBER + never_checked + marshal.dumps(compile(code, str(file), "exec")))
    return compiled


def assert_each_array_is_missed(artefact: Path, scratch: Path, file: str = "golden.npz") -> None:
    """Each array of `file` in turn is left out, by a forger; verify names the one that is missing, and only that."""
    with np.load(artefact / file, allow_pickle=False) as found:
        arrays = dict(found)
    assert len(arrays) > 1
    for name in arrays:
        copy = Path(shutil.copytree(artefact, scratch / f"{file} without {name}"))
        np.savez(copy / file, allow_pickle=False, **{other: arrays[other] for other in arrays if other != name})
        seal_again(copy)
        assert verify(copy).problems == (f"{file}: no array {name!r}; nothing can be compared with it",)
