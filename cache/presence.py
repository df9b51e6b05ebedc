"""That a run is still there: one file that its manager, its workers and its scripts hold locked together.

What a run holds for its tasks (``holdings``) counts for as long as somebody has this file locked. The kernel drops a
manager's lock when that is killed, while what it had started may go on for some seconds: those processes have a shared
lock too, so whoever comes upon what the run held waits until nobody has the file any more.

What ends last of an orphaned run touches the file. So the next run knows from when to when an output may
have been written by what was killed, and need not take it for a file of the user's own.
"""

from __future__ import annotations

import contextlib
import os

from dagger.cache.locks import FileLock, Lock, try_lock

_PREFIX = "run-"
ID_BYTES = 8


class Presence:
    """One run's; its file is made when it first holds something.

    Args:
        folder: Where the locks are.

    Attributes:
        id: What stands for the run in ``holdings``.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._lock: FileLock | None = None
        self.id = os.urandom(ID_BYTES)

    @property
    def path(self) -> str:
        """What workers `join`."""
        return self._hold().path

    @property
    def guarded(self) -> bool:
        """Whether the file system has locks."""
        return self._hold().guarded

    def fileno(self) -> int | None:
        """The descriptor that a child inherits to be part of the run; None where there are no locks."""
        return self._hold().fileno()

    def end(self) -> None:
        """Nothing of the run is left but its manager, which goes."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with contextlib.suppress(OSError):
                os.unlink(lock.path)
            lock.release()

    def _hold(self) -> FileLock:
        if self._lock is None:
            self._lock = try_lock(path_of(self._folder, self.id), shared=True)
            assert self._lock is not None  # nobody else knows the name yet
        return self._lock


def join(path: str) -> FileLock | None:
    """Become part of a run, until this process ends.

    Returns:
        The lock to keep; None where the run is over.
    """
    return try_lock(path, shared=True) if os.path.exists(os.path.dirname(path)) else FileLock(path, None)


def leave(descriptor: int | None) -> None:
    """Say that this orphan ends now, having ended all that it had started."""
    if descriptor is not None:
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def path_of(folder: str, run: bytes) -> str:
    """Return the file of a run."""
    return os.path.join(folder, _PREFIX + run.hex())


def is_there(folder: str, run: bytes) -> bool:
    """Tell whether a run still goes on."""
    path = path_of(folder, run)
    if not os.path.exists(path):
        return False
    held = try_lock(path)
    if held is None:
        return True
    held.release()
    return False


def orphaned(lock: Lock) -> tuple[int, int] | None:
    """Return from when to when, in ns, what a killed run had launched may have written; None where nothing was."""
    if not lock.left:
        return None
    try:
        return lock.left_at, os.stat(path_of(os.path.dirname(lock.path), lock.left)).st_mtime_ns
    except OSError:
        return None
