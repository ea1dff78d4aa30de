"""Epochs of 5, 10, 15, 30 seconds to minutes."""

import numpy as np

from foresense.signals import Recording, SignalError
from foresense.signals.actigraphy import MINUTE_S, ActivityUnit


def to_minutes(recording: Recording, unit: ActivityUnit) -> Recording:
    """One sample a minute from shorter epochs: the sum of counts, the mean of ENMO.

    Counts and MIMS add up over time (both are areas under a rectified movement signal; John et al., Journal for the
    Measurement of Physical Behaviour 2, 2019, for MIMS), ENMO is a mean acceleration. Minutes begin with the first
    sample that lies on a whole minute of UTC; a minute with a missing epoch is missing, and a last one that is not
    whole is left out.

    Args:
        recording: One channel, epochs that divide a minute.
        unit: Of the samples; `unknown` cannot be converted.

    Raises:
        SignalError: epochs that do not divide a minute or never begin one, or an unknown unit.
    """
    if recording.interval_s == MINUTE_S and recording.start.second == 0 and recording.start.microsecond == 0:
        return recording
    per_minute = _epochs_per_minute(recording)
    if unit == "unknown":
        raise SignalError(
            f"recording {recording.asset!r}: epochs of {recording.interval_s:g} s in an unknown unit cannot become "
            "minutes: counts and MIMS are added, ENMO is averaged; say which it is (ingest.unit)"
        )
    skipped = _before_a_minute(recording)
    n_minutes = (len(recording.samples) - skipped) // per_minute
    if n_minutes < 1:
        raise SignalError(
            f"recording {recording.asset!r}: {len(recording.samples)} epochs of {recording.interval_s:g} s hold no "
            "whole minute; give a longer recording"
        )
    epochs = recording.samples[skipped : skipped + n_minutes * per_minute].reshape(n_minutes, per_minute, -1)
    samples = epochs.mean(axis=1) if unit == "enmo" else epochs.sum(axis=1)
    return _with_samples(recording, samples, skipped)


def minute_maxima(recording: Recording, *, over_s: float, overlapping: bool) -> Recording:
    """The largest sum over `over_s` seconds in each minute: what two of the Cole-Kripke formulas were fitted to.

    Cole et al., Sleep 15, 1992, table 1: maximum 10-second epoch per minute, overlapping or not, and maximum
    30-second epoch per minute, not overlapping.

    Args:
        recording: One channel of counts, epochs that divide `over_s`.
        over_s: 10 or 30.
        overlapping: Whether a sum may begin at every epoch of the minute; else only at multiples of `over_s`.

    Raises:
        SignalError: epochs that do not divide a minute and `over_s`, or never begin a minute.
    """
    per_minute = _epochs_per_minute(recording)
    length = over_s / recording.interval_s
    if length < 1 or length != round(length) or per_minute % round(length):
        raise SignalError(
            f"recording {recording.asset!r}: sums over {over_s:g} s cannot be made of epochs of "
            f"{recording.interval_s:g} s; record shorter epochs, or choose a formula for minutes"
        )
    size, skipped = round(length), _before_a_minute(recording)
    n_minutes = (len(recording.samples) - skipped) // per_minute
    epochs = recording.samples[skipped : skipped + n_minutes * per_minute].reshape(n_minutes, per_minute, -1)
    sums = np.lib.stride_tricks.sliding_window_view(epochs, size, axis=1).sum(axis=-1)
    return _with_samples(recording, sums[:, :: 1 if overlapping else size].max(axis=1), skipped)


def _epochs_per_minute(recording: Recording) -> int:
    ratio = MINUTE_S / recording.interval_s
    if ratio < 1 or ratio != round(ratio):
        raise SignalError(
            f"recording {recording.asset!r}: epochs of {recording.interval_s:g} s do not divide a minute; expected 1, "
            "2, 3, 5, 6, 10, 12, 15, 20, 30 or 60 s"
        )
    return round(ratio)


def _before_a_minute(recording: Recording) -> int:
    """How many epochs lie before the first whole minute."""
    into_s = (recording.start.tz_convert("UTC").timestamp()) % MINUTE_S
    skipped = (MINUTE_S - into_s) % MINUTE_S / recording.interval_s
    if abs(skipped - round(skipped)) > 1e-6:
        raise SignalError(
            f"recording {recording.asset!r}: epochs of {recording.interval_s:g} s from {recording.start} on never "
            "begin a minute; shift the start to a whole epoch"
        )
    return round(skipped)


def _with_samples(recording: Recording, samples: np.ndarray, skipped: int) -> Recording:
    import pandas as pd

    return Recording(
        asset=recording.asset,
        samples=samples,
        channels=recording.channels,
        units=recording.units,
        interval_s=MINUTE_S,
        start=recording.start + pd.Timedelta(seconds=skipped * recording.interval_s),
        time_zone=recording.time_zone,
    )
