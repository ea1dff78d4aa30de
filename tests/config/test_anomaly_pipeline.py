"""Sections of a pipeline of anomaly detectors: what does not fit together is said, and a smoke run is valid."""

import pytest
from pydantic import ValidationError

from foresense.config.anomaly_pipeline import AnomalyConfig
from foresense.config.smoke import SMOKE_MACHINES, shrink
from tests.steps.anomalies import SMALL, images, vibration


def test_images_have_no_spectrogram_and_vibration_needs_one() -> None:
    with pytest.raises(ValidationError, match=r"gives images, which have no spectrogram: leave features\.spectrogram"):
        images(features=vibration().features.model_dump())
    with pytest.raises(ValidationError, match=r"gives sound or vibration: give features\.spectrogram"):
        vibration(features={})


def test_a_network_has_to_see_the_clips() -> None:
    narrow = {"network": {**SMALL, "shape": [16, 8, 1]}}
    with pytest.raises(ValidationError, match=r"shape is \(16, 8, 1\), a spectrogram of a clip has \(16, 16, 1\)"):
        vibration(train={"candidates": {"small": narrow}, "default": "small", "false_alarm_rate": 0.2})
    dense = {"network": {"network": "dense_autoencoder", "n_mels": 8}}
    both = {"small": {"network": SMALL}, "frames": dense}
    with pytest.raises(ValidationError, match=r"n_mels is 8, the spectrogram has 16"):
        vibration(train={"candidates": both, "default": "small"})
    with pytest.raises(ValidationError, match=r"images have none"):
        images(train={"candidates": both, "default": "small"}, export={})


@pytest.mark.parametrize("fit", [{"flips": ["vertical"]}, {"shift_rows": 1}])
def test_vectors_of_frames_are_neither_turned_over_nor_moved(fit: dict[str, object]) -> None:
    dense = {"network": {"network": "dense_autoencoder", "n_mels": 16}, "fit": fit}
    with pytest.raises(ValidationError, match=r"fit\.flips and fit\.shift_rows move images, .* has vectors; leave out"):
        vibration(train={"candidates": {"small": {"network": SMALL}, "frames": dense}, "default": "small"})


def test_only_one_probability_of_an_anomaly_ships() -> None:
    conditions = {"network": {**SMALL, "n_outputs": 2}}
    with pytest.raises(ValidationError, match=r"default is 'conditions', which is no candidate.*these are: small"):
        images(train={"candidates": {"small": {"network": SMALL}, "conditions": conditions}, "default": "conditions"})
    with pytest.raises(ValidationError, match=r"export\.also: gone, conditions is no candidate"):
        images(export={"also": ["gone", "conditions"]})
    with pytest.raises(ValidationError, match=r"export\.pi_variants: expected names of export\.variants"):
        images(export={"variants": ["onnx-float32"], "pi_variants": ["onnx-float32"]})
    own = {"variants": ["tflite-int8"], "pi_variants": ["tflite-int8"]}
    with pytest.raises(ValidationError, match=r"export\.pi_variants: expected names of export\.variants"):
        images(export=own | {"pi_first": {"small": "tflite-float16"}})
    with pytest.raises(ValidationError, match=r"export\.pi_first: no candidate smal \(known: small, parity"):
        images(export=own | {"pi_first": {"smal": "tflite-int8"}})


@pytest.mark.parametrize("config", [images(), vibration()])
def test_a_smoke_run_learns_from_simulated_machines(config: AnomalyConfig) -> None:
    small = shrink(config)
    assert isinstance(small, AnomalyConfig)
    assert small.ingest.n_recordings == SMOKE_MACHINES
    assert list(small.train.candidates) == [config.train.default, *config.export.also]
    assert {one.fit.n_epochs for one in small.train.candidates.values()} == {2}
    assert "auc" not in small.benchmark.gates
