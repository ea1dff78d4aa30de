"""Tables beside reports: what a person and DVC read in them."""

import csv
from pathlib import Path

from foresense.steps.report_tables import decimal, losses_of, write_csv, write_losses


def test_what_is_written_is_read_again_and_a_missing_number_stays_empty(tmp_path: Path) -> None:
    rows = [("name", "value", "low"), ("a, b", decimal(1 / 3), decimal("")), ("c", decimal(2), decimal(None))]
    write_csv(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "value", "low"], ["a, b", "0.333333", ""], ["c", "2.000000", ""]]


def test_losses_are_rows_of_candidate_and_turn(tmp_path: Path) -> None:
    first = [{"epoch": 0.0, "train": 0.5, "validation": 1 / 3}, {"epoch": 1.0, "train": 1e-9, "validation": 12345678.9}]
    write_losses(tmp_path / "loss.csv", losses_of({"small/0": first, "small/1": first[:1]}))
    assert (tmp_path / "loss.csv").read_text() == (
        "training,epoch,train,validation\n"
        "small/0,0,0.5,0.33333333\n"
        "small/0,1,1e-09,12345679\n"
        "small/1,0,0.5,0.33333333\n"
    )
