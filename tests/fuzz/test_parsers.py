"""Whatever a file holds, its parser reads it or refuses it by name, in its own words; cut off, it is no whole file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz import damage, data_sets, our_files
from tests.fuzz.target import Target

TARGETS = {**data_sets.TARGETS, **our_files.TARGETS}
#: How often in `make test`, and in `make test-long`.
FEW, MANY = 30, 1000
each_parser = pytest.mark.parametrize("name", sorted(TARGETS))


def laid_out(target: Target, folder: Path) -> Path:
    """The file and what lies beside it."""
    for name, content in {**target.beside(), target.file: target.whole()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / target.file


def is_refused(target: Target, folder: Path) -> bool:
    """Read once; anything but a result or a refusal by name fails the test."""
    told = None
    try:
        target.read(folder)
    except target.refuses as error:
        told = str(error)
    assert told is None or Path(target.file).name in told or str(folder) in told, f"names no file: {told}"
    return told is not None


def try_all(target: Target, folder: Path, contents: st.SearchStrategy[bytes], n: int, must_refuse: bool) -> None:
    path = laid_out(target, folder)

    @seed(0)
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=contents)
    def run(content: bytes) -> None:
        path.write_bytes(content)
        assert is_refused(target, folder) or not must_refuse, "a file that was cut off was read"

    run()


def fuzz(name: str, folder: Path, n: int) -> None:
    target = TARGETS[name]
    whole = target.whole()
    kinds: list[Callable[[bytes], st.SearchStrategy[bytes]]] = [damage.damaged]
    kinds += [damage.edited] if whole.startswith(b"{") else []
    for number, kind in enumerate(kinds):
        try_all(target, folder / str(number), kind(whole), n, must_refuse=False)
    try_all(target, folder / "cut", damage.prefixes(whole), n, must_refuse=target.is_sealed)


@each_parser
def test_a_whole_file_is_read(name: str, tmp_path: Path) -> None:
    laid_out(TARGETS[name], tmp_path)
    assert TARGETS[name].read(tmp_path)


@each_parser
def test_a_damaged_file_is_read_or_refused_by_name(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, FEW)


@pytest.mark.long
@each_parser
def test_a_damaged_file_is_read_or_refused_by_name_many_times(name: str, tmp_path: Path) -> None:
    fuzz(name, tmp_path, MANY)


def test_an_artefact_made_by_hand_verifies(tmp_path: Path) -> None:
    """Else the target `artefact` would look no further than at its first difference."""
    laid_out(TARGETS["artefact"], tmp_path)
    result: Any = TARGETS["artefact"].read(tmp_path)
    assert (result.problems, result.variants) == ((), ("onnx-float32",))
