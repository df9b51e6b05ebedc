"""The files that take what scripts print while they run: a few, each for one script after the other.

A file made and removed for each script costs more than all that the guardian does, and some times that on ext4 without
a journal, which seeks a new inode past all that went in the last seconds. What a failed script printed is renamed to
its task's log.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from contextlib import suppress
from itertools import count

from dagger.cache.locks import FileLock, try_lock

_CAN_BE_SHARED = sys.platform == "linux"
"""Elsewhere something of a script may outlive it unseen, and would print into the next one's file."""


class ScriptLogs:
    """What one run's scripts print; any thread may call.

    Another manager may use the same folder: who has a file's lock has the file. What a killed run leaves behind, the
    next one takes.
    """

    def __init__(self) -> None:
        self._free: defaultdict[str, list[FileLock]] = defaultdict(list)
        self._taken: dict[str, FileLock] = {}

    def take(self, log: str) -> str:
        """Return the file for a script that logs to ``log`` if it fails: one of those here, or else that itself."""
        folder = os.path.dirname(log)
        free = self._free[folder]
        lock = free.pop() if free else _first_free(folder)
        if lock is None:
            return log
        self._taken[lock.path] = lock
        return lock.path

    def keep(self, path: str, log: str) -> None:
        """Let what a script printed stay, as its log."""
        lock = self._taken.pop(path, None)
        if lock is not None:
            with suppress(OSError):
                os.replace(path, log)
            lock.release()

    def give_back(self, path: str, *, used: bool) -> None:
        """Forget what a script printed, if it did: the next one that takes the file may end before it begins."""
        lock = self._taken.pop(path, None)
        if lock is not None:
            if used:
                _empty(path)
            self._free[os.path.dirname(path)].append(lock)
        else:
            _remove(path)

    def end(self) -> None:
        """Remove the files."""
        for lock in (lock for free in self._free.values() for lock in free):
            _remove(lock.path)
            lock.release()
        self._free.clear()


def _first_free(folder: str) -> FileLock | None:
    if not _CAN_BE_SHARED:
        return None
    found = (try_lock(os.path.join(folder, f"script-{number}.log")) for number in count())
    lock = next(lock for lock in found if lock is not None)
    _empty(lock.path)  # of what a killed run left in it
    return lock if lock.guarded else None


def _empty(path: str) -> None:
    with suppress(OSError):
        os.truncate(path, 0)


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
