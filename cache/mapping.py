"""Digests of large files that are mapped, not read: by a process that may die of it.

A mapped file is digested where it lies in the page cache. To read it means to copy it first, which takes longer than
the digest. But whoever looks at a mapped page that somebody has just cut off, or that the disk does not give, is killed
by the kernel. So a child maps the file and tells the digest; where it dies, its parent reads.

Only a process of one thread makes such children: a fork of more is not safe, whatever little the child does. And only
what is in the page cache is mapped: from a disk, reading is as fast and better foreseen.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import xxhash

LARGE = 128 << 20
"""From this size on a child is worth the millisecond or two that it takes to make one."""

_PROBES = 16
_DIGEST_LENGTH = 32
_SIGKILL = 9


class MappedDigest:
    """A child that digests a file, begun when this is made.

    Args:
        descriptor: The file.
        size: How much of it to map.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        import mmap  # noqa: F401  (here, not in each child)
        import resource  # noqa: F401
        import signal  # noqa: F401

        self._told, telling = os.pipe()
        try:
            self._child = os.fork()
            if not self._child:
                _tell_digest(descriptor, size, telling)
        except OSError:
            os.close(self._told)
            raise
        finally:
            os.close(telling)

    def fileno(self) -> int:
        """What can be read from once it has ended."""
        return self._told

    def result(self) -> str | None:
        """Wait for the digest; None where the child has died of it."""
        told = b""
        try:
            while more := os.read(self._told, _DIGEST_LENGTH):
                told += more
        finally:
            self.end()
        return told.decode() if len(told) == _DIGEST_LENGTH else None

    def end(self) -> None:
        """End the child, whatever it is at."""
        os.close(self._told)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._child, _SIGKILL)  # not waited for yet, so that the number is still its own
            os.waitpid(self._child, 0)


def is_to_be_mapped(descriptor: int, size: int) -> bool:
    """Whether a file is large, in the page cache as far as can be told, and this process may make a child."""
    return size >= LARGE and sys.platform == "linux" and _is_cached(descriptor, size) and _has_one_thread()


def _has_one_thread() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _is_cached(descriptor: int, size: int) -> bool:
    byte = [bytearray(1)]
    try:
        return all(os.preadv(descriptor, byte, size // _PROBES * it, os.RWF_NOWAIT) for it in range(_PROBES))
    except OSError:
        return False


def _tell_digest(descriptor: int, size: int, telling: int) -> None:
    """Digest the file and end, whatever happens; for the child alone."""
    try:
        import mmap
        import resource
        import signal

        for number in (signal.SIGBUS, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # All of its pages at once: else the kernel is asked for them one by one, as they are come to.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        with mmap.mmap(descriptor, size, flags, mmap.PROT_READ) as content:
            os.write(telling, xxhash.xxh3_128_hexdigest(content).encode())
    finally:
        os._exit(0)
