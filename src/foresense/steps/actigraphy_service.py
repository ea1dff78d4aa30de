"""The artefact of a pipeline of weeks behind its service: does it answer what the pipeline has computed?"""

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from foresense.config.actigraphy_service import ActigraphyServiceConfig
from foresense.export.weeks_artefact import TOLERANCE
from foresense.service import ActigraphyFeatures, MonitorStats, service_from_artefact
from foresense.service.weeks import week_preparation
from foresense.signals import Recording
from foresense.signals.actigraphy import MINUTE_S
from foresense.signals.weeks import WeekWindows

#: Weeks that are asked at the same time, at most.
MOST_WEEKS = 32
#: The process that asks has loaded much that a service would not: its memory is not what is looked at here.
CONFIG = ActigraphyServiceConfig(memory_mib=1e6, request_s=120.0)


@dataclass(frozen=True)
class Served:
    """What a service said of weeks, all of them asked at once.

    Attributes:
        variant: That it served.
        n_weeks: Asked.
        max_abs_difference: Of its features from those that were measured of the same file.
        avg_latency_ms: From the request to the answer, waiting for the others included.
        p95_latency_ms: Likewise.
    """

    variant: str
    n_weeks: int
    max_abs_difference: float
    avg_latency_ms: float
    p95_latency_ms: float

    def to_json(self) -> dict[str, object]:
        """What JSON can hold."""
        return asdict(self)


def serve(artefact: Path, variant: str, windows: WeekWindows, rows: np.ndarray, features: np.ndarray) -> Served:
    """Ask a service for the features of weeks, from the raw minutes on, and compare.

    Args:
        artefact: `exports/<pipeline>/weeks`.
        variant: Which one is served.
        windows: All weeks.
        rows: (n,): which of them; the first MOST_WEEKS are asked.
        features: (n, 96): what the file said of them in the benchmark.

    Raises:
        ValueError: the service is not healthy, or its features are others.
    """
    asked = [_recording(windows, int(row)) for row in rows[:MOST_WEEKS]]
    return asyncio.run(_serve(artefact, variant, asked, features[:MOST_WEEKS]))


async def _serve(artefact: Path, variant: str, asked: list[Recording], features: np.ndarray) -> Served:
    service = service_from_artefact(artefact, CONFIG, read_preparation=week_preparation, variant=variant)
    async with service:
        health = await service.model_health_check()
        answers: list[ActigraphyFeatures] = await asyncio.gather(*map(service.extract_features, asked))
        stats = cast(MonitorStats, service.monitor.get_stats())  # there are predictions: all of them came back
    if health["status"] != "healthy":
        raise ValueError(f"{artefact}: the service of {variant} is not healthy: {health}")
    said = np.array([answer["raw_features"] for answer in answers])
    worst = float(np.abs(said - features).max())
    if not worst <= TOLERANCE:
        raise ValueError(
            f"{artefact}: the service of {variant} gives features that differ by {worst:.3g} from those of the "
            "benchmark on the same weeks: the artefact prepares weeks in another way than the pipeline"
        )
    return Served(
        variant=variant,
        n_weeks=len(asked),
        max_abs_difference=worst,
        avg_latency_ms=float(stats["avg_latency_ms"] or np.nan),
        p95_latency_ms=float(stats["p95_latency_ms"] or np.nan),
    )


def _recording(windows: WeekWindows, row: int) -> Recording:
    """A week on the wall clock as somebody would send it."""
    return Recording(
        asset=f"week {row}",
        samples=windows.values[row].astype(np.float64)[:, None],
        channels=("activity",),
        units=(windows.unit,),
        interval_s=MINUTE_S,
        start=pd.Timestamp(int(windows.first_days[row]), unit="D", tz="UTC"),
        time_zone="UTC",
    )
