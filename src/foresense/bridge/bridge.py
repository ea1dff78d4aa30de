"""The bridge: intake, queue, forwarder and watch, put together."""

from collections.abc import Sequence
from threading import Event, Thread

from foresense.bridge.counters import Counters
from foresense.bridge.delivery import Deliverer, Forwarder
from foresense.bridge.intake import Intake, Keep
from foresense.bridge.letters import Letters
from foresense.bridge.payload import Schema
from foresense.bridge.settings import BridgeSettings
from foresense.bridge.spool import Spool
from foresense.bridge.watch import Metrics, Watch
from foresense.stores import Store, StoreUnavailableError

SPOOL = "spool.sqlite"


def run_bridge(settings: BridgeSettings, store: Store, stop: Event, counters: Counters | None = None) -> None:
    """Take messages to the store until `stop` is set; then finish what is at hand, and leave nothing unacknowledged.

    Broker and store may be away for as long as they like, at the start too.

    Args:
        settings: See `BridgeSettings`.
        store: Where to.
        stop: Set by another thread or a signal.
        counters: To look at from outside; absent: its own.

    Raises:
        SpoolError: the queue cannot be opened.
        LettersError: the dead letters cannot be opened.
        OSError: the port of the metrics is taken.
    """
    counters = counters or Counters()
    spool = Spool(settings.folder / SPOOL, settings.spool_max_mib) if settings.is_spooling else None
    metrics: Metrics | None = None
    letters: Letters | None = None
    try:
        letters = Letters(
            settings.folder, spool_identity=spool.identity if spool else 0, max_mib=settings.letters_max_mib
        )
        deliverer = Deliverer(store, Schema(settings.channels), letters, counters)
        if spool is not None:
            intake = Intake(settings, spool.append, counters)
        else:
            intake = Intake(settings, _straight(deliverer, counters), counters)
        watch = Watch(settings, counters, spool, intake.connection)
        if settings.metrics_port is not None:
            metrics = Metrics(settings, watch.state)
        forwarder = Forwarder(settings, spool, letters, deliverer, counters) if spool is not None else None
        _run(intake, forwarder, watch, stop)
    finally:
        if metrics is not None:
            metrics.close()
        if letters is not None:
            letters.close()
        if spool is not None:
            spool.close()


def _run(intake: Intake, forwarder: Forwarder | None, watch: Watch, stop: Event) -> None:
    watch.write_state()
    is_over = Event()
    threads = [Thread(target=watch.run, args=(is_over,), name="watch", daemon=True)]
    if forwarder is not None:
        threads.insert(0, Thread(target=forwarder.run, args=(stop,), name="forwarder", daemon=True))
    for thread in threads:
        thread.start()
    try:
        intake.run(stop)
    finally:
        stop.set()
        if forwarder is not None:
            threads[0].join()
            forwarder.finish()
        is_over.set()
        threads[-1].join()


def _straight(deliverer: Deliverer, counters: Counters) -> Keep:
    """Without a queue: kept means that the store has it."""

    def keep(messages: Sequence[tuple[str, int, bytes]]) -> None:
        try:
            deliverer.deliver([(None, topic, received_ns, payload) for topic, received_ns, payload in messages])
        except StoreUnavailableError as error:
            counters.store_failed(str(error))
            raise
        counters.store_is_well()

    return keep
