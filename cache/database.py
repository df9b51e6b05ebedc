"""How diskcache is set up, and how its database is read and written past it.

diskcache writes row by row, with a look at each row before; here all rows of a transaction go in one statement, as the
rows that it would have made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from functools import cache

from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

_PATIENCE = 60.0


@cache
def _disk_class() -> Any:
    import sqlite3

    # Not by way of the package: where a signal has interrupted its import, it lacks its parts at the next.
    from diskcache.core import MODE_RAW, Disk

    class RawDisk(Disk):  # type: ignore[misc]
        """Names are str, values bytes in their row; anything else is refused, never pickled."""

        def put(self, key: object) -> tuple[str, bool]:
            if type(key) is not str:
                raise TypeError(f"a name in the index is a str, not {type(key).__name__}")
            return key, True

        def get(self, key: object, raw: bool) -> object:
            if not raw:
                raise TypeError("the index holds a pickled name; it is not read")
            return key

        def store(
            self,
            value: object,
            read: bool,
            key: object = None,  # noqa: ARG002
        ) -> tuple[int, int, None, object]:
            if type(value) is not bytes or read:
                raise TypeError(f"a row of the index is bytes, not {type(value).__name__}")
            return 0, MODE_RAW, None, sqlite3.Binary(value)

        def fetch(
            self,
            mode: int,
            filename: object,  # noqa: ARG002
            value: object,
            read: bool,
        ) -> bytes:
            if mode != MODE_RAW or type(value) is not bytes or read:
                raise TypeError("the index holds a row that is not plain bytes; it is not read")
            return value

        def remove(self, file_path: object) -> None:
            """A row names no file here; one that does is not ours, and may lead anywhere."""

    return RawDisk


def open_store(directory: str) -> Any:
    """Open the diskcache in a directory for writing; it is made when missing."""
    import diskcache

    return diskcache.Cache(
        directory,
        timeout=_PATIENCE,
        disk=_disk_class(),
        eviction_policy="none",
        cull_limit=0,
        size_limit=2**62,
        disk_min_file_size=2**62,
        sqlite_mmap_size=0,
        sqlite_cache_size=2**11,  # pages: 8 MiB, where diskcache takes 32; the system keeps what is not in it
    )


_SET = """
    INSERT INTO Cache(key, raw, store_time, access_time, access_count, size, mode, value)
    VALUES (?, 1, ?, ?, 0, 0, ?, ?)
    ON CONFLICT(key, raw) DO UPDATE SET
        store_time = excluded.store_time, expire_time = NULL, access_time = excluded.access_time, access_count = 0,
        tag = NULL, size = 0, mode = excluded.mode, filename = NULL, value = excluded.value
"""


def set_rows(store: Any, rows: Mapping[str, bytes]) -> None:
    """Write rows into a diskcache, all or none; one that is there already stays in its place."""
    from diskcache.core import MODE_RAW

    now = time.time()
    name, form = store.disk.put, store.disk.store
    values = [(name(key)[0], now, now, MODE_RAW, form(value, False)[3]) for key, value in rows.items()]
    with store.transact():
        store._con.executemany(_SET, values)


def delete_rows(store: Any, keys: Iterable[str]) -> None:
    """Remove rows from a diskcache, all or none."""
    with store.transact():
        store._con.executemany("DELETE FROM Cache WHERE key = ? AND raw = 1", [(key,) for key in keys])


def _quoted(path: str) -> str:
    """Return a path for an address, as `urllib.parse.quote` does, whose import takes longer than all else here."""
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_.-"
    return "".join([chr(byte) if byte in plain else f"%{byte:02X}" for byte in os.fsencode(path)])


def connect(database: str, *, as_it_is: bool = False) -> sqlite3.Connection:
    """Open an existing database for reading, whether or not its directory can be written.

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
