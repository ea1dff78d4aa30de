"""Clinical metrics of rest and activity of several people: each by a named definition, with its source in `METRICS`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foresense.evaluate.circadian import (
    fit_cosinor,
    interdaily_stability,
    intradaily_variability,
    least_and_most_active,
    sleep_regularity,
)
from foresense.evaluate.fragmentation import rest_to_active, transition_probability
from foresense.evaluate.measured import Measured
from foresense.evaluate.rest_periods import Nights, NightSleep, RestRules, main_rest_periods, measure_sleep
from foresense.evaluate.sleep_scoring import SleepMethod, SleepScores, score_sleep
from foresense.signals.actigraphy import ClockDays, Minutes
from foresense.windows.wear import Wear, find_wear, valid_days, worn_minutes


@dataclass(frozen=True)
class Definition:
    """What a metric is, for a reader.

    Attributes:
        label: Its name in a table.
        meaning: One sentence.
        source: Where it is defined.
        low: From which value on it is usual in healthy adults; None: no limit.
        high: Up to which.
        range_source: Who says so; empty where nobody is quoted.
    """

    label: str
    meaning: str
    source: str
    low: float | None = None
    high: float | None = None
    range_source: str = ""


_OHAYON = "National Sleep Foundation, adults: Ohayon et al., Sleep Health 3, 2017"
_WATSON = "AASM and Sleep Research Society, adults: Watson et al., Sleep 38, 2015"
_VAN_SOMEREN = "Van Someren et al., Chronobiology International 16, 1999"
_LIM = "Lim et al., Sleep 34, 2011"
_COSINOR = "Cornelissen, Theoretical Biology and Medical Modelling 11, 2014"
_GLOSSARY = "Ancoli-Israel et al., Behavioral Sleep Medicine 13, 2015"

#: Metric -> definition, in the order of a table. A range stands only where a consensus gives one that holds for any
#: counter; the others depend on the counter, the wrist and the age, and are compared with people measured alike.
METRICS: dict[str, Definition] = {
    "time_in_bed": Definition("Time in bed", "length of the main rest period, mean of nights", _GLOSSARY),
    "total_sleep_time": Definition(
        "Total sleep time", "minutes asleep in it", _GLOSSARY, low=420, range_source=_WATSON
    ),
    "sleep_efficiency": Definition(
        "Sleep efficiency", "share of the rest period asleep", _GLOSSARY, low=85, range_source=_OHAYON
    ),
    "sleep_onset_latency": Definition(
        "Sleep onset latency",
        "from the begin of the rest period to 10 min of sleep without a break",
        _GLOSSARY,
        high=30,
        range_source=_OHAYON,
    ),
    "wake_after_sleep_onset": Definition(
        "Wake after sleep onset",
        "minutes awake between sleep onset and the last sleep",
        _GLOSSARY,
        high=20,
        range_source=_OHAYON,
    ),
    "n_nights": Definition("Nights", "nights with a main rest period that was worn", _GLOSSARY),
    "sleep_regularity_index": Definition(
        "Sleep regularity index",
        "same state 24 h apart: 100 always, 0 as often as not",
        "Phillips et al., Scientific Reports 7:3216, 2017",
    ),
    "interdaily_stability": Definition("Interdaily stability", "0 no daily rhythm .. 1 each day alike", _VAN_SOMEREN),
    "intradaily_variability": Definition(
        "Intradaily variability", "0 a smooth wave .. 2 noise: how often activity and rest take turns", _VAN_SOMEREN
    ),
    "relative_amplitude": Definition("Relative amplitude", "(M10 - L5) / (M10 + L5), 0 .. 1", _VAN_SOMEREN),
    "l5": Definition("L5", "mean activity of the least active 5 h of the mean day", _VAN_SOMEREN),
    "l5_onset": Definition("L5 onset", "when they begin", _VAN_SOMEREN),
    "m10": Definition("M10", "mean activity of the most active 10 h of the mean day", _VAN_SOMEREN),
    "m10_onset": Definition("M10 onset", "when they begin", _VAN_SOMEREN),
    "mesor": Definition("Mesor", "mean of the cosine of 24 h through the activity", _COSINOR),
    "amplitude": Definition("Amplitude", "from its mean to its peak", _COSINOR),
    "acrophase": Definition("Acrophase", "time of its peak", _COSINOR),
    "cosinor_r_squared": Definition("Cosinor R²", "share of the variance of minutes that it explains", _COSINOR),
    "k_ra": Definition("kRA", "probability by minute that sustained rest ends", _LIM),
    "k_ar": Definition("kAR", "probability by minute that sustained activity ends", _LIM),
    "rest_active_ratio": Definition("Rest : active", "minutes at rest for each minute of activity", _LIM),
}


@dataclass(frozen=True, eq=False)
class Clinical:
    """All metrics of several people, and what they were made from.

    Attributes:
        people: Names, in the order of every value.
        metrics: By name, in the order of METRICS.
        minutes: As recorded.
        wear: What of them was worn, and which days count.
        days: Worn activity of the days that count, by the wall clock.
        scores: State of every minute.
        nights: Main rest periods.
        sleep: By night.
    """

    people: tuple[str, ...]
    metrics: dict[str, Measured]
    minutes: Minutes
    wear: Wear
    days: ClockDays
    scores: SleepScores
    nights: Nights
    sleep: NightSleep

    def of(self, person: str) -> Iterator[tuple[str, float, str, str]]:
        """Name, value, unit and reason of every metric of one person."""
        row = self.people.index(person)
        for name, one in self.metrics.items():
            yield name, float(one.values[row]), one.unit, str(one.reasons[row])

    def table(self) -> np.ndarray:
        """(n_people, n_metrics), float64: values in the order of `metrics`, NaN where undefined."""
        return np.stack([one.values for one in self.metrics.values()], axis=1)


def clinical_metrics(
    minutes: Minutes,
    *,
    wear: Wear | None = None,
    method: SleepMethod = "cole_kripke",
    variant: str | None = None,
    share_asleep: float | None = None,
    rules: RestRules | None = None,
    rest_threshold: float = 0.0,
) -> Clinical:
    """Every metric of METRICS. A person with too few days that count has none, and each says so.

    Sleep, its regularity, kRA, kAR and rest : active are measured on worn minutes as they followed one another; the
    others on the wall clock of the days that count.

    Args:
        minutes: As recorded.
        wear: Absent: `find_wear(minutes)`.
        method: Of sleep scoring, for counts.
        variant: Of the method.
        share_asleep: For other units: the flagged quantile rule with this share.
        rules: Of rest periods.
        rest_threshold: Activity at or below is rest, for kRA, kAR and rest : active.

    Raises:
        ActigraphyError: sleep cannot be scored in this unit.
    """
    wear = wear or find_wear(minutes)
    worn = worn_minutes(minutes, wear)
    days = valid_days(minutes, wear)
    scores = score_sleep(worn, method=method, variant=variant, share_asleep=share_asleep)
    nights = main_rest_periods(worn, rules)
    sleep = measure_sleep(scores.states, nights, rules)
    rest, wave = least_and_most_active(days.values, minutes.unit), fit_cosinor(days.values, minutes.unit)
    found = [
        *sleep.people,
        sleep_regularity(scores.states),
        interdaily_stability(days.values),
        intradaily_variability(days.values),
        *(rest.relative_amplitude, rest.l5, rest.l5_onset, rest.m10, rest.m10_onset),
        *(wave.mesor, wave.amplitude, wave.acrophase, wave.r_squared),
        transition_probability(worn.values, "rest_to_activity", threshold=rest_threshold),
        transition_probability(worn.values, "activity_to_rest", threshold=rest_threshold),
        rest_to_active(worn.values, threshold=rest_threshold),
    ]
    too_few = wear.reasons()
    by_name = {one.name: _unless(one, too_few) for one in found}
    metrics = {name: by_name[name] for name in METRICS}
    return Clinical(minutes.people, metrics, minutes, wear, days, scores, nights, sleep)


def _unless(one: Measured, reasons: np.ndarray) -> Measured:
    """The same metric, undefined where there is a reason; the reason of too few days goes before its own."""
    if one.name == "n_nights":
        return one
    told = np.where(reasons != "", reasons, one.reasons)
    return Measured(one.name, one.unit, np.where(told != "", np.nan, one.values), told)


#: What the service calls a metric -> its name here.
SERVICE_NAMES = {
    "sleep_efficiency": "sleep_efficiency",
    "circadian_rhythm_strength": "interdaily_stability",
    "activity_fragmentation": "intradaily_variability",
    "rest_activity_ratio": "rest_active_ratio",
}
