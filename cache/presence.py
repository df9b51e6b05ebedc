"""That a run is still there: one file that its manager, its workers and its scripts hold locked together.

A task's locks are its manager's, and the kernel drops them when that is killed, while what it had started
may go on for some seconds. Handing each lock to each worker would cost every task; so a run has one more
file, on which all its processes have a shared lock, and a task's locks bear its name while the task is
launched. Whoever comes upon such a mark waits until nobody holds that file any more.

What ends last of an orphaned run touches the file. So the next run knows from when to when an output may
have been written by what was killed, and need not take it for a file of the user's own.
"""

from __future__ import annotations

import contextlib
import os

from dagger.cache.locks import Lock, try_lock

_PREFIX = "run-"
_LENGTH = 64


class Presence:
    """One run's; made with the first thing that is launched.

    Args:
        folder: Where the locks are.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock: Lock | None = None
        self._name = _PREFIX + os.urandom(8).hex()

    @property
    def path(self) -> str:
        """What workers `join`."""
        self._hold()
        return os.path.join(self._folder, self._name)

    def fileno(self) -> int | None:
        """The descriptor that a child inherits to be part of the run; None where there are no locks."""
        return self._hold().fileno()

    def mark(self, lock: Lock) -> None:
        """Note in a lock that something of this run was launched under it."""
        if self._hold().guarded:
            lock.mark(self._name.encode())

    def end(self) -> None:
        """Nothing of the run is left but its manager, which goes."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.path)
            lock.release()

    def _hold(self) -> Lock:
        if self._lock is None:
            self._lock = try_lock(os.path.join(self._folder, self._name), shared=True)
            assert self._lock is not None  # nobody else knows the name yet
        return self._lock


def join(path: str) -> Lock | None:
    """Become part of a run, until this process ends.

    Returns:
        The lock to keep; None where the run is over.
    """
    return try_lock(path, shared=True) if os.path.exists(os.path.dirname(path)) else Lock(path, None)


def leave(descriptor: int | None) -> None:
    """Say that this orphan ends now, having ended all that it had started."""
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def is_there(lock: Lock) -> bool:
    """Tell whether the run still goes on that left its mark in a lock."""
    path = _path(lock)
    if path is None or not os.path.exists(path):
        return False
    held = try_lock(path)
    if held is None:
        return True
    held.release()
    return False


def orphaned(lock: Lock) -> tuple[int, int] | None:
    """Return from when to when, in ns, what left its mark in a lock may have written; None where nobody did."""
    path = _path(lock)
    try:
        return None if path is None else (lock.left_at, os.stat(path).st_mtime_ns)
    except OSError:
        return None


def _path(lock: Lock) -> str | None:
    name = lock.left.decode("ascii", "replace")
    if not name.startswith(_PREFIX) or not name.removeprefix(_PREFIX).isalnum() or len(name) > _LENGTH:
        return None
    return os.path.join(os.path.dirname(lock.path), name)
