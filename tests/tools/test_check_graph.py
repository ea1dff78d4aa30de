import shutil
from pathlib import Path

import pytest

from tools.check_graph import problems

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_graph_of_this_checkout_agrees_with_its_code() -> None:
    assert problems(ROOT) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "dvc.yaml",
            "        - data/windows/${key}\n        - data/features/${key}\n",
            "        - data/windows/${key}\n",
            "dvc.yaml, stage train: deps: data/features/<p> is used by the code and not declared",
        ),
        (
            "dvc.yaml",
            "        - models/${key}\n      params",
            "        - models/${key}\n        - data/recordings/${key}\n      params",
            "dvc.yaml, stage export: deps: data/recordings/<p> is declared and not used by the code",
        ),
        (
            "dvc.yaml",
            "pipelines.${key}.window\n",
            "pipelines.${key}.features\n",
            "dvc.yaml, stage window: params: pipelines.<p>.window is used by the code and not declared",
        ),
        (
            "dvc.yaml",
            "            - ${item.code}\n      outs:\n        - data/windows",
            "            - train\n      outs:\n        - data/windows",
            "dvc.yaml, stage window: params of code.json: window is used by the code and not declared",
        ),
        (
            "dvc.yaml",
            "      metrics:\n        - reports/${key}/metrics_edge.json: {cache: false}\n",
            "",
            "dvc.yaml, stage benchmark: outs: reports/<p>/metrics_edge.json is used by the code and not declared",
        ),
        (
            "dvc.yaml",
            "foresense features ${key}",
            "foresense window ${key}",
            "dvc.yaml, stage features: cmd is 'exec python -m foresense window <p>'",
        ),
        (
            "dvc.yaml",
            "pipelines.${key}.${item.section}",
            "pipelines.${key}.train",
            "dvc.yaml, stage train_fleet: params: pipelines.<p>.fleet is used by the code and not declared",
        ),
        (
            "params.yaml",
            "oil: {section: train, code: train}",
            "oil: {section: train, code: train_fleet}",
            "params.yaml: stages.train.oil is {'section': 'train', 'code': 'train_fleet'}, expected",
        ),
        (
            "params.yaml",
            "oil: {raw: data/raw/ett,",
            "oil: {raw: data/raw/other,",
            "params.yaml: stages.ingest.oil.raw is 'data/raw/other', but its section `ingest` reads 'data/raw/ett'",
        ),
        (
            "src/foresense/steps/window.py",
            "def window(",
            "def more(run):\n    return run.paths.models\n\n\ndef window(",
            None,
        ),
    ],
    ids=["dep", "superfluous dep", "section", "code", "metric", "command", "fleet", "code", "raw", "unreached code"],
)
def test_a_mutant_is_found(checkout: Path, file: str, old: str, new: str, message: str | None) -> None:
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    found = problems(checkout)
    if message is None:
        assert found == []
    else:
        assert any(line.startswith(message) for line in found), found


def test_a_step_that_starts_to_read_another_folder_is_found(checkout: Path) -> None:
    step = checkout / "src" / "foresense" / "steps" / "window.py"
    text = step.read_text()
    step.write_text(text.replace("run.paths.recordings", "(run.paths.recordings, run.paths.models)[0]", 1))
    assert step.read_text() != text
    assert "dvc.yaml, stage window: deps: models/<p> is used by the code and not declared" in problems(checkout)


def test_a_section_that_dvc_would_miss_is_named(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("    export: {n_calibration: 16}\n", "", 1))
    assert any("has no section 'export', which DVC asks for; write `export: {}`" in line for line in problems(checkout))


def test_a_shared_mapping_is_refused_because_an_experiment_could_not_change_it(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("split: {unit", "split: &shared {unit", 1))
    assert any("the mapping &shared is shared; `dvc exp run -S` would silently" in line for line in problems(checkout))


def test_a_date_that_dvc_could_not_read_is_named(checkout: Path) -> None:
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace('train_until: "2015-03-01"', "train_until: 2015-03-01"))
    said = "pipelines.air.window.split.train_until is the date 2015-03-01; DVC takes none: write it in quotes"
    assert any(said in line for line in problems(checkout))
