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
from typing import NamedTuple

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


class Packed(NamedTuple):
    """A part as it lies in a file, whole: what is only copied need not be read."""

    head: bytes
    body: bytes

    def value(self) -> object:
        """Return what was written."""
        return marshal.loads(self.body)


def read_parts(path: str) -> Iterator[object]:
    """Yield the parts of what was written last, each when it is asked for; those before one that is not whole."""
    for part in read_packed(path):
        yield part.value()


def read_packed(path: str) -> Iterator[Packed]:
    """Yield the same, each part as it lies there."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if file.read(len(_HEAD)) != _HEAD:
            return
        left = os.fstat(file.fileno()).st_size - len(_HEAD)
        while left >= _PART_HEAD:
            head = file.read(_PART_HEAD)
            size = int.from_bytes(head[_CHECKSUM:], "big")
            left -= _PART_HEAD + size
            body = file.read(size) if left >= 0 else b""
            if xxhash.xxh3_128_digest(body) != head[:_CHECKSUM]:
                return
            yield Packed(head, body)


def write_memo(path: str, value: object) -> None:
    """Write a memo of one part.

    Raises:
        OSError: It cannot be written.
    """
    write_parts(path, [value])


def write_parts(path: str, parts: Iterable[object]) -> None:
    """Write values of plain tuples, lists, dicts, texts, bytes and numbers, or packed ones; all of them or nothing.

    Raises:
        OSError: It cannot be written.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_HEAD)
            for part in parts:
                packed = part if isinstance(part, Packed) else _packed(part)
                file.write(packed.head)
                file.write(packed.body)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _packed(value: object) -> Packed:
    body = marshal.dumps(value)  # type: ignore[arg-type]  # its stub asks for less than it takes
    return Packed(xxhash.xxh3_128_digest(body) + len(body).to_bytes(_PART_HEAD - _CHECKSUM, "big"), body)


def drop_memos(directory: str, prefix: str, *, aside: str = "") -> None:
    """Remove the memos whose names begin with `prefix`; the one of this name is only put aside: it is `name~` then."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if entry.name == aside:
                os.replace(entry.path, f"{entry.path}~")
            elif entry.name.startswith(prefix) and entry.name != f"{aside}~":
                os.unlink(entry.path)
