"""A benchmark's row says who is better, whichever way the unit points, and rounds meet both sides alike."""

import pytest

from benchmarks.harness import compare, interleave, write_results
from foresense.signals import read_json


def test_a_ratio_above_one_means_that_ours_is_better() -> None:
    faster = compare("a", "windows/s", ours=[10, 30, 20], peer="p", peer_values=[10, 4, 5])
    assert (faster["ours"], faster["peer_value"], faster["ratio"]) == (20, 5, 4)
    assert (faster["ours_range"], faster["peer_range"], faster["repeats"]) == ([10, 30], [4, 10], 3)
    shorter = compare("a", "s", ours=[2.0], peer="p", peer_values=[5.0], is_more_better=False)
    assert shorter["ratio"] == 2.5


def test_rounds_are_interleaved_and_every_second_one_runs_backwards() -> None:
    order: list[str] = []

    def case(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = interleave({"ours": lambda: case("ours"), "peer": lambda: case("peer")}, repeats=2)
    assert order == ["ours", "peer", "peer", "ours"]
    assert found == {"ours": [1.0, 4.0], "peer": [2.0, 3.0]}


@pytest.mark.parametrize("name", ["windows", "training", "features", "topology", "attention"])
def test_committed_results_name_the_machine_and_stay_within_their_bars(name: str) -> None:
    from benchmarks.harness import RESULTS

    result = read_json(RESULTS / f"{name}.json")
    assert result["environment"]["cpu"]
    assert all(row["ratio"] >= row["bar"] for row in result["rows"] if "bar" in row)


def test_results_are_written_with_commit_and_machine(tmp_path) -> None:
    written = read_json(write_results("x", [{"case": "a"}], tmp_path))
    assert written["rows"] == [{"case": "a"}]
    assert set(written) == {"benchmark", "git_commit", "environment", "rows"}
