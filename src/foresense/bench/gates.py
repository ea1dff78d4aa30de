"""Gates of an exported forecaster: what each name measures, in which unit."""

from foresense.bench.limits import COMMON, Facts, Gates


def _mse_ratio(facts: Facts) -> float:
    ratio: float | None = facts["mse_ratio_to_best_baseline"]
    if ratio is None:
        raise ValueError(
            "benchmark.gates.mse_ratio_to_best_baseline: nothing was measured for it; evaluation.json of the model "
            "has no baselines"
        )
    return ratio


#: Facts are those of the variant that ships; worst group.
GATES: Gates = {
    **COMMON,
    "load_ms": ("ms", lambda facts: facts["load_ms"]),
    "rss_delta_mib": ("MiB", lambda facts: facts["rss_delta_mib"]),
    "mse": ("scaled units squared", lambda facts: facts["quality"]["mse"]),
    "mae": ("scaled units", lambda facts: facts["quality"]["mae"]),
    "mse_ratio_to_best_baseline": ("1", _mse_ratio),
    "agreement_max_abs_error": ("scaled units", lambda facts: facts["agreement_max_abs_error"]),
}
