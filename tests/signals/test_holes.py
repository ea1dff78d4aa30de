"""Taking values away: how many go, and that nothing else changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.signals import SignalError
from foresense.signals.holes import removed

KINDS = ("random", "block", "channel")


def courses(seed: int, n: int = 7, n_channels: int = 3, n_steps: int = 20, missing: float = 0.3) -> np.ndarray:
    """(n, n_channels, n_steps), with holes already, and one course without a value."""
    rng = np.random.default_rng(seed)
    found = rng.standard_normal((n, n_channels, n_steps)).astype(np.float32)
    found[rng.random(found.shape) < missing] = np.nan
    found[0, 0] = np.nan
    return found


@settings(deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0, 1), kind=st.sampled_from(KINDS), missing=st.floats(0, 1))
def test_the_asked_share_goes_and_the_rest_stays(seed: int, share: float, kind: str, missing: float) -> None:
    before = courses(seed, missing=missing)
    kept = before.copy()
    after = removed(before, share, kind, np.random.default_rng(seed))
    np.testing.assert_array_equal(before, kept)
    assert (after.shape, after.dtype) == (before.shape, before.dtype)
    stays = ~np.isnan(after)
    np.testing.assert_array_equal(after[stays], before[stays])
    had, has = (~np.isnan(before)).sum(axis=2), stays.sum(axis=2)
    if kind == "channel":
        assert ((has == had) | (has == 0)).all()
        assert ((had > 0) & (has == 0)).sum() == round(share * int((had > 0).sum()))
    else:
        assert (had - has).sum() == round(share * int(had.sum()))
    if kind == "block":
        assert (np.abs((had - has) - share * had) < 1).all()


@settings(deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0, 1))
def test_a_block_is_one_run_in_time(seed: int, share: float) -> None:
    before = courses(seed)
    after = removed(before, share, "block", np.random.default_rng(seed))
    for had, has in zip(before.reshape(-1, 20), after.reshape(-1, 20), strict=True):
        gone = np.isnan(has)[~np.isnan(had)]  # of the measured values, in the order of time
        assert np.abs(np.diff(np.r_[0, gone, 0])).sum() in (0, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_alone_decides_and_every_place_can_go(kind: str) -> None:
    before = np.zeros((50, 4, 10))
    first, again, other = (removed(before, 0.5, kind, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(np.isnan(first), np.isnan(other))
    assert np.isnan(first).any(axis=0).all()


def test_arrays_of_any_axes_are_taken() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(removed(np.zeros(10), 0.5, "random", rng)).sum() == 5
    assert removed(np.zeros((3, 0, 8)), 0.5, "channel", rng).shape == (3, 0, 8)
    turned = np.zeros((8, 3)).T  # not contiguous
    assert np.isnan(removed(turned, 0.5, "random", rng)).sum() == 12


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((np.zeros(3), 1.5, "random"), "expected 0..1, found 1.5"),
        ((np.zeros(3), 0.5, "gap"), "no kind 'gap'; known: random, block, channel"),
        ((np.zeros(3, int), 0.5, "block"), r"expected floating numbers with steps last, found int64 \(3,\)"),
    ],
)
def test_what_cannot_be_removed_is_named(asked: tuple, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        removed(*asked, np.random.default_rng(0))
