"""One encoder in a fresh process that holds numpy and its runtime: latency of a week at a time, and peak memory.

`python -m benchmarks.pat_worker FILE n_threads n_timed`; instead of a file, `keras:S` is keras.Model.predict.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from foresense.bench.worker import latencies_ms, memory_mib, summary
from foresense.export.pat_runtime import INPUT, open_features

N_WEEKS, MINUTES, N_WARMUP = 4, 10_080, 5
WEIGHTS_SEED = 0
Features = Callable[[np.ndarray], np.ndarray]


def weeks() -> np.ndarray:
    """(4, 10080), float32: standardised noise."""
    return np.random.default_rng(0).normal(size=(N_WEEKS, MINUTES)).astype(np.float32)


def opened(what: str, n_threads: int) -> Features:
    """A function from (1, 10080) to (1, 96)."""
    if what.startswith("keras:"):
        return keras_predict(what.removeprefix("keras:"), n_threads)
    run = open_features(Path(what), n_threads)
    return lambda week: run({INPUT: week})


def keras_predict(size: str, n_threads: int) -> Features:
    """keras.Model.predict of the network that the files were made of."""
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(n_threads)
    from foresense.config.pat import pat_size, weight_shapes
    from foresense.models.pat import build_encoder, build_features, load
    from foresense.models.pat_arrays import new_weights

    encoder = build_encoder(pat_size(size))
    load(encoder, pat_size(size), new_weights(weight_shapes(pat_size(size)), np.random.default_rng(WEIGHTS_SEED)))
    model = build_features(encoder)
    return lambda week: np.asarray(model.predict(week, verbose=0))


def main() -> None:
    """Measure, and print one line of JSON."""
    what, n_threads, n_timed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    features, inputs = opened(what, n_threads), weeks()
    times_ms = latencies_ms(features, inputs, N_WARMUP, n_timed)
    facts = {**summary(times_ms), "peak_rss_mib": memory_mib("VmHWM"), "features": features(inputs[:1])[0].tolist()}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
