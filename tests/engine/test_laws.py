"""What holds for any fleet, on every engine."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.engine.run import ENGINES

STATUS = {
    "good": "success",
    "too_short": "skipped",
    "raises": "failed",
    "no_json": "failed",
    "nothing": "failed",
    "exits": "failed",
    "leaves": "failed",
}
ENDS_THE_PROCESS = {"exits", "leaves"}
ASSETS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def one_outcome_each(new_fleet, engine: str, kinds: dict[str, str], size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fleet = new_fleet(Path(folder) / "fleet")
        first = fleet.run(engine, kinds, size=size)  # asserts that each asset comes exactly once
        assert {asset: one.status for asset, one in first.items()} == {asset: STATUS[kinds[asset]] for asset in kinds}
        calls = fleet.calls()
        second = fleet.run(engine, kinds, size=size)
        finished = {asset for asset, kind in kinds.items() if STATUS[kind] != "failed"}
        assert {asset for asset, one in second.items() if one.resumed} == finished
        assert not finished & (fleet.calls() - calls).keys()
        for asset in finished:
            assert second[asset].result == first[asset].result
            assert second[asset].seconds == first[asset].seconds


@settings(deadline=None, max_examples=40)
@given(
    kinds=st.dictionaries(ASSETS, st.sampled_from(sorted(STATUS.keys() - ENDS_THE_PROCESS)), max_size=8),
    size=st.integers(1, 4),
)
def test_here_gives_one_outcome_an_asset_for_any_mix(new_fleet, kinds: dict[str, str], size: int) -> None:
    one_outcome_each(new_fleet, "here", kinds, size)


@settings(deadline=None, max_examples=6)
@given(kinds=st.dictionaries(ASSETS, st.sampled_from(sorted(STATUS)), min_size=1, max_size=8), size=st.integers(1, 4))
def test_local_gives_one_outcome_an_asset_for_any_mix(new_fleet, kinds: dict[str, str], size: int) -> None:
    one_outcome_each(new_fleet, "local", kinds, size)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_no_jobs_are_no_outcomes(engine: str, fleet) -> None:
    assert list(fleet.start(engine, [])) == []
