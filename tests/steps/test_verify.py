from pathlib import Path

import pytest

from foresense.export.verify import SEAL
from foresense.signals import file_sha256
from foresense.steps.verify import verify


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


def test_a_single_artefact_is_checked_as_such(tmp_path: Path) -> None:
    write_manifest(tmp_path, '{"schema_version": 99}')
    assert verify(tmp_path).problems == ("manifest.json: expected schema_version 1",)


def test_a_manifest_that_was_cut_off_is_an_error_that_names_it(tmp_path: Path) -> None:
    write_manifest(tmp_path, '{"schema_version": 1, "fi')
    with pytest.raises(ValueError, match=r"manifest\.json: not valid JSON"):
        verify(tmp_path)


def test_no_artefact_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in it .*run `foresense export <pipeline>` first"):
        verify(tmp_path / "absent")
