"""Engine `local`: worker processes on this machine, kept for all jobs; each is handed one job at a time."""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator

from foresense.engine.jobs import Outcome, Work
from foresense.engine.perform import perform
from foresense.engine.plan import Plan, module_path
from foresense.engine.supervise import EndedError, Supervised

#: What threads tell the caller: an outcome, an error of the engine itself, or the end of one thread.
_Told = queue.SimpleQueue[Outcome | BaseException | None]


def stream(plan: Plan, found: Iterator[Outcome | Work]) -> Generator[Outcome, None, None]:
    """Run jobs on as many workers as the plan allows, one thread of this process beside each.

    Records are written by those threads: a caller that is slow with an outcome does not keep workers waiting.
    """
    told: _Told = queue.SimpleQueue()
    handout = _Handout(found, told)
    path = module_path(plan.modules)
    workers = [Supervised(plan.limits, path) for _ in range(plan.n_workers)]
    threads = [
        threading.Thread(target=_work, args=(plan, worker, handout, told), name=f"engine-{number}", daemon=True)
        for number, worker in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        n_left = len(threads)
        while n_left:
            news = told.get()
            if isinstance(news, Outcome):
                yield news
            elif isinstance(news, BaseException):
                raise news
            else:
                n_left -= 1
    finally:
        handout.stop()
        for worker in workers:
            worker.end()
        for thread in threads:
            thread.join()


def _work(plan: Plan, worker: Supervised, handout: "_Handout", told: _Told) -> None:
    """Run jobs until there are no more; a thread's whole life."""
    try:
        while (work := handout.take()) is not None:
            outcomes, apart = perform(worker, plan.function, work, plan.records)
            for outcome in outcomes:
                told.put(outcome)
            handout.give_back(apart)
        worker.close()
    except EndedError:
        worker.close()
    except BaseException as error:  # a full disk, an iterator of jobs that raises: the caller's to handle
        worker.close()
        told.put(error)
    finally:
        told.put(None)


class _Handout:
    """Hands out work, one piece for each call; takes back what has to be tried in single assets."""

    def __init__(self, found: Iterator[Outcome | Work], told: _Told) -> None:
        self._found = found
        self._told = told
        self._apart: deque[Work] = deque()
        self._n_running = 0
        self._is_over = False  # nothing more comes from `found`
        self._is_stopped = False
        self._changed = threading.Condition()

    def take(self) -> Work | None:
        """The next work; waits while another worker may still give some back. None at the end."""
        with self._changed:
            while True:
                work = None if self._is_stopped else self._next()
                if work is not None:
                    self._n_running += 1
                    return work
                if self._is_stopped or not self._n_running:
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def give_back(self, apart: tuple[Work, ...]) -> None:
        """A piece of work is done, or has to be tried in these."""
        with self._changed:
            self._n_running -= 1
            self._apart.extend(apart)
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing any more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def _next(self) -> Work | None:
        if self._apart:
            return self._apart.popleft()
        while not self._is_over:
            item = next(self._found, None)
            if isinstance(item, Work):
                return item
            if item is None:
                self._is_over = True
            else:
                self._told.put(item)
        return None
