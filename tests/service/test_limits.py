import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foresense.service import (
    ActigraphyParts,
    MemoryLimitError,
    OverloadedError,
    PreparedWeek,
    RequestTimeoutError,
    ServiceClosedError,
)
from foresense.service.memory import process_rss_mib
from foresense.signals import Recording

Run = Callable[..., Any]
Week = Callable[..., Recording]
Make = Callable[..., Any]


def test_a_request_ends_in_time_and_counts_as_a_failure(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        async with service_of(parts, request_s=0.2) as service:
            model.hold()
            with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.2 s, with 1 requests under way"):
                await service.extract_features(week(1))
            model.may_go.set()
            assert service.monitor.get_stats() == {
                "avg_latency_ms": None,
                "p95_latency_ms": None,
                "error_rate": 1.0,
                "total_predictions": 1,
            }
            assert (await service.extract_features(week(2)))["raw_features"][0] == 2

    run(ask())
    assert model.most_inside == 1


def test_a_timeout_of_a_part_is_not_told_as_the_services(
    parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    def late(recording: Recording) -> PreparedWeek:
        if recording.asset == "person 1":
            raise TimeoutError("the disk")
        return parts.prepare(recording)

    async def ask() -> None:
        async with service_of(replace(parts, prepare=late)) as service:
            with pytest.raises(TimeoutError, match="the disk") as caught:
                await service.extract_features(week(1))
            assert not isinstance(caught.value, RequestTimeoutError)

    run(ask())


def test_above_the_memory_limit_requests_are_refused_until_it_is_less(
    parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    rss_mib = [513.0]

    async def ask() -> None:
        async with service_of(parts, rss_mib=lambda: rss_mib[0], memory_mib=512) as service:
            with pytest.raises(MemoryLimitError, match="the process holds 513 MiB, at most 512 MiB; ask again when"):
                await service.extract_features(week(1))
            assert (await service.model_health_check())["error"].startswith("MemoryLimitError: service: the process")
            rss_mib[0] = 512.0
            await service.extract_features(week(1))
            assert service.monitor.get_stats()["total_predictions"] == 1

    run(ask())


def test_the_memory_is_that_of_this_process() -> None:
    before_mib = process_rss_mib()
    held = np.ones(64 * 2**17)  # 64 MiB, touched
    # other threads of the test process may give memory back meanwhile
    assert 48 < process_rss_mib() - before_mib < 128
    assert held[-1] == 1


def test_one_request_too_many_is_refused(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        async with service_of(parts, max_pending=2, max_wait_ms=0) as service:
            model.hold()
            two = [asyncio.create_task(service.extract_features(week(n))) for n in (1, 2)]
            await model.held()
            with pytest.raises(OverloadedError, match="2 requests under way, at most 2; ask again later"):
                await service.extract_features(week(3))
            model.may_go.set()
            await asyncio.gather(*two)
            await service.extract_features(week(3))
            assert service.monitor.get_stats()["total_predictions"] == 3

    run(ask())


def test_closing_answers_those_under_way_and_takes_no_more(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        service = service_of(parts, max_batch=1, max_wait_ms=0)
        await service.initialize()
        model.hold()
        under_way = [asyncio.create_task(service.extract_features(week(n))) for n in (1, 2, 3)]
        await model.held()
        closing = asyncio.create_task(service.close())
        await asyncio.sleep(0.01)
        assert not closing.done()
        with pytest.raises(ServiceClosedError):
            await service.extract_features(week(4))
        model.may_go.set()
        assert [answer["raw_features"][0] for answer in await asyncio.gather(*under_way)] == [1, 2, 3]
        await closing

    run(ask())


def test_closing_waits_for_a_model_that_hangs_no_longer_than_a_request_may(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        service = service_of(parts, request_s=0.2)
        await service.initialize()
        model.hold()
        hanging = asyncio.create_task(service.extract_features(week(1)))
        await model.held()
        await service.close()
        with pytest.raises(RequestTimeoutError):
            await hanging
        model.may_go.set()

    run(ask())
