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
from typing import Any

from dagger.core.reads import ValueDigest

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


class EnvironmentReads:
    """Notes variables while it is started.

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
        self._real: dict[str, Any] = {}
        self._walker: tuple[int, int] = (0, 0)

    def start(self) -> None:
        """Stand in front of ``os.environ``."""
        kind: Any = type(os.environ)
        names = ("__getitem__", "__iter__", "__setitem__", "__delitem__")
        self._real = {name: vars(kind)[name] for name in names}
        kind.__getitem__ = self._reading(self._real["__getitem__"])
        kind.__iter__ = self._walking(self._real["__iter__"])
        kind.__setitem__ = self._writing(self._real["__setitem__"])
        kind.__delitem__ = self._writing(self._real["__delitem__"])

    def stop(self) -> None:
        """Step aside."""
        kind: Any = type(os.environ)
        for name, method in self._real.items():
            setattr(kind, name, method)

    def _reading(self, real: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def __getitem__(environment: Any, name: Any) -> Any:  # noqa: N807  (it is one)
            try:
                value = real(environment, name)
            except KeyError:
                self._note(name, None)
                raise
            self._note(name, value)
            return value

        return __getitem__

    def _walking(self, real: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
        def __iter__(environment: Any) -> Iterator[Any]:  # noqa: N807
            reader = self._own_reader()
            if reader is not None:
                self._walker = id(reader), reader.f_lasti
                for name, value in list(environment._data.items()):
                    if os.fsdecode(name) not in _SESSION:
                        self._remember(os.fsdecode(name), os.fsdecode(value))
            return real(environment)

        return __iter__

    def _writing(self, real: Callable[..., None]) -> Callable[..., None]:
        def write(environment: Any, name: Any, *value: Any) -> None:
            real(environment, name, *value)
            if self._counts():
                self._set.add(os.fsdecode(name))

        return write

    def _note(self, name: Any, value: Any) -> None:
        text = os.fsdecode(name)
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
