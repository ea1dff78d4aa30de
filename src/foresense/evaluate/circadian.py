"""How regular days are: interdaily stability, intradaily variability, least and most active hours, cosinor, SRI.

Activity by the wall clock goes in, (n_people, n_days, 1440), NaN where nothing was recorded or worn. A missing minute
is left out of every sum; with none missing the formulas are those of their sources.
"""

from dataclasses import dataclass

import numpy as np

from foresense.evaluate.measured import Measured, measured
from foresense.signals.actigraphy import MINUTES_PER_DAY

HOURS_PER_DAY = 24
#: Known minutes that an hour must have to have a mean.
MIN_PER_HOUR = 30
#: Days that must share an hour of the clock before days can be compared.
MIN_DAYS = 2
_NOTHING = "no activity was recorded while the counter was worn"
_CONSTANT = "activity is the same in every hour"
#: Relative size of what rounding leaves of a sum of squares that is 0.
_RESIDUE = 1e-20


def hourly_means(days: np.ndarray) -> np.ndarray:
    """(n_people, n_days, 24): mean of each hour; NaN where fewer than 30 minutes of it are known.

    Args:
        days: (n_people, n_days, 1440), NaN where missing.
    """
    minutes = days.reshape(*days.shape[:2], HOURS_PER_DAY, 60)
    known = ~np.isnan(minutes)
    counts = known.sum(axis=3)
    sums = np.where(known, minutes, 0.0).sum(axis=3)
    return np.asarray(np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts >= MIN_PER_HOUR))


@dataclass(frozen=True, eq=False)
class _Spread:
    """Hourly means in the order of time, and their deviations from the mean of all."""

    known: np.ndarray  # (n_people, n_hours)
    off: np.ndarray  # (n_people, n_hours), 0 where not known
    n: np.ndarray  # (n_people,)
    squares: np.ndarray  # (n_people,)
    is_constant: np.ndarray  # (n_people,)


def _spread(days: np.ndarray) -> _Spread:
    hours = hourly_means(days).reshape(len(days), -1)
    known = ~np.isnan(hours)
    filled = np.where(known, hours, 0.0)
    n = known.sum(axis=1)
    off = np.where(known, filled - (filled.sum(axis=1) / np.maximum(n, 1))[:, None], 0.0)
    squares = (off**2).sum(axis=1)
    return _Spread(known, off, n, squares, squares <= _RESIDUE * np.maximum((filled**2).sum(axis=1), 1e-300))


def interdaily_stability(days: np.ndarray) -> Measured:
    """IS: the share of the variance of hourly means that the mean day has, 0 (no daily rhythm) .. 1 (each day alike).

    IS = n Σ_h (x̄_h - x̄)² / (24 Σ_i (x_i - x̄)²) over the 24 hours of the clock (Witting et al., Biological Psychiatry
    27, 1990; Van Someren et al., Chronobiology International 16, 1999). With missing hours each x̄_h counts as often as
    its hour is known, Σ_h n_h (x̄_h - x̄)² / Σ_i (x_i - x̄)²: the same where n_h = n / 24, and never above 1.

    Args:
        days: (n_people, n_days, 1440), NaN where missing.
    """
    spread = _spread(days)
    shape = (len(days), -1, HOURS_PER_DAY)
    n_h = spread.known.reshape(shape).sum(axis=1)
    sums_h = spread.off.reshape(shape).sum(axis=1)
    between = (sums_h**2 / np.maximum(n_h, 1)).sum(axis=1)
    values = np.divide(between, spread.squares, out=np.full(len(days), np.nan), where=~spread.is_constant)
    rules = [
        (spread.n == 0, _NOTHING),
        (n_h.min(axis=1) < 1, "an hour of the clock is not known on any day"),
        (n_h.min(axis=1) < MIN_DAYS, f"an hour of the clock is known on fewer than {MIN_DAYS} days"),
        (spread.is_constant, _CONSTANT),
    ]
    return measured("interdaily_stability", "1", values, rules)


def intradaily_variability(days: np.ndarray) -> Measured:
    """IV: how much activity changes from hour to hour, about 0 (a smooth wave) .. 2 (white noise), or above.

    IV = n Σ_{i>=2} (x_i - x_{i-1})² / ((n - 1) Σ_i (x_i - x̄)²) (Witting et al. 1990; Van Someren et al. 1999). With
    missing hours: mean square of the differences between hours that follow one another, over the mean square from the
    mean; the same where none is missing.

    Args:
        days: (n_people, n_days, 1440), NaN where missing.
    """
    spread = _spread(days)
    both = spread.known[:, 1:] & spread.known[:, :-1]
    n_pairs = both.sum(axis=1)
    steps = np.where(both, np.diff(spread.off, axis=1), 0.0)
    mean_step = (steps**2).sum(axis=1) / np.maximum(n_pairs, 1)
    mean_square = spread.squares / np.maximum(spread.n, 1)
    values = np.divide(mean_step, mean_square, out=np.full(len(days), np.nan), where=~spread.is_constant)
    rules = [
        (spread.n == 0, _NOTHING),
        (n_pairs < HOURS_PER_DAY, f"fewer than {HOURS_PER_DAY} pairs of hours that follow one another are known"),
        (spread.is_constant, _CONSTANT),
    ]
    return measured("intradaily_variability", "1", values, rules)


def mean_day(days: np.ndarray) -> np.ndarray:
    """(n_people, 1440): mean of each minute of the clock over the days where it is known; NaN where it never is."""
    known = ~np.isnan(days)
    counts = known.sum(axis=1)
    sums = np.where(known, days, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(counts.shape, np.nan), where=counts > 0))


@dataclass(frozen=True, eq=False)
class RestActivity:
    """The least and most active hours of the mean day.

    Attributes:
        l5: Mean activity of the least active 5 h, in the activity's unit.
        m10: Mean activity of the most active 10 h.
        l5_onset: Hour of the clock at which the least active 5 h begin, 0 <= h < 24.
        m10_onset: Hour of the clock at which the most active 10 h begin.
        relative_amplitude: (M10 - L5) / (M10 + L5), 0..1.
    """

    l5: Measured
    m10: Measured
    l5_onset: Measured
    m10_onset: Measured
    relative_amplitude: Measured


def least_and_most_active(days: np.ndarray, unit: str) -> RestActivity:
    """L5, M10 and RA of the mean day by minute, cyclic over midnight (Van Someren et al. 1999).

    Of several stretches that are equally active the first after midnight is taken.

    Args:
        days: (n_people, n_days, 1440), NaN where missing.
        unit: Of the activity.
    """
    profile = mean_day(days)
    gaps = np.isnan(profile).any(axis=1)
    filled = np.where(gaps[:, None], 0.0, profile)
    l5_means, m10_means = (_cyclic_means(filled, hours * 60) for hours in (5, 10))
    l5_at, m10_at = l5_means.argmin(axis=1), m10_means.argmax(axis=1)
    rows = np.arange(len(days))
    l5, m10 = l5_means[rows, l5_at], m10_means[rows, m10_at]
    whole = np.where(l5 + m10 > 0, l5 + m10, np.nan)
    rules = [(np.isnan(profile).all(axis=1), _NOTHING), (gaps, "a minute of the clock is not known on any day")]
    flat = filled.max(axis=1) == filled.min(axis=1)
    same = [*rules, (flat, "activity is the same in every minute")]
    still = [*rules, (np.isnan(whole), "there is no activity at all")]
    return RestActivity(
        l5=measured("l5", unit, l5, rules),
        m10=measured("m10", unit, m10, rules),
        l5_onset=measured("l5_onset", "h", l5_at / 60, same),
        m10_onset=measured("m10_onset", "h", m10_at / 60, same),
        relative_amplitude=measured("relative_amplitude", "1", (m10 - l5) / whole, still),
    )


def _cyclic_means(profile: np.ndarray, length: int) -> np.ndarray:
    """(n_people, 1440): mean of the `length` minutes from each minute on."""
    turned = np.concatenate([profile, profile[:, :length]], axis=1)
    views = np.lib.stride_tricks.sliding_window_view(turned, length, axis=1)[:, : profile.shape[1]]
    return np.asarray(views.mean(axis=2))


@dataclass(frozen=True, eq=False)
class Cosinor:
    """A cosine of 24 h through the activity.

    Attributes:
        mesor: Mean of the cosine, in the activity's unit.
        amplitude: From its mean to its peak.
        acrophase: Hour of the clock of its peak, 0 <= h < 24.
        r_squared: Share of the variance of the minutes that it explains, 0..1.
    """

    mesor: Measured
    amplitude: Measured
    acrophase: Measured
    r_squared: Measured


def fit_cosinor(days: np.ndarray, unit: str) -> Cosinor:
    """Least squares of x = M + A cos(2πt/24 + φ) on cos and sin of the wall clock (Cornelissen 2014, section 2.1).

    Cornelissen, Cosinor-based rhythmometry, Theoretical Biology and Medical Modelling 11. t is the begin of a minute in
    hours; the acrophase is told as the hour of the peak, -24 φ / 2π.

    Args:
        days: (n_people, n_days, 1440), NaN where missing.
        unit: Of the activity.
    """
    angle = 2 * np.pi * np.arange(MINUTES_PER_DAY) / MINUTES_PER_DAY
    design = np.stack([np.ones(MINUTES_PER_DAY), np.cos(angle), np.sin(angle)], axis=1)
    known = ~np.isnan(days)
    counts = known.sum(axis=1)  # (n_people, 1440): days on which a minute is known
    filled = np.where(known, days, 0.0)
    n = counts.sum(axis=1)
    mean = filled.sum(axis=(1, 2)) / np.maximum(n, 1)
    off = np.where(known, days - mean[:, None, None], 0.0)
    gram = np.einsum("pm,mi,mj->pij", counts, design, design)
    is_spread = np.linalg.matrix_rank(gram) == 3
    gram = np.where(is_spread[:, None, None], gram, np.eye(3))
    moments = off.sum(axis=1) @ design
    level, cosine, sine = np.linalg.solve(gram, moments[..., None])[..., 0].T
    squares = (off**2).sum(axis=(1, 2))
    explained = level * moments[:, 0] + cosine * moments[:, 1] + sine * moments[:, 2]
    is_constant = squares <= _RESIDUE * np.maximum((filled**2).sum(axis=(1, 2)), 1e-300)
    rules = [(n == 0, _NOTHING), (~is_spread, "too few minutes of the clock are known to tell a wave")]
    flat = [*rules, (is_constant, "activity is the same in every minute")]
    acrophase = np.arctan2(sine, cosine) * HOURS_PER_DAY / (2 * np.pi)
    acrophase = np.where(acrophase < 0, acrophase + HOURS_PER_DAY, acrophase) % HOURS_PER_DAY
    share = np.divide(explained, squares, out=np.full(len(days), np.nan), where=~is_constant)
    return Cosinor(
        mesor=measured("mesor", unit, mean + level, rules),
        amplitude=measured("amplitude", unit, np.hypot(cosine, sine), rules),
        acrophase=measured("acrophase", "h", acrophase, flat),
        r_squared=measured("cosinor_r_squared", "1", share, flat),
    )


def sleep_regularity(states: np.ndarray) -> Measured:
    """SRI: how often a person is in the same state 24 h apart: 100 always, 0 as often as not, -100 never.

    SRI = 200 P(same state at t and t + 24 h) - 100 (Phillips et al., Scientific Reports 7:3216, 2017, "Methods"), over
    all pairs of minutes that are both known.

    Args:
        states: (n_people, n_minutes) by elapsed minute: 1 asleep, 0 awake, -1 unknown.
    """
    earlier, later = states[:, :-MINUTES_PER_DAY], states[:, MINUTES_PER_DAY:]
    both = (earlier >= 0) & (later >= 0)
    n_pairs = both.sum(axis=1)
    same = (both & (earlier == later)).sum(axis=1)
    n_known, n_asleep = (states >= 0).sum(axis=1), (states == 1).sum(axis=1)
    rules = [
        (n_known == 0, "no minute is scored as sleep or wake"),
        (n_pairs < MINUTES_PER_DAY, "fewer than 24 h of minutes are known on two days that follow one another"),
        ((n_asleep == 0) | (n_asleep == n_known), "every minute is scored alike"),
    ]
    return measured("sleep_regularity_index", "1", 200 * same / np.maximum(n_pairs, 1) - 100, rules)
