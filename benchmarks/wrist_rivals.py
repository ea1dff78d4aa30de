"""One measurement of TSFEL or tsfresh, in the process and the environment of those libraries.

Imports nothing of this project, as their dependencies need an environment of their own. `benchmarks.features` calls
`<python> wrist_rivals.py <rival> <windows.npy> <rate_hz>`, and reads {"seconds", "n_features", "version"}.
"""

import json
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

#: Rival -> windows that it is measured on, the first of the file: one to some ten seconds of work.
RIVALS = {"tsfel": 50, "tsfel_statistical": 100, "tsfresh_efficient": 6, "tsfresh_minimal": 400}


def tsfel(windows: np.ndarray, rate_hz: float, domain: str | None = None) -> tuple[float, int]:
    """Seconds for all windows in one call, in this process, and features of one window; every domain, or one."""
    import tsfel

    settings = tsfel.get_features_by_domain(domain)
    signal = windows.reshape(-1, 3)  # cut again by TSFEL
    begin = time.perf_counter()
    found = tsfel.time_series_features_extractor(  # a number of jobs, even 1, would start processes
        settings, signal, fs=rate_hz, window_size=windows.shape[1], verbose=0, n_jobs=None
    )
    return time.perf_counter() - begin, found.shape[1]


def tsfresh(windows: np.ndarray, effort: str) -> tuple[float, int]:
    """Seconds for all windows in one call, in this process, and features of one window."""
    import pandas as pd
    from tsfresh import extract_features
    from tsfresh.feature_extraction import EfficientFCParameters, MinimalFCParameters

    n, length, _ = windows.shape
    table = pd.DataFrame(windows.reshape(n * length, 3), columns=list("xyz"))
    table["window"] = np.repeat(np.arange(n), length)
    settings = EfficientFCParameters() if effort == "efficient" else MinimalFCParameters()
    begin = time.perf_counter()
    found = extract_features(
        table, column_id="window", default_fc_parameters=settings, n_jobs=0, disable_progressbar=True
    )
    return time.perf_counter() - begin, found.shape[1]


def main() -> None:
    """Measure the rival that the command line names."""
    rival, path, rate_hz = sys.argv[1], sys.argv[2], float(sys.argv[3])
    warnings.simplefilter("ignore")
    library, _, kind = rival.partition("_")
    windows = np.load(path, allow_pickle=False)[: RIVALS[rival]]
    for some in (windows[:1], windows):  # the first time for imports and caches
        seconds, n_features = tsfresh(some, kind) if library == "tsfresh" else tsfel(some, rate_hz, kind or None)
    sys.stdout.write(json.dumps({"seconds": seconds, "n_features": n_features, "version": version(library)}) + "\n")


if __name__ == "__main__":
    main()
