"""Where the files of a blob store are, and what they are like; what ``BlobStore`` is made of."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

import xxhash

from dagger.cache.layout import make_private
from dagger.cache.streams import hash_descriptor

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

PREFIX = 2
"""How much of a digest names the folder of its blob."""

_UNIQUE = 8
"""Bytes that make a name beside an output unlike any other."""

_DIGITS = "[0-9a-f]" * (2 * _UNIQUE)

_LONGEST = 200
"""Bytes of a file's name that leave room for what makes it another one."""

Signature = tuple[int, int, int, int]
"""Size, mtime, ctime and inode: while they stay and are not young, so does the content."""


def place_of(directory: str, digest: str) -> str:
    """Name the file of a blob."""
    return f"{directory}/{digest[:PREFIX]}/{digest[PREFIX:]}"


def scratch_of(place: str) -> str:
    """Name the directory for what is not a blob yet."""
    return f"{place}/tmp"


def make_scratch(place: str) -> str:
    """Make the directory for what is not a blob yet.

    Raises:
        OSError: It cannot be made or written.
    """
    scratch = scratch_of(place)
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
    for item in _scan(folder):
        with contextlib.suppress(FileNotFoundError):
            status = item.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield prefix + item.name, status.st_size, status.st_mtime


def list_places(directory: str) -> Iterator[tuple[str, str]]:
    """Return each digest under which anything is, and where; a folder of blobs that is none has its short name."""
    for folder in _scan(directory):
        if len(folder.name) == PREFIX and folder.is_dir():
            yield from ((folder.name + item.name, item.path) for item in _scan(folder.path))
        elif len(folder.name) == PREFIX:
            yield folder.name, folder.path


def damage_of(digest: str, path: str) -> str:
    """Return what is wrong with the blob in a place, or ``""``."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "it is no plain file"
        with open(path, "rb", buffering=0) as file:
            found, _ = hash_descriptor(file.fileno())
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return "" if found == digest else "its content is not what its name says"


def remove_whatever(path: str) -> None:
    """Remove what is in the place of a file of ours, a directory with all that is in it."""
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def beside(path: str) -> str:
    """Name what is to be renamed to ``path`` once it is whole: in the same folder, and nobody else's."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{_shortened(name)}.{os.urandom(_UNIQUE).hex()}.dagger")


@contextlib.contextmanager
def put_whole(path: str) -> Iterator[str]:
    """Yield the name to write a file under: it is renamed to ``path`` once it is whole, or else removed."""
    unfinished = beside(path)
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        raise


def all_beside(path: str) -> list[str]:
    """Return what lies beside a path under names that ``beside`` has for it."""
    from glob import escape, glob

    folder, name = os.path.split(path)
    return glob(os.path.join(escape(folder), f".{escape(_shortened(name))}.{_DIGITS}.dagger"))


def beside_some(folder: str, root: str) -> Iterator[tuple[str, str]]:
    """Yield what lies in folders under names that ``beside`` makes, each before what it is to become.

    Args:
        folder: A pattern for folders.
        root: Where it counts from.
    """
    from glob import glob

    for found in glob(os.path.join(folder, f".*.{_DIGITS}.dagger"), root_dir=root, recursive=True):
        above, name = os.path.split(found)
        yield found, os.path.join(above, name[1 : -len(".dagger") - 2 * _UNIQUE - 1])


def _shortened(name: str) -> str:
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    return f"{name[: _LONGEST // 8]}-{xxhash.xxh3_128_hexdigest(os.fsencode(name))}"


def _scan(folder: str) -> list[os.DirEntry[str]]:
    """List a folder, sorted; one that is not there, or is none, is empty."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(os.scandir(folder), key=lambda it: it.name)
    return []
