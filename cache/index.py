"""The index: small rows of bytes by name. What any index can do, and the ones in memory.

The one on disk is in ``disk_index``; the cache talks to either through ``Pending``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping

from dagger.errors import CacheError
from dagger.lean_typing import Protocol


class UnavailableError(CacheError):
    """The index cannot be written (or read): read-only, full, or locked for ten minutes."""


class Index(Protocol):
    """Rows of bytes by name."""

    def get(self, key: str) -> bytes | None:
        """Return one row."""

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return those of the rows that there are."""

    def set_many(self, rows: Mapping[str, bytes]) -> None:
        """Write rows, all or none."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows; one that is not there is fine."""

    def keys(self, prefix: str = "") -> list[str]:
        """Return the names that begin with ``prefix``, sorted."""

    def items(self, prefix: str = "", *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        """Return the rows whose names begin with ``prefix`` in the order in which they were made, few at a time.

        What is removed meanwhile may be among them; what was there all the time is. A row that was written anew stays
        in its place, one that was removed and made again is the newest.
        """

    def transact(self) -> contextlib.AbstractContextManager[None]:
        """Keep other writers out, so that what is read can be changed and written."""

    def close(self) -> None:
        """Let go of files; the index can still be used afterwards."""


class MemoryIndex:
    """The twin in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._lock = threading.RLock()

    def get(self, key: str) -> bytes | None:
        """Return one row."""
        return self._rows.get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return those of the rows that there are."""
        rows = self._rows
        return {key: rows[key] for key in keys if key in rows}

    def set_many(self, rows: Mapping[str, bytes]) -> None:
        """Write rows, all or none."""
        with self._lock:
            self._rows.update(rows)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows."""
        with self._lock:
            for key in keys:
                self._rows.pop(key, None)

    def keys(self, prefix: str = "") -> list[str]:
        """Return the names that begin with ``prefix``, sorted."""
        with self._lock:
            return sorted(key for key in self._rows if key.startswith(prefix))

    def items(self, prefix: str = "", *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        """Return the rows whose names begin with ``prefix`` in the order in which they were made."""
        with self._lock:
            found = [item for item in self._rows.items() if item[0].startswith(prefix)]
        yield from reversed(found) if newest_first else found

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        """Keep other threads from writing."""
        with self._lock:
            yield

    def close(self) -> None:
        """Nothing is held."""


class OverlayIndex(MemoryIndex):
    """Goes on in memory in front of an index that can be read but not written.

    Args:
        below: What is read where nothing was written since.
    """

    def __init__(self, below: Index) -> None:
        super().__init__()
        self._below = below
        self._deleted: set[str] = set()

    def get(self, key: str) -> bytes | None:
        """Return one row."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return those of the rows that there are."""
        wanted = list(keys)
        found = super().get_many(wanted)
        with contextlib.suppress(UnavailableError):
            rest = [key for key in wanted if key not in found and key not in self._deleted]
            found.update(self._below.get_many(rest))
        return found

    def keys(self, prefix: str = "") -> list[str]:
        """Return the names that begin with ``prefix``, sorted."""
        names = set(super().keys(prefix))
        with contextlib.suppress(UnavailableError):
            names.update(key for key in self._below.keys(prefix) if key not in self._deleted)
        return sorted(names)

    def items(self, prefix: str = "", *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        """Return the rows whose names begin with ``prefix``; those made since are the newest."""
        if newest_first:
            yield from super().items(prefix, newest_first=True)
        with contextlib.suppress(UnavailableError):
            for key, row in self._below.items(prefix, newest_first=newest_first):
                if key not in self._rows and key not in self._deleted:
                    yield key, row
        if not newest_first:
            yield from super().items(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Hide rows."""
        gone = list(keys)
        super().delete(gone)
        self._deleted.update(gone)

    def close(self) -> None:
        """Let go of the files below."""
        self._below.close()
