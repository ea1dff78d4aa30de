"""The section of the service that answers for weeks of actigraphy: batches, and the limits of one process."""

from pydantic import Field, PositiveInt

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
