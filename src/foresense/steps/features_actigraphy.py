"""Step `features` of a pipeline of minute actigraphy: the clinical metrics of every week."""

import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from foresense.config.actigraphy import WearConfig
from foresense.config.actigraphy_pipeline import ActigraphyFeaturesConfig
from foresense.evaluate.actigraphy import Clinical, clinical_metrics
from foresense.signals import FeaturesReport, read_json, replaced_folder, tree_sha256, write_json
from foresense.signals.weeks import open_week_windows
from foresense.steps.frame import StepRun
from foresense.steps.window_actigraphy import GROUP
from foresense.windows.wear import find_wear

FAMILY = "clinical"


def features_actigraphy(run: StepRun, config: ActigraphyFeaturesConfig) -> FeaturesReport:
    """Compute the clinical metrics of every week of one pipeline; nothing here is fitted.

    A week is asked as if it were a recording of its own, so that a device that holds one week gives the same numbers.

    Args:
        run: The step's run.
        config: Section `features`.

    Returns:
        The report, written to `reports/<pipeline>/features.json`; `data/features/<pipeline>/features.parquet` has one
        row for each week, NaN where a metric is undefined, and `reasons.parquet` says why.

    Raises:
        FileNotFoundError: the step `window` has not finished.
        ActigraphyError: sleep cannot be scored in this unit.
    """
    windows = open_week_windows(run.paths.windows / GROUP)
    windows_sha256 = tree_sha256(run.paths.windows)
    begun = time.perf_counter()
    minutes = windows.minutes()
    found = clinical_metrics(
        minutes,
        wear=find_wear(minutes, WearConfig.model_validate(read_json(run.paths.windows / GROUP / "rules.json")["wear"])),
        method=config.method,
        variant=config.variant,
        share_asleep=config.share_asleep,
        rest_threshold=config.rest_threshold,
    )
    seconds = time.perf_counter() - begun
    names = list(found.metrics)
    with replaced_folder(run.paths.features) as beside:
        weeks = {"week": np.arange(len(windows.owners))}
        values = {name: one.values for name, one in found.metrics.items()}
        reasons = {name: one.reasons.astype(str) for name, one in found.metrics.items()}
        for file, columns in (("features", values), ("reasons", reasons)):
            table = pd.DataFrame({**weeks, **columns})
            table.to_parquet(beside / f"{file}.parquet", index=False, compression="zstd")
        units = [one.unit for one in found.metrics.values()]
        write_json(
            beside / "manifest.json",
            {
                "schema_version": 1,
                "windows_sha256": windows_sha256,
                "names": names,
                "units": units,
                "sleep": {
                    "sleep_method": config.method,
                    "sleep_variant": config.variant,
                    "share_asleep": config.share_asleep,
                    "rest_threshold": config.rest_threshold,
                },
            },
        )
    return run.finish(
        FeaturesReport,
        data_sha256=windows_sha256,
        n_windows=len(windows.owners),
        ms_per_window={FAMILY: round(seconds / len(windows.owners) * 1000, 4)},
        features=_facts(found),
    )


def _facts(found: Clinical) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {}
    for name, one in found.metrics.items():
        known = one.values[~np.isnan(one.values)]
        low, mean, high = (float(f(known)) for f in (np.min, np.mean, np.max)) if len(known) else (None, None, None)
        facts[name] = {"unit": one.unit, "family": FAMILY, "min": low, "mean": mean, "max": high}
        facts[name] |= {"n_missing": len(one.values) - len(known)}
        if len(known) < len(one.values):
            facts[name] |= {"reasons": dict(Counter(str(reason) for reason in one.reasons if reason).most_common())}
    return facts
