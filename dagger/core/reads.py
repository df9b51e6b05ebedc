"""A file or a directory as a task saw it, and whether it is still that when the task is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from dagger.errors import DaggerError
from dagger.lean_typing import NamedTuple

ABSENT = "absent"

ValueDigest = Callable[[str | None], str]
FileDigest = Callable[[str], str]

_RACY = 2_000_000_000
_CLOCK_TICK = 20_000_000  # nanoseconds by which a file system's clock may lag behind the process's

Stamps = tuple[int, int, int, int]


class SeenFile(NamedTuple):
    """A file as it was when a task first opened it.

    Attributes:
        stamps: Its size, times and inode then.
        digest: Its content's, taken at once, or empty where the stamps will tell later.
    """

    stamps: Stamps
    digest: str

    @classmethod
    def at_open(cls, path: str, status: os.stat_result, digest_file: FileDigest) -> SeenFile:
        """Look at a file that is about to be opened."""
        stamps = _stamps(status)
        young = max(status.st_mtime_ns, status.st_ctime_ns) > time.time_ns() - _RACY
        return cls(stamps, digest_file(path) if young else "")

    def is_younger(self, moment: int) -> bool:
        """Tell whether the file was written since a moment, in nanoseconds."""
        return self.stamps[2] >= moment - _CLOCK_TICK

    def settle(self, path: str, digest_file: FileDigest) -> tuple[str, bool]:
        """Return the digest of what was read, and whether that is certain."""
        try:
            before = _stamps(os.stat(path))
            digest = digest_file(path)
            after = _stamps(os.stat(path))
        except (OSError, DaggerError):
            return self.digest or ABSENT, False
        if self.digest:
            return self.digest, self.digest == digest and (before == after or self.stamps == after)
        return digest, self.stamps == before == after


class SeenListing(NamedTuple):
    """A directory as it was when a task first listed it.

    Attributes:
        names: What was in it then.
    """

    names: frozenset[str]

    @classmethod
    def of(cls, path: str) -> SeenListing:
        """Look at a directory that is about to be listed."""
        return cls(frozenset(os.listdir(path)))

    def settle(self, path: str, digest_listing: FileDigest, is_own: Callable[[str], bool]) -> tuple[str, bool]:
        """Return the digest of the listing, and whether the task alone changed it.

        It is that of the names as the task leaves them, outputs of its own among them: so they are found when the
        task is looked up the next time, and what else comes or goes is noticed.
        """
        try:
            now = frozenset(os.listdir(path))
            digest = digest_listing(path)
        except OSError:
            return ABSENT, False
        changed = self.names ^ now
        return digest, all(is_own(os.path.join(path, name)) for name in changed)


def _stamps(status: os.stat_result) -> Stamps:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
