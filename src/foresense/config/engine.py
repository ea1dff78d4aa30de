"""Section `engine`: where a function runs over many assets, and how much it may use."""

from typing import Literal

from pydantic import Field, PositiveInt

from foresense.config.section import Section


class EngineConfig(Section):
    """Section `engine` of a pipeline."""

    name: Literal["here", "local", "spark"] = "here"
    workers: PositiveInt | None = None  # absent: usable cores divided by `threads`; Spark: what its master gives
    threads: PositiveInt = 1  # of numerical libraries, in each worker; engine `here` leaves them as they are
    limit_min: float = Field(default=60.0, gt=0, allow_inf_nan=False)  # wall time for each asset; not for engine `here`
    memory_mib: float | None = Field(
        default=None, gt=0, allow_inf_nan=False
    )  # of a worker and its child processes; same
    master: str | None = Field(
        default=None, min_length=1
    )  # Spark only; absent: FORESENSE_SPARK_MASTER, else local[workers]
