"""Advisory locks on files: tried, never waited for.

The kernel drops a lock with its last holder: there are no stale locks, and no command to remove them. A run has
one on a file of its own (``presence``); what it holds for its tasks stands in a file of all (``holdings``).
"""

from __future__ import annotations

import errno
import fcntl
import os
from types import TracebackType

UNSUPPORTED = {
    errno.ENOLCK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
}


class FileLock:
    """A locked file, until ``release``, or until every process with its descriptor is gone.

    A child gets the descriptor by exec (``pass_fds``); one that is merely forked lets go of it.

    Attributes:
        path: The locked file.
        guarded: False where the file system offers no locks, or cannot be written: then there is
            nothing to hold, and the work goes on.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self.guarded = descriptor is not None
        self._descriptor = descriptor
        if descriptor is not None:
            _held.add(self)

    def fileno(self) -> int | None:
        """The descriptor that a child inherits to hold the lock as well; None if none is held."""
        return self._descriptor

    def release(self) -> None:
        """Let go; twice is harmless. A child that inherited the descriptor keeps the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.discard(self)
            os.close(descriptor)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Lock:
    """A name that a run holds: an entry of ``holdings``.

    Attributes:
        name: The digest of the name.
        path: The file that the entry is in.
        opening: Which opening of that file, since somebody may have deleted it meanwhile.
        place: The entry's number.
        left: The name of a run that launched something under this name and was killed, or empty.
        left_at: When that was, in ns.
        stale: The entry that says so.
    """

    __slots__ = ("left", "left_at", "name", "opening", "path", "place", "stale")

    def __init__(self, name: bytes, path: str, opening: int) -> None:
        self.name = name
        self.path = path
        self.opening = opening
        self.place = 0
        self.left = b""
        self.left_at = 0
        self.stale = -1


_held: set[FileLock] = set()


def _let_go_in_child() -> None:
    """A pool that was forked meanwhile, and lives on, must not hold what its parent lets go."""
    for lock in _held:
        descriptor, lock._descriptor = lock._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def try_lock(path: str, *, shared: bool = False) -> FileLock | None:
    """Take the lock on ``path`` if nobody holds it; the file and its folder are made when missing.

    Args:
        path: The file to lock. Its content is not touched.
        shared: Allow other shared holders beside this one.

    Returns:
        The lock, or None while somebody else holds it.
    """
    return _lock(path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def wait_for_lock(path: str) -> FileLock:
    """Take the lock on ``path``, waiting for whoever holds it; only for work of milliseconds."""
    lock = _lock(path, fcntl.LOCK_EX)
    assert lock is not None
    return lock


def remove_unused_lock(path: str) -> bool:
    """Delete the lock file if nobody holds it, and say whether it is gone."""
    if (lock := try_lock(path)) is None or not lock.guarded:
        return False
    with lock:
        os.unlink(path)
    return True


def _lock(path: str, operation: int) -> FileLock | None:
    while True:
        try:
            descriptor = open_lock(path)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return FileLock(path, None)
            raise
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            if error.errno in UNSUPPORTED:
                return FileLock(path, None)
            raise
        # Between open and flock the file may have been removed, and another be locked under its
        # name.
        if is_still(path, descriptor):
            return FileLock(path, descriptor)
        os.close(descriptor)


def open_lock(path: str) -> int:
    """Open a file that is to be locked; it and its folder are made when missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        from dagger.cache.layout import make_private  # which needs locks itself

        make_private(os.path.dirname(path))  # makedirs would make the parents for all to see
        return os.open(path, flags, 0o600)


def is_still(path: str, descriptor: int) -> bool:
    """Whether an open file is the one of its name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
