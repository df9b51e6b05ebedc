"""Bytes from one descriptor to another: digested on the way, cloned where the file system can."""

from __future__ import annotations

import errno
import os

import xxhash

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queue import SimpleQueue

CHUNK = 1 << 18
"""What fits the cache that a core has for itself: hashed from there, it is read from memory once and not twice."""
_FICLONE = 0x40049409
_LARGE = 16 << 20
"""What takes longer to copy than a thread to start."""
_PIECE = 16 << 20
"""What the system is asked to copy at once, while the piece before is digested."""
_NOT_OFFERED = frozenset((errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM))
"""What systems, and their file systems, answer that do not copy by themselves."""


def hash_descriptor(descriptor: int) -> tuple[str, int]:
    """Digest a file from its present position on; return the digest and the number of bytes.

    Reads rather than maps: a mapped file that somebody truncates meanwhile would kill the process.
    """
    return _pump(descriptor, None, xxhash.xxh3_128(), 0)


def copy_hashed(source: int, destination: int) -> tuple[str, int]:
    """Copy from one descriptor to another, of an empty file; return the digest of what was written, and its size."""
    state, size = xxhash.xxh3_128(), 0
    if os.fstat(source).st_size >= _LARGE and hasattr(os, "copy_file_range"):
        size = _copy_by_system(source, destination, state)
    return _pump(source, destination, state, size)


def _copy_by_system(source: int, destination: int, state: xxhash.xxh3_128) -> int:
    """Let the system copy what it can, digest in another thread what it has written, and return how much that is."""
    from queue import SimpleQueue
    from threading import Thread

    size = 0
    written: SimpleQueue[int] = SimpleQueue()
    faults: list[BaseException] = []
    thread = Thread(target=_follow, args=(destination, written, state, faults), name="dagger-digest", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there may be no more threads
        return 0
    try:
        while count := os.copy_file_range(source, destination, _PIECE):
            size += count
            written.put(size)
    except OSError as error:
        if error.errno not in _NOT_OFFERED:
            raise
    finally:
        written.put(0)
        thread.join()
    if faults:
        raise faults[0]
    return size


def _follow(descriptor: int, written: SimpleQueue[int], state: xxhash.xxh3_128, faults: list[BaseException]) -> None:
    """Digest a file as far as it is written, which is told each time in bytes, and 0 at the end."""
    at = 0
    try:
        with memoryview(bytearray(CHUNK)) as view:
            while end := written.get():
                while at < end:
                    count = os.preadv(descriptor, [view[: end - at]], at)
                    if not count:
                        faults.append(OSError("somebody has cut off what was written"))
                        return
                    state.update(view[:count])
                    at += count
    except BaseException as error:  # whoever waits for the digest raises it
        faults.append(error)


def _pump(source: int, destination: int | None, state: xxhash.xxh3_128, size: int) -> tuple[str, int]:
    """Read on to the end, and write that if there is where to; return the digest and the size of all."""
    # No larger than it must be: to fill a buffer with zeros takes longer than all else for a small file.
    buffer = bytearray(max(1, min(CHUNK, os.fstat(source).st_size - size)))
    with memoryview(buffer) as view:
        while count := os.readv(source, [buffer]):
            chunk = view[:count]
            state.update(chunk)
            size += count
            if destination is not None:
                write_all(destination, chunk)
    return state.hexdigest(), size


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of ``data``, however many calls it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def clone(source: int, destination: int) -> bool:
    """Make ``destination`` share the blocks of ``source``; False where that is not offered."""
    try:
        import fcntl

        fcntl.ioctl(destination, _FICLONE, source)
    except OSError:
        return False
    return True
