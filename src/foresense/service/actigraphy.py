"""Answers requests for the features of a week of actigraphy with one loaded model."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal, Self, TypedDict

import numpy as np

from foresense.config.actigraphy_service import ActigraphyServiceConfig
from foresense.service.batching import Batcher
from foresense.service.errors import (
    MemoryLimitError,
    NotInitializedError,
    OverloadedError,
    RequestTimeoutError,
    ServiceClosedError,
    UnreferencedError,
)
from foresense.service.memory import process_rss_mib
from foresense.service.monitor import ActigraphyMonitor
from foresense.service.parts import (
    ActigraphyFeatures,
    ActigraphyParts,
    ActigraphyResult,
    PreparedWeek,
    validate_encoder,
)
from foresense.signals import Recording, SignalError


class Healthy(TypedDict):
    """The running service gave the known answer."""

    status: Literal["healthy"]
    model_loaded: bool
    inference_working: bool
    feature_count: int


class Unhealthy(TypedDict):
    """It did not; `timestamp` is ISO 8601, UTC."""

    status: Literal["unhealthy"]
    error: str
    timestamp: str


class ActigraphyService:
    """Features and clinical metrics of weeks, for many callers at once.

    ```python
    async with service_from_artefact(Path("exports/sleep/weeks"), ...) as service:
        features = await service.extract_features(recording)
    ```

    Where no reference of the training people fits a recording, scaling it by its own mean gives features that cannot be
    compared with theirs, and a dictionary of exactly six keys cannot say so. So such a request is refused, unless
    `allow_unreferenced` asks for it; then `analyse` gives the flag beside the same dictionary.

    All of it belongs to one event loop. Python cannot end a thread: when a request runs out of time, its caller is told
    at once, and the computation goes on to its end behind it.

    Args:
        open_parts: Loads model, scaler and the rest; called once, in a thread.
        config: Batches and limits.
        rss_mib: Resident memory of the process, MiB. The current one: a peak never falls, so that one large batch would
            refuse every request after it.
    """

    def __init__(
        self,
        open_parts: Callable[[], ActigraphyParts],
        config: ActigraphyServiceConfig | None = None,
        *,
        rss_mib: Callable[[], float] = process_rss_mib,
    ) -> None:
        self.monitor = ActigraphyMonitor()
        self._open_parts, self._config, self._rss_mib = open_parts, config or ActigraphyServiceConfig(), rss_mib
        self._loaded: tuple[ActigraphyParts, Batcher, PreparedWeek] | None = None
        self._starting = asyncio.Lock()
        self._is_closing = False
        self._n_running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_initialized(self) -> bool:
        """Whether requests are taken."""
        return self._loaded is not None and not self._is_closing

    async def initialize(self) -> None:
        """Load everything in a thread and compare the known answer; a second call does nothing.

        Raises:
            SecurityError: a file is not the one that its manifest names.
            FileNotFoundError: a file is missing.
            EncoderError: the model does not give the known answer.
            UnreferencedError: the artefact has no reference, and `allow_unreferenced` is not set.
            ServiceClosedError: after `close()`.
        """
        async with self._starting:
            self._require_open()
            if self._loaded is None:
                parts, known_week = await asyncio.to_thread(self._load)
                max_batch = self._config.max_batch if parts.takes_batches else 1
                batcher = Batcher(parts.encode, max_batch=max_batch, max_wait_ms=self._config.max_wait_ms)
                self._loaded = parts, batcher, known_week

    async def extract_features(self, recording: Recording) -> ActigraphyFeatures:
        """The answer for a week: the six keys of `ActigraphyFeatures`.

        Raises:
            As `analyse`.
        """
        return (await self.analyse(recording)).features

    async def analyse(self, recording: Recording) -> ActigraphyResult:
        """The answer for a week, with flags and reasons.

        A request that was accepted is logged in `monitor`: as a success, or as a failure where preparation, model or
        time limit failed it. What was refused, what is wrong with the recording, and what its caller cancelled is not.

        Args:
            recording: One channel, 10080 samples of 60 s.

        Raises:
            SignalError: the recording is not one that can be answered for; says what, and what to do.
            UnreferencedError: no reference fits it, and `allow_unreferenced` is not set.
            NotInitializedError, ServiceClosedError, OverloadedError, MemoryLimitError: the request is refused.
            RequestTimeoutError: it took longer than `request_s`.
            EncoderError: the model gave no finite features.
        """
        parts, batcher, _ = self._require_ready()
        if self._n_running >= self._config.max_pending:
            raise OverloadedError(
                f"service: {self._n_running} requests under way, at most {self._config.max_pending}; ask again later"
            )
        begun_s = time.perf_counter()
        try:
            async with self._running():
                week = await asyncio.to_thread(self._prepare, parts, recording)
                features = await batcher.encode(week.values)
        except (SignalError, UnreferencedError):
            raise
        except Exception:
            self.monitor.log_prediction((time.perf_counter() - begun_s) * 1e3, success=False)
            raise
        self.monitor.log_prediction((time.perf_counter() - begun_s) * 1e3, success=True)
        return _result(features, week)

    async def model_health_check(self) -> Healthy | Unhealthy:
        """Ask the running model for its known answer, through the same queue and limits as everybody.

        It leaves no trace in `monitor`.
        """
        try:
            parts, batcher, known_week = self._require_ready()
            async with self._running():
                found = await batcher.encode(known_week.values)
            parts.known_answer.require(found)
        except Exception as error:  # whatever it is, it is what the answer is about
            return {
                "status": "unhealthy",
                "error": f"{type(error).__name__}: {error}",
                "timestamp": datetime.now(UTC).isoformat(),
            }
        return {
            "status": "healthy",
            "model_loaded": True,
            "inference_working": True,
            "feature_count": len(found),
        }

    async def close(self) -> None:
        """Take no more requests, answer those that are under way, end the model's thread; a second call does nothing.

        Takes at most `request_s`, because no request takes longer.
        """
        self._is_closing = True
        async with self._starting:
            await self._idle.wait()
            if self._loaded is not None:
                await self._loaded[1].close()

    def _load(self) -> tuple[ActigraphyParts, PreparedWeek]:
        parts = self._open_parts()
        known_week = self._prepare(parts, parts.known_answer.recording)
        parts.known_answer.require(validate_encoder(parts.encode, known_week.values))
        return parts, known_week

    def _prepare(self, parts: ActigraphyParts, recording: Recording) -> PreparedWeek:
        week = parts.prepare(recording)
        if not week.is_referenced and not self._config.allow_unreferenced:
            raise UnreferencedError(
                f"recording {recording.asset!r}: no reference of the training people fits it (unit "
                f"{recording.units[0]!r}), and scaled by its own mean its features cannot be compared with theirs; "
                "convert it to the reference's unit, or set allow_unreferenced and read the flag that `analyse` gives"
            )
        return week

    def _require_open(self) -> None:
        if self._is_closing:
            raise ServiceClosedError("service: closed; make and initialise a new one")

    def _require_ready(self) -> tuple[ActigraphyParts, Batcher, PreparedWeek]:
        self._require_open()
        if self._loaded is None:
            raise NotInitializedError("service: not initialised; await initialize() first")
        rss_mib = self._rss_mib()
        if rss_mib > self._config.memory_mib:
            raise MemoryLimitError(
                f"service: the process holds {rss_mib:.0f} MiB, at most {self._config.memory_mib:.0f} MiB; ask again "
                "when requests under way are answered, or take a smaller model or max_batch"
            )
        return self._loaded

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Counts a request as long as it runs, and ends it in time."""
        self._n_running += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(self._config.request_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise RequestTimeoutError(
                f"service: no answer within {self._config.request_s:g} s, with {self._n_running} requests under way; "
                "ask again later, or take a smaller model or a longer request_s"
            ) from error
        finally:
            self._n_running -= 1
            if self._n_running == 0:
                self._idle.set()


def _result(features: np.ndarray, week: PreparedWeek) -> ActigraphyResult:
    return ActigraphyResult(
        features={
            "sleep_efficiency": week.metrics["sleep_efficiency"].value,
            "circadian_rhythm_strength": week.metrics["circadian_rhythm_strength"].value,
            "activity_fragmentation": week.metrics["activity_fragmentation"].value,
            "rest_activity_ratio": week.metrics["rest_activity_ratio"].value,
            "raw_features": features.tolist(),
            "feature_dim": len(features),
        },
        week=week,
    )
