"""The fault cases of benchmarks/faults.py in short form: nothing acknowledged is lost, nothing is there twice."""

from pathlib import Path

import pytest

from benchmarks.faults import CASES, SHORT
from benchmarks.rig import servers


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_nothing_is_lost_and_nothing_doubled(case: str, tmp_path: Path) -> None:
    try:
        found = CASES[case](tmp_path, SHORT)
    except servers().MissingServerError as error:
        pytest.skip(str(error))
    assert (found.lost, found.duplicated) == (0, 0)
    assert (found.stored, found.letters) == (SHORT.n, found.hostile)
