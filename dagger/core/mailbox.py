"""What threads tell the one that waits for them.

`queue.SimpleQueue` would do, but for Python 3.10: there its `get` can wait for ever with a time-out that is over while
it looks, since what is left of that is negative then. `queue.Queue` takes ten times as long.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress

from dagger.lean_typing import Generic, TypeVar

_T = TypeVar("_T")


class Mailbox(Generic[_T]):
    """Any thread may put something in, one takes it out."""

    def __init__(self) -> None:
        self._items: deque[_T] = deque()
        self._enough = 1
        self._fresh = threading.Lock()  # free where enough has come since the last look
        self._fresh.acquire()

    def put(self, item: _T, *, urgent: bool = False) -> None:
        """Put something behind all that is there; what is urgent is not to wait until there is enough."""
        self._items.append(item)
        if urgent or len(self._items) >= self._enough:
            with suppress(RuntimeError):  # it is free already
                self._fresh.release()

    def wait(self, seconds: float = -1, enough: int = 1) -> None:
        """Wait until so much is there: so long at most, or as long as it takes. It may return sooner."""
        self._enough = enough  # before the look: what comes behind that goes by it
        if len(self._items) < enough:
            self._fresh.acquire(timeout=seconds)

    def take(self) -> _T | None:
        """Return the oldest thing that is there, if one is."""
        return self._items.popleft() if self._items else None
