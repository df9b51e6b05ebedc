"""Advisory locks on files: tried, never waited for.

The engine holds one for a task's key and one for each of its outputs. The kernel drops a lock with
its last holder: there are no stale locks, and no command to remove them. What runs a task may outlive
whoever holds the task's locks, so these bear a mark meanwhile: see ``presence``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
from types import TracebackType

_LONGEST_MARK = 100
_UNSUPPORTED = {
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


class Lock:
    """A lock, held until ``release``, or until every process with its descriptor is gone.

    A child gets the descriptor by exec (``pass_fds``); one that is merely forked lets go of it.

    Attributes:
        path: The locked file.
        guarded: False where the file system offers no locks, or cannot be written: then there is
            nothing to hold, and the work goes on.
        left: The mark of a former holder that did not come to release it, or empty.
        left_at: When that was written, in ns.
    """

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self.guarded = descriptor is not None
        self.left = b""
        self.left_at = 0
        self._descriptor = descriptor
        self._is_marked = False
        if descriptor is not None:
            _held.add(self)

    def fileno(self) -> int | None:
        """The descriptor that a child inherits to hold the lock as well; None if none is held."""
        return self._descriptor

    def release(self) -> None:
        """Let go, and take away the mark; twice is harmless. A child that inherited the descriptor keeps the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.discard(self)
            if self._is_marked:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def mark(self, text: bytes) -> None:
        """Write a text into the file, to be found by the next holder if this one cannot release the lock."""
        if self._descriptor is not None:
            self._is_marked = True
            with contextlib.suppress(OSError):  # as on a full disk; then the mark is missing, and nothing else
                if self.left:
                    os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, text, 0)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


_held: set[Lock] = set()


def are_many() -> bool:
    """Tell whether this process holds so many that it should not take more: each is an open file, of its limit."""
    return len(_held) > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3 > 0


def _let_go_in_child() -> None:
    """A pool that was forked meanwhile, and lives on, must not hold what its parent lets go."""
    for lock in _held:
        descriptor, lock._descriptor = lock._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


def try_lock(path: str, *, shared: bool = False) -> Lock | None:
    """Take the lock on ``path`` if nobody holds it; the file and its folder are made when missing.

    Args:
        path: The file to lock. Its content is not touched.
        shared: Allow other shared holders beside this one.

    Returns:
        The lock, or None while somebody else holds it.
    """
    return _lock(path, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def wait_for_lock(path: str) -> Lock:
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


def _lock(path: str, operation: int) -> Lock | None:
    while True:
        try:
            descriptor = _open(path)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return Lock(path, None)
            raise
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            if error.errno in _UNSUPPORTED:
                return Lock(path, None)
            raise
        # Between open and flock the file may have been removed, and another be locked under its
        # name.
        if (status := _status_if_still(path, descriptor)) is not None:
            return _taken(path, descriptor, status)
        os.close(descriptor)


def _taken(path: str, descriptor: int, status: os.stat_result) -> Lock:
    lock = Lock(path, descriptor)
    if status.st_size:
        lock.left, lock.left_at = os.pread(descriptor, _LONGEST_MARK, 0), status.st_mtime_ns
    return lock


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        from dagger.cache.layout import make_private  # which needs locks itself

        make_private(os.path.dirname(path))  # makedirs would make the parents for all to see
        return os.open(path, flags, 0o600)


def _status_if_still(path: str, descriptor: int) -> os.stat_result | None:
    try:
        status = os.fstat(descriptor)
        return status if os.path.samestat(os.stat(path), status) else None
    except FileNotFoundError:
        return None
