"""All six steps of a pipeline of anomaly detectors on simulated images: what is held out, what ships, what it says."""

import gc
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foresense.__main__ import app
from foresense.config import STEPS, ConfigError
from foresense.export.artefact import BuiltArtefact
from foresense.export.pi import PiFolderError
from foresense.models.anomaly import keras_module, load_network
from foresense.signals import Layout, Report, SignalError, file_sha256, read_json
from foresense.signals.clip_turns import open_turns
from foresense.signals.clips import CLIP_PARTS, NORMAL
from foresense.steps import export_anomaly
from foresense.steps.anomaly_data import open_clip_data, open_data
from foresense.steps.anomaly_scores import thresholds
from foresense.steps.anomaly_training import Trainer
from foresense.steps.device_smoke import smoke_on_device
from foresense.steps.export_anomaly import Exported
from foresense.steps.frame import StepRun
from foresense.steps.run import run_step
from foresense.steps.verify import verify
from foresense.training.anomaly import Detector, anomaly_scores
from foresense.training.anomaly_rivals import ANOMALY_RIVALS, rival_scores
from tests.forged import assert_each_array_is_missed
from tests.steps.anomalies import SMALL, images, project_of, vibration

NAME = "toy"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_store: Path) -> tuple[Layout, dict[str, Report]]:
    layout, config = project_of(tmp_path_factory.mktemp("project")), images()
    layout.tracking.mkdir()
    shutil.copy(empty_mlflow_store, layout.tracking)
    keras_module()
    gc.freeze()  # Keras collects garbage after each network: half a second each time among TensorFlow's own objects
    return layout, {step: run_step(StepRun(step, NAME, layout), config) for step in STEPS}


def _copy(finished: tuple[Layout, dict[str, Report]], tmp_path) -> Layout:
    root = tmp_path / "copy"
    shutil.copytree(finished[0].root, root, symlinks=True)
    return Layout(root, root)


def test_no_module_is_on_two_sides_and_each_fold_tests_others(finished) -> None:
    layout, reports = finished
    turns = open_turns(layout.of(NAME).windows / "clips")
    assert turns.splits == ("modules", "modules")
    tested = []
    for number in range(2):
        clips = turns.turn(number)
        of_parts = [set(clips.assets[clips.of(part)]) for part in CLIP_PARTS]
        assert sum(map(len, of_parts)) == len(set.union(*of_parts)) == 90
        tested.append(of_parts[2])
    assert not tested[0] & tested[1]
    assert set(reports["window"].groups) == {"modules/0", "modules/1"}
    assert reports["ingest"].assets["normal"]["n_recordings"] == 45


def test_a_network_is_standardised_by_its_training_part_and_an_autoencoder_by_normal_ones(finished) -> None:
    layout, _ = finished
    run = StepRun("train", NAME, layout)
    data, config = open_data(run), images()
    train = data.turns.turn(0).of("train")
    pictures = data.turns.clips.found.samples[data.turns.clips.starts[train]].astype(np.float64)
    _, _, scaling = load_network(layout.of(NAME).models / "clips")
    assert scaling.mean == pytest.approx(pictures.mean(), rel=1e-12)
    assert scaling.std == pytest.approx(pictures.std(), rel=1e-12)
    normal = pictures[data.labels[train] == NORMAL]
    found = data.scaling(config.train.candidates["autoencoder"].network, train)
    assert found.mean == pytest.approx(normal.mean(), rel=1e-12)


def test_nothing_that_is_held_out_reaches_a_network_a_rival_or_a_threshold(finished, tmp_path) -> None:
    layout, _ = finished
    data, candidate = open_data(StepRun("train", NAME, layout)), images().train.candidates["small"]
    clips = data.turns.turn(0)
    test, validation = clips.of("test"), clips.of("validation")
    samples, statistics = np.array(clips.found.samples), data.statistics.copy()
    samples[clips.starts[test]] = 255 - samples[clips.starts[test]]
    statistics[test] += 10
    changed = replace(
        data,
        turns=replace(data.turns, clips=replace(data.turns.clips, found=replace(clips.found, samples=samples))),
        statistics=statistics,
    )
    other = Trainer(changed, tmp_path, ()).train(0, "small", candidate)
    first = layout.of(NAME).models / "clips"  # trained and judged by the step
    evaluation = read_json(first / "evaluation.json")
    assert (evaluation["candidate"], evaluation["turn"]) == ("small", 0)
    assert other.sha256 == file_sha256(first / "network.safetensors")
    numbers = np.concatenate([validation, test])
    network, config, scaling = load_network(first)
    scores = anomaly_scores(Detector(network, config, scaling, 0, ()), data.examples(config, numbers))
    np.testing.assert_array_equal(scores[: len(validation)], other.scores[validation])
    assert not np.array_equal(scores[len(validation) :], other.scores[test])
    assert thresholds(data.turns, [0], {0: other.scores}, 0.1) == {0: evaluation["threshold"]}
    train = clips.of("train")
    for name in ("gaussian", "pca"):
        said = [
            rival_scores(name, one.rival_inputs(train), (one.rival_inputs(validation),), seed=0)[0]
            for one in (data, changed)
        ]
        np.testing.assert_array_equal(said[0], said[1])


def test_everyone_is_in_one_table_and_a_rule_that_is_plain_is_learnt(finished) -> None:
    layout, reports = finished
    report = reports["train"]
    assert set(report.baselines) == set(ANOMALY_RIVALS)
    networks = {"small", "parity", "conditions", "autoencoder", "autoencoder density"}
    assert set(report.candidates) == {*networks, *ANOMALY_RIVALS}
    assert report.test["auc"] > 0.9
    assert report.model["candidate"] == "small"
    assert "easy" in report.conclusion
    told = report.candidates["forest"]["conditions"]["modules"]["metrics"]
    assert told["accuracy"] > 0.9
    assert "metrics" in report.candidates["conditions"]["conditions"]["modules"]
    plots = layout.of(NAME).reports / "plots"
    for name in ("candidates.png", "roc.png", "scores.png", "confusion_modules.png", "most_anomalous.png"):
        assert (plots / name).stat().st_size > 5_000
    rows = (plots / "candidates.csv").read_text().splitlines()
    assert len(rows) == 1 + len(report.candidates)
    evaluation = read_json(layout.of(NAME).models / "clips" / "evaluation.json")
    assert evaluation["test"]["auc"] == pytest.approx(report.test["auc"])  # one turn: the same clips


def test_files_agree_and_the_smoke_test_has_run_on_them(finished) -> None:
    layout, reports = finished
    assert set(reports["export"].groups) == {"clips", "parity", "pi"}
    assert reports["export"].groups["pi"]["toy"]["variant"] == "tflite-int8"
    facts = reports["benchmark"].variants["tflite-int8"]
    assert facts["deterministic"]
    assert facts["quality"]["n_windows"] == 30
    assert abs(facts["quality_drop"]) < 0.2
    names = [gate.name for gate in reports["benchmark"].gates]
    assert names[:2] == ["size_mib", "auc"]
    assert {"pi_n_tests_not_passed", "pi_n_gates_not_passed", "pi_quality_drop", "pi_memory"} <= set(names)
    smoke = read_json(layout.of(NAME).reports / "smoke_test.json")
    assert set(smoke["models"]) == {"toy", "toy-parity"}
    assert smoke["n_tests_passed"] == len(smoke["tests"])
    quality = read_json(layout.of(NAME).reports / "quality.json")["models"]
    assert quality["toy"]["drop"] == facts["quality_drop"]


def test_a_device_without_a_host_passes_nothing(finished, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, _ = finished
    monkeypatch.setenv("FORESENSE_PROJECT", str(layout.root))  # the command sets it, too
    (layout.root / "params.yaml").write_text(
        "pipelines:\n  toy: " + json.dumps(images().model_dump(mode="json", exclude_none=True)) + "\n"
    )
    found = smoke_on_device(layout, NAME, "pi4")
    assert not found.passed
    assert found.compared == {}
    rows = [line for line in str(found).splitlines() if line.endswith("NOT MEASURED")]
    assert len(rows) == 7 + 12
    assert str(found).count("    -> not measured: no host set in devices/pi4.yaml") == len(rows)
    assert read_json(found.path)["n_tests_passed"] == 0
    words = ["--project", str(layout.root), "benchmark", NAME, "--device", "pi4"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 1
    assert "pi4: 0/7 tests" in said.output


def test_a_device_gets_the_first_variant_that_loses_little_enough(finished, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, _ = finished
    folder = layout.of(NAME).exports
    evaluation = read_json(folder / "clips" / "evaluation.json")
    files = {name: {"file": f"{name}.tflite", "size_mib": 1.0} for name in ("tflite-int8", "tflite-float32")}
    _, network, _ = load_network(layout.of(NAME).models / "clips")
    one = Exported("clips", evaluation, network, None, BuiltArtefact(variants=files, refused={}))
    data = open_clip_data(StepRun("export", NAME, layout), None)
    config = images().export.model_copy(update={"pi_variants": ("tflite-dynamic", "tflite-int8", "tflite-float32")})
    labels = data.labels[data.turns.turn(0).of("validation")]
    right, wrong = (np.float32(labels != NORMAL)[:, None] * sign for sign in (1, -1))
    monkeypatch.setattr(export_anomaly, "run_file", lambda file, inputs: wrong if "int8" in file.name else right)
    chosen = export_anomaly.for_device(folder, one, data, config)
    assert (chosen["variant"], chosen["validation_auc"]) == ("tflite-float32", 1.0)
    lost = f"AUC {evaluation['validation']['auc']:.4f} lower, at most 0.2"
    assert chosen["rejected"] == {"tflite-dynamic": "could not be made", "tflite-int8": lost}
    monkeypatch.setattr(export_anomaly, "run_file", lambda file, inputs: right)
    assert export_anomaly.for_device(folder, one, data, config)["variant"] == "tflite-int8"
    first = config.model_copy(update={"pi_first": {"small": "tflite-float32"}})
    assert export_anomaly.for_device(folder, one, data, first)["variant"] == "tflite-float32"
    monkeypatch.setattr(export_anomaly, "run_file", lambda file, inputs: wrong)
    with pytest.raises(PiFolderError, match=r"clips: no variant for a device: .*tflite-float32: AUC .* lower, at most"):
        export_anomaly.for_device(folder, one, data, config)


def test_artefacts_are_whole_and_a_change_is_found(finished, tmp_path) -> None:
    layout, _ = finished
    exports = layout.of(NAME).exports
    whole = verify(exports)
    assert whole.problems == ()
    assert set(whole.variants) == {"clips/tflite-int8", "parity/tflite-int8", "pi/toy", "pi/toy-parity"}
    copy = tmp_path / "toy"
    shutil.copytree(exports, copy)
    for file in (copy / "clips" / "tflite-int8.tflite", copy / "pi" / "smoke_test.py"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    found = verify(copy).problems
    assert any(one.startswith("clips/tflite-int8.tflite: SHA-256 is") for one in found)
    assert any(one.startswith("pi/smoke_test.py: SHA-256 is") for one in found)


def test_a_step_without_the_one_before_says_which_command_is_missing(tmp_path) -> None:
    layout, config = project_of(tmp_path / "empty"), images()
    for step, before in (
        ("window", "ingest"),
        ("features", "window"),
        ("train", "window"),
        ("export", "train"),
        ("benchmark", "export"),
    ):
        with pytest.raises(FileNotFoundError, match=f"run `foresense {before} toy` first"):
            run_step(StepRun(step, NAME, layout), config)


def test_other_weights_than_were_evaluated_or_other_clips_are_not_exported(finished, tmp_path) -> None:
    layout = _copy(finished, tmp_path)
    path = layout.of(NAME).models / "clips" / "evaluation.json"
    evaluation = read_json(path)
    path.write_text(json.dumps(evaluation | {"model_sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"evaluation.json is about weights 000000000000, network.safetensors is"):
        run_step(StepRun("export", NAME, layout), images())
    path.write_text(json.dumps(evaluation | {"windows_sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"learnt from other clips than are there now; run `foresense train toy`"):
        run_step(StepRun("export", NAME, layout), images())


def test_a_benchmark_refuses_an_unknown_gate_a_far_device_and_a_changed_file(finished, tmp_path) -> None:
    layout = _copy(finished, tmp_path)
    run = StepRun("benchmark", NAME, layout)
    with pytest.raises(ValueError, match=r"no gate 'auk'; did you mean 'auc'"):
        run_step(run, images(benchmark={"gates": {"auk": {"at_least": 1}}}))
    with pytest.raises(ConfigError, match=r"pi4 is reached by ssh.*`foresense benchmark toy --device pi4`"):
        run_step(run, images(benchmark={"device": "pi4"}))
    other = layout.of(NAME).windows / "clips" / "turn_parts.npy"
    kept = other.read_bytes()
    np.save(other, np.load(other)[::-1])
    with pytest.raises(ValueError, match=r"exported for other clips than .* so that none of them is known to be held"):
        run_step(run, images())
    with pytest.raises(SignalError, match=r"features of other clips than .* run `foresense features toy` again"):
        run_step(StepRun("train", NAME, layout), images())
    other.write_bytes(kept)
    (layout.of(NAME).exports / "clips" / "README.md").write_text("another")
    with pytest.raises(ValueError, match=r"README.md: SHA-256 is .* it changed after its export"):
        run_step(run, images())


def test_a_forged_artefact_without_an_array_is_refused_by_its_name(finished, tmp_path) -> None:
    exports = finished[0].of(NAME).exports
    assert_each_array_is_missed(exports / "clips", tmp_path)
    golden = next(iter(read_json(exports / "pi" / "manifest.json")["models"].values()))["golden"]
    assert_each_array_is_missed(exports / "pi", tmp_path, golden)


def test_names_that_mean_something_else_are_refused(finished) -> None:
    layout, _ = finished
    run = StepRun("train", NAME, layout)
    for name in ("forest", "pi", "clips"):
        section = {"candidates": {name: {"network": SMALL}}, "default": name}
        with pytest.raises(ValueError, match=f"train.candidates: {name} is the name of a rival"):
            run_step(run, images(train=section, export={}))
    section = {"candidates": {"small": {"network": SMALL, "density": True}}, "default": "small"}
    with pytest.raises(ValueError, match=r"small.density: its embeddings learnt from anomalous clips, too"):
        run_step(run, images(train=section, export={}))


def test_clips_of_sound_are_seen_as_a_device_sees_them(tmp_path) -> None:
    layout, config = project_of(tmp_path / "sound"), vibration()
    for step in ("ingest", "window", "features"):
        run_step(StepRun(step, NAME, layout), config)
    run = StepRun("train", NAME, layout)
    kept, anew = open_data(run), open_clip_data(run, config.features.spectrogram)
    assert kept.levels is not None
    np.testing.assert_array_equal(kept.levels, anew.levels)
    network = config.train.candidates["frames"].network
    numbers = np.array([3, 0])
    found = kept.inputs(network, numbers)
    assert found.shape == (2 * 14, 48)  # 16 frames, three side by side, 16 bands each
    np.testing.assert_array_equal(found[14 + 1], kept.levels[0][:, 1:4].T.ravel())
    assert kept.n_views(network) == 14
    small = kept.inputs(config.train.candidates["small"].network, numbers)
    np.testing.assert_array_equal(small[..., 0], kept.levels[numbers])
