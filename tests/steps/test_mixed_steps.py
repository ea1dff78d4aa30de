"""From files to windows of mixed recordings: reports, places on disk, and the public sets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foresense.config import STEPS, ConfigError, MixedConfig, read_pipelines
from foresense.signals import IngestReport, Layout, WindowReport, read_json, read_report
from foresense.signals.mixed import open_mixed
from foresense.signals.mixed_windows import open_mixed_windows
from foresense.sources import SourceError
from foresense.sources.mixed_sets import MIXED_SETS, known_set
from foresense.steps.fetch import FetchResult, fetch
from foresense.steps.frame import StepRun
from foresense.steps.ingest_mixed import ingest_mixed
from foresense.steps.pipelines import listing
from foresense.steps.report import as_text, overview
from foresense.steps.run import run_smoke, run_step
from foresense.steps.window_mixed import window_mixed

ROOT = Path(__file__).resolve().parents[2]
WARD = MixedConfig.model_validate(
    {
        "kind": "mixed",
        "description": "simulated",
        "ingest": {"source": "mixed_synthetic", "n_recordings": 30, "n_steps": 8, "unlabelled": 0.1, "seed": 3},
        "window": {"target": "class", "bin_names": ["a", "b", "c"], "n_folds": 3, "seed": 1},
        "features": {"family": "summary"},
        "train": {"predicts": "class", "candidates": {"small": {"network": {"patch_length": 4, "patch_stride": 4}}}},
    }
)


@pytest.fixture
def project(tmp_path: Path) -> Layout:
    digests = {f"{step}{kind}": {"s": f"{len(kind)}-{step}"} for step in STEPS for kind in ("", "_mixed")}
    (tmp_path / "code.json").write_text(json.dumps(digests))
    stages = {step: {"ward": {"code": f"{step}_mixed"}} for step in ("ingest", "window")}
    pipelines = {"ward": WARD.model_dump(mode="json")}
    (tmp_path / "params.yaml").write_text(json.dumps({"stages": stages, "pipelines": pipelines}))
    return Layout(tmp_path, tmp_path)


def test_two_steps_give_recordings_windows_and_reports(project: Layout) -> None:
    ingested = run_step(StepRun("ingest", "ward", project), WARD)
    windowed = run_step(StepRun("window", "ward", project), WARD)
    paths = project.of("ward")
    assert isinstance(ingested, IngestReport)
    assert isinstance(windowed, WindowReport)
    assert read_report(paths.reports, IngestReport) == ingested
    assert read_report(paths.reports, WindowReport) == windowed
    assert (ingested.source, ingested.seed, len(ingested.assets)) == ("mixed_synthetic", 3, 30)
    assert ingested.assets["S00000"] == {"n_rows": 8, "n_missing": 0, "missing_share": 0.0}
    found, windows = open_mixed(paths.recordings), open_mixed_windows(paths.windows / "recordings")
    facts = windowed.groups["recordings"]
    assert (len(found.recordings), len(windows.starts), facts["n_without_target"]) == (30, 27, 3)
    assert sum(facts["by_class"].values()) == 27
    assert windowed.seed == 1
    assert (ingested.code_digest, windowed.code_digest) == ("6-inge", "6-wind")
    assert read_json(paths.windows / "manifest.json")["recordings_sha256"] == windowed.data_sha256
    assert not (paths.reports / "refused.csv").exists()


def test_windows_without_recordings_say_what_to_run(project: Layout) -> None:
    with pytest.raises(FileNotFoundError, match="run `foresense ingest ward` first"):
        window_mixed(StepRun("window", "ward", project), WARD.window)


def test_a_step_that_the_kind_does_not_have_is_said(project: Layout) -> None:
    with pytest.raises(
        ConfigError, match=r"'ward' is of the kind 'mixed', which has no step 'judge' \(it has: ingest,"
    ):
        run_step(StepRun("judge", "ward", project), WARD)


def test_before_a_training_only_the_first_steps_are_known(project: Layout) -> None:
    run_step(StepRun("ingest", "ward", project), WARD)
    run_step(StepRun("window", "ward", project), WARD)
    found = overview(project, "ward")
    assert (found.steps, found.limits, found.unjudged) == (("ingest", "window"), {}, {})
    table = listing(project)
    assert table.row_count == 1
    assert list(table.columns[3].cells) == ["small"]


@pytest.mark.slow
def test_a_smoke_run_takes_every_step(project: Layout, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("foresense.training.mixed_rivals.ROUNDS_OF_FOLDS", 5)
    shutil.copytree(ROOT / "devices", project.project / "devices")
    pipelines = {"ward": WARD.model_dump(mode="json")}
    (project.project / "params.yaml").write_text(json.dumps({"pipelines": pipelines}))
    assert [report.step for report in run_smoke(project.project, "ward", print)] == list(STEPS)
    scratch = Layout(root=project.project / "runs" / "smoke-ward", project=project.project)
    found = overview(scratch, "ward")
    assert (found.steps, found.failed, found.unjudged) == (STEPS, [], {})
    assert as_text(found)


def stations(folder: Path) -> None:
    """Six weeks of hours of one station in two parts of a year; one cell is no number, one below zero."""
    folder.mkdir(parents=True)
    times = pd.date_range("2014-01-01", periods=42 * 24, freq="h")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({part: getattr(times, part) for part in ("year", "month", "day", "hour")})
    for name in ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "RAIN", "WSPM"):
        frame[name] = rng.uniform(1, 90, len(times)).round(1)
    frame = frame.assign(wd="NNE", station="Dongsi").astype(object)
    frame.loc[3, "PM10"], frame.loc[5, "SO2"] = "broken", -4
    frame.loc[7:9, "PM2.5"] = np.nan
    frame.to_csv(folder / "PRSA_Data_Dongsi.csv", index=False, na_rep="NA")


def test_stations_are_cut_by_local_dates_and_refused_cells_are_listed(project: Layout) -> None:
    stations(project.raw / "beijing_air_quality")
    config = MixedConfig.model_validate(
        {
            "kind": "mixed",
            "description": "one station",
            "ingest": {"source": "air_quality"},
            "window": {
                "target": "PM2.5",
                "length": 48,
                "ahead": 24,
                "bins": [35, 75],
                "bin_names": ["low", "middle", "high"],
                "split": {"train_until": "2014-01-22", "validation_until": "2014-02-01"},
            },
            "features": {"family": "summary"},
            "train": {"predicts": "value", "candidates": {"small": {}}},
        }
    )
    run = StepRun("ingest", "town", project)
    ingested = ingest_mixed(run, config.ingest)
    assert ingested.assets["Dongsi"] == {
        "n_rows": 42 * 24,
        "n_missing": 5,
        "missing_share": round(5 / (42 * 24 * 12), 6),
        "start": "2013-12-31T16:00:00+00:00",
        "end": "2014-02-11T15:00:00+00:00",
    }
    refused = pd.read_csv(project.of("town").reports / "refused.csv")
    assert refused[["column", "reason"]].values.tolist() == [["PM10", "not a number"], ["SO2", "below zero"]]
    facts = window_mixed(StepRun("window", "town", project), config.window).groups["recordings"]
    assert facts["windows"] == {"train": 21 * 24 - 71, "validation": 240, "test": 264}
    assert facts["n_without_target"] == {"train": 0, "validation": 0, "test": 0}
    stations_without = project.raw / "beijing_air_quality" / "PRSA_Data_Dongsi.csv"
    text = stations_without.read_text().replace("broken", "5.0").replace(",-4,", ",4.0,")
    stations_without.write_text(text)
    ingest_mixed(run, config.ingest)
    assert not (project.of("town").reports / "refused.csv").exists()


@pytest.mark.parametrize("name", sorted(MIXED_SETS))
def test_every_mixed_set_is_stated_completely(name: str) -> None:
    known = known_set(name)
    assert known.name == name
    assert known.licence
    assert known.citation
    assert len(known.files) == {"beijing_air_quality": 4, "physionet2012_icu": 501}[name]
    assert (
        sum(file.n_bytes for file in known.files)
        == {
            "beijing_air_quality": 11_065_971,
            "physionet2012_icu": 3_535_447,
        }[name]
    )
    for file in known.files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert file.address.startswith(f"https://raw.githubusercontent.com/{MIXED_SETS[name].repository}/")
        assert file.address.endswith(f"/{file.name}")


def test_stays_lie_below_another_folder_of_their_repository_than_the_outcomes() -> None:
    addresses = {file.name: file.address for file in known_set("physionet2012_icu").files}
    assert "/backup/set-a/132539.txt" in addresses["set-a/132539.txt"]
    assert "backup" not in addresses["Outcomes-a.txt"]


def test_an_unknown_set_names_those_of_both_catalogues() -> None:
    with pytest.raises(
        SourceError, match=r"'beijing_air'; did you mean 'beijing_air_quality'\?.*ett, wisdm.*physionet"
    ):
        known_set("beijing_air")
    assert known_set("ett").name == "ett"
    assert len(known_set("wisdm_watch_accel").files) == 51


def test_of_many_files_only_the_number_is_told(tmp_path: Path) -> None:
    many = FetchResult("set", tmp_path, tuple(map(str, range(6))), "here", "s", "l")
    assert str(many).startswith(f"set: 6 files in {tmp_path} (here)")


@pytest.mark.slow
def test_the_real_sets_give_the_windows_that_their_readmes_and_pandas_count(real_data, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("FORESENSE_DATA", str(real_data))
    (tmp_path / "code.json").write_text(json.dumps({"ingest": {"s": "0"}, "window": {"s": "0"}}))
    layout = Layout(tmp_path, tmp_path)
    pipelines = read_pipelines(ROOT / "params.yaml")
    facts = {}
    for name in ("air", "icu"):
        config = pipelines[name]
        assert isinstance(config, MixedConfig)
        assert config.ingest.raw is not None
        fetch(config.ingest.raw, layout.raw)
        ingested = ingest_mixed(StepRun("ingest", name, layout), config.ingest)
        facts[name] = window_mixed(StepRun("window", name, layout), config.window).groups["recordings"]
        assert {asset["n_rows"] for asset in ingested.assets.values()} == {35_064 if name == "air" else 500 * 48}
        assert list(ingested.assets)[-1] == ("Wanshouxigong" if name == "air" else "500 recordings")  # no stay is named
    assert facts["icu"]["by_class"] == {"survived": 432, "died": 68}
    assert facts["air"]["windows"] == {part: counted(real_data)[part].sum() for part in counted(real_data)}
    for part, counts in counted(real_data).items():
        assert list(facts["air"]["by_class"][part].values()) == counts.tolist()


def counted(real_data: Path) -> dict[str, np.ndarray]:
    """Hours of each part and class whose PM2.5 is asked for, straight from the files."""
    found = {part: np.zeros(6, np.int64) for part in ("train", "validation", "test")}
    for path in sorted((real_data / "beijing_air_quality").glob("*.csv")):
        frame = pd.read_csv(path)
        times = pd.to_datetime(frame[["year", "month", "day", "hour"]])
        cuts = [int((times < day).sum()) for day in ("2015-03-01", "2016-03-01")]
        edges = (168 - 1 + 24, *cuts, len(frame))
        for number, part in enumerate(found):
            values = frame["PM2.5"].to_numpy()[edges[number] : edges[number + 1] : 5]
            classes = pd.cut(values[~np.isnan(values)], [-1, 35, 75, 115, 150, 250, 1e9], labels=False)
            found[part] += np.bincount(classes, minlength=6)
    return found
