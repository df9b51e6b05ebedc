"""Bytes from one descriptor to another: digested on the way, cloned where the file system can."""

from __future__ import annotations

import os

import xxhash

CHUNK = 1 << 18
"""What fits the cache that a core has for itself: hashed from there, it is read from memory once and not twice."""
_FICLONE = 0x40049409


def hash_descriptor(descriptor: int) -> tuple[str, int]:
    """Digest a file from its present position on; return the digest and the number of bytes.

    Reads rather than maps: a mapped file that somebody truncates meanwhile would kill the process.
    """
    return _pump(descriptor, None)


def copy_hashed(source: int, destination: int) -> tuple[str, int]:
    """Copy from one descriptor to another; return the digest of what was written, and its size."""
    return _pump(source, destination)


def _pump(source: int, destination: int | None) -> tuple[str, int]:
    state = xxhash.xxh3_128()
    size = 0
    # No larger than it must be: to fill a buffer with zeros takes longer than all else for a small file.
    buffer = bytearray(max(1, min(CHUNK, os.fstat(source).st_size)))
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
