"""SIGINT and SIGTERM as exceptions in the main thread, so that what runs is ended in order.

Whatever is at work when a signal comes may drop its exception: CPython's compiler does so, and so may a person's own
code. So it is kept in mind, and whoever waits raises it again. And while processes are being ended it is only kept in
mind: one that was stopped to be ended, and left so, would be waited for for ever.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dagger.lean_typing import Any

_ECHO = 1.0
_CODE = 143

_asked: type[BaseException] | None = None
_is_held = False
_hearing = 0


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
    if not _is_main():
        yield
        return
    interrupted = float("-inf")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, ignore)
        _ask(Terminated)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        former, interrupted = interrupted, time.monotonic()
        if interrupted - former > _ECHO:
            _ask(KeyboardInterrupt)

    def ignore(_number: int, _frame: FrameType | None) -> None:
        """Not SIG_IGN, which what is started meanwhile would inherit."""

    handlers = {signal.SIGTERM: (terminate, ignore), signal.SIGINT: (interrupt,)}
    defaults: dict[signal.Signals, Any] = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    mine = [number for number in handlers if signal.getsignal(number) is defaults[number]]  # else as behind nohup
    for number in mine:
        signal.signal(number, handlers[number][0])
    try:
        yield
    finally:
        for number in mine:
            # What the script put in their place is the script's affair.
            if signal.getsignal(number) in handlers[number]:
                signal.signal(number, defaults[number])


def _ask(error: type[BaseException]) -> None:
    global _asked
    if _hearing or error is Terminated:  # what a script catches of Ctrl-C between its runs is its own affair
        _asked = error
    if not _is_held:
        raise error


@contextmanager
def signals_heard() -> Iterator[None]:
    """Keep in mind in here what signals ask for, for `raise_asked`; runs may be nested. SIGTERM counts from before."""
    if not _is_main():
        yield
        return
    global _hearing, _asked
    _hearing += 1
    try:
        yield
    finally:
        _hearing -= 1
        if not _hearing:
            _asked = None


def hold_signals() -> None:
    """Only keep in mind what a signal asks for, until `signals_held` is left."""
    global _is_held
    _is_held = _is_held or _is_main()


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals in here, and no more behind it. What came meanwhile, `raise_asked` raises."""
    global _is_held
    hold_signals()
    try:
        yield
    finally:
        _is_held = _is_held and not _is_main()


def raise_asked() -> None:
    """Raise what a signal has asked for and nobody has heard; in the main thread, as a signal does.

    Raises:
        KeyboardInterrupt: There was a SIGINT.
        Terminated: There was a SIGTERM.
    """
    if _asked is not None and _is_main():
        raise _asked


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
