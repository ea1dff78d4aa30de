from pathlib import Path

import pytest

from foresense.config import read_pipelines
from foresense.config.smoke import QUALITY_GATES, shrink

PIPELINES = read_pipelines(Path(__file__).resolve().parents[2] / "params.yaml")


@pytest.mark.parametrize("name", sorted(PIPELINES))
def test_a_shrunk_pipeline_is_valid_small_and_keeps_what_makes_it_itself(name: str) -> None:
    full, small = PIPELINES[name], shrink(PIPELINES[name])
    assert small.ingest.channels == full.ingest.channels
    assert small.ingest.source == full.ingest.source
    assert small.window.scaler == full.window.scaler
    assert small.window.context + 3 * small.window.horizon <= small.ingest.n_rows
    assert set(small.training.candidates) <= set(full.training.candidates)
    assert all(candidate.d_model == 16 for candidate in small.training.candidates.values())
    assert not any(variant.startswith("tflite") for variant in small.export.variants)
    assert not set(small.benchmark.gates) & set(QUALITY_GATES)
    assert shrink(small) == small
