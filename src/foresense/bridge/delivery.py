"""From the queue to the store: parse, write, write down what was refused, and only then forget."""

import logging
import time
from collections.abc import Callable, Sequence
from threading import Event

import numpy as np

from foresense.bridge.assemble import Assembled, assemble
from foresense.bridge.backoff import Backoff
from foresense.bridge.counters import Counters
from foresense.bridge.letters import Letter, Letters, LettersError
from foresense.bridge.payload import Schema
from foresense.bridge.settings import BridgeSettings
from foresense.bridge.spool import Spool, Spooled, SpoolError
from foresense.stores import Batch, NoDatabaseError, RefusedRow, Store, StoreError, StoreUnavailableError

LOG = logging.getLogger(__name__)
_N_REASONS = 10  # of the store, kept for one message


class Deliverer:
    """Takes messages to the store, and what is refused to the dead letters; the same messages twice do no harm."""

    def __init__(self, store: Store, schema: Schema, letters: Letters, counters: Counters) -> None:
        self._store = store
        self._schema = schema
        self._letters = letters
        self._counters = counters

    def deliver(self, messages: Sequence[tuple[int | None, str, int, bytes]]) -> None:
        """Write messages (id in the queue, topic, received_ns, payload); all of them are safe when this returns.

        Raises:
            StoreUnavailableError: the store cannot take them now.
            LettersError: dead letters cannot be written now.
        """
        found = assemble(self._schema, [(received_ns, payload) for _, _, received_ns, payload in messages])
        refused = self._written(found.batch) if len(found.batch) else []
        letters = _letters(messages, found, refused)
        self._letters.write(letters)
        n_filled = int((~np.isnan(found.batch.values)).any(axis=1).sum())
        self._counters.stored += n_filled - len(refused)
        self._counters.empty += len(found.batch) - n_filled
        if found.unknown:
            self._counters.see_unknown(found.unknown)
        if letters:
            self._counters.refused += sum(letter.n_refused for letter in letters)
            self._counters.refused_at = time.monotonic()

    def _written(self, batch: Batch) -> list[RefusedRow]:
        """Write; where the server lacks our database or bucket, make it and write again."""
        try:
            return self._store.write(batch)
        except NoDatabaseError as missing:
            try:
                self._store.prepare()
            except StoreUnavailableError:
                raise
            except (StoreError, ImportError) as error:
                raise StoreUnavailableError(f"{missing}; making it failed: {error}") from error
            LOG.info("the store had no such database; it was made: %s", missing)
            return self._store.write(batch)


class Forwarder:
    """Empties the queue into the store, in the order of ids, until it is asked to stop."""

    def __init__(
        self, settings: BridgeSettings, spool: Spool, letters: Letters, deliverer: Deliverer, counters: Counters
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._letters = letters
        self._deliverer = deliverer
        self._counters = counters
        self._backoff = Backoff(settings.store_retry_first_s, settings.store_retry_last_s)

    def run(self, stop: Event) -> None:
        """Forward until `stop` is set, then what is left, for stop_s seconds at most; the rest stays in the queue."""
        while not stop.is_set():
            began = time.monotonic()
            wait_s = self._forward_all(stop.is_set, self._fills_a_batch)
            if wait_s is None:
                wait_s = max(self._settings.write_every_s - (time.monotonic() - began), 0.01)
            stop.wait(wait_s)

    def finish(self) -> None:
        """Forward what is left when no more comes, for stop_s seconds at most."""
        end = time.monotonic() + self._settings.stop_s
        self._forward_all(lambda: time.monotonic() > end, lambda: self._spool.depth > 0)

    def _fills_a_batch(self) -> bool:
        waiting = self._spool
        return waiting.depth >= self._settings.write_messages or waiting.n_bytes >= self._settings.write_mib * 2**20

    def _forward_all(self, is_over: Callable[[], bool], is_enough: Callable[[], bool]) -> float | None:
        """Once, and on while `is_enough` is there; seconds to wait where something is in the way, or None."""
        is_first = True
        while (is_enough() or (is_first and self._spool.depth)) and not is_over():
            is_first = False
            try:
                self._forward_some()
            except StoreUnavailableError as error:
                return self._failed(str(error), getattr(error, "retry_after_s", None) or 0.0)
            except (SpoolError, LettersError) as error:
                return self._failed(str(error))
            except Exception as error:  # a defect must not lose what was acknowledged: it stays in the queue
                LOG.exception("a batch could not be delivered; it stays in the queue")
                return self._failed(f"{type(error).__name__}: {error}")
        return None

    def _forward_some(self) -> None:
        messages: list[Spooled] = self._spool.oldest(
            self._settings.write_messages, int(self._settings.write_mib * 2**20)
        )
        if not messages:
            return
        self._deliverer.deliver(messages)
        self._spool.drop(messages[-1].id)
        self._letters.forget(messages[-1].id)
        if self._backoff.n_failures:
            LOG.info("forwarding goes on after %d failed tries", self._backoff.n_failures)
        self._backoff.succeeded()
        self._counters.store_is_well()

    def _failed(self, problem: str, at_least_s: float = 0.0) -> float:
        wait_s = self._backoff.failed(at_least_s)
        self._counters.store_failed(problem)
        LOG.warning("forwarding waits %.1f s: %s", wait_s, problem)
        return wait_s


def _letters(
    messages: Sequence[tuple[int | None, str, int, bytes]], found: Assembled, refused: Sequence[RefusedRow]
) -> list[Letter]:
    by_store: dict[int, list[str]] = {}
    for row, reason in refused:
        by_store.setdefault(int(found.owners[row]), []).append(reason)
    letters = []
    for number, (parsed, (spool_id, topic, received_ns, payload)) in enumerate(
        zip(found.parsed, messages, strict=True)
    ):
        reasons = by_store.get(number, [])
        n_refused = parsed.n_refused + len(reasons)
        if n_refused:
            told = [*parsed.reasons, *reasons[:_N_REASONS]]
            if n_refused > len(told):
                told.append(f"and {n_refused - len(told)} more")
            letters.append(Letter(topic, received_ns, payload, told, n_refused, spool_id))
    return letters
