"""Files that only spare work: each can be deleted, lost or damaged at the cost of doing that work again.

They lie beside the index, so that a run with nothing to do opens no database. Their form is Python's marshal, which
needs no import and is read faster than anything else; another Python's is passed over.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import sys

import xxhash

_HEAD = f"dagger memo 1 {sys.implementation.cache_tag}\n".encode()
_CHECKSUM = 16

RUN = "run"
"""The kind of what a run came to: wrong as soon as records go."""
STATS = "stats"
"""The kind of the digests of files by their stat."""


def read_memo(path: str) -> object:
    """Return what was written last; None where there is nothing, or nothing whole."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    start = len(_HEAD) + _CHECKSUM
    body = memoryview(data)[start:]
    if data[: len(_HEAD)] != _HEAD or data[len(_HEAD) : start] != xxhash.xxh3_128_digest(body):
        return None
    value: object = marshal.loads(body)
    return value


def write_memo(path: str, value: object) -> None:
    """Write a value of plain tuples, lists, dicts, texts, bytes and numbers, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    body = marshal.dumps(value)  # type: ignore[arg-type]  # its stub asks for less than it takes
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_HEAD + xxhash.xxh3_128_digest(body))
            file.write(body)
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def drop_memos(directory: str, prefix: str) -> None:
    """Remove the memos whose names begin with `prefix`."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            if entry.name.startswith(prefix):
                os.unlink(entry.path)
