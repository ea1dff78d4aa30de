"""The Pretrained Actigraphy Transformer on its way out: features of a week in every format of FORMATS.

What is converted is the folded encoder (`models.pat_folded`), equal to the Keras one up to rounding: proved on the
calibration weeks before anything is written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from foresense.config.pat import PatSize
from foresense.export.proof import ExportError
from foresense.export.source import ExportSource
from foresense.models.pat import INPUT, weights_of
from foresense.models.pat_folded import FoldedPat

OUTPUT = "features"
#: Between the folded network and Keras', float32; features are of the order of 1.
TOLERANCE = 1e-5


def feature_source(size: PatSize, weights: Mapping[str, np.ndarray], weeks: np.ndarray, scratch: Path) -> ExportSource:
    """The folded encoder as `export.source.convert` and `export.proof.convert_all` take it.

    Args:
        size: One without a convolution.
        weights: Path in the official file -> array: `models.pat.weights_of`, or `registry.weights.read_weights`.
        weeks: (n, n_minutes), float32, standardised: what int8 is calibrated with; weeks of the training part.
        scratch: An existing folder for files that several variants share.

    Returns:
        A source whose files map `actigraphy_input` (1, n_minutes) to `features` (1, 96).

    Raises:
        PatWeightsError: the weights are not the size's.
        ValueError: a size with a convolution, or weeks that are no whole number of patches.
    """
    model = FoldedPat(size, weights, n_minutes=weeks.shape[1]).eval()
    return ExportSource(model, {INPUT: np.asarray(weeks, np.float32)}, OUTPUT, scratch)


def agreed_source(size: PatSize, encoder: Any, weeks: np.ndarray, scratch: Path) -> ExportSource:
    """The same from a Keras encoder, after proof that both give the same features.

    Args:
        size: Of the encoder.
        encoder: What `models.pat.build_encoder` made.
        weeks: (n, n_minutes), as in `feature_source`.
        scratch: As in `feature_source`.

    Raises:
        ExportError: the two differ by more than rounding.
    """
    source = feature_source(size, weights_of(encoder, size), weeks, scratch)
    error = keras_difference(encoder, source)
    if not error <= TOLERANCE:
        raise ExportError(
            f"PAT-{size.name}: the folded encoder differs from Keras' by {error:.3g} on {len(weeks)} weeks; at most "
            f"{TOLERANCE:g} is rounding"
        )
    return source


def keras_difference(encoder: Any, source: ExportSource) -> float:
    """Largest difference between the features of Keras' encoder and those of a source, on its calibration weeks."""
    found = [
        np.asarray(encoder(example[INPUT], training=False)[0]).mean(axis=1, dtype=np.float64)
        for example in source.examples
    ]
    return float(np.abs(np.concatenate(found) - source.reference).max())
