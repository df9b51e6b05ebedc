"""Changes to the index that were made but not written yet.

A run makes thousands of small changes; each on its own would cost a transaction. They wait here for
at most half a second, can be read at once, and go to the index in one transaction, where each is
applied to the row as it is *then*: what another process wrote meanwhile is not lost.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from dagger.cache.index import Index, UnavailableError
from dagger.lean_typing import TypeVar

_T = TypeVar("_T")

Change = Callable[[bytes | None], bytes | None]
"""Takes the row as it is (None: there is none) and returns what it becomes (None: it goes)."""

DELAY = 0.5
_AT_ONCE = 200
"""So many rows are made at once of the changes that are written: they are larger than these."""


class Pending:
    """An index with changes in front of it; any thread may call.

    Args:
        index: Where the changes go, until ``recover`` returns another.
        recover: Called with what was raised when the index could not be used; returns the index to
            go on with.
    """

    def __init__(self, index: Index, recover: Callable[[Exception], Index]) -> None:
        self.index = index
        self._recover = recover
        self._changes: dict[str, list[Change]] = {}
        self._renewed: set[str] = set()
        self._ahead: dict[str, bytes | None] = {}
        self._lock = threading.RLock()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None

    def change(self, changes: Iterable[tuple[str, Change]], *, renew: bool = False) -> None:
        """Take changes; they are seen by ``get`` at once, and written soon.

        Args:
            changes: Names of rows, and what befalls each.
            renew: They make their rows the newest.
        """
        with self._lock:
            for key, change in changes:
                self._changes.setdefault(key, []).append(change)
                if renew:
                    self._renewed.add(key)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="dagger-index", daemon=True)
                self._thread.start()

    @contextlib.contextmanager
    def reading_ahead(self, keys: Iterable[str]) -> Iterator[None]:
        """Read rows at once that are asked for in here, each once: that costs a fraction of reading one by one."""
        wanted = list(keys)
        with self._lock:
            found = self._try(lambda index: index.get_many(wanted))
            self._ahead = {key: found.get(key) for key in wanted}
        try:
            yield
        finally:
            self._ahead = {}

    def get(self, key: str) -> bytes | None:
        """Return a row as it will be."""
        with self._lock:
            if key in self._ahead and key not in self._changes:
                return self._ahead.pop(key)
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return those of the rows that there are, as they will be."""
        wanted = list(keys)
        with self._lock:
            unread = [key for key in wanted if key not in self._ahead]
            rows = self._try(lambda index: index.get_many(unread)) if unread else {}
            rows.update((key, row) for key in wanted if (row := self._ahead.pop(key, None)) is not None)
            waiting = {key: self._changes[key] for key in wanted if key in self._changes}
            for key, changes in waiting.items():
                row = _apply(rows.pop(key, None), changes)
                if row is not None:
                    rows[key] = row
        return rows

    def keys(self, prefix: str) -> list[str]:
        """Return the names that begin with ``prefix``, sorted; what waits is written first."""
        self.flush()
        return self._try(lambda index: index.keys(prefix))

    def items(self, prefix: str, *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        """Return the rows whose names begin with ``prefix`` as they were made; what waits is written first."""
        self.flush()
        try:
            yield from self.index.items(prefix, newest_first=newest_first)
        except UnavailableError as error:
            self.index = self._recover(error)
            yield from self.index.items(prefix, newest_first=newest_first)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows; what waits is written first."""
        wanted = list(keys)
        self.flush()
        self._try(lambda index: index.delete(wanted))

    def flush(self) -> None:
        """Write what waits, in one transaction."""
        with self._lock:
            changes, self._changes = self._changes, {}
            renewed, self._renewed = self._renewed, set()
            if changes:
                self._ahead = {}
                try:
                    self._try(lambda index: _write(index, changes, renewed))
                except BaseException:
                    self._renewed |= renewed
                    self._changes = {
                        key: changes.get(key, []) + self._changes.get(key, []) for key in {**changes, **self._changes}
                    }
                    raise

    def close(self) -> None:
        """Write what waits and let go of the index; it can be used again afterwards."""
        thread = self._thread
        if thread is not None and thread.is_alive():
            self._hurry.set()
            thread.join()
            self._hurry.clear()
        self.flush()
        self.index.close()

    def _try(self, work: Callable[[Index], _T]) -> _T:
        try:
            return work(self.index)
        except UnavailableError as error:
            self.index = self._recover(error)
            return work(self.index)

    def _run(self) -> None:
        """Write what waits; end when nothing does, so that an idle cache holds no thread."""
        while True:
            self._hurry.wait(DELAY)
            self.flush()
            with self._lock:
                if not self._changes:
                    self._thread = None
                    return


def _apply(row: bytes | None, changes: Iterable[Change]) -> bytes | None:
    for change in changes:
        row = change(row)
    return row


def _write(index: Index, changes: dict[str, list[Change]], renewed: set[str]) -> None:
    with index.transact():
        names = iter(changes)
        while some := list(islice(names, _AT_ONCE)):
            before = index.get_many(some)
            after = {key: _apply(before.get(key), changes[key]) for key in some}
            index.delete([key for key in some if key in renewed and key in before])
            index.set_many(
                {key: row for key, row in after.items() if row and (key in renewed or row != before.get(key))}
            )
            index.delete([key for key, row in after.items() if row is None and key in before])
