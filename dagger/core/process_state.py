"""What a process has beside modules and a task may change: taken before a job, put back after it.

Environment variables, working directory, import path, signal handlers, warning filters, logging, locale, and the
global settings of libraries that tasks commonly turn (`library_state`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

Restore = Callable[[], None]


class ProcessState:
    """A snapshot that can be put back, each part by itself.

    Args:
        parts: What puts the parts back.
    """

    def __init__(self, parts: list[Restore]) -> None:
        self._parts = parts

    @classmethod
    def take(cls) -> ProcessState:
        """Look at the process as it is now."""
        from dagger.core.library_state import take_libraries

        return cls([part() for part in _PARTS] + take_libraries())

    def restore(self) -> None:
        """Put everything back; one part that fails does not keep the others."""
        for part in self._parts:
            try:
                part()
            except Exception as error:
                print(f"dagger: could not undo what the task changed: {error!r}", file=sys.stderr)


def _environment() -> Restore:
    former = dict(os.environ)

    def restore() -> None:
        zone = os.environ.get("TZ")
        for name in [name for name in os.environ if name not in former]:
            del os.environ[name]
        for name, value in former.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        if zone != former.get("TZ") and sys.platform != "win32":
            import time

            time.tzset()

    return restore


def _directory() -> Restore:
    try:
        former = os.getcwd()
    except OSError:
        former = os.sep

    def restore() -> None:
        try:
            os.chdir(former)
        except OSError:
            os.chdir(os.sep)

    return restore


def _interpreter() -> Restore:
    lists = [sys.path, sys.argv, sys.meta_path, sys.path_hooks]
    contents = [list(each) for each in lists]
    depth = sys.getrecursionlimit()
    hooks = sys.excepthook, sys.displayhook
    streams = sys.stdin, sys.stdout, sys.stderr

    def restore() -> None:
        for each, content in zip(lists, contents, strict=True):
            each[:] = content  # type: ignore[index]
        sys.path, sys.argv, sys.meta_path, sys.path_hooks = lists  # type: ignore[assignment]
        if sys.getrecursionlimit() != depth:
            sys.setrecursionlimit(depth)
        sys.excepthook, sys.displayhook = hooks
        sys.stdin, sys.stdout, sys.stderr = streams

    return restore


def _mask() -> Restore:
    former = os.umask(0o077)
    os.umask(former)
    return lambda: _ignore(os.umask(former))


def _signals() -> Restore:
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    former = {number: signal.getsignal(number) for number in signal.valid_signals()}

    def restore() -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in former.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return restore


def _warnings() -> Restore:
    import warnings

    former = warnings.catch_warnings()
    former.__enter__()
    return lambda: former.__exit__(None, None, None)


def _locale() -> Restore:
    import locale

    former = locale.setlocale(locale.LC_ALL)

    def restore() -> None:
        if locale.setlocale(locale.LC_ALL) != former:
            locale.setlocale(locale.LC_ALL, former)

    return restore


def _logging() -> Restore:
    import logging

    known = logging.Logger.manager.loggerDict
    former = {name: _logger_state(each) for name, each in list(known.items()) if _is_logger(each)}
    root = _logger_state(logging.root)
    disabled = logging.root.manager.disable

    def restore() -> None:
        logging.root.manager.disable = disabled
        _set_logger(logging.root, root)
        fresh = logging.NOTSET, [], [], True, False
        for name, each in list(known.items()):
            if _is_logger(each):
                _set_logger(each, former.get(name, fresh))

    return restore


def _is_logger(each: object) -> bool:
    return hasattr(each, "handlers")


def _logger_state(logger: object) -> tuple[object, ...]:
    return (
        logger.level,  # type: ignore[attr-defined]
        list(logger.handlers),  # type: ignore[attr-defined]
        list(logger.filters),  # type: ignore[attr-defined]
        logger.propagate,  # type: ignore[attr-defined]
        logger.disabled,  # type: ignore[attr-defined]
    )


def _set_logger(logger: object, state: tuple[object, ...]) -> None:
    if _logger_state(logger) != state:
        level, handlers, filters, propagate, disabled = state
        logger.setLevel(level)  # type: ignore[attr-defined]
        logger.handlers[:] = handlers  # type: ignore[attr-defined]
        logger.filters[:] = filters  # type: ignore[attr-defined]
        logger.propagate = propagate  # type: ignore[attr-defined]
        logger.disabled = disabled  # type: ignore[attr-defined]


def _ignore(_: object) -> None:
    """Take a value that nobody needs."""


_PARTS: tuple[Callable[[], Restore], ...] = (
    _directory,
    _environment,
    _interpreter,
    _locale,
    _logging,
    _mask,
    _signals,
    _warnings,
)
