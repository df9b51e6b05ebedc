"""The database of the index: diskcache makes it, and plain SQL reads and writes it.

diskcache writes row by row, with a look at each row before, and takes longer to import than most runs have to write.
Here all rows of a transaction go in one statement, as the rows that it would have made; it is loaded only where there
is no database, or one that was only begun.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

_PATIENCE = 60.0
_CACHED_PAGES = 2**11
"""8 MiB, where diskcache takes 32; the system keeps what is not among them."""


def make_database(directory: str) -> None:
    """Make a diskcache in a directory, or what is missing of one."""
    # Not by way of the package: where a signal has interrupted its import, it lacks its parts at the next.
    from diskcache.core import Cache

    Cache(
        directory,
        timeout=_PATIENCE,
        eviction_policy="none",
        cull_limit=0,
        size_limit=2**62,
        disk_min_file_size=2**62,
        sqlite_mmap_size=0,
        sqlite_cache_size=_CACHED_PAGES,
    ).close()


_LAST_MADE = "Settings_size_delete"
"""A trigger that diskcache makes when all else is there."""


def is_made(database: str) -> bool:
    """Tell whether diskcache has made all of a database."""
    if not os.path.exists(database):
        return False
    with contextlib.closing(connect(database)) as reader:
        return has_part(reader, _LAST_MADE)


def has_part(reader: sqlite3.Connection, name: str) -> bool:
    """Tell whether a database has a table, or a trigger, of this name."""
    return bool(reader.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchall())


_RAW = 1
"""How diskcache calls the mode of a value that is bytes in its row."""

_SET = """
    INSERT INTO Cache(key, raw, store_time, access_time, access_count, size, mode, value)
    VALUES (?, 1, ?, ?, 0, 0, ?, ?)
    ON CONFLICT(key, raw) DO UPDATE SET
        store_time = excluded.store_time, expire_time = NULL, access_time = excluded.access_time, access_count = 0,
        tag = NULL, size = 0, mode = excluded.mode, filename = NULL, value = excluded.value
"""


class Writer:
    """Writes the database that there is; any thread may call, one after the other.

    Args:
        database: The file.
    """

    def __init__(self, database: str) -> None:
        self._connection = connect(database)
        # What diskcache sets for its own connections.
        for setting in ("synchronous = NORMAL", "mmap_size = 0", f"cache_size = {_CACHED_PAGES}"):
            self._connection.execute(f"PRAGMA {setting}")

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        """Keep other writers out until the block ends; what is written in it, also by blocks inside, is so then."""
        if self._connection.in_transaction:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # SQLite may have ended it
                self._connection.execute("ROLLBACK")
            raise

    def set(self, rows: Mapping[str, bytes]) -> None:
        """Write rows, all or none; one that is there already stays in its place."""
        for key, row in rows.items():
            if type(key) is not str or type(row) is not bytes:
                raise TypeError(
                    f"a row of the index is bytes by a str, not {type(row).__name__} by {type(key).__name__}"
                )
        now = time.time()
        with self.transact():
            self._connection.executemany(_SET, [(key, now, now, _RAW, row) for key, row in rows.items()])

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows, all or none."""
        with self.transact():
            self._connection.executemany("DELETE FROM Cache WHERE key = ? AND raw = 1", [(key,) for key in keys])

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _quoted(path: str) -> str:
    """Return a path for an address, as `urllib.parse.quote` does, whose import takes longer than all else here."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-"
    return "".join([chr(byte) if byte in plain else f"%{byte:02X}" for byte in os.fsencode(path)])


def connect(database: str, *, as_it_is: bool = False) -> sqlite3.Connection:
    """Open an existing database, whether or not its directory can be written.

    Args:
        database: The file.
        as_it_is: Leave a log of writes beside it where it is. Otherwise whoever closes the database last takes what a
            crash left there into it.
    """
    import sqlite3

    logged = os.path.exists(database + "-wal")
    # A database in a read-only directory has no place for the files that a log of writes needs.
    alone = not os.access(os.path.dirname(database), os.W_OK) and not logged
    mode = "mode=ro&immutable=1" if alone else "mode=ro" if as_it_is and logged else "mode=rw"
    return sqlite3.connect(
        f"file:{_quoted(database)}?{mode}",
        uri=True,
        timeout=_PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )
