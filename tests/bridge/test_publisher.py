"""The plant on MQTT: the samples of the source, in order, from disk, when their time has come."""

import time
from threading import Event, Thread

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresense.bridge.assemble import assemble
from foresense.bridge.connection import Connection
from foresense.bridge.payload import CHANNELS, Schema
from foresense.bridge.plant import Message, PlantSettings, plant_messages
from foresense.bridge.publisher import Publisher, PublishError, _Paced
from foresense.bridge.settings import BrokerSettings
from foresense.bridge.spool import Spool
from foresense.config import IngestConfig
from foresense.sources.simulate import UNITS, simulate_plant
from foresense.sources.tables import Places

START_NS = 1_735_689_600 * 10**9  # 2025-01-01


def places(folder):
    return Places(raw=folder, project=folder, kept=folder)


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_same_seed_same_samples_as_the_source(batch: int, tmp_path) -> None:
    config = IngestConfig(
        source="simulate", n_assets=2, n_rows=600, interval_s=3600, seed=5, time_zone="Europe/Berlin",
        start="2025-01-01T00:00:00+00:00", channels=[{"name": name, "unit": unit} for name, unit in UNITS.items()],
    )  # fmt: skip
    plant = PlantSettings(
        n_assets=2, n_rows=600, interval_s=3600, seed=5, time_zone="Europe/Berlin", start_ns=START_NS, batch=batch
    )
    messages = list(plant_messages(plant))
    found = assemble(Schema(), [(time.time_ns(), message.payload) for message in messages]).batch
    assert found.channels == tuple(UNITS) == CHANNELS
    assert sum(message.n_samples for message in messages) == len(found)
    assert [message.due_ns for message in messages] == sorted(message.due_ns for message in messages)
    for table in simulate_plant(config, places(tmp_path)).tables:
        rows = np.array(found.assets)[found.asset_index] == table.asset
        np.testing.assert_array_equal(found.times_ns[rows], table.times_ns)
        np.testing.assert_array_equal(found.values[rows], table.values)


@given(speed=st.sampled_from([0.0, 1.0, 50.0]), n=st.integers(1, 20))
def test_each_message_has_its_time(speed: float, n: int) -> None:
    past = time.time_ns() - 3600 * 10**9
    paced = _Paced([Message(past + number * 10**9, 1, b"") for number in range(n)], speed)
    taken = paced.take(100)
    if speed == 50:
        assert 1 <= len(taken) <= n
        assert paced.is_over or 0 < paced.wait_s() <= 0.02
    else:
        assert len(taken) == n
        assert (paced.is_over, paced.wait_s()) == (True, 0.0)


def test_a_sample_of_the_future_waits(tmp_path) -> None:
    paced = _Paced([Message(time.time_ns() + 10**10, 1, b"")], 1.0)
    assert paced.take(1) == []
    assert 9 < paced.wait_s() <= 10


def test_a_clock_that_ran_ahead_is_said(tmp_path) -> None:
    spool = Spool(tmp_path / "s")
    publisher = Publisher(BrokerSettings(), spool, topic="t", client_id="p")
    with pytest.raises(PublishError, match="more than a day ahead, and the bridge refuses such times; give a --start"):
        publisher.run([Message(time.time_ns() + 2 * 86_400 * 10**9, 1, b"")], Event(), speed=0)
    spool.close()


@pytest.mark.slow
def test_a_backlog_survives_a_broker_and_a_process_that_are_away_and_keeps_its_order(broker, tmp_path) -> None:
    taken: list[int] = []
    listener = Connection(
        BrokerSettings(host="127.0.0.1", port=broker.port, retry_first_s=0.1, retry_last_s=0.2),
        client_id="listener",
        topics=["t"],
        on_message=lambda message: (taken.append(orjson.loads(message.payload)), listener.client.ack(message.mid, 1)),
    )
    over = Event()

    def listen() -> None:
        while not over.is_set():
            listener.step(0.05)
        listener.close()

    thread = Thread(target=listen)
    thread.start()
    while not listener.is_up:
        time.sleep(0.02)
    broker.stop()
    settings = BrokerSettings(host="127.0.0.1", port=broker.port, retry_first_s=0.1, retry_last_s=0.2)
    stop = Event()
    spool = Spool(tmp_path / "s")
    first = Publisher(settings, spool, topic="t", client_id="p")
    runner = Thread(target=first.run, args=([Message(0, 1, b"%d" % n) for n in range(300)], stop), kwargs={"speed": 1})
    runner.start()
    while spool.depth < 300:
        time.sleep(0.02)
    stop.set()
    runner.join(10)
    spool.close()
    broker.start()
    spool = Spool(tmp_path / "s")
    done = Publisher(settings, spool, topic="t", client_id="p").run(
        [Message(0, 1, b"%d" % n) for n in range(300, 400)], Event(), speed=0
    )
    assert (done.messages, done.samples, spool.depth) == (400, 100, 0)
    spool.close()
    end = time.monotonic() + 10
    while len(taken) < 400 and time.monotonic() < end:
        time.sleep(0.02)
    over.set()
    thread.join(10)
    assert taken == list(range(400))


@pytest.mark.slow
def test_a_topic_that_nobody_has_subscribed_to_is_said(broker, tmp_path, caplog) -> None:
    spool = Spool(tmp_path / "s")
    publisher = Publisher(BrokerSettings(host="127.0.0.1", port=broker.port), spool, topic="t", client_id="p")
    done = publisher.run([Message(0, 1, b"1")] * 3, Event(), speed=0)
    assert (done.messages, done.unheard) == (3, 3)
    assert caplog.text.count("nobody has subscribed to 't': the broker throws messages away") == 1
    spool.close()
