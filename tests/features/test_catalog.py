"""The contract of every family in the catalog."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.wrist_reference import wrist_windows
from foresense.features import FEATURES, Contexts, family_version, load_family

N, LENGTH = 7, 200


@pytest.fixture
def contexts(name):
    """What the family of this name takes."""
    return wrist() if name.startswith("wrist_") and name != "wrist_time" else machine()


def wrist():
    """10 s of acceleration of the wrist at 20 Hz: resting, sitting, walking, running."""
    samples = wrist_windows(N, length=LENGTH, rate_hz=20.0)
    return Contexts(
        samples=samples,
        imputed=np.zeros(samples.shape, bool),
        issued_s=1_735_689_600 + 10 * np.arange(N),
        channels=("x", "y", "z"),
        units=("g", "g", "g"),
        interval_s=0.05,
        time_zone="Europe/Berlin",
    )


def machine():
    """Hourly body temperature (Cel), current (A) and a channel that stands still, each with a daily cycle or none."""
    rng = np.random.default_rng(3)
    hours = np.arange(N * 50 + LENGTH)
    samples = np.stack(
        [
            60 + 8 * np.sin(2 * np.pi * hours / 24) + rng.normal(0, 1, len(hours)),
            15 + 0.01 * hours + rng.normal(0, 2, len(hours)),
            np.full(len(hours), 0.1),
        ],
        axis=1,
    )
    rows = 50 * np.arange(N)[:, None] + np.arange(LENGTH)
    return Contexts(
        samples=samples[rows],
        imputed=rng.random((N, LENGTH, 3)) < 0.1,
        issued_s=1_735_689_600 + 3600 * rows[:, -1],
        channels=("temp_body", "current", "stuck"),
        units=("Cel", "A", "g"),
        interval_s=3600.0,
        time_zone="Europe/Berlin",
    )


def only(contexts, rows):
    return replace(
        contexts, samples=contexts.samples[rows], imputed=contexts.imputed[rows], issued_s=contexts.issued_s[rows]
    )


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_every_feature_has_one_name_one_unit_and_finite_values(name, contexts):
    found = load_family(name)(contexts)
    assert len(set(found.names)) == len(found.names) == len(found.units)
    assert all(found.units)
    assert found.values.shape == (N, len(found.names))
    assert found.values.dtype == np.float64
    assert np.isfinite(found.values).all()


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_a_batch_is_its_windows_one_by_one(name, contexts):
    family = load_family(name)
    one_by_one = [family(only(contexts, slice(row, row + 1))).values for row in range(N)]
    np.testing.assert_allclose(family(contexts).values, np.concatenate(one_by_one), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_turning_the_channels_round_turns_the_features_round(name, contexts):
    family = load_family(name)
    order = [2, 0, 1]
    turned = family(
        replace(
            contexts,
            samples=contexts.samples[..., order],
            imputed=contexts.imputed[..., order],
            channels=tuple(contexts.channels[index] for index in order),
            units=tuple(contexts.units[index] for index in order),
        )
    )
    straight = family(contexts)
    assert sorted(zip(turned.names, turned.units, strict=True)) == sorted(
        zip(straight.names, straight.units, strict=True)
    )
    columns = [turned.names.index(feature) for feature in straight.names]
    np.testing.assert_allclose(turned.values[:, columns], straight.values, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_every_family_has_a_version(name):
    assert family_version(name) >= 1


def test_an_unknown_family_names_the_nearest_one():
    with pytest.raises(ValueError, match=r"no family 'calender'; did you mean 'calendar'\? \(known: "):
        load_family("calender")
