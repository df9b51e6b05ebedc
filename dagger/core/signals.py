"""SIGINT and SIGTERM as exceptions in the main thread, so that what runs is ended in order.

Whatever is at work when a signal comes may drop its exception: CPython's compiler does so, and so may a person's own
code. So it is kept in mind, and whoever waits raises it again.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ECHO = 1.0
_CODE = 143

_asked: type[BaseException] | None = None


class Terminated(SystemExit):
    """SIGTERM came; whoever does not catch it exits as a shell shows one that was ended by it."""

    def __init__(self) -> None:
        super().__init__(_CODE)


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Terminated` for SIGTERM and KeyboardInterrupt for SIGINT, where they mean what they mean by default.

    An echo must not break the ending: a second SIGTERM is ignored, and so is a SIGINT within a second of one, which
    comes when a terminal or a parent tells both the process and its group. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _asked
    if _asked is KeyboardInterrupt:  # which a script has caught; SIGTERM it has not heard of
        _asked = None
    interrupted = float("-inf")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        global _asked
        signal.signal(signal.SIGTERM, ignore)
        _asked = Terminated
        raise Terminated

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        global _asked
        former, interrupted = interrupted, time.monotonic()
        if interrupted - former > _ECHO:
            _asked = KeyboardInterrupt
            raise KeyboardInterrupt

    def ignore(_number: int, _frame: FrameType | None) -> None:
        """Not SIG_IGN, which what is started meanwhile would inherit."""

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as behind nohup
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        _asked = None
        # What the script put in their place is the script's affair.
        if signal.getsignal(signal.SIGTERM) in (terminate, ignore):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_asked() -> None:
    """Raise what a signal has asked for since `signals_raised` began; in the main thread, as a signal does.

    Raises:
        KeyboardInterrupt: There was a SIGINT.
        Terminated: There was a SIGTERM.
    """
    if _asked is not None and threading.current_thread() is threading.main_thread():
        raise _asked
