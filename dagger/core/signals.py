"""SIGINT and SIGTERM as exceptions in the main thread, so that what runs is ended in order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ECHO = 1.0
_CODE = 143


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
    interrupted = float("-inf")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, ignore)
        raise Terminated

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        former, interrupted = interrupted, time.monotonic()
        if interrupted - former > _ECHO:
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
        # What the script put in their place is the script's affair.
        if signal.getsignal(signal.SIGTERM) in (terminate, ignore):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)
