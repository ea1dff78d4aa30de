from pathlib import Path

import pytest

from foresense.sources import SourceError
from foresense.sources.text_table import read_text_table


def written(folder: Path, content: bytes) -> Path:
    (folder / "labels.csv").write_bytes(content)
    return folder / "labels.csv"


def test_every_cell_is_the_text_that_stands_there(tmp_path: Path) -> None:
    found = read_text_table(written(tmp_path, b"\xef\xbb\xbfid , n\n007,NA\na\n\nb,1e3\n"))
    assert found.to_dict("list") == {"id": ["007", "a", "b"], "n": ["NA", "", "1e3"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,n\na,1,2\n", r"labels\.csv: not a CSV file whose rows have the cells of its header: .*; repair the file"),
        (b'id,n\n"a,1\n', r"labels\.csv: not a CSV file .*EOF inside string"),
        (b"", r"labels\.csv: not a CSV file .*No columns"),
        (b"id\n\xff\n", r"labels\.csv: not UTF-8 text .*; save the file as UTF-8"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_text_table(written(tmp_path, content))


def test_no_file_is_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"labels\.csv"):
        read_text_table(tmp_path / "labels.csv")
