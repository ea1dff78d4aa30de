"""What the service is made of and what it answers: small protocols, so that others can put in what they have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Protocol, TypedDict

import numpy as np

from foresense.service.errors import EncoderError, ServiceError
from foresense.signals import Recording

WEEK_MINUTES = 10_080
N_FEATURES = 96


class Encoder(Protocol):
    """A loaded model. Never called twice at a time."""

    def __call__(self, weeks: np.ndarray, /) -> np.ndarray:
        """(n, 10080), float32, scaled -> (n, 96), float32."""
        ...


@dataclass(frozen=True)
class Metric:
    """A clinical number, or why there is none.

    Attributes:
        value: NaN where it is not defined.
        unit: `1` for a plain number, `min`, `h`, `%`, or the unit of the activity.
        reason: Why it is not defined; empty where it is.

    Raises:
        ServiceError: a NaN without a reason, or a value with one.
    """

    value: float
    unit: str
    reason: str = ""

    def __post_init__(self) -> None:
        if isnan(self.value) != bool(self.reason):
            raise ServiceError(
                f"metric: the value {self.value} and the reason {self.reason!r}; expected a value or a reason"
            )


#: The clinical metrics of an answer; whoever prepares a week says by which definition (spec, PX section 4).
CLINICAL = ("sleep_efficiency", "circadian_rhythm_strength", "activity_fragmentation", "rest_activity_ratio")


@dataclass(frozen=True, eq=False)
class PreparedWeek:
    """A recording that was checked, scaled for the model, and measured.

    Attributes:
        values: (10080,), float32, finite: what the model takes.
        is_referenced: Whether the reference of the training people scaled it, minute of week by minute of week; else
            its own mean and deviation did, and its features cannot be compared with theirs (PX-4).
        n_filled: Minutes that were missing and got an estimate.
        metrics: Every clinical metric by name, among them those of `CLINICAL`; measured on the recording's own unit,
            never on scaled values.

    Raises:
        ServiceError: values of another shape or type or not finite, or a metric missing: the preparation is wrong, not
            the recording.
    """

    values: np.ndarray
    is_referenced: bool
    n_filled: int
    metrics: Mapping[str, Metric]

    def __post_init__(self) -> None:
        if self.values.shape != (WEEK_MINUTES,) or self.values.dtype != np.float32:
            raise ServiceError(
                f"prepared week: expected ({WEEK_MINUTES},) of float32, found {self.values.shape} of "
                f"{self.values.dtype}"
            )
        if not np.isfinite(self.values).all():
            minute = int(np.flatnonzero(~np.isfinite(self.values))[0])
            raise ServiceError(
                f"prepared week: minute {minute} is {self.values[minute]}; the model takes finite values"
            )
        absent = [name for name in CLINICAL if name not in self.metrics]
        if absent:
            raise ServiceError(f"prepared week: metrics {', '.join(absent)} missing, found {sorted(self.metrics)}")


#: Checks (PX-11), scales (PX-4) and measures a recording. Raises SignalError for one that must not be answered for;
#: whatever else it raises is a failure of the service.
Prepare = Callable[[Recording], PreparedWeek]


class ActigraphyFeatures(TypedDict):
    """The answer for a week; exactly these keys. A metric is NaN where it is not defined."""

    sleep_efficiency: float
    circadian_rhythm_strength: float
    activity_fragmentation: float
    rest_activity_ratio: float
    raw_features: list[float]
    feature_dim: int


@dataclass(frozen=True, eq=False)
class ActigraphyResult:
    """The answer for a week, and how far it can be trusted.

    Attributes:
        features: The answer.
        week: What it was made from: flags, and every metric with its unit and reason.
    """

    features: ActigraphyFeatures
    week: PreparedWeek

    @property
    def reasons(self) -> dict[str, str]:
        """Metric -> why it is not defined; only those that are not."""
        return {name: metric.reason for name, metric in self.week.metrics.items() if metric.reason}


@dataclass(frozen=True, eq=False)
class KnownAnswer:
    """A recording whose features are stored: what tells a working model from a broken one (PX-7, PX-10).

    Attributes:
        recording: One week.
        features: (96,): what the model gave for it when it was exported.
        tolerance: Largest difference that is rounding.
    """

    recording: Recording
    features: np.ndarray
    tolerance: float

    def require(self, found: np.ndarray) -> None:
        """Compare features (96,) with the stored ones.

        Raises:
            EncoderError: they differ by more than rounding, or are not finite.
        """
        worst = float(np.abs(found - self.features).max())
        if not worst <= self.tolerance:
            raise EncoderError(
                f"known answer: features differ by {worst:.3g} from the stored ones, allowed {self.tolerance:.3g}; the "
                "model or the scaler is not the one that was exported: fetch the artefact again"
            )


@dataclass(frozen=True, eq=False)
class ActigraphyParts:
    """What the service needs, loaded.

    Attributes:
        encode: The model.
        prepare: What comes before the model.
        known_answer: For the start and for health checks.
        takes_batches: Whether the model gains from several weeks at once; else each is its own batch, because nobody
            should wait for others in vain.
    """

    encode: Encoder
    prepare: Prepare
    known_answer: KnownAnswer
    takes_batches: bool = True


def require_features(found: np.ndarray, n_weeks: int) -> None:
    """Refuse what is not (n_weeks, 96).

    Raises:
        EncoderError: another shape.
    """
    if found.shape != (n_weeks, N_FEATURES):
        raise EncoderError(
            f"model: gave {found.shape} for {n_weeks} week(s), expected ({n_weeks}, {N_FEATURES}); this is not the "
            "encoder of a Pretrained Actigraphy Transformer with its mean over patches"
        )


def validate_encoder(encode: Encoder, week: np.ndarray) -> np.ndarray:
    """Ask a model twice about one week: shape, finite, the same both times.

    Args:
        encode: A loaded model.
        week: (10080,), float32, scaled.

    Returns:
        (96,): what it said.

    Raises:
        EncoderError: says which of the three it was.
    """
    said = np.asarray(encode(week[None]))
    require_features(said, 1)
    if not np.isfinite(said).all():
        raise EncoderError(f"model: {int((~np.isfinite(said)).sum())} of {N_FEATURES} features are not finite")
    if not np.array_equal(said, np.asarray(encode(week[None]))):
        raise EncoderError("model: two different answers for one week; a loaded model has no dropout and no randomness")
    return np.asarray(said[0])
