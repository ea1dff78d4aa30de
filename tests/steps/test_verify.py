import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foresense.__main__ import app
from foresense.export.manifest import SEAL
from foresense.signals import file_sha256
from foresense.steps.verify import verify
from tests.forged import assert_each_array_is_missed, seal_again
from tests.fuzz.our_files import artefact


def write_manifest(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(text)
    (folder / SEAL).write_text(f"{file_sha256(folder / 'manifest.json')}  manifest.json\n")


def test_a_pipelines_artefacts_are_checked_one_by_one_and_named(tmp_path: Path) -> None:
    write_manifest(tmp_path / "lathe-1", '{"schema_version": 99}')
    write_manifest(tmp_path / "mill-2", '{"schema_version": 1, "channels": []}')
    (tmp_path / "robot-3").mkdir()
    result = verify(tmp_path)
    assert not result.passed
    assert result.problems == (
        "lathe-1/manifest.json: expected schema_version 1",
        "mill-2/manifest.json: context, files, golden, horizon, scaler, units, variants, windowing missing",
        "robot-3: a folder without manifest.json",
    )


KINDS = ("forecast", "activity", "mixed", "weeks", "clips", "pi")


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_artefact_is_checked_as_such(kind: str, tmp_path: Path) -> None:
    write_manifest(tmp_path, json.dumps({"schema_version": 99, "kind": kind}))
    assert verify(tmp_path).problems == ("manifest.json: expected schema_version 1",)
    write_manifest(tmp_path, json.dumps({"schema_version": 1, "kind": kind}))
    (problem,) = verify(tmp_path).problems
    assert problem.startswith("manifest.json: ")
    assert problem.endswith(" missing")


def test_a_manifest_that_was_cut_off_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_manifest(tmp_path, '{"schema_version": 1, "fi')
    with pytest.raises(ValueError, match=r"manifest\.json: not valid JSON"):
        verify(tmp_path)


def test_no_artefact_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it .*run `foresense export <pipeline>` first"):
        verify(tmp_path / "absent")


def laid_out(folder: Path, **changes: object) -> Path:
    """The artefact that is made by hand, with other facts in its manifest, sealed."""
    for name, content in artefact().items():
        (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, json.dumps(manifest | changes))
    return folder


def test_versions_of_libraries_are_a_record_and_golden_vectors_decide(tmp_path: Path) -> None:
    result = verify(laid_out(tmp_path, versions={"onnxruntime": "0.0.1", "onnx": "99"}))
    assert (result.problems, result.variants) == ((), ("onnx-float32",))


def test_a_file_that_this_runtime_is_too_old_for_is_said(tmp_path: Path) -> None:
    """An ONNX file says in its first field which version of the format it has."""
    laid_out(tmp_path)
    content = (tmp_path / "onnx-float32.onnx").read_bytes()
    assert content[:2] == b"\x08\x09"
    (tmp_path / "onnx-float32.onnx").write_bytes(b"\x08\x7f" + content[2:])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    digest = file_sha256(tmp_path / "onnx-float32.onnx")
    manifest["files"]["onnx-float32.onnx"] = manifest["variants"]["onnx-float32"]["sha256"] = digest
    write_manifest(tmp_path, json.dumps(manifest))
    (problem,) = verify(tmp_path).problems
    assert problem.startswith("onnx-float32: the runtime refuses the file: ")
    assert "IR version" in problem


def test_a_forged_artefact_without_an_array_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    assert_each_array_is_missed(laid_out(tmp_path / "whole"), tmp_path)
    found = CliRunner().invoke(app, ["verify", str(tmp_path / "golden.npz without physical")])
    assert found.exit_code == 1
    assert "golden.npz: no array 'physical'; nothing can be compared with it" in found.output


def test_a_forged_file_that_holds_no_arrays_is_refused_by_its_name(tmp_path: Path) -> None:
    laid_out(tmp_path)
    (tmp_path / "golden.npz").write_bytes(b"no arrays")
    seal_again(tmp_path)
    (problem,) = verify(tmp_path).problems
    assert problem.startswith("golden.npz: no arrays that can be read: ")


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_of_another_release_is_a_difference_and_never_a_crash(kind: str, tmp_path: Path) -> None:
    result = verify(laid_out(tmp_path, kind=kind, variants=[], models=[], golden=None, preparation=None))
    assert not result.passed
    assert all(problem.startswith("manifest.json: ") for problem in result.problems)
