"""A fleet: a model for each machine and one for all, nothing trained twice, a failure is a result."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import PatchTSTForPrediction

from foresense.config import STEPS, ConfigError, EngineConfig, PipelineConfig, TrainConfig
from foresense.models import load_model
from foresense.signals import (
    Layout,
    Recording,
    TrainReport,
    open_windows,
    read_json,
    read_recordings,
    read_report,
    write_json,
    write_recordings,
)
from foresense.steps.features import features
from foresense.steps.frame import StepRun
from foresense.steps.ingest import ingest
from foresense.steps.train import train as train_step
from foresense.steps.train_fleet import FUNCTION, forget, train_fleet
from foresense.steps.window import window

pytestmark = pytest.mark.slow

SMALL = {
    "patch_length": 24,
    "patch_stride": 24,
    "d_model": 16,
    "ffn_dim": 32,
    "n_heads": 2,
    "n_layers": 1,
    "head": "flatten",
    "instance_norm": True,
    "learning_rate": 3e-3,
    "batch_size": 32,
    "n_epochs": 2,
    "train_stride": 4,
}
CHANNELS = [
    {"name": "temp_body", "unit": "Cel"},
    {"name": "temp_shaft", "unit": "Cel"},
    {"name": "current", "unit": "A"},
    {"name": "vibration_magnitude", "unit": "g"},
]
CONFIG = PipelineConfig.model_validate(
    {
        "description": "five machines",
        "ingest": {"source": "simulate", "n_assets": 5, "n_rows": 600, "channels": CHANNELS},
        "window": {"context": 72, "horizon": 12, "stride_evaluation": 3},
        "features": {"families": ["calendar"], "stride": 12},
        "fleet": {
            "candidates": {"scratch": SMALL, "tuned": SMALL | {"learning_rate": 5e-4}},
            "from_shared": ["tuned"],
            "shared": SMALL,
            "min_rows": 400,
            "season_lengths": [24],
            "at_once": 2,
            "dlinear": True,
        },
    }
)
FLEET = CONFIG.fleet
HERE, LOCAL = EngineConfig(), EngineConfig(name="local", workers=1)
OWN = ["cnc-mill-5-axis", "lathe-1-spindle", "press-04"]
SHORT, TOO_SHORT = "robot-arm-02", "pump-05"


def make(root: Path) -> Layout:
    """Five simulated machines: three with all rows, one with 300 of 600, one with too few for any window."""
    (root / "code.json").write_text(json.dumps({step: {"steps": "0" * 16} for step in [*STEPS, "train_fleet"]}))
    layout = Layout(root, root)
    ingest(StepRun("ingest", "fleet", layout), CONFIG.ingest)
    kept = {SHORT: 300, TOO_SHORT: 90}
    cut = [
        Recording(**{**vars(one), "samples": one.samples[-kept.get(one.asset, 600) :]})
        for one in read_recordings(layout.of("fleet").recordings)
    ]
    write_recordings(layout.of("fleet").recordings, cut, facts={})
    window(StepRun("window", "fleet", layout), CONFIG.window)
    features(StepRun("features", "fleet", layout), CONFIG.features)
    return layout


def train(layout: Layout, engine: EngineConfig = HERE, function: str = FUNCTION, **changed: object) -> TrainReport:
    assert FLEET is not None
    run = StepRun("train", "fleet", layout, engine=engine)
    return train_fleet(run, FLEET.model_copy(update=changed), function)


def weights(layout: Layout, asset: str) -> dict[str, np.ndarray]:
    return load_file(layout.of("fleet").models / asset / "model.safetensors")


def equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, TrainReport]:
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        layout = make(tmp_path_factory.mktemp("fleet"))
        return layout, train(layout)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delitem(sys.modules, "poison", raising=False)
    return make(tmp_path)


def said(result: Path) -> str:
    """The record whose result lies in this folder."""
    records = (result.parents[1] / "records").glob("*.json")
    return next(path.read_text() for path in records if result.name in path.read_text())


def calls(layout: Layout) -> list[str]:
    path = layout.root / "calls"
    found = sorted(path.read_text().split()) if path.is_file() else []
    path.unlink(missing_ok=True)
    return found


def test_every_machine_with_windows_has_a_model_and_every_machine_a_row(trained) -> None:
    layout, report = trained
    assert read_report(layout.of("fleet").reports, TrainReport) == report
    status = {asset: row["status"] for asset, row in report.outcomes.items()}
    assert status == dict.fromkeys(OWN, "success") | {SHORT: "skipped", TOO_SHORT: "skipped"}
    assert report.outcomes[SHORT]["reason"] == "300 of 400 hours"
    assert report.outcomes[SHORT]["model"] == "shared"
    assert "90 rows, but 108 are needed" in report.outcomes[TOO_SHORT]["reason"]
    assert {path.name for path in layout.of("fleet").models.iterdir()} == {*OWN, SHORT}
    assert "3 machines with a model of their own, 2 skipped, 0 failed" in report.conclusion
    assert {gate.name: gate.passed for gate in report.gates} == {"training_min": True, "failed_share": True}
    with (layout.of("fleet").reports / "plots" / "fleet.csv").open() as file:
        assert [row["asset"] for row in csv.DictReader(file)] == sorted(status)
    assert (layout.of("fleet").reports / "plots" / "fleet.png").stat().st_size > 10_000


def test_validation_chooses_among_scratch_tuned_and_shared(trained) -> None:
    layout, report = trained
    assert set(report.candidates) == {"shared", "scratch", "tuned"}
    for asset in OWN:
        candidates = read_json(layout.of("fleet").models / asset / "evaluation.json")["candidates"]
        best = min(candidates, key=lambda name: candidates[name]["validation_mse"])
        assert report.groups[asset]["candidate"] == best
        assert [name for name, one in candidates.items() if one["ships"]] == [best]
    assert sorted(asset for one in report.candidates.values() for asset in one["ships_in"]) == OWN


def test_baselines_are_those_of_the_step_train(trained) -> None:
    layout, _ = trained
    assert FLEET is not None
    alone = Layout(layout.root / "alone", layout.project)
    shutil.copytree(layout.of("fleet").features, alone.of("fleet").features)
    shutil.copytree(layout.of("fleet").windows / OWN[0], alone.of("fleet").windows / OWN[0])
    manifest = read_json(layout.of("fleet").windows / "manifest.json")
    write_json(alone.of("fleet").windows / "manifest.json", manifest | {"groups": [OWN[0]]})
    asked = TrainConfig(candidates={"scratch": FLEET.candidates["scratch"]}, season_lengths=FLEET.season_lengths)
    one_step = train_step(StepRun("train", "fleet", alone), asked)
    ours = read_json(layout.of("fleet").models / OWN[0] / "evaluation.json")["baselines"]
    assert ours.keys() == one_step.baselines.keys() >= {"dlinear", "linear map", "seasonal naive 24"}
    for name, found in ours.items():
        assert found == pytest.approx(one_step.baselines[name], rel=1e-6)


def test_a_saved_model_loads_by_from_pretrained_and_forecasts_the_same(trained) -> None:
    layout, report = trained
    for asset in OWN:
        folder = layout.of("fleet").models / asset
        windows = open_windows(layout.of("fleet").windows / asset)
        batch = windows.gather(windows.starts["test"])
        context = torch.from_numpy(batch[:, : windows.context])
        with torch.no_grad():
            ours = load_model(folder)(context)
            theirs = PatchTSTForPrediction.from_pretrained(folder).eval()(past_values=context).prediction_outputs
        assert torch.equal(ours, theirs)
        truth = batch[:, windows.context :].astype(np.float64)
        assert report.outcomes[asset]["test_mse"] == pytest.approx(
            float(np.mean((ours.numpy() - truth) ** 2)), rel=1e-6
        )


def test_mlflow_has_a_run_for_each_machine_below_that_of_the_fleet(trained) -> None:
    from mlflow.tracking import MlflowClient

    layout, report = trained
    client = MlflowClient(f"sqlite:///{layout.tracking / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fleet")
    assert experiment is not None
    below = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{report.mlflow_run_id}'")
    assert sorted(run.info.run_name for run in below) == sorted([*OWN, SHORT])
    for run in below:
        asset = run.info.run_name
        assert run.data.tags["model_sha256"] == report.groups[asset]["model_sha256"]
        assert run.data.metrics["test/mse"] == report.outcomes[asset]["test_mse"]


def test_what_is_trained_is_never_trained_again_until_something_changes(fresh: Layout) -> None:
    train(fresh, function="poison:count_calls")
    assert calls(fresh) == sorted([*OWN, SHORT])
    before = {asset: weights(fresh, asset) for asset in [*OWN, SHORT]}

    again = train(fresh, function="poison:count_calls")
    assert calls(fresh) == []
    assert all(equal(weights(fresh, asset), before[asset]) for asset in before)
    assert again.outcomes[OWN[0]]["test_mse"] is not None

    shutil.rmtree(
        next(path for path in (fresh.cache / "fleet" / "fleet" / "results").iterdir() if OWN[0] in said(path))
    )
    train(fresh, function="poison:count_calls")
    assert calls(fresh) == [OWN[0]]  # its result was gone

    forget(StepRun("train", "fleet", fresh), [OWN[1]])
    train(fresh, function="poison:count_calls")
    assert calls(fresh) == [OWN[1]]
    assert equal(weights(fresh, OWN[1]), before[OWN[1]])

    train(fresh, function="poison:count_calls", assets=(OWN[0],))
    assert calls(fresh) == sorted(OWN[1:])  # served by the shared model now; the others are what they were
    assert read_json(fresh.of("fleet").models / OWN[1] / "evaluation.json")["candidate"] == "shared"


def test_the_test_part_decides_nothing(fresh: Layout) -> None:
    train(fresh)
    before = weights(fresh, OWN[0])
    folder = fresh.of("fleet").windows / OWN[0]
    windows = open_windows(folder)
    samples = np.array(windows.samples)
    samples[int(windows.starts["test"].min()) + windows.context :] += 100.0
    np.save(folder / "samples.npy", samples, allow_pickle=False)
    report = train(fresh)
    assert equal(weights(fresh, OWN[0]), before)
    assert report.outcomes[OWN[0]]["test_mse"] > 1000


@pytest.mark.long
def test_a_machine_that_kills_the_trainer_is_isolated_and_served_by_the_shared_model(fresh: Layout) -> None:
    report = train(fresh, LOCAL, "poison:crash_on_press")
    row = report.outcomes["press-04"]
    assert (row["status"], row["model"]) == ("failed", "shared")
    assert row["reason"] == "the process died (exit code 3)"
    assert [report.outcomes[asset]["status"] for asset in OWN[:2]] == ["success", "success"]
    gate = next(gate for gate in report.gates if gate.name == "failed_share")
    assert (gate.value, gate.passed) == (pytest.approx(0.2), False)
    shared = next((fresh.cache / "fleet" / "fleet" / "shared").iterdir())
    assert equal(weights(fresh, "press-04"), load_file(shared / "model.safetensors"))

    mended = train(fresh, LOCAL)
    assert mended.outcomes["press-04"]["status"] == "success"


def test_unknown_names_of_machines_are_refused_with_the_nearest(trained) -> None:
    layout, _ = trained
    with pytest.raises(ConfigError, match=r"fleet has no asset 'press-4'; did you mean 'press-04'\?"):
        forget(StepRun("train", "fleet", layout), ["press-4"])
    with pytest.raises(ConfigError, match=r"fleet\.assets: \['mill'\] have no windows; known: cnc-mill-5-axis"):
        train(layout, assets=("mill",))
