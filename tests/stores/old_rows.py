"""Rows of the old format and of today's, and what a store holds; conftest.py loads this as `store_old_rows`."""

import numpy as np

from foresense.stores.batch import Batch
from foresense.stores.old_format import CHANNELS, FIELDS, NEW_MARKERS

T0 = 1_735_689_600 * 10**9  # 2025-01-01T00:00:00Z
STEP = 10 * 10**9
EVER = (0, 2**62)
EVERYTHING = (*FIELDS, *NEW_MARKERS, "humidity")
nan = float("nan")


def old(n=20, asset="lathe", first=0, seed=0):
    """Old rows every 10 s, some values missing; in the order of `FIELDS`."""
    rng = np.random.default_rng(seed)
    values = rng.normal(1.0, 0.3, (n, len(FIELDS)))
    values[rng.random(values.shape) < 0.1] = nan
    values[np.isnan(values[:, :5]).all(axis=1), 3] = 60.0
    return Batch.of_asset(asset, T0 + STEP * (first + np.arange(n)), FIELDS, values)


def full(n=20, asset="lathe", first=0):
    values = np.random.default_rng(1).normal(1.0, 0.3, (n, len(FIELDS)))
    return Batch.of_asset(asset, T0 + STEP * (first + np.arange(n)), FIELDS, values)


def new(n=20, asset="lathe", first=0, seed=9):
    values = np.random.default_rng(seed).normal(50.0, 3.0, (n, len(CHANNELS)))
    return Batch.of_asset(asset, T0 + STEP * (first + np.arange(n)), CHANNELS, values)


def rows(store, asset="lathe", channels=EVERYTHING):
    """Every value of an asset, as a dictionary from time and channel."""
    found = store.read(asset, *EVER, channels=channels)
    return {
        (int(found.times_ns[row]), channels[column]): float(found.values[row, column])
        for row, column in np.argwhere(~np.isnan(found.values))
    }


def of(batch, channels=None):
    return {
        (int(batch.times_ns[row]), batch.channels[column]): float(batch.values[row, column])
        for row, column in np.argwhere(~np.isnan(batch.values))
        if channels is None or batch.channels[column] in channels
    }


def expected_new(batch):
    """Today's values of old rows, by numpy's own norm and not by the code under test."""
    norm = np.linalg.norm(batch.values[:, :3], axis=1)
    values = np.column_stack([batch.values[:, 3], batch.values[:, 4], batch.values[:, 5], norm])
    return of(Batch(batch.assets, batch.asset_index, batch.times_ns, CHANNELS, values))


def same(found, expected):
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(list(found.values()), [expected[key] for key in found], rtol=1e-15)


def only(values, channels):
    return {key: one for key, one in values.items() if key[1] in channels}
