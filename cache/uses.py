"""When results were last used, for `gc`: one file a root, which a run that uses what the last one used only touches.

The file's name says which keys the last run used, its mtime when that was; in it stand those keys, and when others
were used last. So a run in which nothing has changed pays for one digest and one system call, however many its tasks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from typing import NamedTuple

import xxhash

from dagger.cache.layout import make_private
from dagger.cache.records import decode, encode
from dagger.errors import DamagedError


class _Uses(NamedTuple):
    """Keys, one a line: those of the last run, and of former runs by the second since the epoch in which they ended."""

    last: str
    former: dict[int, str]


def note_uses(folder: str, root: str, keys: Iterable[str]) -> None:
    """Note that a run has used these keys just now.

    Args:
        folder: Where the files are; made when missing.
        root: The root's short name.
        keys: In the same order each time.

    Raises:
        OSError: It cannot be written.
    """
    last = "\n".join(keys)
    path = os.path.join(folder, f"{root}-{xxhash.xxh3_128_hexdigest(last.encode())}")
    try:
        os.utime(path)
    except FileNotFoundError:
        make_private(folder)
        others = _files(folder, root)
        _write(path, last, _without(_by_time(others), set(last.split("\n"))))
        for other in others:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(other)


def last_uses(folder: str) -> Iterator[tuple[str, float]]:
    """Return keys, and when each was used, as far as that is known; the latest time of several counts."""
    for path in _files(folder):
        with contextlib.suppress(OSError):
            ended = os.stat(path).st_mtime
            uses = _read(path)
            for when, keys in (*uses.former.items(), (ended, uses.last)):
                yield from ((key, float(int(when))) for key in keys.split("\n"))


def keep_uses(folder: str, kept: Container[str]) -> None:
    """Forget the former uses of keys that are not kept."""
    for path in _files(folder):
        uses = _read(path)
        former = {when: _only(keys, kept) for when, keys in uses.former.items()}
        with contextlib.suppress(OSError):
            if former != uses.former:
                status = os.stat(path)
                _write(path, uses.last, {when: keys for when, keys in former.items() if keys})
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _only(keys: str, kept: Container[str]) -> str:
    return "\n".join(key for key in keys.split("\n") if key in kept)


def _files(folder: str, root: str = "") -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(root)]
    return []


def _by_time(paths: Iterable[str]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            ended = int(os.stat(path).st_mtime)
            uses = _read(path)
            for when, keys in (*_split(uses.former).items(), (ended, set(uses.last.split("\n")))):
                found.setdefault(when, set()).update(keys)
    return found


def _split(former: Mapping[int, str]) -> dict[int, set[str]]:
    return {when: set(keys.split("\n")) for when, keys in former.items()}


def _without(by_time: Mapping[int, set[str]], gone: Collection[str]) -> dict[int, str]:
    left = {when: keys.difference(gone) for when, keys in by_time.items()}
    return {when: "\n".join(sorted(keys)) for when, keys in left.items() if keys}


def _read(path: str) -> _Uses:
    """Read a file; one that is damaged or gone knows nothing."""
    with contextlib.suppress(OSError, DamagedError), open(path, "rb") as file:
        return decode(file.read(), _Uses)
    return _Uses("", {})


def _write(path: str, last: str, former: dict[int, str]) -> None:
    beside = f"{path}.{os.getpid()}"
    with open(beside, "wb") as file:
        file.write(encode(_Uses(last, former)))
    os.replace(beside, path)
