"""A model for mental arithmetic (features are the first 96 minutes), and a recording that looks like a week."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foresense.config.actigraphy_service import ActigraphyServiceConfig
from foresense.service import ActigraphyParts, ActigraphyService, KnownAnswer, Metric, PreparedWeek
from foresense.signals import Recording, SignalError


def recording_of(first: float, unit: str = "counts") -> Recording:
    """A week with a rhythm of a day whose first minute is `first`; no other recording has the same features."""
    minutes = np.arange(10_080)
    samples = np.round(200 * (1 - np.cos(2 * np.pi * minutes / 1440)))
    samples[0] = first
    return Recording(
        asset=f"person {first:g}",
        samples=samples[:, None],
        channels=("activity",),
        units=(unit,),
        interval_s=60.0,
        start=pd.Timestamp("2004-05-03T00:00:00", tz="Europe/Oslo"),
        time_zone="Europe/Oslo",
    )


class Model:
    """The first 96 minutes; keeps how it was called, can be held, broken, and marked minutes make it raise."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.threads: set[int] = set()
        self.may_go, self.was_called = threading.Event(), threading.Event()
        self.may_go.set()
        self.raises: dict[float, Exception] = {}
        self.gives_nan: set[float] = set()
        self.shift = 0.0
        self.n_inside = self.most_inside = 0

    def __call__(self, weeks: np.ndarray) -> np.ndarray:
        self.n_inside += 1
        self.most_inside = max(self.most_inside, self.n_inside)
        try:
            self.batches.append(weeks[:, 0].tolist())
            self.threads.add(threading.get_ident())
            self.was_called.set()
            assert self.may_go.wait(30), "a test holds the model and never lets go"
            for first in weeks[:, 0].tolist():
                if first in self.raises:
                    raise self.raises[first]
            features = weeks[:, :96] + np.float32(self.shift)
            features[np.isin(weeks[:, 0], list(self.gives_nan)), 5] = np.nan
            return features
        finally:
            self.n_inside -= 1

    def hold(self) -> None:
        self.may_go.clear()
        self.was_called.clear()

    async def held(self) -> None:
        """Until the model is inside a call."""
        await asyncio.to_thread(self.was_called.wait, 30)


def prepare(recording: Recording) -> PreparedWeek:
    samples = recording.samples[:, 0]
    if len(samples) != 10_080:
        raise SignalError(f"recording {recording.asset!r}: {len(samples)} minutes, expected 10080")
    missing = np.isnan(samples)
    return PreparedWeek(
        values=np.where(missing, 0, samples).astype(np.float32),
        is_referenced=recording.units == ("counts",),
        n_filled=int(missing.sum()),
        metrics={
            "sleep_efficiency": Metric(float("nan"), "%", "no rest period was found"),
            "circadian_rhythm_strength": Metric(0.75, "1"),
            "activity_fragmentation": Metric(0.5, "1"),
            "rest_activity_ratio": Metric(0.25, "1"),
            "acrophase": Metric(14.5, "h"),
        },
    )


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def week() -> Callable[..., Recording]:
    return recording_of


@pytest.fixture
def parts(model: Model) -> ActigraphyParts:
    known = recording_of(4321.0)
    return ActigraphyParts(
        encode=model,
        prepare=prepare,
        known_answer=KnownAnswer(known, prepare(known).values[:96], tolerance=1e-6),
    )


@pytest.fixture
def service_of() -> Callable[..., ActigraphyService]:
    """Makes a service of loaded parts; memory is no limit unless a test says so."""

    def made(parts: ActigraphyParts, *, rss_mib: Callable[[], float] = lambda: 0.0, **config: Any) -> ActigraphyService:
        return ActigraphyService(lambda: parts, ActigraphyServiceConfig(**config), rss_mib=rss_mib)

    return made


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """`asyncio.run` that ends a test that hangs, and fails one that leaves tasks behind."""

    async def bounded(told: Coroutine[Any, Any, Any]) -> Any:
        result = await asyncio.wait_for(told, 30)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left == set()
        return result

    return lambda told: asyncio.run(bounded(told))
