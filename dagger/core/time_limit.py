"""Ends a task's code when its time is up: first by an exception, then, where that is not heard, by force.

Runs in the worker. The exception reaches Python code at once; code that is stuck in C or swallows it has a grace,
after which the worker ends itself with all that it started, and its log says why.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 2.0
_MARK = "dagger: the time limit of this task was reached"


class TimeLimitReached(BaseException):
    """The task's time is up."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Let the body run for so many seconds at most; None for no limit. Only in a process's main thread."""
    if seconds is None:
        yield
        return
    message = f"ran longer than its time limit of {seconds:g} s"

    def ring(_signal: int, _frame: object) -> None:
        raise TimeLimitReached(message)

    former = signal.signal(signal.SIGALRM, ring)
    force = threading.Timer(seconds + GRACE, _end_by_force)
    force.daemon = True
    force.start()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        force.cancel()
        force.join()  # else it counts as a thread that the task has left


def was_reached(log: str) -> bool:
    """Tell from the end of a task's log whether its worker ended itself because time was up."""
    return _MARK in log


def _end_by_force() -> None:
    from dagger.core.isolation import helpers
    from dagger.core.process_groups import end_descendants

    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"\n{_MARK}\n".encode())
    end_descendants(os.getpid(), grace=0.5, keep=helpers())
    os.kill(os.getpid(), signal.SIGKILL)
