"""A worker process: waits for jobs, calls their function, and prints into the log of the job.

Started by `supervise` as `python -P -m foresense.engine.worker <requests> <answers>`, two file descriptors that carry
`messages`; standard output and error belong to the function. It ends, and its child processes with it, when the
process that started it does: the kernel sends SIGHUP, and the pipe of the requests closes. A function that lets go of
the interpreter neither for a signal nor for a thread is ended by the kernel's alarm clock, after its time limit.
"""

import ctypes
import faulthandler
import os
import select
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from foresense.engine.calling import answers, find, first_line
from foresense.engine.messages import packed, read_message

PR_SET_PDEATHSIG = 1
#: The alarm clock rings so much after the limit that the other side enforces, s.
GRACE_S = 30.0


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until one says end, or nobody is there to ask."""
    while (request := read_message(requests)) is not None and not request.get("end"):
        print_into(request["log"])
        reply = _reply(request, replies)
        print_into(os.devnull)
        _send(replies, reply)


def _reply(request: dict[str, Any], replies: BinaryIO) -> dict[str, Any]:
    before = sys.stdout, sys.stderr
    try:
        function = find(request["function"])
        _limit_torch(request["threads"])
        forget_peak()
        _send(replies, {"begun": True})
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"] + GRACE_S)
        found = answers(function, tuple(request["assets"]), request["arguments"])
    except (Exception, SystemExit) as error:  # whatever a function raises is an outcome
        sys.stdout, sys.stderr = before
        traceback.print_exc()
        return {"error": first_line(error), "peak_rss_mib": peak_mib()}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        sys.stdout, sys.stderr = before
    return {"answers": found, "peak_rss_mib": peak_mib()}


def _send(replies: BinaryIO, message: object) -> None:
    replies.write(packed(message))
    replies.flush()


def print_into(path: str) -> None:
    """Let everything that this process and its children print go to the end of one file."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed by the function, or its disk is full
            stream.flush()
    ctypes.CDLL(None).fflush(None)  # what C code has printed and not written yet
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _limit_torch(threads: int) -> None:
    """Imported later, torch takes the number from OMP_NUM_THREADS itself."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def forget_peak() -> None:
    """Let VmHWM begin again at what is in use now (proc_pid_clear_refs(5)); does nothing where that is not allowed."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    """Most resident memory of this process since `forget_peak`, MiB; 0 where the kernel does not tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def end_with_starter(requests: int) -> None:
    """End this process and its group when the process that started it ends, however that happens."""
    own = os.getpid()

    def leave(*_: object) -> None:
        if os.getpid() == own:  # a fork inherits the handler
            os.killpg(own, signal.SIGKILL)

    def wait_for_the_end() -> None:
        poller = select.poll()
        poller.register(requests, 0)  # nothing but the end of the other side
        poller.poll()
        leave()

    if sys.platform == "linux":
        signal.signal(signal.SIGHUP, leave)
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    threading.Thread(target=wait_for_the_end, name="end-with-starter", daemon=True).start()


def main() -> None:
    """Serve on the two file descriptors that the command line names."""
    requests, replies = int(sys.argv[1]), int(sys.argv[2])
    end_with_starter(requests)
    faulthandler.enable()
    with open(requests, "rb") as reading, open(replies, "wb") as writing:
        serve(reading, writing)


if __name__ == "__main__":
    main()
