"""Sees which environment variables own code reads, by standing in front of ``os.environ``.

They raise no audit event. The methods of its class are wrapped, not the object exchanged, so that a reference taken
earlier is seen too, and child processes still get the real environment. A read counts where it is made in own code,
also through ``os.getenv``, ``os.path.expandvars`` and the like.

Whoever copies or walks the whole environment has read every variable in it, but for those that tell of the terminal
session and not of the work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from dagger.abstract.declarations import plain
from dagger.core.reads import ValueDigest
from dagger.lean_typing import Any

# Through these, own code reads: they are not the reader.
_GO_BETWEEN = frozenset({"os", "_collections_abc", "collections.abc", "posixpath", "genericpath", "copy", __name__})
_SESSION = frozenset(
    [
        "_",
        "COLORTERM",
        "COLUMNS",
        "DBUS_SESSION_BUS_ADDRESS",
        "DISPLAY",
        "GPG_AGENT_INFO",
        "GPG_TTY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "LINES",
        "LS_COLORS",
        "OLDPWD",
        "PWD",
        "SHLVL",
        "SSH_AGENT_PID",
        "SSH_AUTH_SOCK",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "SSH_TTY",
        "STY",
        "TERM",
        "TERM_PROGRAM",
        "TERM_PROGRAM_VERSION",
        "TERM_SESSION_ID",
        "TMUX",
        "TMUX_PANE",
        "VTE_VERSION",
        "WAYLAND_DISPLAY",
        "WINDOWID",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "XDG_SEAT",
        "XDG_SESSION_CLASS",
        "XDG_SESSION_ID",
        "XDG_SESSION_TYPE",
        "XDG_VTNR",
    ]
)


_kind: Any = type(os.environ)
_active: EnvironmentReads | None = None
_fronts: dict[str, Any] = {}
"""What stands in front of which method, from the first job of this process on."""


class EnvironmentReads:
    """Notes variables while it is started; one at a time.

    Args:
        digest: Returns the digest of a variable's value, None for one that is not set.
        counts: Tells whether the running thread is the task's.

    Attributes:
        seen: Name to digest of each variable that was read before the task set it itself.
    """

    def __init__(self, digest: ValueDigest, counts: Callable[[], bool]) -> None:
        self.seen: dict[str, str] = {}
        self._digest = digest
        self._counts = counts
        self._set: set[str] = set()
        self._walker: tuple[int, int] = (0, 0)

    def start(self) -> None:
        """Stand in front of ``os.environ``."""
        global _active
        _stand_in_front()
        _active = self

    def stop(self) -> None:
        """Note no more."""
        global _active
        _active = None
        if any(vars(_kind)[name] is not front for name, front in _fronts.items()):
            for name, front in _fronts.items():  # the task has put something else there
                setattr(_kind, name, front)

    def _walk(self, environment: Any) -> None:
        reader = self._own_reader()
        if reader is not None:
            self._walker = id(reader), reader.f_lasti
            for name, value in list(environment._data.items()):
                if os.fsdecode(name) not in _SESSION:
                    self._remember(os.fsdecode(name), os.fsdecode(value))

    def _write(self, name: Any) -> None:
        if self._counts():
            self._set.add(os.fsdecode(name))

    def _note(self, name: Any, value: Any) -> None:
        text = plain(os.fsdecode(name))
        if text in self.seen:
            return
        reader = self._own_reader()
        if reader is None:
            return
        # `dict(os.environ)` walks and then reads each, all in one instruction of its reader.
        if text in _SESSION and self._walker == (id(reader), reader.f_lasti):
            return
        self._remember(text, None if value is None else os.fsdecode(value))

    def _remember(self, name: str, value: str | None) -> None:
        if name not in self._set:
            self.seen.setdefault(name, self._digest(value))

    def _own_reader(self) -> FrameType | None:
        """The frame of own code that reads a variable, or None where somebody else does."""
        from dagger.cache.ownership import is_own_namespace

        if not self._counts():
            return None
        frame: FrameType | None = sys._getframe(2)
        while frame is not None and frame.f_globals.get("__name__") in _GO_BETWEEN:
            frame = frame.f_back
        return frame if frame is not None and is_own_namespace(frame.f_globals) else None


def _stand_in_front() -> None:
    """Wrap the methods of the environment's class, once: to do so for each job would cost more than most look-ups."""
    if not _fronts:
        wraps: dict[str, Callable[[Any], Any]]
        wraps = {"__getitem__": _reading, "__iter__": _walking, "__setitem__": _writing, "__delitem__": _writing}
        _fronts.update({name: wrap(vars(_kind)[name]) for name, wrap in wraps.items()})
        for name, front in _fronts.items():
            setattr(_kind, name, front)


def _reading(real: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def __getitem__(environment: Any, name: Any) -> Any:  # noqa: N807  (it is one)
        reads = _active
        if reads is None:
            return real(environment, name)
        try:
            value = real(environment, name)
        except KeyError:
            reads._note(name, None)
            raise
        reads._note(name, value)
        return value

    return __getitem__


def _walking(real: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    def __iter__(environment: Any) -> Iterator[Any]:  # noqa: N807
        reads = _active
        if reads is not None:
            reads._walk(environment)
        return real(environment)

    return __iter__


def _writing(real: Callable[..., None]) -> Callable[..., None]:
    def write(environment: Any, name: Any, *value: Any) -> None:
        real(environment, name, *value)
        reads = _active
        if reads is not None:
            reads._write(name)

    return write
