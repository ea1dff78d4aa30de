"""All six steps of a pipeline of minute actigraphy on made-up people: what is held out, what ships, what it says."""

import asyncio
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from foresense.config import STEPS
from foresense.config.actigraphy_service import ActigraphyServiceConfig
from foresense.export.weeks_artefact import made_up_weeks
from foresense.export.weeks_label import probability_of, readout_of
from foresense.models.logistic_rule import LogisticRule, turned
from foresense.registry.weights import fetch_weights, read_lock, read_weights
from foresense.service import service_from_artefact
from foresense.service.weeks import week_preparation
from foresense.signals import Layout, Recording, Report, SignalError, read_json
from foresense.signals.weeks import TEST, TRAIN, VALIDATION, open_week_windows
from foresense.sources import SourceError
from foresense.steps.actigraphy_service import serve
from foresense.steps.actigraphy_training import read_arrays
from foresense.steps.frame import StepRun
from foresense.steps.person_page import OwnFile, write_page
from foresense.steps.run import run_step
from foresense.steps.verify import verify
from foresense.windows.minute_scaler import load_minute_scaler
from foresense.windows.weeks import check_week
from tests.forged import assert_each_array_is_missed
from tests.models import official_layout
from tests.steps.wrists import config_of, project_of

NAME = "sleep"
N_PEOPLE = 12


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, dict[str, Report]]:
    layout, config = project_of(tmp_path_factory.mktemp("project")), config_of()
    return layout, {step: run_step(StepRun(step, NAME, layout), config) for step in STEPS}


def test_a_report_counts_everybody_and_names_nobody(finished) -> None:
    layout, reports = finished
    facts = reports["window"].groups["weeks"]
    assert facts["n_people"] == N_PEOPLE
    assert facts["n_weeks"] == N_PEOPLE  # eight whole days and a bit hold one week
    assert reports["ingest"].assets["people"]["labels"] == {"condition": 6, "control": 6}
    for path in layout.of(NAME).reports.rglob("*"):
        if path.suffix in (".json", ".csv"):
            assert not re.search(r"(condition|control)_\d", path.read_text()), path


def test_nothing_of_the_people_who_are_held_out_reaches_a_reference(finished, tmp_path) -> None:
    layout, _ = finished
    folder = layout.of(NAME).windows / "weeks"
    windows = open_week_windows(folder)
    held_out = {windows.people[row] for row in windows.people_of(0, TEST)}
    other = project_of(tmp_path)
    for name in held_out:
        path = other.raw / "depresjon" / name.rpartition("_")[0] / f"{name}.csv.gz"
        table = pd.read_csv(path)
        table["activity"] = table["activity"] * 7 + 1
        table.to_csv(path, index=False)
    for step in ("ingest", "window"):
        run_step(StepRun(step, NAME, other), config_of())
    changed = other.of(NAME).windows / "weeks"
    assert (changed / "scaler-0.safetensors").read_bytes() == (folder / "scaler-0.safetensors").read_bytes()
    assert (changed / "scaler-1.safetensors").read_bytes() != (folder / "scaler-1.safetensors").read_bytes()


def test_a_reference_is_that_of_the_training_weeks(finished) -> None:
    layout, _ = finished
    folder = layout.of(NAME).windows / "weeks"
    windows = open_week_windows(folder)
    rows = windows.weeks_of(1, TRAIN)
    scaler = load_minute_scaler(folder / "scaler-1.safetensors")
    assert (scaler.n_people, scaler.n_weeks) == (len(windows.people_of(1, TRAIN)), len(rows))
    assert scaler.mean.mean() == pytest.approx(windows.values[rows].astype(np.float64).mean())
    assert not set(rows) & {*windows.weeks_of(1, TEST), *windows.weeks_of(1, VALIDATION)}


def test_everybody_is_judged_and_a_rule_that_is_plain_is_learnt(finished) -> None:
    layout, reports = finished
    report = reports["train"]
    windows = open_week_windows(layout.of(NAME).windows / "weeks")
    assert set(report.baselines) == {"prevalence", "logistic", "boosting", "pat_logistic"}
    assert report.baselines["prevalence"]["auroc"] == 0.5
    assert report.baselines["logistic"]["auroc"] == 1.0  # one label moves a third of the other
    assert set(report.test) == {"auroc", "auprc", "brier", "sensitivity", "specificity"}
    assert report.windows["people_judged"] == len(windows.people_of(0, TEST))
    assert "A RIVAL" in report.conclusion
    assert report.model["n_parameters"] == 274_720
    for name in ("candidates.png", "roc.png", "metrics.png"):
        assert (layout.of(NAME).reports / "plots" / name).stat().st_size > 5_000


def test_files_say_what_the_network_says_and_gates_are_judged(finished) -> None:
    layout, reports = finished
    assert set(reports["export"].variants) == {"onnx-float32"}
    assert all(facts["max_abs_error"] < 1e-5 for facts in reports["export"].variants.values())
    facts = reports["benchmark"].variants
    assert {name: one["heavy"] for name, one in facts.items()} == {"onnx-float32": []}
    assert all(one["deterministic"] and abs(one["quality_drop"]) < 1e-9 for one in facts.values())
    assert [(gate.name, gate.passed) for gate in reports["benchmark"].gates] == [("size_mib", True)]
    served = read_json(layout.of(NAME).reports / "service.json")
    assert served["n_weeks"] == len(open_week_windows(layout.of(NAME).windows / "weeks").weeks_of(0, TEST))
    assert served["max_abs_difference"] < 1e-5
    assert served["p95_latency_ms"] > 0


def test_a_service_that_prepares_weeks_in_another_way_stops_the_benchmark(finished) -> None:
    layout, _ = finished
    windows = open_week_windows(layout.of(NAME).windows / "weeks")
    with pytest.raises(ValueError, match=r"the service of onnx-float32 gives features that differ by"):
        serve(layout.of(NAME).exports / "weeks", "onnx-float32", windows, np.array([0]), np.full((1, 96), 7.0))


def test_an_artefact_is_whole_and_a_changed_byte_is_found(finished, tmp_path) -> None:
    layout, _ = finished
    artefact = layout.of(NAME).exports / "weeks"
    whole = verify(artefact)
    assert whole.problems == ()
    assert set(whole.variants) == {"onnx-float32"}
    copy = tmp_path / "weeks"
    shutil.copytree(artefact, copy)
    scaler = copy / "scaler.safetensors"
    content = bytearray(scaler.read_bytes())
    content[-3] ^= 1
    scaler.write_bytes(content)
    assert any(problem.startswith("scaler.safetensors: SHA-256 is") for problem in verify(copy).problems)


def test_a_forged_artefact_without_an_array_is_refused_by_its_name(finished, tmp_path) -> None:
    layout, _ = finished
    for file in ("golden.npz", "known_answer.npz"):
        assert_each_array_is_missed(layout.of(NAME).exports / "weeks", tmp_path, file)


def test_no_week_of_a_person_leaves(finished) -> None:
    layout, _ = finished
    artefact = layout.of(NAME).exports / "weeks"
    weeks = open_week_windows(layout.of(NAME).windows / "weeks").values
    with np.load(artefact / "known_answer.npz", allow_pickle=False) as known:
        activity = known["activity"]
    assert not (weeks == activity.astype(np.float32)).all(axis=1).any()
    scaler = load_minute_scaler(artefact / "scaler.safetensors")
    np.testing.assert_array_equal(activity, made_up_weeks(2, scaler)[0])
    start = pd.Timestamp(read_json(artefact / "manifest.json")["known_answer"]["start"]).to_pydatetime()
    facts = check_week(activity, unit="counts", epoch_s=60, start=start, time_zone="UTC")
    assert facts.n_valid_days == 7


def test_the_service_answers_from_the_artefact_what_the_pipeline_has_computed(finished) -> None:
    layout, _ = finished
    paths = layout.of(NAME)
    windows = open_week_windows(paths.windows / "weeks")
    table = pd.read_parquet(paths.features / "features.parquet")
    start = pd.Timestamp(int(windows.first_days[0]) * 86_400, unit="s").tz_localize("Europe/Oslo")
    week = Recording(
        asset="somebody",
        samples=windows.values[0].astype(np.float64)[:, None],
        channels=("activity",),
        units=("counts",),
        interval_s=60.0,
        start=start,
        time_zone="Europe/Oslo",
    )

    roomy = ActigraphyServiceConfig(memory_mib=1e5)  # this process has trained

    async def answer() -> tuple[dict[str, object], dict[str, object]]:
        async with service_from_artefact(paths.exports / "weeks", roomy, read_preparation=week_preparation) as service:
            return dict(await service.extract_features(week)), dict(await service.model_health_check())

    found, health = asyncio.run(answer())
    assert health == {"status": "healthy", "model_loaded": True, "inference_working": True, "feature_count": 96}
    assert found["feature_dim"] == 96
    assert found["sleep_efficiency"] == pytest.approx(table["sleep_efficiency"][0], abs=1e-9)
    assert found["circadian_rhythm_strength"] == pytest.approx(table["interdaily_stability"][0], abs=1e-9)


def test_a_step_without_the_one_before_says_which_command_is_missing(tmp_path) -> None:
    layout, config = project_of(tmp_path, 3), config_of()
    for step, before in (("features", "window"), ("train", "window"), ("export", "window"), ("benchmark", "export")):
        with pytest.raises(FileNotFoundError, match=f"run `foresense {before} sleep` first"):
            run_step(StepRun(step, NAME, layout), config)


def test_fewer_people_than_groups_are_refused(tmp_path) -> None:
    layout, config = project_of(tmp_path, 2), config_of()
    run_step(StepRun("ingest", NAME, layout), config)
    with pytest.raises(SignalError, match=r"2 people with another label than condition.*asks for 3 groups"):
        run_step(StepRun("window", NAME, layout), config)


def test_other_weights_than_were_evaluated_are_not_exported(finished, tmp_path) -> None:
    layout, _ = finished
    root = tmp_path / "copy"
    shutil.copytree(layout.root, root, symlinks=True)
    model = root / "models" / NAME / "weeks"
    evaluation = json.loads((model / "evaluation.json").read_text())
    files = evaluation["files"] | {"model.safetensors": "0" * 64}
    (model / "evaluation.json").write_text(json.dumps(evaluation | {"files": files}))
    with pytest.raises(ValueError, match=r"model.safetensors: SHA-256 is \w{12}, evaluation.json says 000000000000"):
        run_step(StepRun("export", NAME, Layout(Path(root), Path(root))), config_of())


def test_a_model_of_other_weeks_is_not_exported_and_metrics_of_others_are_not_taken(finished, tmp_path) -> None:
    layout, _ = finished
    root = tmp_path / "copy"
    shutil.copytree(layout.root, root, symlinks=True)
    other = Layout(root, root)
    rules = root / "data" / "windows" / NAME / "weeks" / "rules.json"
    rules.write_text(rules.read_text().replace("90", "91"))
    with pytest.raises(ValueError, match=r"learnt from the weeks \w{12}, there are \w{12} now; run `foresense train"):
        run_step(StepRun("export", NAME, other), config_of())
    with pytest.raises(
        SignalError, match=r"metrics of the weeks \w{12}, there are \w{12} now; run `foresense features"
    ):
        run_step(StepRun("train", NAME, other), config_of())


def test_a_probability_is_what_the_classifier_that_ships_makes_of_metrics_or_features(finished, tmp_path) -> None:
    layout, _ = finished
    paths = layout.of(NAME)
    windows = open_week_windows(paths.windows / "weeks")
    table = pd.read_parquet(paths.features / "features.parquet").drop(columns="week")
    metrics = {name: table[name].to_numpy() for name in table}
    artefact = paths.exports / "weeks"
    rule = LogisticRule.from_json(read_json(artefact / "classifier.json")["rule"])
    said = probability_of(artefact)(np.zeros((len(table), 96)), metrics)
    names, inputs = turned(list(metrics), np.stack(list(metrics.values()), axis=1))
    assert names == rule.names
    np.testing.assert_allclose(said, rule.probabilities(inputs))
    held_out = windows.weeks_of(0, TEST)
    area = roc_auc_score(windows.week_labels[held_out], said[held_out])  # one week each
    assert area == pytest.approx(read_json(artefact / "evaluation.json")["test"]["auroc"])
    with pytest.raises(ValueError, match=r"metrics \['mesor'\] are missing"):
        probability_of(artefact)(np.zeros((1, 96)), {name: one[:1] for name, one in metrics.items() if name != "mesor"})
    other = tmp_path / "other"
    shutil.copytree(artefact, other)
    features = np.random.default_rng(0).normal(size=(3, 96))
    (other / "classifier.json").write_text(json.dumps({"name": "probe", "looks_at": "pat", "label": "condition"}))
    np.testing.assert_allclose(probability_of(other)(features, {}), readout_of(other)(features))
    pat = rule.to_json() | {"names": [f"pat_{n}" for n in range(96)], "fill": [0.0] * 96, "mean": [0.0] * 96}
    pat |= {"deviation": [1.0] * 96, "weights": [1.0] + [0.0] * 95, "bias": 0.0}
    (other / "classifier.json").write_text(json.dumps({"name": "pat_logistic", "looks_at": "pat", "rule": pat}))
    np.testing.assert_allclose(probability_of(other)(features, {}), 1 / (1 + np.exp(-features[:, 0])))
    (other / "head.npz").unlink()
    np.testing.assert_allclose(readout_of(other)(features), 1 / (1 + np.exp(-features[:, 0])))


def test_published_weights_are_begun_with_when_they_are_the_pinned_ones(finished, tmp_path) -> None:
    layout, _ = finished
    root = tmp_path / "copy"
    shutil.copytree(layout.root, root, symlinks=True)
    lock = root / "weights.lock.json"
    path = official_layout.write(tmp_path / "PAT-S_29k_weights.h5", official_layout.arrays("S", seed=3))
    fetch_weights("PAT-S_29k", path, root / "models" / "pat", lock)
    pinned = read_lock(lock)["PAT-S_29k_weights.h5"].sha256
    probe = {"style": "linear_probe", "n_epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    asked = {"weights": {"name": "PAT-S_29k", "sha256": pinned}, "fine_tuning": probe}
    config = config_of(train={"candidates": {"official": asked}, "turns": 1})
    run_step(StepRun("train", NAME, Layout(root, root)), config)
    model = root / "models" / NAME / "weeks"
    for name, values in read_weights("PAT-S_29k", root / "models" / "pat", lock).arrays.items():
        np.testing.assert_array_equal(read_arrays(model / "model.safetensors")[name], values)
    credit = json.loads((model / "evaluation.json").read_text())["attribution"]
    assert "the encoder is unchanged" in credit
    assert "CC BY 4.0" in credit
    assert "2411.15240" in credit
    other = config_of(
        train={"candidates": {"official": asked | {"weights": {"name": "PAT-S_29k", "sha256": "0" * 64}}}, "turns": 1}
    )
    with pytest.raises(
        ValueError, match=rf"expected size S with SHA-256 0{{12}}.*{pinned[:12]}.*correct weights.sha256"
    ):
        run_step(StepRun("train", NAME, Layout(root, root)), other)


def with_params(layout: Layout) -> Layout:
    """The same project with a params.yaml, as the command line reads it."""
    config = config_of().model_dump(mode="json", exclude_defaults=True) | {"kind": "actigraphy"}
    (layout.root / "params.yaml").write_text(json.dumps({"pipelines": {NAME: config}}))
    return layout


def test_a_page_shows_a_person_beside_the_others_and_what_the_network_looked_at(finished, tmp_path) -> None:
    layout = with_params(finished[0])
    text = write_page(layout, NAME, "condition_2", tmp_path / "page.html").read_text()
    assert "Not a medical device" in text
    assert "6 people of sleep: control" in text
    assert "looked at most" in text
    assert text.count("data:image/png;base64,") == 2
    assert "http" not in text.replace("http-equiv", "")
    with pytest.raises(SourceError, match=r"no person 'condition_99'; there are 12: condition_1, .*give --csv"):
        write_page(layout, NAME, "condition_99", tmp_path / "other.html")


def test_a_page_of_a_file_of_ones_own_and_what_is_wrong_with_one(finished, tmp_path) -> None:
    layout = with_params(finished[0])
    csv = tmp_path / "mine.csv"
    source = layout.raw / "depresjon" / "control" / "control_1.csv.gz"
    table = pd.read_csv(source).rename(columns={"timestamp": "time"})[["time", "activity"]]
    table.to_csv(csv, index=False)
    own = OwnFile(csv, "Europe/Berlin")
    text = write_page(layout, NAME, "me", tmp_path / "me.html", own=own, with_attention=False).read_text()
    assert "Rest and activity: me" in text
    assert "Europe/Berlin" in text
    assert "looked at most" not in text
    for wrong, message in (
        (
            table.rename(columns={"activity": "counts"}),
            r"mine.csv: no column \['activity'\], found \['time', 'counts'\]",
        ),
        (table[:1], r"1 row\(s\), expected minutes of at least four days"),
        (table.drop(index=5), r"rows are 60 s, 120 s apart; expected one row for each epoch"),
        (table.assign(activity=-1), r"mine.csv:2: activity is -1, expected at least 0 or nothing; \d+ such row"),
    ):
        wrong.to_csv(csv, index=False)
        with pytest.raises(SourceError, match=message):
            write_page(layout, NAME, "me", tmp_path / "me.html", own=own)
    with pytest.raises(FileNotFoundError, match=r"gone.csv: not there; give a CSV file"):
        write_page(layout, NAME, "me", tmp_path / "me.html", own=OwnFile(tmp_path / "gone.csv", "UTC"))
