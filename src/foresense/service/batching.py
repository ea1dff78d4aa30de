"""Several requests, one call of the model."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from foresense.service.errors import EncoderError, ServiceClosedError
from foresense.service.parts import Encoder, require_features

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Request:
    week: np.ndarray
    arrived_s: float
    answer: asyncio.Future[np.ndarray]

    def succeed(self, features: np.ndarray) -> None:
        if not self.answer.done():  # its caller may have gone
            self.answer.set_result(features)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Batcher:
    """Puts weeks that arrive close together into one call, and gives each caller its own row of the answer.

    The model runs in a thread of its own, one call at a time, whatever becomes of those who asked. While it computes,
    others gather; a batch begins when it is full, or when its first week has waited `max_wait_ms`.

    Must be made, used and closed in one event loop.

    Args:
        encode: The model.
        max_batch: Weeks in one call, at most.
        max_wait_ms: How long a week waits for others.
    """

    def __init__(self, encode: Encoder, *, max_batch: int, max_wait_ms: float) -> None:
        self._encode, self._max_batch, self._max_wait_s = encode, max_batch, max_wait_ms / 1e3
        self._waiting: deque[_Request] = deque()
        self._computing: Sequence[_Request] = ()
        self._arrived, self._full = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="actigraphy-encoder")
        self._worker = self._loop.create_task(self._work())

    async def encode(self, week: np.ndarray) -> np.ndarray:
        """Features of one week: (10080,), float32, scaled -> (96,). Cancelling it disturbs nobody else.

        Raises:
            EncoderError: the model gave no finite features for this week.
            ServiceClosedError: nobody works any more.
            Exception: what the model raised for this week.
        """
        if self._worker.done():
            raise ServiceClosedError("service: closed, or its event loop has ended; make and initialise a new one")
        request = _Request(week, self._loop.time(), self._loop.create_future())
        self._waiting.append(request)
        self._announce()
        try:
            return await request.answer
        finally:
            if request in self._waiting:  # cancelled before its turn
                self._waiting.remove(request)

    async def close(self) -> None:
        """End the work: whoever still waits gets ServiceClosedError."""
        self._worker.cancel()
        await asyncio.wait([self._worker])
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _announce(self) -> None:
        """Set the events to what waits now."""
        for event, is_so in ((self._arrived, bool(self._waiting)), (self._full, len(self._waiting) >= self._max_batch)):
            if is_so:
                event.set()
            else:
                event.clear()

    async def _work(self) -> None:
        try:
            while True:
                await self._arrived.wait()
                await self._gather()
                n_weeks = min(len(self._waiting), self._max_batch)
                self._computing = [self._waiting.popleft() for _ in range(n_weeks)]
                self._announce()
                await self._answer(self._computing)
                self._computing = ()
        finally:
            closed = ServiceClosedError("service: closed before it could answer; ask another one")
            for request in (*self._computing, *self._waiting):
                request.fail(closed)

    async def _gather(self) -> None:
        """Wait until a batch is full or its first week has waited long enough."""
        if not self._waiting:
            return
        try:
            async with asyncio.timeout_at(self._waiting[0].arrived_s + self._max_wait_s):
                await self._full.wait()
        except TimeoutError:
            return

    async def _answer(self, batch: Sequence[_Request]) -> None:
        asked = [request for request in batch if not request.answer.done()]
        if not asked:
            return
        try:
            features = await self._loop.run_in_executor(self._thread, self._call, [one.week for one in asked])
        except Exception as error:  # a model may raise anything: it belongs to whoever asked, and the worker goes on
            if len(asked) == 1:
                asked[0].fail(error)
                return
            log.warning(
                "a batch of %d weeks failed (%s: %s); each is asked alone", len(asked), type(error).__name__, error
            )
            for request in asked:
                await self._answer([request])
            return
        for request, found in zip(asked, features, strict=True):
            if np.isfinite(found).all():
                request.succeed(found)
            else:
                request.fail(EncoderError("model: features of this week are not finite; the week is out of its range"))

    def _call(self, weeks: Sequence[np.ndarray]) -> np.ndarray:
        features = np.asarray(self._encode(np.stack(weeks)))
        require_features(features, len(weeks))
        return features
