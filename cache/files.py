"""Content digests of files and directories, without reading what a ``stat`` shows unchanged.

The engine asks here for every source and every output, so an unchanged file costs one ``os.stat``.

An entry holds what a file's stat was when its content was digested. As in git's index, a stat
proves nothing while the file is young: a change within one tick of the file system's clock leaves
size and stamps as they are. So nothing is kept of a file whose mtime or ctime is less than two
seconds before the file system's own now, or in the future: it is digested again until it is old
enough.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from functools import cached_property

import xxhash

from dagger.cache.digests import digest_text
from dagger.cache.filesystems import FileClock
from dagger.cache.mapping import MappedDigest, is_to_be_mapped
from dagger.cache.stamps import Stamps, stamps_of
from dagger.cache.streams import hash_descriptor
from dagger.cache.trees import collect_members, digest_members
from dagger.errors import CacheError
from dagger.lean_typing import NamedTuple

_KEPT_DAYS = 90
_LARGE = 4 << 20
_DAY = 86_400

Seen = tuple[Stamps, str, int, bool]
"""A file's stamps when it was digested, its digest, the last day on which somebody asked, whether it is executable."""


class _Reading(NamedTuple):
    """A file that is being digested."""

    path: str
    descriptor: int
    before: os.stat_result
    racy_since: int
    child: MappedDigest | None


class StatIndex:
    """Remembers the digests of files by their stat.

    Args:
        directory: Where the file that shows the time may be made, best on the file system of the
            files.
        clock: What tells the time of the file system; one on ``directory`` by default.
        former: Returns what ``dump`` returned in a former process; called when it is first needed.

    Attributes:
        ahead: Returns the files that will be asked for. When the first large one must be read, so are the others, on
            all cores; then this is None again.
    """

    def __init__(
        self,
        directory: str | None = None,
        *,
        clock: FileClock | None = None,
        former: Callable[[], object] = dict,
    ) -> None:
        self._clock = clock or FileClock(directory)
        self._former = former
        self._racy_since: dict[int, int] = {}
        self._today = int(time.time() // _DAY)
        self.changed = False
        self.ahead: Callable[[], Iterable[str]] | None = None

    @cached_property
    def _seen(self) -> dict[str, Seen]:
        former = self._former()
        return former if isinstance(former, dict) else {}  # somebody else may have written it

    def digest_file(self, path: str) -> str:
        """Return the digest of a file's content; a link counts by what it leads to.

        Raises:
            OSError: It is missing or cannot be read.
            CacheError: It is neither a file nor a directory.
        """
        path = path if path[:1] == "/" else os.path.abspath(path)
        return self.digest_of(path, os.stat(path))

    def digest_of(self, path: str, status: os.stat_result) -> str:
        """Return the digest of a file's content, whose stat the caller has just taken.

        Args:
            path: The file, absolute.
            status: What `os.stat` says of it.

        Raises:
            OSError: It cannot be read.
            CacheError: It is neither a file nor a directory.
        """
        seen = self._seen.get(path)
        if seen is not None:
            # The stamps must lie before what was racy when the clock was last read: a clock that was set back since the
            # entry was made shows here. An old reading errs on the safe side.
            stamps, digest, day, executable = seen
            racy_since = self._racy_since.get(status.st_dev) or self._now(path, status)
            if stamps == stamps_of(status) and stamps[1] < racy_since and stamps[2] < racy_since:
                if day != self._today:
                    self._seen[path] = stamps, digest, self._today, executable
                    self.changed = True
                return digest
        if not stat.S_ISREG(status.st_mode):
            return _refuse(path, status)
        if status.st_size >= _LARGE and self.ahead is not None:
            ahead, self.ahead = self.ahead, None
            self._read_ahead(ahead())
            return self.digest_of(path, status)
        return self._digest(path)

    def digest_path(self, path: str) -> str:
        """Return the digest of a file and its executable bit, or of a directory: names, contents, bits, links.

        Raises:
            OSError: It is missing or cannot be read.
            CacheError: Links in it lead in a circle, or something in it is neither file, directory
                nor link.
        """
        path = path if path[:1] == "/" else os.path.abspath(path)
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            return digest_members(collect_members(path, self._digest_and_size))
        return with_bit(self.digest_of(path, status), is_executable(status))

    def note(self, path: str, digest: str, status: os.stat_result | None = None) -> None:
        """Learn a digest from somebody who has digested the file, if it can be relied on.

        Args:
            path: The file.
            digest: Of its content.
            status: Its stat from before it was read. Without one, nobody can tell whether the
                digest is that of the file as it is now, unless the file is young, and then it is
                not relied on either: nothing is learnt, and an entry that differs is dropped.
        """
        path = os.path.abspath(path)
        if status is None:
            seen = self._seen.get(path)
            if seen is not None and seen[1] != digest:
                del self._seen[path]
                self.changed = True
        else:
            self._learn(path, digest, status, self._now(path, status))

    def mark(self, path: str, digest: str) -> Stamps | None:
        """Return the stamps that a file has while it has this digest, as ``digest_path`` gives it.

        None where they are not known, or cannot be relied on by somebody who knows no other clock than `racy_since`.
        """
        seen = self._seen.get(path)
        if seen is None or self._clock.has_met_foreign:
            return None
        stamps, content, _, executable = seen
        return stamps if with_bit(content, executable) == digest else None

    def racy_since(self, directory: str) -> int:
        """Return the stamp, in ns, from which on a mark proves nothing, by the clock where a directory is."""
        return self._clock.racy_since(directory, os.stat(directory).st_dev)

    def dump(self) -> dict[str, Seen]:
        """Return everything that is known, without what nobody has asked for in 90 days."""
        self.changed = False
        oldest = self._today - _KEPT_DAYS
        return {path: seen for path, seen in list(self._seen.items()) if seen[2] >= oldest}

    def _digest_and_size(self, path: str) -> tuple[str, int]:
        return self.digest_file(path), os.stat(path).st_size

    def _digest(self, path: str) -> str:
        return self._end(self._begin(path))

    def _begin(self, path: str) -> _Reading:
        """Open a file to digest it; a large one is being digested from here on, where that can be."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            racy_since = self._now(path, before)
            child = None
            if is_to_be_mapped(descriptor, before.st_size):
                with contextlib.suppress(OSError):
                    child = MappedDigest(descriptor, before.st_size)
        except BaseException:
            os.close(descriptor)
            raise
        return _Reading(path, descriptor, before, racy_since, child)

    def _end(self, reading: _Reading) -> str:
        path, descriptor, before, racy_since, child = reading
        try:
            digest, size = child.result() if child else None, before.st_size
            if digest is None:
                digest, size = hash_descriptor(descriptor)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if stamps_of(before) == stamps_of(after) and size == before.st_size:
            self._learn(path, digest, before, racy_since)
        return digest

    def _read_ahead(self, paths: Iterable[str]) -> None:
        """Digest large files side by side, where that will be believed; what cannot be read is left to who asks."""
        wanted = [path for path in dict.fromkeys(paths) if self._is_worth_reading(path)]
        if len(wanted) < 2:
            return
        at_once = min(len(wanted), os.cpu_count() or 1)
        if rest := self._map(wanted, at_once):
            self._read_in_threads(rest, at_once)

    def _map(self, paths: Iterable[str], at_once: int) -> list[str]:
        """Digest what is to be mapped; return the rest."""
        begun: list[_Reading] = []
        rest = []
        try:
            for path in paths:
                if len(begun) == at_once:
                    self._end_first(begun)
                with contextlib.suppress(OSError):
                    reading = self._begin(path)
                    if reading.child is not None:
                        begun.append(reading)
                    else:
                        os.close(reading.descriptor)
                        rest.append(path)
            while begun:
                self._end_first(begun)
        finally:
            for reading in begun:  # after an interrupt
                os.close(reading.descriptor)
                assert reading.child is not None
                reading.child.end()
        return rest

    def _end_first(self, readings: list[_Reading]) -> None:
        """Take in the first that ends."""
        from select import select

        told = {it.child.fileno(): it for it in readings if it.child is not None}
        reading = told[select(list(told), [], [])[0][0]]
        readings.remove(reading)
        with contextlib.suppress(OSError):
            self._end(reading)

    def _read_in_threads(self, paths: Iterable[str], at_once: int) -> None:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(at_once, "dagger-digest") as threads:
            for reading in [threads.submit(self._digest, path) for path in paths]:
                reading.exception()

    def _is_worth_reading(self, path: str) -> bool:
        try:
            status = os.stat(path)
        except OSError:
            return False
        seen = self._seen.get(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size < _LARGE or (seen and seen[0] == stamps_of(status)):
            return False
        return max(status.st_mtime_ns, status.st_ctime_ns) < self._now(path, status)

    def _learn(self, path: str, digest: str, status: os.stat_result, racy_since: int) -> None:
        if max(status.st_mtime_ns, status.st_ctime_ns) < racy_since:
            self._seen[path] = stamps_of(status), digest, self._today, is_executable(status)
            self.changed = True
        elif self._seen.pop(path, None):
            self.changed = True

    def _now(self, path: str, status: os.stat_result) -> int:
        racy_since = self._clock.racy_since(path, status.st_dev)
        self._racy_since[status.st_dev] = racy_since
        return racy_since


def with_bit(content: str, executable: bool) -> str:
    """Return what a file counts by, given its content's digest: a file that can be executed is another one."""
    return digest_text(f"{content} executable") if executable else content


def is_executable(status: os.stat_result) -> bool:
    """Tell whether a file's owner may execute it."""
    return status.st_mode & stat.S_IXUSR != 0


def directory_listing_digest(path: str) -> str:
    """Digest the names in a directory, in no order: what a listing of it can show.

    Raises:
        OSError: It cannot be listed.
    """
    state = xxhash.xxh3_128(b"listing:1;")
    for name in sorted(os.fsencode(name) for name in os.listdir(path)):
        state.update(b"%d:" % len(name))
        state.update(name)
    return str(state.hexdigest())


def _refuse(path: str, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, "is a directory, not a file", path)
    raise CacheError(f"{path} is neither a file nor a directory, so it has no digest")
