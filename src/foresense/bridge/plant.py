"""The simulated plant as messages: the samples of source `simulate`, in the order of their times."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from pydantic import Field, NonNegativeInt, PositiveInt

from foresense.config import Section
from foresense.sources.simulate import UNITS, machine_name, simulate_machine


class PlantSettings(Section):
    """Which plant; the same settings give the samples of the source `simulate`."""

    n_assets: PositiveInt = 3
    n_rows: PositiveInt = 43_200
    interval_s: float = Field(2.0, ge=2.0, le=3600.0)
    start_ns: int  # nanoseconds since 1970 UTC
    time_zone: str = "UTC"
    seed: NonNegativeInt = 0
    batch: PositiveInt = Field(1, le=10_000)  # samples of one machine in one message


class Message(NamedTuple):
    """One message of the plant.

    Attributes:
        due_ns: Time of its last sample, nanoseconds since 1970 UTC: it cannot be published earlier.
        n_samples: In it.
        payload: JSON, as docs/bridge.md says.
    """

    due_ns: int
    n_samples: int
    payload: bytes


def plant_messages(plant: PlantSettings) -> Iterator[Message]:
    """Simulate the whole range, then give its messages in the order of their times.

    A sample that the machine's logger missed is not in them; a value that is missing is null.
    """
    step_ns = round(plant.interval_s * 1e9)
    times_ns = plant.start_ns + np.arange(plant.n_rows, dtype=np.int64) * step_ns
    machines = [
        simulate_machine(index, times_ns, interval_s=plant.interval_s, time_zone=plant.time_zone, seed=plant.seed)[0]
        for index in range(plant.n_assets)
    ]
    for first in range(0, plant.n_rows, plant.batch):
        rows = slice(first, first + plant.batch)
        for index, samples in enumerate(machines):
            is_there = ~np.isnan(samples[rows]).all(axis=1)
            if is_there.any():
                yield _message(machine_name(index), times_ns[rows][is_there], samples[rows][is_there], plant.batch > 1)


def _message(asset: str, times_ns: np.ndarray, samples: np.ndarray, is_batched: bool) -> Message:
    content: dict[str, Any] = {"workspace_id": asset}
    if is_batched:
        content["time_ns"] = times_ns
        content |= {name: np.ascontiguousarray(samples[:, column]) for column, name in enumerate(UNITS)}
    else:
        content["time_ns"] = int(times_ns[0])
        content |= {name: float(samples[0, column]) for column, name in enumerate(UNITS)}
    # orjson writes NaN as null, and the shortest text that reads back the same
    return Message(int(times_ns[-1]), len(times_ns), orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))
