"""What tells a change of a file, of many files at once."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from dagger.lean_typing import TYPE_CHECKING

Stamps = tuple[int, int, int, int]
"""Size, mtime_ns, ctime_ns and inode."""

_packed = struct.Struct("=qqqQ").pack
_GONE = b"\xff" * 32


def stamps_of(status: os.stat_result) -> Stamps:
    """Return what of a file's stat tells a change of it."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def packed(stamps: Stamps) -> bytes:
    """Return the stamps of a file as they stand among those of many."""
    return _packed(*stamps)


def joined(paths: list[str]) -> bytes:
    """Return paths as `ManyStamps` takes them."""
    return os.fsencode("".join([f"{path}\0" for path in paths]))


class _ManyStamps:
    """The stamps of many files, taken beside whatever else goes on, where dagger could be compiled.

    Args:
        root: Where relative paths count from, in the system's encoding.
        followed: Paths, a NUL behind each; a link counts as what it leads to.
        plain: The same, where a link counts as itself.
    """

    def __init__(self, root: bytes, followed: bytes, plain: bytes) -> None:
        self._root = root
        self._looks: tuple[tuple[bytes, Callable[[bytes], os.stat_result]], ...] = (
            (followed, os.stat),
            (plain, os.lstat),
        )

    def taken(self) -> bytes:
        """Return 32 bytes a file, in their order: `packed`, or all ones where it is not there."""
        found = []
        for paths, look in self._looks:
            for path in paths.split(b"\0")[:-1]:
                try:
                    found.append(_packed(*stamps_of(look(os.path.join(self._root, path)))))
                except OSError:
                    found.append(_GONE)
        return b"".join(found)


if TYPE_CHECKING:
    ManyStamps = _ManyStamps
else:
    try:
        from dagger.cache._stamps import Stamps as ManyStamps
    except ImportError:
        ManyStamps = _ManyStamps
