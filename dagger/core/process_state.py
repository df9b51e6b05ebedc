"""What a process has beside modules and a task may change: taken before a job, put back after it.

Environment variables, working directory, import path, signal handlers, warning filters, logging, locale, and the
global settings of libraries that tasks commonly turn (`library_state`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from dagger.core.library_state import reseed, take_libraries
from dagger.lean_typing import Any

# Without those of real time, which nobody uses and which take as long to look at as all else here together.
_SIGNALS = range(1, 32)

Restore = Callable[[], None]
LoggerState = tuple[int, list[Any], list[Any], bool, bool]

_FRESH: LoggerState = 0, [], [], True, False
_FRESH_ROOT: LoggerState = 30, [], [], True, False  # which warns


class ProcessState:
    """A snapshot that can be put back as often as one likes, each part by itself."""

    def __init__(self) -> None:
        self._parts = [part() for part in _PARTS]
        self._of_modules: list[Restore] = []
        self._modules = 0

    def begin(self) -> None:
        """Give a job its own random numbers, and know how it finds what modules set up."""
        if not self.take_modules():
            reseed()

    def take_modules(self) -> bool:
        """Look once more at what modules set up when they are imported, if there are others than at the last look."""
        if len(sys.modules) == self._modules:
            return False
        self._of_modules = [_warnings(), *take_libraries()]
        self._modules = len(sys.modules)
        return True

    def restore(self) -> None:
        """Put everything back; one part that fails does not keep the others."""
        for part in (*self._of_modules, *self._parts):
            try:
                part()
            except Exception as error:
                print(f"dagger: could not undo what the task changed: {error!r}", file=sys.stderr)


def _environment() -> Restore:
    # Looked at in the form in which it is held: to decode each variable would take longer than all else here.
    environment: Any = getattr(os, "environb", os.environ)
    held: dict[Any, Any] = environment._data
    former = dict(held)

    def restore() -> None:
        if held == former:
            return
        zone = os.environ.get("TZ")
        for name in [name for name in environment if name not in former]:
            del environment[name]
        for name, value in former.items():
            if environment.get(name) != value:
                environment[name] = value
        if zone != os.environ.get("TZ") and sys.platform != "win32":
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
    lists: list[list[Any]] = [sys.path, sys.argv, sys.meta_path, sys.path_hooks]
    contents = [list(each) for each in lists]
    finders = contents[2]
    depth = sys.getrecursionlimit()
    hooks = sys.excepthook, sys.displayhook
    streams = sys.stdin, sys.stdout, sys.stderr

    def restore() -> None:
        installed = [finder for finder in sys.meta_path if finder not in finders and not _is_own(finder)]
        for each, content in zip(lists, contents, strict=True):
            each[:] = content
        sys.path, sys.argv, sys.meta_path, sys.path_hooks = lists
        sys.meta_path += installed
        if sys.getrecursionlimit() != depth:
            sys.setrecursionlimit(depth)
        sys.excepthook, sys.displayhook = hooks
        sys.stdin, sys.stdout, sys.stderr = streams

    return restore


def _is_own(finder: object) -> bool:
    """Tell whether a finder of modules is a task's; one of an installed package, such as six, stays as that does."""
    from dagger.cache.ownership import is_own

    return is_own((finder if isinstance(finder, type) else type(finder)).__module__)


def _mask() -> Restore:
    former = os.umask(0o077)
    os.umask(former)
    return lambda: _ignore(os.umask(former))


def _signals() -> Restore:
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    ask = getattr(signal, "_signal", signal).getsignal  # without the detour that makes an enum of each answer
    former = {number: ask(number) for number in _SIGNALS}

    def restore() -> None:
        if sys.platform != "win32":
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in former.items():
            if handler is not None and ask(number) != handler:
                signal.signal(number, handler)

    return restore


def _warnings() -> Restore:
    import warnings

    former = list(warnings.filters), warnings.showwarning

    def restore() -> None:
        if (warnings.filters, warnings.showwarning) != former:
            warnings.resetwarnings()  # this also makes modules forget what they have warned of
            warnings.filters[:], warnings.showwarning = former  # type: ignore[index]

    return restore


def _locale() -> Restore:
    # What `locale` itself calls, and loads for three times as long as all else here takes.
    from _locale import LC_ALL, setlocale

    former = setlocale(LC_ALL, None)

    def restore() -> None:
        if setlocale(LC_ALL, None) != former:
            setlocale(LC_ALL, former)

    return restore


def _logging() -> Restore:
    def module() -> Any:
        return sys.modules.get("logging")

    former: dict[str, LoggerState] = {}
    root, disabled = _FRESH_ROOT, 0
    if module():
        former = {name: _logger_state(each) for name, each in _loggers().items()}
        root, disabled = _logger_state(module().root), module().root.manager.disable

    def restore() -> None:
        if module():
            if module().root.manager.disable != disabled:
                module().disable(disabled)  # by which loggers forget what they took it to be
            _set_logger(module().root, root)
            for name, each in _loggers().items():
                _set_logger(each, former.get(name, _FRESH))

    return restore


def _loggers() -> dict[str, Any]:
    logging: Any = sys.modules["logging"]
    known: dict[str, Any] = logging.root.manager.loggerDict
    return {name: each for name, each in list(known.items()) if hasattr(each, "handlers")}  # others hold a place


def _logger_state(logger: Any) -> LoggerState:
    return logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled


def _set_logger(logger: Any, state: LoggerState) -> None:
    if _logger_state(logger) != state:
        level, handlers, filters, propagate, disabled = state
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.filters[:] = filters
        logger.propagate = propagate
        logger.disabled = disabled


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
)
