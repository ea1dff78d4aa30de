import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from foresense.service import (
    ActigraphyParts,
    ActigraphyService,
    EncoderError,
    Metric,
    NotInitializedError,
    PreparedWeek,
    ServiceClosedError,
    ServiceError,
    UnreferencedError,
)
from foresense.signals import Recording, SignalError

KEYS = [
    "sleep_efficiency",
    "circadian_rhythm_strength",
    "activity_fragmentation",
    "rest_activity_ratio",
    "raw_features",
    "feature_dim",
]
Run = Callable[..., Any]
Week = Callable[..., Recording]
Make = Callable[..., Any]


def test_an_answer_has_exactly_the_asked_keys(parts: ActigraphyParts, week: Week, run: Run, service_of: Make) -> None:
    async def ask() -> Any:
        async with service_of(parts) as service:
            return await service.extract_features(week(7))

    features = run(ask())
    assert list(features) == KEYS
    assert np.isnan(features.pop("sleep_efficiency"))
    expected = week(7).samples[:96, 0].tolist()
    assert features.pop("raw_features") == expected  # whole numbers below 2**24: exact in float32
    assert features == {
        "circadian_rhythm_strength": 0.75,
        "activity_fragmentation": 0.5,
        "rest_activity_ratio": 0.25,
        "feature_dim": 96,
    }


def test_analyse_says_why_a_metric_is_missing_and_how_the_week_was_scaled(
    parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    recording = week(7)
    recording.samples[100:130] = np.nan

    async def ask() -> Any:
        async with service_of(parts) as service:
            return await service.analyse(recording)

    result = run(ask())
    assert result.reasons == {"sleep_efficiency": "no rest period was found"}
    assert result.week.metrics["acrophase"] == Metric(14.5, "h")
    assert (result.week.is_referenced, result.week.n_filled) == (True, 30)


def test_without_a_reference_it_refuses_unless_asked_and_then_says_so(
    parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        async with service_of(parts) as service:
            with pytest.raises(
                UnreferencedError, match=r"no reference .* fits it \(unit 'mims'\), and scaled by its own"
            ):
                await service.extract_features(week(7, unit="mims"))
            assert service.monitor.get_stats() == {"status": "no_data"}
        async with service_of(parts, allow_unreferenced=True) as service:
            assert not (await service.analyse(week(7, unit="mims"))).week.is_referenced
            assert (await service.analyse(week(7))).week.is_referenced
            assert list(await service.extract_features(week(7, unit="mims"))) == KEYS

    run(ask())


def test_it_loads_once_in_another_thread(parts: ActigraphyParts, run: Run) -> None:
    threads = []

    def opened() -> ActigraphyParts:
        threads.append(threading.get_ident())
        return parts

    async def start() -> None:
        service = ActigraphyService(opened, rss_mib=lambda: 0.0)
        assert not service.is_initialized
        await asyncio.gather(service.initialize(), service.initialize())
        await service.initialize()
        assert service.is_initialized
        await service.close()
        assert not service.is_initialized

    run(start())
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_what_loading_raises_arrives_and_it_can_be_tried_again(parts: ActigraphyParts, run: Run) -> None:
    tries = iter([FileNotFoundError("manifest.json: not there")])

    def opened() -> ActigraphyParts:
        for error in tries:
            raise error
        return parts

    async def start() -> None:
        service = ActigraphyService(opened, rss_mib=lambda: 0.0)
        with pytest.raises(FileNotFoundError, match=r"manifest\.json: not there"):
            await service.initialize()
        assert not service.is_initialized
        await service.initialize()
        assert service.is_initialized
        await service.close()

    run(start())


def test_before_the_start_and_after_the_end_nothing_is_answered(
    parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        service = service_of(parts)
        with pytest.raises(NotInitializedError, match=r"not initialised; await initialize\(\) first"):
            await service.extract_features(week(1))
        await service.initialize()
        await service.close()
        await service.close()
        for asked in (service.extract_features(week(1)), service.initialize()):
            with pytest.raises(ServiceClosedError, match="closed; make and initialise a new one"):
                await asked
        assert service.monitor.get_stats() == {"status": "no_data"}

    run(ask())


def test_concurrent_requests_share_calls_and_each_gets_its_own(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> Any:
        async with service_of(parts, max_batch=4, max_wait_ms=10_000) as service:
            model.batches.clear()
            answers = await asyncio.gather(*(service.extract_features(week(n)) for n in range(8)))
            return answers, service.monitor.get_stats()

    answers, stats = run(ask())
    assert [answer["raw_features"][0] for answer in answers] == list(range(8))
    assert [len(batch) for batch in model.batches] == [4, 4]
    assert (stats["total_predictions"], stats["error_rate"]) == (8, 0.0)
    assert 0 < stats["avg_latency_ms"] <= 30_000


def test_a_model_for_single_weeks_lets_nobody_wait(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> Any:
        single = replace(parts, takes_batches=False)
        async with service_of(single, max_batch=4, max_wait_ms=60_000) as service:
            model.batches.clear()
            return await asyncio.gather(*(service.extract_features(week(n)) for n in range(3)))

    assert [answer["raw_features"][0] for answer in run(ask())] == [0, 1, 2]
    assert sorted(model.batches) == [[0], [1], [2]]


def test_a_week_that_fails_fails_alone_and_is_counted(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    model.raises = {2.0: RuntimeError("boom")}
    recordings = [week(1), week(2), week(3)]
    short = replace(week(4), samples=week(4).samples[:-1])

    async def ask() -> Any:
        async with service_of(parts, max_batch=3, max_wait_ms=10_000) as service:
            asked = (service.extract_features(one) for one in (*recordings, short))
            return await asyncio.gather(*asked, return_exceptions=True), service.monitor.get_stats()

    found, stats = run(ask())
    assert [found[n]["raw_features"][0] for n in (0, 2)] == [1, 3]
    assert isinstance(found[1], RuntimeError)
    assert isinstance(found[3], SignalError)
    assert str(found[3]) == "recording 'person 4': 10079 minutes, expected 10080"
    assert (stats["total_predictions"], stats["error_rate"]) == (3, 1 / 3)  # a wrong recording is no prediction


def test_a_preparation_that_breaks_is_a_failure_of_the_service(
    parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    def broken(recording: Recording) -> PreparedWeek:
        if recording.asset == "person 1":
            raise ZeroDivisionError("a bug")
        return parts.prepare(recording)

    async def ask() -> None:
        async with service_of(replace(parts, prepare=broken)) as service:
            with pytest.raises(ZeroDivisionError, match="a bug"):
                await service.extract_features(week(1))
            assert service.monitor.get_stats()["error_rate"] == 1.0

    run(ask())


def test_who_cancels_disturbs_nobody_and_is_not_counted(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> None:
        async with service_of(parts, max_batch=2, max_wait_ms=10_000) as service:
            model.hold()
            one, other = (asyncio.create_task(service.extract_features(week(n))) for n in (1, 2))
            await model.held()
            one.cancel()
            model.may_go.set()
            assert (await other)["raw_features"][0] == 2
            with pytest.raises(asyncio.CancelledError):
                await one
            assert service.monitor.get_stats()["total_predictions"] == 1

    run(ask())


def test_a_healthy_service_says_exactly_this(
    model: Any, parts: ActigraphyParts, week: Week, run: Run, service_of: Make
) -> None:
    async def ask() -> Any:
        async with service_of(parts, max_batch=2, max_wait_ms=10_000) as service:
            model.batches.clear()
            health, _ = await asyncio.gather(service.model_health_check(), service.extract_features(week(1)))
            return health, service.monitor.get_stats()["total_predictions"]

    health, n_predictions = run(ask())
    assert health == {"status": "healthy", "model_loaded": True, "inference_working": True, "feature_count": 96}
    assert [sorted(batch) for batch in model.batches] == [[1.0, 4321.0]]  # the running model, in the same queue
    assert n_predictions == 1


def test_an_unhealthy_service_says_what_and_when(
    model: Any, parts: ActigraphyParts, run: Run, service_of: Make
) -> None:
    async def ask() -> list[Any]:
        service = service_of(parts, request_s=0.2)
        found = [await service.model_health_check()]
        await service.initialize()
        model.shift = 0.5
        found.append(await service.model_health_check())
        model.shift = 0.0
        model.raises = {4321.0: RuntimeError("boom")}
        found.append(await service.model_health_check())
        model.raises = {}
        model.hold()
        found.append(await service.model_health_check())
        model.may_go.set()
        assert (await service.model_health_check())["status"] == "healthy"
        await service.close()
        found.append(await service.model_health_check())
        assert service.monitor.get_stats() == {"status": "no_data"}
        return found

    found = run(ask())
    assert all(list(one) == ["status", "error", "timestamp"] and one["status"] == "unhealthy" for one in found)
    assert [one["error"].partition(";")[0] for one in found] == [
        "NotInitializedError: service: not initialised",
        "EncoderError: known answer: features differ by 0.5 from the stored ones, allowed 1e-06",
        "RuntimeError: boom",
        "RequestTimeoutError: service: no answer within 0.2 s, with 1 requests under way",
        "ServiceClosedError: service: closed",
    ]
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=1) < datetime.fromisoformat(one["timestamp"]) <= now for one in found)


def test_it_does_not_start_with_another_answer_than_the_known_one(
    model: Any, parts: ActigraphyParts, run: Run, service_of: Make
) -> None:
    rng = np.random.default_rng(0)
    models = {
        r"differ by 0\.25 from the stored ones, allowed 1e-06": lambda weeks: weeks[:, :96] + np.float32(0.25),
        "two different answers for one week": lambda weeks: weeks[:, :96] + rng.random(96, np.float32),
        "1 of 96 features are not finite": lambda weeks: np.where(np.arange(96) == 3, np.inf, weeks[:, :96]),
        r"gave \(1, 7\) for 1 week\(s\)": lambda weeks: weeks[:, :7],
    }

    async def start() -> None:
        for told, wrong in models.items():
            service = service_of(replace(parts, encode=wrong))
            with pytest.raises(EncoderError, match=told):
                await service.initialize()
            assert not service.is_initialized

    run(start())


def test_a_preparation_that_breaks_its_word_is_refused(parts: ActigraphyParts) -> None:
    good = parts.prepare(parts.known_answer.recording)
    for values, told in {
        "shape": (good.values[1:], r"expected \(10080,\) of float32, found \(10079,\) of float32"),
        "type": (good.values.astype(float), r"found \(10080,\) of float64"),
        "nan": (np.where(np.arange(10_080) == 9, np.float32("nan"), good.values), "minute 9 is nan; the model takes"),
    }.values():
        with pytest.raises(ServiceError, match=told):
            replace(good, values=values)
    lacking = {name: metric for name, metric in good.metrics.items() if name != "rest_activity_ratio"}
    with pytest.raises(ServiceError, match=r"metrics rest_activity_ratio missing, found \['acrophase', 'activity_frag"):
        replace(good, metrics=lacking)
    for value, reason in ((1.0, "why"), (float("nan"), "")):
        with pytest.raises(ServiceError, match="expected a value or a reason"):
            Metric(value, "1", reason)


def test_importing_it_brings_no_framework() -> None:
    heavy = {
        "tensorflow",
        "keras",
        "mlflow",
        "torch",
        "fastapi",
        "starlette",
        "onnxruntime",
        "ai_edge_litert",
        "pandas",
    }
    code = f"import sys, foresense.service; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
