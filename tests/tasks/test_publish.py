"""What a step's task shows on the Prefect page: its report, and one picture of what was trained."""

import json
from pathlib import Path

import pytest

from tasks import publish


@pytest.mark.parametrize(
    ("file", "key"), [("plots/a-forecast.png", "p-forecast"), ("plots/confusion.png", "p-confusion")]
)
def test_a_training_shows_its_own_kind_of_picture(tmp_path: Path, monkeypatch, file: str, key: str) -> None:
    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(publish, "create_table_artifact", lambda key, table, description: None)
    monkeypatch.setattr(
        publish, "create_markdown_artifact", lambda key, markdown, description: shown.append((key, markdown))
    )
    folder = tmp_path / "reports" / "p"
    (folder / "plots").mkdir(parents=True)
    (folder / "train.json").write_text(json.dumps({"gates": []}))
    (folder / file).write_bytes(b"picture")
    publish.publish("train", "p", tmp_path)
    publish.publish("train", "p", tmp_path)
    assert shown == [(key, f"![{Path(file).stem}](data:image/png;base64,cGljdHVyZQ==)")] * 2
