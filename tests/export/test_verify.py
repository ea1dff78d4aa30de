import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foresense.export import FORMATS
from foresense.export.manifest import SEAL
from foresense.export.verify import VerifyResult
from foresense.signals import file_sha256
from foresense.steps.verify import verify


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    manifest = path.parent / "manifest.json"
    (path.parent / SEAL).write_text(f"{file_sha256(manifest)}  manifest.json\n")


def relist(artefact: Path) -> None:
    """What a careful forger does: digests of the changed files put into the manifest."""

    def digests(manifest: dict) -> None:
        manifest["files"] = {name: file_sha256(artefact / name) for name in manifest["files"]}
        for facts in manifest["variants"].values():
            facts["sha256"] = manifest["files"][facts["file"]]

    edit(artefact / "manifest.json", digests)


def only(result: VerifyResult) -> str:
    assert len(result.problems) == 1, result.problems
    return result.problems[0]


def test_every_format_passes_as_it_was_written(full_artefact: Path) -> None:
    result = verify(full_artefact)
    assert result.problems == ()
    assert result.passed
    assert result.variants == tuple(FORMATS)
    assert result.n_files == len(list(full_artefact.iterdir())) - 2


@pytest.mark.parametrize(
    "name",
    ["onnx-float32.onnx", "scaler.json", "windowing.json", "evaluation.json", "golden.npz", "README.md", "predict.py"],
)
def test_one_flipped_byte_is_found(artefact: Path, name: str) -> None:
    content = bytearray((artefact / name).read_bytes())
    content[len(content) // 2] ^= 1
    (artefact / name).write_bytes(content)
    result = verify(artefact)
    assert not result.passed
    assert only(result).startswith(f"{name}: SHA-256 is {file_sha256(artefact / name)}, manifest.json says ")


@pytest.mark.parametrize("position", [0, 0.1, 0.5, 0.9])
def test_one_flipped_byte_of_the_manifest_or_its_seal_is_found(artefact: Path, position: float) -> None:
    for name in ("manifest.json", SEAL):
        intact = (artefact / name).read_bytes()
        content = bytearray(intact)
        content[int(position * len(content))] ^= 1
        (artefact / name).write_bytes(content)
        assert only(verify(artefact)).endswith(f"which {SEAL} does not say; nothing else was checked")
        (artefact / name).write_bytes(intact)
    assert verify(artefact).passed


def test_sha256sum_reads_the_seal(artefact: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", SEAL], cwd=artefact, capture_output=True, text=True, check=False)
    assert done.stdout == "manifest.json: OK\n"


def test_a_missing_and_an_unlisted_file_are_found(artefact: Path) -> None:
    (artefact / "README.md").unlink()
    (artefact / "model.pkl").write_bytes(b"\x80\x04")
    assert verify(artefact).problems == (
        "README.md: listed in manifest.json, not a file of this folder",
        "model.pkl: not listed in manifest.json",
    )


def test_a_folder_that_nobody_listed_is_found(artefact: Path) -> None:
    advice = "; Python would run what lies in it in place of the files that are: remove it"
    for name, more in {"more": "", "__pycache__": advice}.items():
        (artefact / name).mkdir()
        assert only(verify(artefact)) == f"{name}: not listed in manifest.json{more}"
        (artefact / name).rmdir()


def test_a_manifest_that_gives_a_file_two_digests_is_found(artefact: Path) -> None:
    edit(artefact / "manifest.json", lambda manifest: manifest["variants"]["onnx-float32"].update(sha256="0" * 64))
    assert only(verify(artefact)) == "onnx-float32: manifest.json gives two SHA-256 for onnx-float32.onnx"


def test_the_scaler_of_another_machine_is_found_even_with_matching_digests(artefact: Path) -> None:
    def swap(content: dict) -> None:
        content["shift"][1] += 5.0

    edit(artefact / "scaler.json", swap)
    edit(artefact / "manifest.json", lambda manifest: swap(manifest["scaler"]))
    relist(artefact)
    assert only(verify(artefact)).startswith("scaler.json: golden samples of 'current' differ by")


def test_a_scaler_that_is_not_the_manifests_is_found(artefact: Path) -> None:
    edit(artefact / "scaler.json", lambda content: content["mean"].reverse())
    relist(artefact)
    assert only(verify(artefact)).startswith("scaler.json: mean is [")


def test_a_wrong_channel_order_is_found(artefact: Path) -> None:
    edit(artefact / "scaler.json", lambda content: content["channels"].reverse())
    relist(artefact)
    assert only(verify(artefact)) == (
        "scaler.json: channels ['current', 'temp_body'], manifest.json has ['temp_body', 'current'] in order"
    )


def test_a_model_that_answers_otherwise_is_found(artefact: Path) -> None:
    with np.load(artefact / "golden.npz", allow_pickle=False) as file:
        golden = dict(file)
    golden["onnx-float32"] = golden["onnx-float32"] + 0.01
    np.savez(artefact / "golden.npz", allow_pickle=False, **golden)
    relist(artefact)
    assert only(verify(artefact)) == ("onnx-float32: differs from golden 'onnx-float32' by 0.01, allowed 0.0001")


def test_a_manifest_that_points_outside_is_refused(artefact: Path) -> None:
    (artefact.parent / "outside").write_text("x")
    edit(artefact / "manifest.json", lambda manifest: manifest["files"].update({"../outside": "0" * 64}))
    assert only(verify(artefact)) == "../outside: listed in manifest.json, not a file of this folder"


def test_a_manifest_without_its_parts_is_refused(artefact: Path) -> None:
    edit(artefact / "manifest.json", lambda manifest: manifest.pop("scaler"))
    assert only(verify(artefact)) == "manifest.json: scaler missing"


def test_all_artefacts_of_a_pipeline_are_checked(artefact: Path, tmp_path: Path) -> None:
    assert verify(tmp_path).passed
    (artefact / "README.md").write_text("changed")
    (tmp_path / "robot").mkdir()
    first, second = verify(tmp_path).problems
    assert first.startswith("artefact/README.md: SHA-256 is")
    assert second == "robot: a folder without manifest.json"


def test_no_artefact_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it or one folder below; run `foresense export"):
        verify(tmp_path)
