from pathlib import Path

import pytest

from foresense.config import ActivityConfig, PipelineConfig, read_pipelines
from foresense.config.smoke import QUALITY_GATES, shrink

PIPELINES = read_pipelines(Path(__file__).resolve().parents[2] / "params.yaml")
FORECASTS = {name: one for name, one in PIPELINES.items() if isinstance(one, PipelineConfig)}
ACTIVITIES = {name: one for name, one in PIPELINES.items() if isinstance(one, ActivityConfig)}


@pytest.mark.parametrize("name", sorted(ACTIVITIES))
def test_a_shrunk_pipeline_of_people_keeps_its_people_and_trains_one_network_once(name: str) -> None:
    full, small = ACTIVITIES[name], shrink(ACTIVITIES[name])
    assert isinstance(small, ActivityConfig)
    assert small.ingest.source == full.ingest.source
    assert small.features == full.features
    assert len(small.train.candidates) == 1
    assert set(small.train.candidates) <= set(full.train.candidates)
    assert small.train.folds == 1
    assert not any(variant.startswith("tflite") for variant in small.export.variants)
    assert not set(small.benchmark.gates) & set(QUALITY_GATES)
    assert shrink(small) == small


@pytest.mark.parametrize("name", sorted(FORECASTS))
def test_a_shrunk_pipeline_is_valid_small_and_keeps_what_makes_it_itself(name: str) -> None:
    full, small = FORECASTS[name], shrink(FORECASTS[name])
    assert isinstance(small, PipelineConfig)
    assert small.ingest.n_rows is not None
    assert small.ingest.channels == full.ingest.channels
    assert small.ingest.source == full.ingest.source
    assert small.window.scaler == full.window.scaler
    assert small.window.context + 3 * small.window.horizon <= small.ingest.n_rows
    assert set(small.training.candidates) <= set(full.training.candidates)
    assert all(candidate.d_model == 16 for candidate in small.training.candidates.values())
    assert not any(variant.startswith("tflite") for variant in small.export.variants)
    assert not set(small.benchmark.gates) & set(QUALITY_GATES)
    assert shrink(small) == small
