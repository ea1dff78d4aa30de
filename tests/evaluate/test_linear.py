"""The closed form against another library, and against what made the data."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from foresense.evaluate.linear import PENALTIES, linear_map
from foresense.signals import Scaler, Windows

CONTEXT, HORIZON = 24, 6


def windows_of(samples: np.ndarray, **starts: np.ndarray) -> Windows:
    n_rows, n_channels = samples.shape
    one = np.ones(n_channels)
    names = tuple(f"c{number}" for number in range(n_channels))
    return Windows(
        group="a",
        samples=samples.astype(np.float32),
        channels=names,
        units=("1",) * n_channels,
        context=CONTEXT,
        horizon=HORIZON,
        starts=starts,
        row_times_s=np.arange(n_rows) * 3600,
        asset_of_row=np.zeros(n_rows, np.int32),
        assets=("a",),
        interval_s=3600.0,
        time_zone="UTC",
        scaler=Scaler("standard", names, 0 * one, one, 0 * one),
    )


@pytest.fixture
def wanderings() -> Windows:
    """Two channels that forget themselves slowly, like the temperature of a hall; no test part."""
    rng = np.random.default_rng(0)
    samples = np.zeros((1200, 2))
    for row in range(1, 1200):
        samples[row] = 0.9 * samples[row - 1] + rng.standard_normal(2)
    return windows_of(samples, train=np.arange(800), validation=np.arange(840, 1170))


def rows(windows: Windows, part: str) -> tuple[np.ndarray, np.ndarray]:
    batch = windows.gather(windows.starts[part]).astype(np.float64)
    batch = (batch - batch[:, CONTEXT - 1 : CONTEXT]).transpose(0, 2, 1).reshape(-1, CONTEXT + HORIZON)
    return batch[:, :CONTEXT], batch[:, CONTEXT:]


def test_weights_and_their_error_are_those_of_another_library(wanderings: Windows) -> None:
    found = linear_map(wanderings, train=wanderings.starts["train"], validation=wanderings.starts["validation"])
    x, y = rows(wanderings, "train")
    penalty = found.penalty * np.mean(x**2) * len(x)
    ridge = Ridge(alpha=penalty, fit_intercept=False, solver="svd").fit(x, y)
    np.testing.assert_allclose(found.weights, ridge.coef_.T, atol=1e-9)  # condition of the moments: below 1e5
    held_x, held_y = rows(wanderings, "validation")
    assert found.validation_mse == pytest.approx(np.mean((ridge.predict(held_x) - held_y) ** 2), rel=1e-9)


def test_no_other_penalty_does_better_on_validation(wanderings: Windows) -> None:
    found = linear_map(wanderings, train=wanderings.starts["train"], validation=wanderings.starts["validation"])
    (x, y), (held_x, held_y) = rows(wanderings, "train"), rows(wanderings, "validation")
    for share in PENALTIES:
        ridge = Ridge(alpha=share * np.mean(x**2) * len(x), fit_intercept=False, solver="svd").fit(x, y)
        assert found.validation_mse <= np.mean((ridge.predict(held_x) - held_y) ** 2) * (1 + 1e-9)


def test_it_forecasts_what_is_linear_without_an_error() -> None:
    hours = np.arange(900)
    samples = np.stack([np.sin(2 * np.pi * hours / 12), 3 + np.cos(2 * np.pi * hours / 12)], axis=1)
    windows = windows_of(samples, train=np.arange(600), validation=np.arange(620, 800), test=np.arange(820, 870))
    found = linear_map(windows, train=windows.starts["train"], validation=windows.starts["validation"])
    batch = windows.gather(windows.starts["test"])
    np.testing.assert_allclose(
        found(batch[:, :CONTEXT], windows.starts["test"]), batch[:, CONTEXT:], atol=2e-6
    )  # samples are float32
    assert found.validation_mse < 1e-12
