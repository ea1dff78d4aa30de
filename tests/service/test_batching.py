import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresense.service import EncoderError, ServiceClosedError
from foresense.service.batching import Batcher


def week_of(first: float) -> np.ndarray:
    return np.concatenate([[first], np.arange(10_079)]).astype(np.float32)


@given(n_weeks=st.integers(1, 24), max_batch=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_everybody_gets_his_own_row_and_no_batch_is_too_large(n_weeks: int, max_batch: int) -> None:
    sizes: list[int] = []

    def encode(weeks: np.ndarray) -> np.ndarray:
        sizes.append(len(weeks))
        return weeks[:, :96]

    async def ask() -> list[np.ndarray]:
        batcher = Batcher(encode, max_batch=max_batch, max_wait_ms=0)
        found = await asyncio.gather(*(batcher.encode(week_of(first)) for first in range(n_weeks)))
        await batcher.close()
        return found

    found = asyncio.run(ask())
    assert [row[0] for row in found] == list(range(n_weeks))
    assert all(row.shape == (96,) for row in found)
    assert sum(sizes) == n_weeks
    assert max(sizes) <= max_batch
    assert len(sizes) == -(-n_weeks // max_batch)  # all were there at once


@given(
    fates=st.lists(st.sampled_from(["answered", "fails", "leaves before", "leaves inside"]), min_size=1, max_size=12),
    max_batch=st.integers(1, 5),
)
@settings(max_examples=30, deadline=None)
def test_whatever_becomes_of_others_each_meets_his_own_fate(fates: list[str], max_batch: int) -> None:
    loop_side: dict[str, Any] = {}

    def encode(weeks: np.ndarray) -> np.ndarray:
        for number in weeks[:, 0].astype(int).tolist():
            if fates[number] == "leaves inside":
                loop_side["loop"].call_soon_threadsafe(loop_side["tasks"][number].cancel)
        for number in weeks[:, 0].astype(int).tolist():
            if fates[number] == "fails":
                raise KeyError(number)
        return weeks[:, :96]

    async def ask() -> list[Any]:
        batcher = Batcher(encode, max_batch=max_batch, max_wait_ms=0)
        tasks = [asyncio.create_task(batcher.encode(week_of(number))) for number in range(len(fates))]
        loop_side.update(loop=asyncio.get_running_loop(), tasks=tasks)
        await asyncio.sleep(0)
        for task, fate in zip(tasks, fates, strict=True):
            if fate == "leaves before":
                task.cancel()
        found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        await batcher.close()
        return found

    for number, (fate, found) in enumerate(zip(fates, asyncio.run(ask()), strict=True)):
        if fate == "answered":
            assert found[0] == number
        elif fate == "fails":
            assert isinstance(found, KeyError)
            assert found.args == (number,)
        else:
            assert isinstance(found, asyncio.CancelledError)


def test_a_full_batch_waits_for_nobody(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=4, max_wait_ms=60_000)
        await asyncio.gather(*(batcher.encode(week_of(first)) for first in range(8)))
        await batcher.close()

    run(ask())
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_week_waits_for_others_and_not_longer_than_it_may(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> float:
        batcher = Batcher(model, max_batch=4, max_wait_ms=100)
        begun_s = asyncio.get_running_loop().time()
        first = asyncio.create_task(batcher.encode(week_of(1)))
        await asyncio.sleep(0.02)
        await asyncio.gather(first, batcher.encode(week_of(2)))
        took_s = asyncio.get_running_loop().time() - begun_s
        await batcher.close()
        return took_s

    assert 0.09 < run(ask()) < 10  # the clock of the loop may be 10 ms coarse; above, a busy machine
    assert model.batches == [[1, 2]]


def test_others_gather_while_the_model_computes(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=8, max_wait_ms=0)
        model.hold()
        first = asyncio.create_task(batcher.encode(week_of(0)))
        await model.held()
        others = [asyncio.create_task(batcher.encode(week_of(n))) for n in (1, 2, 3)]
        await asyncio.sleep(0)
        model.may_go.set()
        await asyncio.gather(first, *others)
        await batcher.close()

    run(ask())
    assert model.batches == [[0], [1, 2, 3]]


def test_who_has_waited_while_the_model_computed_does_not_wait_again(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> float:
        batcher = Batcher(model, max_batch=2, max_wait_ms=1000)
        model.hold()
        two = [asyncio.create_task(batcher.encode(week_of(n))) for n in (0, 1)]
        await model.held()
        third = asyncio.create_task(batcher.encode(week_of(2)))
        await asyncio.sleep(1.05)
        model.may_go.set()
        begun_s = asyncio.get_running_loop().time()
        await asyncio.gather(*two, third)
        took_s = asyncio.get_running_loop().time() - begun_s
        await batcher.close()
        return took_s

    assert run(ask()) < 0.9


def test_one_that_fails_fails_alone(model: Any, run: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    model.raises = {2.0: KeyError("no such minute")}
    model.gives_nan = {3.0}

    async def ask() -> list[Any]:
        batcher = Batcher(model, max_batch=5, max_wait_ms=50)
        weeks = (batcher.encode(week_of(n)) for n in range(5))
        found = await asyncio.gather(*weeks, return_exceptions=True)
        assert (await batcher.encode(week_of(7)))[0] == 7  # and the worker goes on
        await batcher.close()
        return found

    found = run(ask())
    assert [found[n][0] for n in (0, 1, 4)] == [0, 1, 4]
    assert isinstance(found[2], KeyError)
    assert isinstance(found[3], EncoderError)
    assert str(found[3]) == "model: features of this week are not finite; the week is out of its range"
    assert model.batches == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4], [7]]
    assert "a batch of 5 weeks failed (KeyError: 'no such minute'); each is asked alone" in caplog.messages


def test_an_answer_of_another_shape_is_nobodys(run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(lambda weeks: weeks[:, :95], max_batch=1, max_wait_ms=0)
        with pytest.raises(EncoderError, match=r"gave \(1, 95\) for 1 week\(s\), expected \(1, 96\)"):
            await batcher.encode(week_of(0))
        await batcher.close()

    run(ask())


def test_who_leaves_disturbs_nobody(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=3, max_wait_ms=0)
        model.hold()
        inside = [asyncio.create_task(batcher.encode(week_of(n))) for n in (0, 1, 2)]
        await model.held()
        waiting = [asyncio.create_task(batcher.encode(week_of(n))) for n in (3, 4, 5)]
        await asyncio.sleep(0)
        inside[1].cancel()
        waiting[0].cancel()
        await asyncio.sleep(0)
        model.may_go.set()
        found = await asyncio.gather(*inside, *waiting, return_exceptions=True)
        assert [type(one) for one in (found[1], found[3])] == [asyncio.CancelledError] * 2
        assert [found[n][0] for n in (0, 2, 4, 5)] == [0, 2, 4, 5]
        await batcher.close()

    run(ask())
    assert model.batches == [[0, 1, 2], [4, 5]]  # nobody computes for who left before his turn
    assert model.most_inside == 1


def test_who_left_takes_no_place_in_a_batch(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=2, max_wait_ms=60_000)
        left = asyncio.create_task(batcher.encode(week_of(0)))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        await asyncio.gather(batcher.encode(week_of(1)), batcher.encode(week_of(2)))
        await batcher.close()

    run(ask())
    assert model.batches == [[1, 2]]


def test_a_batch_that_failed_is_not_repeated_for_who_left(model: Any, run: Callable[..., Any]) -> None:
    model.raises = {0.0: KeyError("no such minute")}

    async def ask() -> None:
        batcher = Batcher(model, max_batch=3, max_wait_ms=60_000)
        model.hold()
        tasks = [asyncio.create_task(batcher.encode(week_of(n))) for n in (0, 1, 2)]
        await model.held()
        tasks[1].cancel()
        await asyncio.sleep(0)
        model.may_go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()

    run(ask())
    assert model.batches == [[0, 1, 2], [0], [2]]


def test_if_all_leave_nothing_is_computed_and_the_next_is_served(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=3, max_wait_ms=50)
        left = [asyncio.create_task(batcher.encode(week_of(n))) for n in (0, 1)]
        await asyncio.sleep(0.01)
        for one in left:
            one.cancel()
        await asyncio.sleep(0.1)
        assert (await batcher.encode(week_of(2)))[0] == 2
        await batcher.close()

    run(ask())
    assert model.batches == [[2]]


def test_the_model_is_called_once_at_a_time_even_when_callers_leave(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=1, max_wait_ms=0)
        model.hold()
        first = asyncio.create_task(batcher.encode(week_of(0)))
        await model.held()
        first.cancel()
        second = asyncio.create_task(batcher.encode(week_of(1)))
        await asyncio.sleep(0.02)
        assert model.batches == [[0]]
        model.may_go.set()
        assert (await second)[0] == 1
        await batcher.close()

    run(ask())
    assert model.most_inside == 1
    assert len(model.threads) == 1


def test_closing_tells_whoever_waits(model: Any, run: Callable[..., Any]) -> None:
    async def ask() -> None:
        batcher = Batcher(model, max_batch=1, max_wait_ms=0)
        model.hold()
        inside = asyncio.create_task(batcher.encode(week_of(0)))
        await model.held()
        waiting = asyncio.create_task(batcher.encode(week_of(1)))
        await asyncio.sleep(0)
        await batcher.close()
        model.may_go.set()
        for one in (inside, waiting):
            with pytest.raises(ServiceClosedError, match="closed before it could answer; ask another one"):
                await one
        with pytest.raises(ServiceClosedError, match="make and initialise a new one"):
            await batcher.encode(week_of(2))
        await batcher.close()

    run(ask())


def test_a_batcher_of_a_loop_that_has_ended_says_so(model: Any) -> None:
    async def made() -> Batcher:
        return Batcher(model, max_batch=1, max_wait_ms=0)

    batcher = asyncio.run(made())
    with pytest.raises(ServiceClosedError, match="its event loop has ended"):
        asyncio.run(batcher.encode(week_of(0)))
