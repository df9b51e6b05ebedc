"""What runs hold for their tasks: one file of small entries, which all of them share.

A task is held by its key and by its outputs' paths, so that no two managers are at it at once. A locked file for each
name would cost the making of a file, which is dearer than a small task. Here a run writes an entry for each name while
it has the file locked, for microseconds, and for many tasks at a time.

An entry is the digest of a name, the run, and when something was launched under it. It counts for as long as the run
is there (``presence``), be it by its last orphan; so there are no stale ones. Whoever wrote an entry clears it, which
takes no lock. One of a run that was killed tells the next holder what may lie half written under an output's name; it
stays until that has launched something itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from xxhash import xxh3_128_digest

from dagger.cache.locks import UNSUPPORTED, Lock, is_still, open_lock
from dagger.cache.presence import Presence, is_there, path_of

NAME = "held"

_ENTRY = struct.Struct("<16s8sq")
_SIZE = _ENTRY.size
_ROUNDS = 500
_PAUSE = 0.002

Entry = tuple[int, bytes, int]
"""Its place, the run, and when that launched something under the name, in ns; 0 before."""


class Holdings:
    """What one run holds.

    Args:
        folder: Where the file is.
        presence: The run's own; while it has no lock, as on some file systems, nothing is held.
    """

    def __init__(self, folder: str, presence: Presence) -> None:
        self.path = os.path.join(folder, NAME)
        self._folder = folder
        self._presence = presence
        self._file: int | None = None
        self._openings = 0
        self._is_tidy = False
        self._mine: set[bytes] = set()

    def take(self, wanted: Sequence[Collection[str]]) -> list[list[Lock] | None]:
        """Take groups of names; nobody is waited for, but for the moment in which others take theirs.

        Returns:
            For each group what is held now, or None while another run has one of its names. A group is empty where
            there is nothing to hold, since the file system has no locks or cannot be written.
        """
        try:
            if not self._presence.guarded:
                return [[] for _ in wanted]
            with self._alone() as file:
                return [None for _ in wanted] if file is None else self._take(file, wanted)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return [[] for _ in wanted]
            raise

    def mark(self, locks: Sequence[Lock]) -> None:
        """Note that something is launched under these names: what comes to lie there from now on is the task's."""
        current = self._current(locks)
        with contextlib.suppress(OSError):  # as on a full disk; then the mark is missing, and nothing else
            if current and self._file is not None:
                os.utime(self._file)
                now = os.fstat(self._file).st_mtime_ns  # the clock that outputs have their times from
                for place, run in _together(current):
                    self._write(place, b"".join([_ENTRY.pack(it.name, self._presence.id, now) for it in run]))
                self._clear_stale([lock for lock in current if lock.stale >= 0])

    def release(self, locks: Sequence[Lock]) -> None:
        """Let go of names; each once."""
        self._mine.difference_update([lock.name for lock in locks])
        with contextlib.suppress(OSError):
            for place, run in _together(self._current(locks)):
                self._write(place, bytes(_SIZE * len(run)))

    def close(self) -> None:
        """Let go of the file; what is still held counts until the run's presence ends."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[int | None]:
        """Have the file locked in here; None where somebody keeps it, as a process that was stopped just there."""
        for _ in range(_ROUNDS):
            if self._file is None:
                self._file = open_lock(self.path)
                self._openings += 1
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_PAUSE)
                continue
            if is_still(self.path, self._file):
                try:
                    yield self._file
                finally:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
                return
            self.close()  # it was deleted; those who come now make another
        yield None

    def _take(self, file: int, wanted: Sequence[Collection[str]]) -> list[list[Lock] | None]:
        table = os.pread(file, os.fstat(file).st_size, 0)
        # Mostly one run is alone, and then need not read what it holds itself.
        held = _read(table) if self._has_others(table) else {}
        if not self._is_tidy:
            self._tidy(held)
        there: dict[bytes, bool] = {}
        taken: list[Lock] = []
        found: list[list[Lock] | None] = []
        for names in wanted:
            group = self._group(names, held, there)
            found.append(group)
            for lock in group or ():
                self._mine.add(lock.name)
                taken.append(lock)
        self._enter(taken, table)
        return found

    def _enter(self, locks: Sequence[Lock], table: bytes) -> None:
        start = _room(table, len(locks))
        for index, lock in enumerate(locks):
            lock.place = start + index
        try:
            self._write(start, b"".join([_ENTRY.pack(lock.name, self._presence.id, 0) for lock in locks]))
        except OSError:
            self._mine.difference_update([lock.name for lock in locks])
            raise

    def _group(
        self, names: Collection[str], held: Mapping[bytes, Sequence[Entry]], there: dict[bytes, bool]
    ) -> list[Lock] | None:
        group: list[Lock] = []
        for name in names:
            lock = Lock(xxh3_128_digest(name.encode("utf-8", "surrogatepass")), self.path, self._openings)
            if lock.name in self._mine:
                return None
            for place, run, at in held.get(lock.name, ()):
                if run not in there:
                    there[run] = is_there(self._folder, run)
                if there[run]:
                    return None
                if at > lock.left_at:
                    lock.left, lock.left_at, lock.stale = run, at, place
            group.append(lock)
        return group

    def _has_others(self, table: bytes) -> bool:
        runs = set(memoryview(table[: len(table) - len(table) % _SIZE]).cast("Q")[2 :: _SIZE // 8].tolist())
        return bool(runs - {0, int.from_bytes(self._presence.id, sys.byteorder)})

    def _tidy(self, held: Mapping[bytes, Sequence[Entry]]) -> None:
        """Clear what runs held that left no trace, or launched nothing under it; each run does so once."""
        self._is_tidy = True
        runs = {run for entries in held.values() for _, run, _ in entries}
        unknown = {run for run in runs if not os.path.exists(path_of(self._folder, run))}
        gone = {run for run in runs if not is_there(self._folder, run)}
        for entries in held.values():
            for place, run, at in entries:
                if run in unknown or (run in gone and not at):
                    self._write(place, bytes(_SIZE))

    def _clear_stale(self, locks: Sequence[Lock]) -> None:
        if not locks:
            return
        with self._alone() as file:
            for lock in self._current(locks):
                former = _ENTRY.pack(lock.name, lock.left, lock.left_at)
                if file is not None and os.pread(file, _SIZE, lock.stale * _SIZE) == former:
                    self._write(lock.stale, bytes(_SIZE))

    def _current(self, locks: Iterable[Lock]) -> list[Lock]:
        """Return those whose places are in the file that is open: it may be another since."""
        return [lock for lock in locks if lock.opening == self._openings and self._file is not None]

    def _write(self, place: int, entries: bytes) -> None:
        assert self._file is not None
        os.pwrite(self._file, entries, place * _SIZE)


class PrivateHoldings(Holdings):
    """What a run holds in a cache that nobody else knows of: it keeps no more than its own tasks from each other."""

    def take(self, wanted: Sequence[Collection[str]]) -> list[list[Lock] | None]:
        """Take groups of names.

        Returns:
            For each group what is held now, or None while one of its names is held already.
        """
        found = []
        for names in wanted:
            group = self._group(names, {}, {})
            self._mine.update([lock.name for lock in group or ()])
            found.append(group)
        return found

    def mark(self, locks: Sequence[Lock]) -> None:
        """Nobody asks whose an output is."""

    def release(self, locks: Sequence[Lock]) -> None:
        """Let go of names; each once."""
        self._mine.difference_update([lock.name for lock in locks])


def _read(table: bytes) -> dict[bytes, list[Entry]]:
    """Return the entries by the digests of their names."""
    found: dict[bytes, list[Entry]] = {}
    whole = len(table) - len(table) % _SIZE
    for place, (name, run, at) in enumerate(_ENTRY.iter_unpack(table[:whole])):
        if run != _NOBODY:
            found.setdefault(name, []).append((place, run, at))
    return found


def _room(table: bytes, count: int) -> int:
    """Return a place from which on so many entries are free."""
    found = table.find(bytes(_SIZE * (count + 1)))
    return -(-(found if found >= 0 else len(table.rstrip(b"\0"))) // _SIZE)


def _together(locks: Iterable[Lock]) -> Iterator[tuple[int, list[Lock]]]:
    """Yield what lies side by side, so that it is written at once."""
    run: list[Lock] = []
    for lock in sorted(locks, key=lambda it: it.place):
        if run and lock.place != run[-1].place + 1:
            yield run[0].place, run
            run = []
        run.append(lock)
    if run:
        yield run[0].place, run


_NOBODY = bytes(8)
