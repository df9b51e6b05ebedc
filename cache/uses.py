"""When results were last used, for `gc`: one file a root, which a run that uses what the last one used only touches.

The file's name says which keys the last run used, its mtime when that was; in it stand those keys. So a run in which
nothing has changed pays for one digest and one system call, however many its tasks. One that uses other keys leaves a
file of those that it uses no more, and pays nothing for what came before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterable, Iterator

import xxhash

from dagger.cache.layout import make_private
from dagger.cache.records import decode, encode, is_row
from dagger.errors import DamagedError
from dagger.lean_typing import NamedTuple

_LAST = "-"
_FORMER = "+"


class _Uses(NamedTuple):
    """Keys, one a line: those of the last run, and of former runs by the second since the epoch in which they ended."""

    last: str
    former: dict[int, str]


is_row(_Uses, "u")


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
    path = os.path.join(folder, f"{root}{_LAST}{_digest(last)}")
    try:
        os.utime(path)
    except FileNotFoundError:
        make_private(folder)
        others = _files(folder, root + _LAST)
        _write(path, last, {})
        used = set(last.split("\n"))
        for other in others:
            _set_aside(other, os.path.join(folder, root + _FORMER), used)


def _set_aside(path: str, beginning: str, used: Container[str]) -> None:
    """Replace the file of a former run by one of the keys that are not used now: few, however long the history is."""
    with contextlib.suppress(OSError):
        ended = int(os.stat(path).st_mtime)
        uses = _read(path)
        former = dict(uses.former)
        if gone := [key for key in uses.last.split("\n") if key and key not in used]:
            former[ended] = "\n".join(gone)
        if former:
            # Two states that alternate have two files in the end.
            _write(beginning + _digest("\n".join(former.values())), "", former)
        os.unlink(path)


def last_uses(folder: str) -> Iterator[tuple[str, float]]:
    """Return keys, and when each was used, as far as that is known; the latest time of several counts."""
    for path in _files(folder):
        with contextlib.suppress(OSError):
            ended = os.stat(path).st_mtime
            uses = _read(path)
            for when, keys in (*uses.former.items(), (ended, uses.last)):
                yield from ((key, float(int(when))) for key in keys.split("\n"))


def keep_uses(folder: str, kept: Container[str]) -> None:
    """Forget the former uses of keys that are not kept, and put those of a root into one file."""
    former: dict[str, list[str]] = {}
    for path in _files(folder):
        beginning, mark, _ = path.rpartition(_FORMER)
        if mark:
            former.setdefault(beginning + mark, []).append(path)
    for beginning, paths in former.items():
        with contextlib.suppress(OSError):
            _merge(beginning, paths, kept)


def _merge(beginning: str, paths: list[str], kept: Container[str]) -> None:
    merged: dict[int, list[str]] = {}
    for path in paths:
        for when, keys in _read(path).former.items():
            if left := _only(keys, kept):
                merged.setdefault(when, []).append(left)
    former = {when: "\n".join(parts) for when, parts in merged.items()}
    whole = beginning + _digest("\n".join(former.values()))
    if former:
        _write(whole, "", former)
    for path in paths:
        if path != whole or not former:
            os.unlink(path)


def _only(keys: str, kept: Container[str]) -> str:
    return "\n".join(key for key in keys.split("\n") if key in kept)


def _files(folder: str, root: str = "") -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.startswith(root)]
    return []


def _digest(text: str) -> str:
    return str(xxhash.xxh3_128_hexdigest(text.encode()))


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
