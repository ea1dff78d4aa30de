import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from foresense.signals import SignalError
from foresense.windows import constant_channels, fit_scaler

CHANNELS = ("temp_body", "current")
PEERS = {"minmax": MinMaxScaler, "standard": StandardScaler}


def machine(rng, n_rows):
    """Body temperature in Cel and current in A, with holes."""
    samples = np.stack([rng.normal(62, 4, n_rows), rng.gamma(3, 5, n_rows)], axis=1)
    samples[rng.random(samples.shape) < 0.05] = np.nan
    return samples


@pytest.mark.parametrize("kind", sorted(PEERS))
def test_scaled_values_are_those_of_scikit_learn(kind):
    rng = np.random.default_rng(0)
    train, later = machine(rng, 500), machine(rng, 200) * 1.5
    scaler = fit_scaler(train, CHANNELS, kind, group="lathe")
    np.testing.assert_allclose(
        scaler.transform(later, CHANNELS), PEERS[kind]().fit(train).transform(later), rtol=1e-12, atol=1e-12
    )


def test_nothing_is_clipped():
    scaler = fit_scaler(np.array([[0.0], [10.0]]), ("current",), "minmax", group="lathe")
    assert scaler.transform(np.array([[-10.0], [30.0]]), ("current",)).ravel().tolist() == [-1.0, 3.0]


@pytest.mark.parametrize("kind", sorted(PEERS))
def test_a_constant_channel_gets_scale_1_as_in_scikit_learn_and_is_named(kind):
    train = np.stack([np.full(1000, 0.1), np.arange(1000.0)], axis=1)
    train[3, 0] = np.nan
    scaler = fit_scaler(train, CHANNELS, kind, group="lathe")
    assert scaler.scale[0] == 1.0
    assert constant_channels(train, CHANNELS) == ["temp_body"]
    np.testing.assert_allclose(scaler.scale[0], PEERS[kind]().fit(train).scale_[0])


def test_a_channel_without_any_training_value_is_refused():
    train = np.array([[np.nan, 1.0], [np.nan, 2.0]])
    with pytest.raises(SignalError, match=r"group 'lathe': channel\(s\) \['temp_body'\] have no value in the 2 rows"):
        fit_scaler(train, CHANNELS, "minmax", group="lathe")


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(sorted(PEERS)))
def test_the_inverse_gives_the_samples_back(seed, kind):
    rng = np.random.default_rng(seed)
    samples = machine(rng, 50)
    scaler = fit_scaler(samples, CHANNELS, kind, group="lathe")
    back = scaler.inverse(scaler.transform(samples, CHANNELS), CHANNELS)
    np.testing.assert_allclose(back, samples, rtol=1e-12, atol=1e-10)
