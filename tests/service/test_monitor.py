import logging
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.service import ActigraphyMonitor

latencies = st.floats(0, 1e5)


def test_nothing_was_logged_yet() -> None:
    assert ActigraphyMonitor().get_stats() == {"status": "no_data"}


def test_the_figures_by_hand() -> None:
    monitor = ActigraphyMonitor()
    for latency_ms in range(1, 21):
        monitor.log_prediction(float(latency_ms), success=True)
    for _ in range(5):
        monitor.log_prediction(1e6, success=False)
    assert monitor.get_stats() == {
        "avg_latency_ms": 10.5,
        "p95_latency_ms": pytest.approx(19.05),  # 1 + 0.95 * 19
        "error_rate": 0.2,
        "total_predictions": 25,
    }


@settings(deadline=None)
@given(st.lists(latencies, min_size=2, max_size=40))
def test_mean_and_percentile_are_those_of_the_standard_library(given_ms: list[float]) -> None:
    monitor = ActigraphyMonitor()
    for latency_ms in given_ms:
        monitor.log_prediction(latency_ms, success=True)
    stats = monitor.get_stats()
    p95 = statistics.quantiles(given_ms, n=20, method="inclusive")[-1]
    # interpolation between two numbers: two roundings of the larger one
    assert stats.get("p95_latency_ms") == pytest.approx(p95, rel=1e-12, abs=1e-9)
    assert stats.get("avg_latency_ms") == pytest.approx(statistics.fmean(given_ms), rel=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(latencies, st.booleans()), max_size=60), st.integers(1, 20))
def test_only_the_window_counts_and_only_the_total_remembers(said: list[tuple[float, bool]], window: int) -> None:
    long, short = ActigraphyMonitor(window), ActigraphyMonitor(window)
    for latency_ms, success in said:
        long.log_prediction(latency_ms, success)
    for latency_ms, success in said[-window:]:
        short.log_prediction(latency_ms, success)
    if not said:
        assert long.get_stats() == {"status": "no_data"}
        return
    assert {**long.get_stats(), "total_predictions": None} == {**short.get_stats(), "total_predictions": None}
    assert long.get_stats().get("total_predictions") == len(said)


def test_failures_alone_have_no_latency() -> None:
    monitor = ActigraphyMonitor()
    monitor.log_prediction(3.0, success=False)
    assert monitor.get_stats() == {
        "avg_latency_ms": None,
        "p95_latency_ms": None,
        "error_rate": 1.0,
        "total_predictions": 1,
    }


def test_a_slow_mean_is_warned_of_only_after_more_than_a_hundred(caplog: pytest.LogCaptureFixture) -> None:
    monitor = ActigraphyMonitor()
    with caplog.at_level(logging.WARNING, logger="foresense.service.monitor"):
        for _ in range(100):
            monitor.log_prediction(2000.0, success=True)
        assert caplog.messages == []
        monitor.log_prediction(2000.0, success=True)
    assert caplog.messages == [
        "the last 100 predictions took 2000 ms on average, expected at most 1000 ms; take a smaller model, another "
        "variant, or fewer requests at once"
    ]


def test_exactly_the_limit_is_no_warning_and_only_the_last_hundred_count(caplog: pytest.LogCaptureFixture) -> None:
    monitor = ActigraphyMonitor()
    for latency_ms in (*[1e6] * 50, *[1000.0] * 100):
        monitor.log_prediction(latency_ms, success=True)
    assert len(caplog.messages) == 1  # while the slow ones were among the last hundred
    caplog.clear()
    for _ in range(200):
        monitor.log_prediction(1000.0, success=True)
    assert caplog.messages == []
    monitor.log_prediction(1001.0, success=True)  # slow again: told again, once
    monitor.log_prediction(1001.0, success=True)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("latency_ms", [-1.0, float("nan"), float("inf")])
def test_a_latency_is_a_time(latency_ms: float) -> None:
    with pytest.raises(ValueError, match="expected a finite time of at least 0 ms, found"):
        ActigraphyMonitor().log_prediction(latency_ms, success=True)


def test_a_window_holds_something() -> None:
    with pytest.raises(ValueError, match="expected at least 1 prediction, found 0"):
        ActigraphyMonitor(window=0)
