"""One worker process under watch: started when needed, kept for the next job, killed over a limit, replaced after."""

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresense.engine.jobs import Job
from foresense.engine.memory import descendants, tree_rss_mib
from foresense.engine.messages import packed, unpacked

log = logging.getLogger(__name__)

#: How often memory is looked at, s.
POLL_S = 0.25
#: For the start of the interpreter and the import of the function's module, before the job's own clock begins, s.
START_LIMIT_S = 300.0
#: For a worker to leave by itself when it is told to, s.
LEAVE_S = 5.0


class EndedError(RuntimeError):
    """The worker was ended from outside; nothing is known of its job."""


@dataclass(frozen=True)
class Answer:
    """What came of one call.

    Attributes:
        answers: For each asset `{"status", "reason", "result"}`; empty where there is an error.
        error: Why the whole job gave nothing, one line; None where it did.
        seconds: Wall time of the call.
        peak_rss_mib: Most memory of the process tree, MiB.
        worker: "host/process id".
    """

    answers: dict[str, dict[str, Any]]
    error: str | None
    seconds: float
    peak_rss_mib: float
    worker: str


@dataclass(frozen=True)
class Limits:
    """What a worker may use.

    Attributes:
        threads: Of each numerical library.
        limit_min: Wall time for each asset, minutes.
        memory_mib: Resident memory of the worker and its child processes, MiB; None: no limit.
    """

    threads: int
    limit_min: float
    memory_mib: float | None


class Supervised:
    """Runs jobs in a worker process of its own, one at a time.

    `run` and `close` belong to one thread, which has to live as long as the worker: the kernel takes the end of the
    thread for the end of the starter (prctl(2), PR_SET_PDEATHSIG). `end` may be called from any.

    Args:
        limits: For every job.
        path: Folders and zip files where the worker finds modules, the first before all others.
    """

    catches_output = True

    def __init__(self, limits: Limits, path: Sequence[str]) -> None:
        self._limits = limits
        self._path = tuple(path)
        self._child: _Child | None = None
        self._ended = False
        self._lock = threading.Lock()

    def run(self, function: str, job: Job, written: Path) -> Answer:
        """Call the function in the worker; what it prints goes to the end of `written`.

        Raises:
            EndedError: `end` was called meanwhile.
            OSError: no process can be started.
        """
        limit_s = 60.0 * self._limits.limit_min * len(job.assets)
        request = {
            "function": function,
            "assets": job.assets,
            "arguments": job.arguments,
            "log": str(written),
            "limit_s": limit_s,
            "threads": self._limits.threads,
        }
        watch = _Watch(self._started(written), self._limits, limit_s)
        try:
            answer = watch.answer(packed(request))
        except BaseException:
            self._kill()
            raise
        if self._ended:
            self._kill()
            raise EndedError("the worker was ended")
        if watch.is_spoilt:
            self._kill()
        elif self._limits.memory_mib is not None and watch.rss_mib > self._limits.memory_mib / 2:
            log.info("worker %s keeps %.0f MiB after its job: replaced", answer.worker, watch.rss_mib)
            self.close()
        return answer

    def close(self) -> None:
        """Let the worker leave; kill it when it does not."""
        if self._child is not None:
            self._child.leave()
            self._kill()

    def end(self) -> None:
        """Kill the worker and all below it, now and for good; its own thread notices, and tidies up in `close`."""
        with self._lock:
            self._ended = True
            if self._child is not None:
                self._child.kill()

    def _started(self, written: Path) -> "_Child":
        with self._lock:
            if self._ended:
                raise EndedError("the worker was ended")
            if self._child is not None and not self._child.is_alive():  # died between two jobs: no fault of the next
                self._child.kill()
                self._child.tidy_up()
                self._child = None
            if self._child is None:
                self._child = _Child(self._limits.threads, self._path, written)
            return self._child

    def _kill(self) -> None:
        with self._lock:
            child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.tidy_up()


class _Watch:
    """One call in a worker, held to its limits."""

    def __init__(self, child: "_Child", limits: Limits, limit_s: float) -> None:
        self._child = child
        self._limits = limits
        self._limit_s = limit_s
        self._peak_mib = 0.0
        self.rss_mib = 0.0  # at the last look
        self.is_spoilt = False  # the worker is dead or stuck
        self._began = time.monotonic()

    def answer(self, request: bytes) -> Answer:
        self._child.send(request)
        deadline, why_late = self._began + START_LIMIT_S, f"the worker did not start within {START_LIMIT_S:g} s"
        while True:
            wait_s = min(POLL_S, max(0.0, deadline - time.monotonic()))
            try:
                message = self._child.receive(wait_s)
            except EOFError:
                return self._spoilt(self._child.last_words())
            if message is not None and "begun" in message:
                self._began = time.monotonic()
                deadline, why_late = self._began + self._limit_s, self._why_late()
                self._look()
                continue
            self._look()
            if message is not None:
                self._peak_mib = max(self._peak_mib, message["peak_rss_mib"])
                return self._answer(message.get("answers", {}), message.get("error"))
            allowed = self._limits.memory_mib
            if allowed is not None and self.rss_mib > allowed:
                return self._spoilt(f"used {self.rss_mib:.0f} MiB, allowed {allowed:.0f} MiB")
            if time.monotonic() >= deadline:
                return self._spoilt(why_late)

    def _look(self) -> None:
        self.rss_mib = tree_rss_mib(self._child.pid)
        self._peak_mib = max(self._peak_mib, self.rss_mib)

    def _why_late(self) -> str:
        limit = f"{self._limit_s / 60:g} min" if self._limit_s >= 60 else f"{self._limit_s:g} s"
        return f"ran longer than the {limit} allowed"

    def _spoilt(self, reason: str) -> Answer:
        self.is_spoilt = True
        return self._answer({}, reason)

    def _answer(self, answers: dict[str, dict[str, Any]], error: str | None) -> Answer:
        seconds = time.monotonic() - self._began
        return Answer(answers, error, seconds, self._peak_mib, f"{socket.gethostname()}/{self._child.pid}")


class _Child:
    """The process and its two pipes, neither of which this side ever waits for without a limit."""

    def __init__(self, threads: int, path: Sequence[str], written: Path) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        number = str(threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": number,
            "MKL_NUM_THREADS": number,
            "OPENBLAS_NUM_THREADS": number,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",  # what was printed before a crash is in the log
        }
        try:
            with written.open("ab") as printed:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "foresense.engine.worker", str(requests), str(answers)],
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=subprocess.STDOUT,
                    pass_fds=(requests, answers),
                    env=environment,
                    start_new_session=True,  # one signal reaches it and all below it
                )
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            os.close(requests)
            os.close(answers)
        self.pid = self._process.pid
        self._to_send = memoryview(b"")
        self._received = bytearray()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._answers, selectors.EVENT_READ)

    def is_alive(self) -> bool:
        """Whether the process runs still."""
        return self._process.poll() is None

    def send(self, message: bytes) -> None:
        """Begin to send; `receive` goes on with it."""
        self._to_send = memoryview(message)
        self._ready.register(self._requests, selectors.EVENT_WRITE)

    def receive(self, wait_s: float) -> dict[str, Any] | None:
        """The next message; None when there is none within so many seconds.

        Raises:
            EOFError: the process is dead, or has closed its side.
        """
        until = time.monotonic() + wait_s
        while (message := unpacked(self._received)) is None:
            found = self._ready.select(max(0.0, until - time.monotonic()))
            for key, _ in found:
                if key.fd == self._requests:
                    self._write()
                else:
                    self._read()
            if not found:
                if self._process.poll() is not None and not self._ready.select(0):
                    raise EOFError  # a fork of it holds the pipe open
                if time.monotonic() >= until:
                    return None
        return dict(message)

    def last_words(self) -> str:
        """How the process came to its end."""
        try:
            code = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return "the process closed its pipe to the engine"
        if code >= 0:
            return f"the process died (exit code {code})"
        try:
            name = signal.Signals(-code).name
        except ValueError:  # a real-time signal
            name = str(-code)
        return f"the process died (signal {name})"

    def leave(self) -> None:
        """Tell it to leave, and wait a little for that."""
        with suppress(OSError):
            os.write(self._requests, packed({"end": True}))
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVE_S)

    def kill(self) -> None:
        """Kill it and all below it."""
        below = descendants(self.pid)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in below:  # those that left its session
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def tidy_up(self) -> None:
        """Wait until it is gone, and close what led to it."""
        self._process.wait()
        self._ready.close()
        os.close(self._requests)
        os.close(self._answers)

    def _write(self) -> None:
        try:
            n_sent = os.write(self._requests, self._to_send)
        except BlockingIOError:
            return
        except BrokenPipeError:
            n_sent = len(self._to_send)  # dead: reading will tell
        self._to_send = self._to_send[n_sent:]
        if not self._to_send:
            self._ready.unregister(self._requests)

    def _read(self) -> None:
        try:
            content = os.read(self._answers, 1 << 20)
        except BlockingIOError:
            return
        if not content:
            raise EOFError
        self._received += content
