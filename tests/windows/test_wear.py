"""Wear time: the published rule minute by minute, hand-made nights, days that count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.config.actigraphy import WearConfig
from foresense.signals.actigraphy import Minutes
from foresense.windows.runs import painted, runs_of
from foresense.windows.wear import choi_worn, find_wear, stuck, valid_days, worn_minutes


def plain_choi(counts: np.ndarray, window: int = 90, interruption: int = 2, stream: int = 30) -> list[bool]:
    """Choi et al. 2011 in words: slow, minute by minute."""
    n = len(counts)
    moved = [not np.isnan(one) and one > 0 for one in counts]
    quiet = [not one for one in moved]
    at = 0
    while at < n:
        if not moved[at]:
            at += 1
            continue
        end = at
        while end < n and moved[end]:
            end += 1
        around = [*moved[max(0, at - stream) : at], *moved[end : end + stream]]
        if end - at <= interruption and not any(around):
            quiet[at:end] = [True] * (end - at)
        at = end
    worn = [True] * n
    at = 0
    while at < n:
        end = at
        while end < n and quiet[end]:
            end += 1
        if sum(not np.isnan(count) for count in counts[at:end]) >= window:
            worn[at:end] = [False] * (end - at)
        at = max(end, at + 1)
    return [one and not np.isnan(count) for one, count in zip(worn, counts, strict=True)]


LENGTHS = st.sampled_from([1, 2, 3, 10, 27, 29, 30, 31, 45, 60, 89, 90, 91])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.sampled_from([0.0, 0.0, 5.0, np.nan]), LENGTHS), min_size=1, max_size=12),
        min_size=1,
        max_size=3,
    )
)
def test_it_is_the_published_rule(rows: list[list[tuple[float, int]]]) -> None:
    people = [np.concatenate([np.full(length, value) for value, length in row]) for row in rows]
    counts = np.full((len(people), max(map(len, people))), np.nan)
    for row, one in enumerate(people):
        counts[row, : len(one)] = one
    expected = [plain_choi(one) for one in counts]
    np.testing.assert_array_equal(choi_worn(counts), expected)


def stretch(*parts: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(length, value) for value, length in parts])[None]


@pytest.mark.parametrize(
    ("counts", "n_not_worn"),
    [
        (stretch((9, 60), (0, 89), (9, 60)), 0),
        (stretch((9, 60), (0, 90), (9, 60)), 90),
        (stretch((9, 60), (0, 45), (9, 2), (0, 45), (9, 60)), 92),  # somebody moved the device
        (stretch((9, 60), (0, 45), (9, 3), (0, 45), (9, 60)), 0),  # for too long
        (stretch((9, 60), (0, 100), (9, 1), (0, 29), (9, 60)), 100),  # counts again within 30 minutes
        (stretch((9, 60), (0, 100), (9, 1), (0, 30), (9, 60)), 131),
        (stretch((9, 60), (0, 60), (np.nan, 30), (0, 30), (9, 5)), 120),  # nothing recorded is no sign of wear
        (stretch((9, 60), (0, 89), (np.nan, 30), (9, 5)), 30),  # nor of a device that lies there
        (stretch((9, 2), (0, 88), (9, 60)), 90),  # nothing is known before the first minute
    ],
)
def test_hand_made_stretches(counts: np.ndarray, n_not_worn: int) -> None:
    assert (~choi_worn(counts)).sum() == n_not_worn


def test_a_counter_that_idles_above_zero_is_found_by_its_level_or_by_its_sameness() -> None:
    rng = np.random.default_rng(0)
    idle = stretch((400, 60), (3, 200), (400, 60))
    assert choi_worn(idle).all()
    assert (~choi_worn(idle, WearConfig(idle=3))).sum() == 200
    np.testing.assert_array_equal(stuck(idle)[0], np.repeat([False, True, False], [60, 200, 60]))
    assert not stuck(idle, WearConfig(stuck_min=201)).any()
    assert stuck(idle, WearConfig(stuck_min=200)).sum() == 200
    assert not stuck(idle, WearConfig(idle=3)).any()  # found by choi_worn
    flicker = np.where(rng.random((1, 500)) < 0.5, 3.0, 0.0)
    assert not stuck(flicker).any()
    assert not choi_worn(flicker, WearConfig(idle=8)).any()


@given(mask=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=4))
def test_painting_the_runs_gives_the_mask(mask: list[list[bool]]) -> None:
    given_mask = np.array(mask)
    runs = runs_of(given_mask)
    np.testing.assert_array_equal(painted(runs, given_mask.shape), given_mask)
    assert runs.lengths.sum() == given_mask.sum()


def test_days_count_by_the_hours_that_were_worn() -> None:
    day = np.full(1440, 50.0) + np.arange(1440) % 2
    night_off = day.copy()
    night_off[:480] = 0  # 8 h off: 16 h worn
    short = day.copy()
    short[:900] = 0  # 9 h worn
    values = np.concatenate([day, night_off, short, np.full(1440, np.nan), day])[None]
    minutes = Minutes(("p",), values, np.arange(values.shape[1])[None], "counts")
    wear = find_wear(minutes, WearConfig(min_wear_h=10, min_valid_days=4))
    np.testing.assert_allclose(wear.wear_h, [[24, 16, 9, 0, 24]])
    assert wear.is_valid_day.tolist() == [[True, True, False, False, True]]
    assert wear.n_valid_days.tolist() == [3]
    assert wear.reasons().tolist() == ["3 day(s) with at least 10 h of wear, at least 4 are needed"]
    assert wear.not_worn.lengths.tolist() == [480, 900]
    assert np.isnan(worn_minutes(minutes, wear).values).sum() == 480 + 900 + 1440
    kept = valid_days(minutes, wear).values
    assert (~np.isnan(kept)).sum(axis=2).tolist() == [[1440, 960, 0, 0, 1440]]


def test_a_person_who_never_takes_the_watch_off_has_only_days_that_count() -> None:
    values = 20.0 + np.random.default_rng(0).poisson(30, (1, 7 * 1440))
    wear = find_wear(Minutes(("p",), values, np.arange(7 * 1440)[None], "counts"))
    assert wear.worn.all()
    assert wear.reasons().tolist() == [""]
    assert len(wear.not_worn.rows) == 0
