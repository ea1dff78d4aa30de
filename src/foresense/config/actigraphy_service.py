"""Sections of the service that answers for weeks of actigraphy: batches and limits, and what comes before the model."""

from typing import Literal

from pydantic import Field, PositiveInt

from foresense.config.actigraphy import WearConfig, WeekConfig
from foresense.config.section import Section


class ActigraphyServiceConfig(Section):
    """How requests are gathered, and what the service refuses.

    A batch of weeks costs its activations at once: PAT-L holds one attention of 12 x 1120 x 1120 numbers a week
    (57 MiB), so that `max_batch` and `memory_mib` belong together.
    """

    max_batch: PositiveInt = 8  # weeks in one call of the model; a file for single weeks gets one at a time
    max_wait_ms: float = Field(
        default=5.0, ge=0, allow_inf_nan=False
    )  # how long the first week of a batch waits for others
    max_pending: PositiveInt = 256  # requests under way; one more is refused
    request_s: float = Field(default=30.0, gt=0, allow_inf_nan=False)  # from the request to its answer
    memory_mib: float = Field(
        default=1024.0, gt=0, allow_inf_nan=False
    )  # resident memory of the process; above: refused
    allow_unreferenced: bool = False  # answer for weeks that are scaled by their own mean, flagged


class WeekPreparationConfig(Section):
    """What a service does with a week before its model; an artefact carries what its model was trained with."""

    wear: WearConfig = WearConfig()
    weeks: WeekConfig = WeekConfig()
    sleep_method: Literal["cole_kripke", "sadeh"] = "cole_kripke"  # for counts
    sleep_variant: str | None = None  # a name in evaluate.sleep_scoring; absent: the method's usual one
    share_asleep: float | None = Field(default=None, gt=0, lt=1)  # other units than counts: the flagged quantile rule
    rest_threshold: float = Field(default=0.0, ge=0, allow_inf_nan=False)  # activity up to here is rest
