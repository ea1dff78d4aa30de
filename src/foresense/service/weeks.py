"""What comes before the model: checks, the reference scaler, clinical metrics of one week of one person."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from foresense.config.actigraphy_service import WeekPreparationConfig
from foresense.evaluate.actigraphy import SERVICE_NAMES, Clinical, clinical_metrics
from foresense.evaluate.measured import ActigraphyError
from foresense.service.parts import Metric, Prepare, PreparedWeek
from foresense.signals import Recording, SignalError
from foresense.signals.actigraphy import ActivityUnit, Minutes, gather_minutes
from foresense.windows.minute_scaler import MinuteScaler, ScaledWeeks, load_minute_scaler, scale_by_itself
from foresense.windows.wear import Wear, find_wear
from foresense.windows.weeks import WeekError, Weeks, check_week, cut_weeks


def week_preparation(scaler_file: Path | None, settings: Mapping[str, Any]) -> Prepare:
    """What prepares weeks for the model of an artefact; see `prepare_week`.

    Args:
        scaler_file: What `MinuteScaler.save` wrote; None: there is no reference.
        settings: Content of a `WeekPreparationConfig`.

    Raises:
        SignalError: the file is no scaler of minutes.
        pydantic.ValidationError: the settings are of another shape.
    """
    return partial(
        prepare_week,
        scaler=None if scaler_file is None else load_minute_scaler(scaler_file),
        config=WeekPreparationConfig.model_validate(settings),
    )


def prepare_week(recording: Recording, *, scaler: MinuteScaler | None, config: WeekPreparationConfig) -> PreparedWeek:
    """Check, scale and measure one week.

    The recording is 10080 minutes that followed one another, from a local midnight on. Metrics are measured on them.
    The model gets the seven days by the wall clock: an hour that the clock skips, or that the end lacks because the
    clock went through one twice, is filled as every missing minute (NaN), up to `config.weeks.max_missing_min`.

    Args:
        recording: One channel whose unit is counts, mims, enmo or unknown.
        scaler: Reference of the training people; the week is scaled by itself where there is none, or one of another
            unit.
        config: When it was worn, what is filled, how sleep is scored.

    Raises:
        SignalError: a recording that a model must not see; lists all that is wrong.
    """
    try:
        minutes = _checked(recording, config)
        wear = find_wear(minutes, config.wear)
        week = _only_week(minutes, wear, config)
        clinical = clinical_metrics(
            minutes,
            wear=wear,
            method=config.sleep_method,
            variant=config.sleep_variant,
            share_asleep=config.share_asleep,
            rest_threshold=config.rest_threshold,
        )
        scaled = _scaled(week, minutes.unit, scaler)
    except (WeekError, ActigraphyError) as error:
        raise SignalError(f"recording {recording.asset!r}: {error}") from error
    return PreparedWeek(
        values=scaled.values[0],
        is_referenced=scaled.scaled_by == "reference",
        n_filled=int(week.n_filled[0]),
        metrics=_metrics(clinical, recording.asset),
    )


def _checked(recording: Recording, config: WeekPreparationConfig) -> Minutes:
    samples = recording.samples[:, 0] if len(recording.channels) == 1 else recording.samples
    check_week(
        np.where(np.isnan(samples), 0.0, samples),  # how many may be missing is what cut_weeks judges
        unit=recording.units[0],
        epoch_s=recording.interval_s,
        start=recording.start,
        time_zone=recording.time_zone,
        rules=config.wear,
    )
    return gather_minutes([recording], cast(ActivityUnit, recording.units[0]))


def _only_week(minutes: Minutes, wear: Wear, config: WeekPreparationConfig) -> Weeks:
    weeks, refused = cut_weeks(minutes, wear, config.weeks)
    if len(weeks.values) == 1:
        return weeks
    reason = refused[0].reason if refused else f"more than {config.weeks.max_missing_min} minutes of day 1 are missing"
    raise WeekError(f"this week cannot be used: {reason}")


def _scaled(week: Weeks, unit: ActivityUnit, scaler: MinuteScaler | None) -> ScaledWeeks:
    if scaler is None or scaler.unit != unit:
        return scale_by_itself(week.values)
    return scaler.scale(week.values, week.weekdays, unit)


def _metrics(clinical: Clinical, person: str) -> dict[str, Metric]:
    """Every metric by its own name, and those of an answer by the service's names."""
    found = {name: Metric(value, unit, reason) for name, value, unit, reason in clinical.of(person)}
    return found | {name: found[source] for name, source in SERVICE_NAMES.items()}
