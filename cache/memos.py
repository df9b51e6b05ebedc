"""Files that only spare work: each can be deleted, lost or damaged at the cost of doing that work again.

They lie beside the index, so that a run with nothing to do opens no database. Their form is Python's marshal, which
needs no import and is read faster than anything else; another Python's is passed over. What is large is read and
written part by part, so that it is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys
from collections.abc import Iterable, Iterator

import xxhash

_HEAD = f"dagger memo 3 {sys.implementation.cache_tag}\n".encode()
_CHECKSUM = 16
_PART_HEAD = _CHECKSUM + 8

RUN = "run"
"""The kind of what a run came to: wrong as soon as records go."""
STATS = "stats"
"""The kind of the digests of files by their stat."""


def read_memo(path: str) -> object:
    """Return the first part of what was written last; None where there is nothing, or nothing whole."""
    return next(read_parts(path), None)


class Body(bytes):
    """A part's bytes, to be written as they are."""


class Packed:
    """A part as it lies in a file; what nobody asks for is not read.

    Args:
        file: Where it is; the file is open for as long as anybody may read from it.
        place: Where in that.
        size: How many bytes it has.
        checksum: Theirs.
    """

    __slots__ = ("_checksum", "_file", "_place", "_size")

    def __init__(self, file: _Descriptor, place: int, size: int, checksum: bytes) -> None:
        self._file = file
        self._place = place
        self._size = size
        self._checksum = checksum

    def body(self) -> Body | None:
        """Return its bytes, to be written once more; None where they are not what was written."""
        body = self.read()
        return None if body is None else Body(body)

    def value(self) -> object:
        """Return what was written; None where it is not whole."""
        body = self.read()
        return None if body is None else marshal.loads(body)

    def read(self) -> bytes | None:
        """Return its bytes; None where they are not what was written."""
        try:
            body = os.pread(self._file.number, self._size, self._place)
        except OSError:
            return None
        return body if xxhash.xxh3_128_digest(body) == self._checksum else None


class _Descriptor:
    """The number of an open file, which is closed when nobody has it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


def read_parts(path: str) -> Iterator[object]:
    """Yield the parts of what was written last, each when it is asked for; those before one that is not whole."""
    for part in read_packed(path):
        if (body := part.read()) is None:
            return
        yield marshal.loads(body)


def read_packed(path: str) -> Iterator[Packed]:
    """Yield all parts, each as it lies there, whole or not."""
    with contextlib.suppress(OSError):
        file = _Descriptor(os.open(path, os.O_RDONLY))
        if os.pread(file.number, len(_HEAD), 0) != _HEAD:
            return
        place, end = len(_HEAD), os.fstat(file.number).st_size
        while place + _PART_HEAD <= end:
            head = os.pread(file.number, _PART_HEAD, place)
            place += _PART_HEAD
            size = int.from_bytes(head[_CHECKSUM:], "big")
            if place + size > end:
                return
            yield Packed(file, place, size, head[:_CHECKSUM])
            place += size


def write_memo(path: str, value: object) -> None:
    """Write a memo of one part.

    Raises:
        OSError: It cannot be written.
    """
    write_parts(path, [value])


def write_parts(path: str, parts: Iterable[object]) -> None:
    """Write values of plain tuples, lists, dicts, texts, bytes and numbers, or bodies; all of them or nothing.

    Raises:
        OSError: It cannot be written.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_HEAD)
            for part in parts:
                body = part if isinstance(part, Body) else marshal.dumps(part)  # type: ignore[arg-type]
                file.write(xxhash.xxh3_128_digest(body) + len(body).to_bytes(_PART_HEAD - _CHECKSUM, "big"))
                file.write(body)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def drop_memos(directory: str, prefix: str, *, aside: str = "") -> None:
    """Remove the memos whose names begin with `prefix`; the one of this name is only put aside: it is `name~` then."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if entry.name == aside:
                os.replace(entry.path, f"{entry.path}~")
            elif entry.name.startswith(prefix) and entry.name != f"{aside}~":
                os.unlink(entry.path)
