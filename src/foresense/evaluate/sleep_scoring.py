"""Which minutes are sleep: Cole-Kripke, Webster's rescoring, Sadeh; and a rule for what these do not hold for.

Minutes that follow one another go in, (n_people, n_minutes), NaN where nothing was recorded or worn. States come out,
int8: 1 asleep, 0 awake, -1 unknown (the minute itself is missing). A missing neighbour, and one before the first or
after the last minute, counts as no activity.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from foresense.evaluate.measured import ActigraphyError
from foresense.signals.actigraphy import ActivityUnit, Minutes
from foresense.windows.runs import Runs, painted, runs_of

ASLEEP, AWAKE, UNKNOWN = 1, 0, -1
#: ActiGraph practice: more counts say nothing more about sleep.
MOST_COUNTS = 300.0


@dataclass(frozen=True)
class ColeKripke:
    """One formula of Cole et al., Sleep 15:461, 1992: D = P Σ w A over 4 minutes before to 2 after; sleep is D < 1.

    Attributes:
        name: How it is asked for.
        activity: What A must be for each minute.
        factor: P.
        weights: Of the minutes -4 .. +2.
        divisor: Counts are divided by this first.
        most: And then at most this.
    """

    name: str
    activity: str
    factor: float
    weights: tuple[float, ...]
    divisor: float = 1.0
    most: float = np.inf


_MINUTE = ColeKripke("minute", "counts per minute on the scale of the paper", 1e-3, (106, 54, 58, 76, 230, 74, 67))
#: Name -> formula. `minute` takes counts as they are; `actigraph` is the practice with ActiGraph counts, min(A / 100,
#: 300); `actiwatch` takes A / 30, the practice of pyActigraphy with minutes of an Actiwatch. The other three take what
#: `windows.minutes.minute_maxima` makes.
COLE_KRIPKE: dict[str, ColeKripke] = {
    "minute": _MINUTE,
    "actigraph": replace(_MINUTE, name="actigraph", divisor=100.0, most=MOST_COUNTS),
    "actiwatch": replace(_MINUTE, name="actiwatch", divisor=30.0),
    "10s_maximum_overlapping": ColeKripke(
        "10s_maximum_overlapping",
        "largest sum over any 10 s of the minute",
        1e-5,
        (50, 30, 300, 400, 1400, 500, 350),
    ),
    "10s_maximum": ColeKripke(
        "10s_maximum", "largest of the six 10 s epochs of the minute", 1e-5, (550, 378, 413, 699, 1736, 287, 309)
    ),
    "30s_maximum": ColeKripke(
        "30s_maximum", "largest of the two 30 s epochs of the minute", 1e-4, (50, 30, 14, 28, 121, 8, 50)
    ),
}
_N_BEFORE = 4


@dataclass(frozen=True)
class WebsterRules:
    """When sleep next to wake is wake too (Webster et al., Sleep 5:389, 1982).

    Attributes:
        after_wake: (minutes awake, minutes asleep after them that become wake).
        between_wake: (minutes awake on both sides, longest sleep between them that becomes wake).
    """

    after_wake: tuple[tuple[int, int], ...] = ((4, 1), (10, 3), (15, 4))
    between_wake: tuple[tuple[int, int], ...] = ((15, 6), (20, 10))


#: `between_wake` as Cole et al. 1992 are often quoted: 10 instead of 15 minutes around the shorter sleep.
COLE_1992_RULES = WebsterRules(between_wake=((10, 6), (20, 10)))


@dataclass(frozen=True, eq=False)
class SleepScores:
    """States of all minutes, and how far to trust them.

    Attributes:
        states: (n_people, n_minutes), int8: 1 asleep, 0 awake, -1 unknown.
        method: What scored them.
        is_published: Whether it is a published formula for this unit of activity; else a stand-in.
        note: What a reader of the numbers must know; empty where there is nothing.
    """

    states: np.ndarray
    method: str
    is_published: bool
    note: str = ""


SleepMethod = Literal["cole_kripke", "sadeh"]


def score_sleep(
    minutes: Minutes,
    *,
    method: SleepMethod = "cole_kripke",
    variant: str | None = None,
    share_asleep: float | None = None,
) -> SleepScores:
    """Score every minute by the method that holds for its unit.

    Args:
        minutes: NaN where not worn.
        method: For counts.
        variant: A name in COLE_KRIPKE (absent: `actiwatch`) or SADEH (absent: `sadeh_1994`).
        share_asleep: Other units than counts: use `quantile_sleep` with this share, flagged; absent: refuse them.

    Raises:
        ActigraphyError: activity that is not in counts without `share_asleep`, or no such variant.
    """
    if minutes.unit != "counts":
        if share_asleep is None:
            raise ActigraphyError(_not_counts(method, minutes.unit))
        note = (
            f"scored by the quantile rule: the stillest {share_asleep:.0%} of minutes are called sleep, because no "
            f"published formula holds for activity in {minutes.unit!r}; total sleep time follows from the rule"
        )
        return SleepScores(quantile_sleep(minutes.values, share_asleep), "quantile", False, note)
    if method == "cole_kripke":
        chosen = variant or "actiwatch"
        states = webster_rescored(cole_kripke(minutes.values, minutes.unit, variant=chosen))
        return SleepScores(states, f"cole_kripke {chosen}, webster", True)
    chosen = variant or "sadeh_1994"
    return SleepScores(sadeh(minutes.values, minutes.unit, variant=chosen), chosen, True)


def cole_kripke(activity: np.ndarray, unit: ActivityUnit, *, variant: str = "minute") -> np.ndarray:
    """States by one formula of Cole et al. 1992, before any rescoring.

    Args:
        activity: (n_people, n_minutes), what `COLE_KRIPKE[variant].activity` says; NaN where missing.
        unit: Must be counts.
        variant: A name in COLE_KRIPKE.

    Returns:
        (n_people, n_minutes), int8: 1 asleep, 0 awake, -1 unknown.

    Raises:
        ActigraphyError: another unit, or no such variant.
    """
    _require_counts(unit, "cole_kripke")
    if variant not in COLE_KRIPKE:
        raise ActigraphyError(f"no Cole-Kripke formula {variant!r} (known: {', '.join(COLE_KRIPKE)})")
    formula = COLE_KRIPKE[variant]
    scaled = np.minimum(_filled(activity) / formula.divisor, formula.most)
    score = _weighted(scaled, formula.weights, _N_BEFORE) * formula.factor
    return _states(score < 1, activity)


def webster_rescored(states: np.ndarray, rules: WebsterRules | None = None) -> np.ndarray:
    """States with sleep next to wake called wake.

    The rules `after_wake` are all asked of the states that come in; then the rules `between_wake` of what those leave.
    Unknown minutes end a stretch, are neither sleep nor wake, and stay unknown.

    Args:
        states: (n_people, n_minutes), int8.
        rules: Absent: `WebsterRules()`.
    """
    rules = rules or WebsterRules()
    sleep, n_before, _ = _sleep_between_wake(states)
    n_lost = np.zeros(len(sleep.rows), np.int64)
    for n_wake, n_sleep in rules.after_wake:
        n_lost = np.where(n_before >= n_wake, np.maximum(n_lost, n_sleep), n_lost)
    lost = replace(sleep, ends=np.minimum(sleep.begins + n_lost, sleep.ends))
    once = np.where(painted(lost, states.shape), np.int8(AWAKE), states)
    sleep, n_before, n_after = _sleep_between_wake(once)
    is_lost = np.zeros(len(sleep.rows), bool)
    for n_wake, n_sleep in rules.between_wake:
        is_lost |= (np.minimum(n_before, n_after) >= n_wake) & (sleep.lengths <= n_sleep)
    return np.where(painted(sleep.taken(is_lost), states.shape), np.int8(AWAKE), once)


def _sleep_between_wake(states: np.ndarray) -> tuple[Runs, np.ndarray, np.ndarray]:
    """Stretches of sleep, and the minutes awake right before and right after each."""
    wake, sleep = runs_of(states == AWAKE), runs_of(states == ASLEEP)
    until, since = np.zeros((2, len(states), states.shape[1] + 1), np.int64)
    until[wake.rows, wake.ends] = wake.lengths
    since[wake.rows, wake.begins] = wake.lengths
    return sleep, until[sleep.rows, sleep.begins], since[sleep.rows, sleep.ends]


@dataclass(frozen=True)
class Sadeh:
    """One use of the formula of Sadeh et al., Sleep 17:201, 1994.

    Attributes:
        name: How it is asked for.
        threshold: Sleep is a score at or above this.
        divisor: Counts are divided by this first.
    """

    name: str
    threshold: float
    divisor: float = 1.0


#: Name -> use. `sadeh_1994`: as published. `actilife`: ActiLife scores sleep from -4 on. `actigraph`: counts of the
#: newer ActiGraphs, A / 100, as for Cole-Kripke.
SADEH: dict[str, Sadeh] = {
    "sadeh_1994": Sadeh("sadeh_1994", 0.0),
    "actilife": Sadeh("actilife", -4.0),
    "actigraph": Sadeh("actigraph", 0.0, divisor=100.0),
}
_HALF_WINDOW, _N_SPREAD = 5, 6
_NAT_FROM, _NAT_BELOW = 50.0, 100.0


def sadeh(activity: np.ndarray, unit: ActivityUnit, *, variant: str = "sadeh_1994") -> np.ndarray:
    """States by Sadeh et al. 1994: PS = 7.601 - 0.065 MW5 - 1.08 NAT - 0.056 SD6 - 0.703 ln(A + 1).

    MW5 is the mean of the 11 minutes around, NAT how many of them have 50 <= A < 100, SD6 the sample deviation of the
    minute and the 5 before it; counts are at most 300.

    Args:
        activity: (n_people, n_minutes), counts per minute; NaN where missing.
        unit: Must be counts.
        variant: A name in SADEH.

    Returns:
        (n_people, n_minutes), int8: 1 asleep, 0 awake, -1 unknown.

    Raises:
        ActigraphyError: another unit, or no such variant.
    """
    _require_counts(unit, "sadeh")
    if variant not in SADEH:
        raise ActigraphyError(f"no use of Sadeh's formula {variant!r} (known: {', '.join(SADEH)})")
    counts = np.minimum(_filled(activity) / SADEH[variant].divisor, MOST_COUNTS)
    width = 2 * _HALF_WINDOW + 1
    mean = _weighted(counts, (1.0,) * width, _HALF_WINDOW) / width
    n_moderate = _weighted(
        ((counts >= _NAT_FROM) & (counts < _NAT_BELOW)).astype(np.float64), (1.0,) * width, _HALF_WINDOW
    )
    padded = np.pad(counts, ((0, 0), (_N_SPREAD - 1, 0)))
    spread = np.lib.stride_tricks.sliding_window_view(padded, _N_SPREAD, axis=1).std(axis=2, ddof=1)
    score = 7.601 - 0.065 * mean - 1.08 * n_moderate - 0.056 * spread - 0.703 * np.log(counts + 1)
    return _states(score >= SADEH[variant].threshold, activity)


def quantile_sleep(activity: np.ndarray, share_asleep: float) -> np.ndarray:
    """States by rank, for any unit: asleep where the mean of the 11 minutes around is in the person's lowest share.

    Of no source: a stand-in where no published formula holds. It orders minutes, and cannot say how long anybody slept.

    Args:
        activity: (n_people, n_minutes); NaN where missing.
        share_asleep: Share of the known minutes that are called sleep, between 0 and 1 (8 h a day: 1/3).

    Raises:
        ActigraphyError: a share outside of 0..1.
    """
    if not 0 < share_asleep < 1:
        raise ActigraphyError(f"share_asleep is {share_asleep:g}; expected a share between 0 and 1, such as 0.33")
    width = 2 * _HALF_WINDOW + 1
    known = ~np.isnan(activity)
    sums = _weighted(_filled(activity), (1.0,) * width, _HALF_WINDOW)
    counts = _weighted(known.astype(np.float64), (1.0,) * width, _HALF_WINDOW)
    means = np.where(known, sums / np.maximum(counts, 1), np.inf)
    n_known = known.sum(axis=1)
    ranked = np.sort(means, axis=1)
    at = np.clip(np.ceil(share_asleep * n_known).astype(np.int64) - 1, 0, None)
    limit = ranked[np.arange(len(activity)), at]
    return _states(means <= limit[:, None], activity)


def _require_counts(unit: ActivityUnit, method: str) -> None:
    if unit != "counts":
        raise ActigraphyError(_not_counts(method, unit))


def _not_counts(method: str, unit: ActivityUnit) -> str:
    return (
        f"{method} was fitted to activity counts, found activity in {unit!r}; set ingest.unit to counts if they are, "
        "or ask for the flagged quantile rule (share_asleep)"
    )


def _filled(activity: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(activity), 0.0, activity)


def _weighted(values: np.ndarray, weights: tuple[float, ...], n_before: int) -> np.ndarray:
    """Σ w values over the minutes from `n_before` before on; 0 outside."""
    n = values.shape[1]
    padded = np.pad(values, ((0, 0), (n_before, len(weights) - 1 - n_before)))
    total = np.zeros(values.shape)
    for number, weight in enumerate(weights):
        total += weight * padded[:, number : number + n]
    return total


def _states(is_asleep: np.ndarray, activity: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(activity), np.int8(UNKNOWN), is_asleep.astype(np.int8))
