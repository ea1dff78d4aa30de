"""What a step's task shows on the Prefect page: its report, and one picture of what was trained."""

import json
from pathlib import Path

import pytest
from prefect.client.schemas.actions import ArtifactCreate

from foresense.signals.reports import Header
from tasks import publish


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("plots/a-forecast.png", "p-forecast"),
        ("plots/confusion.png", "p-confusion"),
        ("plots/candidates.png", "p-candidates"),
    ],
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


@pytest.mark.parametrize(
    ("pipeline", "begin"), [("press-2", "press-2"), ("My_Press 2", "my-press-2"), ("öfen", "-fen")]
)
def test_prefect_takes_the_key_of_every_name_of_a_pipeline(pipeline: str, begin: str) -> None:
    key = publish.key_of(pipeline, "train-gates")
    assert ArtifactCreate(key=key, type="table", data="[]").key == key
    assert key == f"{begin}-train-gates"


def test_a_report_begins_with_its_conclusion_and_ends_with_where_it_comes_from() -> None:
    report = {"pipeline": "p", "git_commit": "abc", "gates": [], "test": {"mse": 0.5}, "conclusion": "it is ahead"}
    assert set(Header.model_fields) == publish.PROVENANCE
    assert [row["key"] for row in publish.rows(report)] == ["conclusion", "test.mse", "pipeline", "git_commit"]
