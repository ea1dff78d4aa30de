"""The main rest period of each night, and how much of it was sleep: TIB, TST, sleep efficiency, SOL, WASO."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_opening, median_filter, uniform_filter1d

from foresense.evaluate.measured import ActigraphyError, Measured, measured
from foresense.evaluate.sleep_scoring import ASLEEP, AWAKE
from foresense.signals.actigraphy import MINUTES_PER_DAY, Minutes
from foresense.windows.runs import counted_before, runs_of

_MOST_STEPS = 50
_NOON = MINUTES_PER_DAY // 2


@dataclass(frozen=True)
class RestRules:
    """What a main rest period is.

    Attributes:
        rest_h: Hours that people rest a day: width of the median, and where the search for the limit of rest begins.
        give_h: Hours that a person's rest may be more or less than that.
        smooth_min: Rest or activity that is shorter belongs to what is around it.
        average_min: Odd; known minutes that are averaged first: half of the minutes of some counters are 0.
        min_h: Hours of a main rest period, at least.
        max_h: At most; a longer one is a device that lay still, or a day in bed.
        max_unknown: Share of its minutes that may be unknown.
        onset_min: Minutes of sleep without a break at which sleep has begun.
        min_nights: Nights without which a person has no mean.
    """

    rest_h: float = 8.0
    give_h: float = 3.0
    smooth_min: int = 60
    average_min: int = 5
    min_h: float = 2.0
    max_h: float = 18.0
    max_unknown: float = 0.1
    onset_min: int = 10
    min_nights: int = 3

    def __post_init__(self) -> None:
        if not (0 < self.rest_h - self.give_h <= self.rest_h + self.give_h < 24 and self.average_min % 2):
            raise ActigraphyError(
                f"rest rules: rest_h {self.rest_h:g} more or less give_h {self.give_h:g} must lie between 0 and 24, "
                f"and average_min ({self.average_min}) must be odd"
            )


def rest_mask(minutes: Minutes, rules: RestRules | None = None) -> np.ndarray:
    """(n_people, n_minutes), bool: rest by the first stage of Crespo et al. 2012, with a limit that fits the person.

    Crespo et al., Automatic identification of activity-rest periods based on actigraphy, Medical & Biological
    Engineering & Computing 50:329, 2012, section 2.2: the signal, with maxima added at both ends, goes through a moving
    median of 8 h; rest is where that is at most a limit; rest, then activity, shorter than an hour is filled in. Where
    this differs: the paper's limit is the (8 h / 24 h) quantile, so that everybody rests for a third of all minutes;
    here it lies half-way between the person's rest and activity. The paper conditions zeros in a row; here known
    minutes are averaged over 5 first, and a minute that was not worn counts as activity. Its second stage, which moves
    the edges of the periods, is not done.

    Args:
        minutes: NaN where not recorded or not worn. A person without any known minute never rests.
        rules: Widths; absent: `RestRules()`.
    """
    rules = rules or RestRules()
    width = int(rules.rest_h * 60) // 2 * 2 + 1
    structure = np.ones(rules.smooth_min + 1, bool)
    rest = np.zeros(minutes.values.shape, bool)
    for row, values in enumerate(minutes.values):
        known = ~np.isnan(values)
        if not known.any():
            continue
        means = _mean_around(values, known, rules.average_min)
        smooth = median_filter(means, size=width, mode="constant", cval=float(means.max()))
        limit = _between_levels(smooth[known], rules)
        is_active = np.pad(smooth > limit, rules.smooth_min, constant_values=True)
        whole = binary_opening(binary_closing(is_active, structure), structure)
        rest[row] = ~whole[rules.smooth_min : len(whole) - rules.smooth_min]
    return rest


def _between_levels(smooth: np.ndarray, rules: RestRules) -> float:
    """The activity half-way between rest and activity, on a scale of ratios.

    Begins with the quantile of Crespo et al.; the limit is then the geometric mean of the medians on its two sides,
    until it stays (Ridler and Calvard, IEEE Transactions on Systems, Man, and Cybernetics 8:630, 1978).
    """
    limit, floor = float(np.quantile(smooth, rules.rest_h / 24)), 0.01 * float(smooth.mean())
    lowest, highest = np.quantile(smooth, [(rules.rest_h + by) / 24 for by in (-rules.give_h, rules.give_h)])
    for _ in range(_MOST_STEPS):
        is_rest = smooth <= limit
        if is_rest.all():
            break
        levels = np.median(smooth[is_rest]) + floor, np.median(smooth[~is_rest]) + floor
        limit, before = float(np.clip(np.sqrt(levels[0] * levels[1]) - floor, lowest, highest)), limit
        if limit == before:
            break
    return limit


def _mean_around(values: np.ndarray, known: np.ndarray, length: int) -> np.ndarray:
    """(n_minutes,): mean of the known minutes around each known one; elsewhere the largest of them."""
    sums = uniform_filter1d(np.where(known, values, 0.0), length, mode="constant")
    shares = uniform_filter1d(known.astype(np.float64), length, mode="constant")
    means = sums[known] / shares[known]
    filled = np.full(len(values), means.max())
    filled[known] = means
    return filled


@dataclass(frozen=True, eq=False)
class Nights:
    """The main rest period of every night, from noon to noon of the wall clock.

    Attributes:
        first_night: (n_people,), int64: days since 1970-01-01 of the noon at which each person's night 0 begins.
        begins: (n_people, n_nights), int64: elapsed minute at which the main rest period begins; -1 where there is
            none.
        ends: (n_people, n_nights), int64: the minute after its last one; -1 where there is none.
        reasons: (n_people, n_nights), str: why there is none; empty where there is one.
    """

    first_night: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    reasons: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """(n_people, n_nights), bool."""
        return np.asarray(self.begins >= 0)


def main_rest_periods(minutes: Minutes, rules: RestRules | None = None) -> Nights:
    """The longest rest of each night: its middle lies between a noon of the wall clock and the next.

    Args:
        minutes: NaN where not recorded or not worn.
        rules: Absent: `RestRules()`.
    """
    rules = rules or RestRules()
    known = ~np.isnan(minutes.values)
    runs = runs_of(rest_mask(minutes, rules))
    runs = runs.taken(runs.lengths >= rules.min_h * 60)
    first_night = (minutes.clock[:, 0] - _NOON) // MINUTES_PER_DAY
    n_nights = int(((minutes.clock[:, -1] - _NOON) // MINUTES_PER_DAY - first_night).max()) + 1
    middles = minutes.clock[runs.rows, (runs.begins + runs.ends) // 2]
    nights = (middles - _NOON) // MINUTES_PER_DAY - first_night[runs.rows]
    order = np.lexsort((-runs.begins, runs.lengths))  # the longest is written last; of equals the first
    begins, ends = np.full((2, len(known), n_nights), -1, np.int64)
    begins[runs.rows[order], nights[order]] = runs.begins[order]
    ends[runs.rows[order], nights[order]] = runs.ends[order]

    n_known = counted_before(known)
    rows = np.arange(len(known))[:, None]
    share = (n_known[rows, ends] - n_known[rows, begins]) / np.maximum(ends - begins, 1)
    recorded = runs_of(n_known[:, 1:] * (n_known[:, -1:] - n_known[:, :-1]) > 0)  # from the first to the last known
    first, last = np.zeros((2, len(known), 1), np.int64)
    first[recorded.rows, 0], last[recorded.rows, 0] = recorded.begins, recorded.ends
    is_cut = (begins >= 0) & ((begins <= first) | (ends >= last))
    reasons = np.full(begins.shape, "", dtype=object)
    reasons[is_cut] = "the recording begins or ends in the rest period"
    reasons[(begins >= 0) & ~is_cut & (share < 1 - rules.max_unknown)] = (
        f"more than {rules.max_unknown:.0%} of the rest period was not recorded or not worn"
    )
    reasons[ends - begins > rules.max_h * 60] = f"rest of more than {rules.max_h:g} h without a break"
    reasons[begins < 0] = f"no rest of at least {rules.min_h:g} h between noon and noon"
    reasons[(begins < 0) & (_known_by_night(minutes, known, first_night, n_nights) < _NOON)] = (
        "not recorded or not worn for more than half of noon to noon"
    )
    usable = reasons == ""
    return Nights(first_night, np.where(usable, begins, -1), np.where(usable, ends, -1), reasons)


def _known_by_night(minutes: Minutes, known: np.ndarray, first_night: np.ndarray, n_nights: int) -> np.ndarray:
    """(n_people, n_nights), int64: known minutes of each night."""
    nights = (minutes.clock - _NOON) // MINUTES_PER_DAY - first_night[:, None]
    cells = nights + np.arange(len(known))[:, None] * n_nights
    return np.bincount(cells[known], minlength=len(known) * n_nights).reshape(len(known), n_nights)


@dataclass(frozen=True, eq=False)
class NightSleep:
    """Sleep in the main rest periods, by night and by person.

    Attributes:
        time_in_bed_min: (n_people, n_nights): minutes of the rest period; NaN where there is none.
        total_sleep_min: Minutes asleep in it (TST).
        efficiency: 100 TST / TIB, in percent.
        onset_latency_min: Minutes from its begin to the first 10 minutes of sleep without a break (SOL); NaN also in a
            night without them.
        wake_after_onset_min: Minutes awake from then to the last minute asleep (WASO).
        people: Means over nights, by person: the five above, and `n_nights`.
    """

    time_in_bed_min: np.ndarray
    total_sleep_min: np.ndarray
    efficiency: np.ndarray
    onset_latency_min: np.ndarray
    wake_after_onset_min: np.ndarray
    people: tuple[Measured, ...]


def measure_sleep(states: np.ndarray, nights: Nights, rules: RestRules | None = None) -> NightSleep:
    """Sleep in the main rest period of each night (Ancoli-Israel et al., Behavioral Sleep Medicine 13, 2015, glossary).

    Time in bed is the detected rest period: without a diary nobody knows when somebody lay down, so sleep onset latency
    is short and efficiency high compared with a diary's.

    Args:
        states: (n_people, n_minutes), int8: 1 asleep, 0 awake, -1 unknown, which counts as neither.
        nights: Of the same people.
        rules: Absent: `RestRules()`.
    """
    rules = rules or RestRules()
    found, rows = nights.found, np.arange(len(states))[:, None]
    begins, ends = np.where(found, nights.begins, 0), np.where(found, nights.ends, 0)
    n_asleep, n_awake = counted_before(states == ASLEEP), counted_before(states == AWAKE)
    onset = _next_sleep(n_asleep, rules.onset_min)[rows, begins]
    has_slept = found & (onset + rules.onset_min <= ends)
    onset = np.where(has_slept, onset, 0)
    last = _last_sleep(n_asleep)[rows, ends]
    time_in_bed = np.where(found, ends - begins, np.nan)
    total_sleep = np.where(found, n_asleep[rows, ends] - n_asleep[rows, begins], np.nan)
    latency = np.where(has_slept, onset - begins, np.nan)
    waso = np.where(has_slept, n_awake[rows, np.maximum(last, onset)] - n_awake[rows, onset], np.nan)
    efficiency = 100 * total_sleep / time_in_bed
    by_night = {
        ("time_in_bed", "min"): time_in_bed,
        ("total_sleep_time", "min"): total_sleep,
        ("sleep_efficiency", "%"): efficiency,
        ("sleep_onset_latency", "min"): latency,
        ("wake_after_sleep_onset", "min"): waso,
    }
    n_nights = measured("n_nights", "nights", found.sum(axis=1).astype(np.float64), [])
    people = tuple(_mean_night(name, unit, values, rules) for (name, unit), values in by_night.items())
    return NightSleep(time_in_bed, total_sleep, efficiency, latency, waso, (*people, n_nights))


def _mean_night(name: str, unit: str, values: np.ndarray, rules: RestRules) -> Measured:
    known = ~np.isnan(values)
    n = known.sum(axis=1)
    means = np.where(known, values, 0.0).sum(axis=1) / np.maximum(n, 1)
    few = np.array([f"{k} night(s) can be measured, at least {rules.min_nights} are needed" for k in n], dtype=object)
    return measured(name, unit, means, [(n < rules.min_nights, few)])


def _next_sleep(n_asleep: np.ndarray, length: int) -> np.ndarray:
    """(n_people, n_minutes + 1): where `length` minutes of sleep begin, from each minute on; past the end if not."""
    n = n_asleep.shape[1]
    places = np.full(n_asleep.shape, n, np.int64)
    if n > length:
        begins = n_asleep[:, length:] - n_asleep[:, :-length] == length
        places[:, : n - length] = np.where(begins, np.arange(n - length), n)
    return np.minimum.accumulate(places[:, ::-1], axis=1)[:, ::-1]


def _last_sleep(n_asleep: np.ndarray) -> np.ndarray:
    """(n_people, n_minutes + 1): the minute after the last one asleep, before each minute; 0 if there is none."""
    places = np.zeros(n_asleep.shape, np.int64)
    places[:, 1:] = np.where(np.diff(n_asleep, axis=1) > 0, np.arange(1, n_asleep.shape[1]), 0)
    return np.maximum.accumulate(places, axis=1)
