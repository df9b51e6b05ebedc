"""Where the files of a blob store are, and what they are like; what ``BlobStore`` is made of."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from dagger.cache.layout import make_private

UNWRITABLE = frozenset(
    (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOTDIR,
        errno.EEXIST,
    )
)
"""What a full or read-only place answers, or one where a file is in the way."""

Signature = tuple[int, int, int, int]
"""Size, mtime, ctime and inode: while they stay and are not young, so does the content."""


def place_of(directory: str, digest: str) -> str:
    """Name the file of a blob."""
    return f"{directory}/{digest[:2]}/{digest[2:]}"


def make_scratch(place: str) -> str:
    """Make the directory for what is not a blob yet.

    Raises:
        OSError: It cannot be made or written.
    """
    scratch = os.path.join(place, "tmp")
    if not os.path.isdir(scratch):
        make_private(scratch)
    if not os.access(scratch, os.W_OK):
        raise PermissionError(errno.EACCES, "not writable", scratch)
    return scratch


def is_private(place: str) -> bool:
    """Whether a directory is ours, and closed to everybody else."""
    try:
        status = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def signature_of(status: os.stat_result) -> Signature:
    """Take from a stat what changes with the content."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def list_folder(folder: str, prefix: str) -> Iterator[tuple[str, int, float]]:
    """Return digest, size and mtime of each blob in one folder of a store."""
    for item in sorted(os.scandir(folder), key=lambda it: it.name):
        with contextlib.suppress(FileNotFoundError):
            status = item.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield prefix + item.name, status.st_size, status.st_mtime
