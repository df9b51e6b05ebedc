"""The index: small rows of bytes by name, on disk in a diskcache, or in memory.

``DiskIndex`` is a diskcache ``Cache`` with its traps closed:

- Eviction is off (``eviction_policy="none"``, ``cull_limit=0``); by default entries vanish beyond 1 GiB.
- Values are bytes in rows: its Disk neither pickles nor unpickles (CVE-2025-69872) nor writes value files.
- ``sqlite_mmap_size=0``: a database that is cut off under a mapping kills the process.
- Its ``retry=True`` retries whatever went wrong, forever, also on a full or read-only disk. So each write is tried
  without it, and only a locked database is tried again.
- It expands ``$NAME`` in its directory's name; such a directory is reached through a link.
- Two processes that create or open one at once find it locked; that is done under a lock of ours.

Reads go past it, by plain SQL on its table: 500 names in one query, at a quarter of the time, and a run that only
reads does not import diskcache.

A damaged database is moved aside and a fresh one begun. Workers never open the index.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import quote

from dagger.cache.layout import make_private
from dagger.cache.locks import wait_for_lock
from dagger.errors import CacheError

if TYPE_CHECKING:
    import sqlite3

_T = TypeVar("_T")
_CHUNK = 500
_PATIENCE = 60.0
_ROUNDS = 10
_LAST = "\U0010ffff"


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

    def delete(self, keys: Iterable[str]) -> None:
        """Hide rows."""
        gone = list(keys)
        super().delete(gone)
        self._deleted.update(gone)

    def close(self) -> None:
        """Let go of the files below."""
        self._below.close()


class DiskIndex:
    """The index on disk, made at the first write; reading one that is not there finds nothing.

    Args:
        directory: Where the database is, or will be.
        tell: Called with a sentence when a damaged database was moved aside.
    """

    def __init__(self, directory: str, *, tell: Callable[[str], None] = lambda _: None) -> None:
        self.directory = directory
        self._tell = tell
        self._database = os.path.join(directory, "cache.db")
        self._lock = threading.RLock()
        self._reader: sqlite3.Connection | None = None
        self._store: Any = None
        self._opened = (0, 0, 0)
        self._link: str | None = None

    def get(self, key: str) -> bytes | None:
        """Return one row."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return those of the rows that there are."""
        wanted = list(keys)
        found: dict[str, bytes] = {}
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT key, value FROM Cache WHERE raw = 1 AND key IN ({marks})"
            found.update(row for row in self._select(query, chunk) if isinstance(row[1], bytes))
        return found

    def keys(self, prefix: str = "") -> list[str]:
        """Return the names that begin with ``prefix``, sorted."""
        query = "SELECT key FROM Cache WHERE raw = 1 AND key >= ? AND key < ? ORDER BY key"
        return [key for (key,) in self._select(query, (prefix, prefix + _LAST)) if isinstance(key, str)]

    def set_many(self, rows: Mapping[str, bytes]) -> None:
        """Write rows, all or none.

        Raises:
            UnavailableError: It cannot be written.
        """

        def write() -> None:
            with self._opened_store().transact():
                for key, value in rows.items():
                    self._store.set(key, value)

        if rows:
            self._attempt(write)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows.

        Raises:
            UnavailableError: It cannot be written.
        """
        wanted = list(keys)

        def write() -> None:
            with self._opened_store().transact():
                for key in wanted:
                    self._store.delete(key)

        if wanted and os.path.exists(self._database):
            self._attempt(write)

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        """Keep other writers out, of this process and of others, until the block ends.

        Raises:
            UnavailableError: It cannot be written.
        """
        with self._lock:
            try:
                with contextlib.ExitStack() as stack:
                    self._attempt(lambda: stack.enter_context(self._opened_store().transact()))
                    yield
            except UnavailableError:
                raise
            except Exception as error:
                # The commit itself can fail, as on a full disk.
                if (cause := _sqlite_error(error)) is None:
                    raise
                raise UnavailableError(f"{self.directory} cannot be used: {cause}") from error

    def check(self) -> str:
        """Return what SQLite finds wrong with its file, or ``""``; a damaged one is moved aside."""
        answers = [str(answer) for (answer,) in self._select("PRAGMA quick_check(1)", ())]
        if answers in ([], ["ok"]):
            return ""
        self._replace()
        return answers[0]

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        with self._lock:
            reader, self._reader = self._reader, None
            store, self._store = self._store, None
            link, self._link = self._link, None
            if self._opened[2] == os.getpid():
                with contextlib.suppress(Exception):
                    if store is not None:
                        store.close()
                    if reader is not None:
                        reader.close()
                if link is not None:
                    shutil.rmtree(os.path.dirname(link), ignore_errors=True)
            self._opened = (0, 0, 0)

    def _select(self, query: str, values: Iterable[object]) -> list[tuple[Any, ...]]:
        def read() -> list[tuple[Any, ...]]:
            with self._lock:
                reader = self._opened_reader()
                return [] if reader is None else reader.execute(query, tuple(values)).fetchall()

        return self._attempt(read)

    def _attempt(self, work: Callable[[], _T]) -> _T:
        """Do ``work``; wait while the database is locked, begin a fresh one once when it is damaged or gone."""
        import sqlite3

        replaced = False
        for _ in range(_ROUNDS):
            try:
                if self._is_stale():
                    self.close()
                return work()
            except OSError as error:
                raise UnavailableError(f"{self.directory} cannot be used: {error}") from error
            except Exception as error:
                cause = _sqlite_error(error)
                if cause is None:
                    raise
                if _is_locked(cause):
                    continue
                if "no such table" in str(cause) and not replaced:
                    # Cut off to nothing: diskcache makes the tables when it opens the file again.
                    self.close()
                elif isinstance(cause, sqlite3.OperationalError) or replaced:
                    raise UnavailableError(f"{self.directory} cannot be used: {cause}") from error
                else:
                    self._replace()
                replaced = True
        raise UnavailableError(f"{self.directory} stays locked by another process")

    def _is_stale(self) -> bool:
        """Whether the open database is not the one that has its name now (or was opened before a fork)."""
        if self._opened == (0, 0, 0):
            return False
        return self._opened != (*_identity(self._database), os.getpid())

    def _opened_reader(self) -> sqlite3.Connection | None:
        if self._reader is None:
            if not os.path.exists(self._database):
                return None
            self._reader = _connect(self._database)
            self._opened = (*_identity(self._database), os.getpid())
            tables = self._reader.execute("SELECT 1 FROM sqlite_master WHERE name = 'Cache'").fetchall()
            if not tables:
                self._reader.close()
                self._reader = None
        return self._reader

    def _opened_store(self) -> Any:
        with self._lock:
            if self._store is None:
                make_private(self.directory)
                with wait_for_lock(os.path.join(self.directory, "lock")):
                    self._store = _open_store(self._plain_directory())
                    os.chmod(self._database, 0o600)
                self._opened = (*_identity(self._database), os.getpid())
            return self._store

    def _plain_directory(self) -> str:
        if os.path.expandvars(self.directory) == self.directory:
            return self.directory
        self._link = os.path.join(tempfile.mkdtemp(prefix="dagger-index-"), "index")
        os.symlink(self.directory, self._link)
        return self._link

    def _replace(self) -> None:
        """Move a damaged database aside, unless another process has done so meanwhile."""
        with self._lock:
            stale = self._is_stale()
            self.close()
            if stale:
                return
            aside = os.path.join(self.directory, f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
            try:
                with wait_for_lock(os.path.join(self.directory, "lock")):
                    os.makedirs(aside, 0o700, exist_ok=True)
                    for suffix in ("", "-wal", "-shm"):
                        with contextlib.suppress(FileNotFoundError):
                            os.replace(self._database + suffix, os.path.join(aside, "cache.db" + suffix))
            except OSError as error:
                raise UnavailableError(f"{self._database} is damaged and cannot be moved: {error}") from error
            self._tell(f"the cache's index was damaged; it was moved to {aside} and a fresh one begun")


@cache
def _disk_class() -> Any:
    import sqlite3

    import diskcache

    class RawDisk(diskcache.Disk):  # type: ignore[misc]
        """Names are str, values are bytes in their row; anything else is refused rather than pickled."""

        def put(self, key: object) -> tuple[str, bool]:
            if type(key) is not str:
                raise TypeError(f"a name in the index is a str, not {type(key).__name__}")
            return key, True

        def get(self, key: object, raw: bool) -> object:
            if not raw:
                raise TypeError("the index holds a pickled name; it is not read")
            return key

        def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, object]:
            if type(value) is not bytes or read:
                raise TypeError(f"a row of the index is bytes, not {type(value).__name__}")
            return 0, diskcache.core.MODE_RAW, None, sqlite3.Binary(value)

        def fetch(self, mode: int, filename: object, value: object, read: bool) -> bytes:
            if mode != diskcache.core.MODE_RAW or type(value) is not bytes or read:
                raise TypeError("the index holds a row that is not plain bytes; it is not read")
            return value

    return RawDisk


def _open_store(directory: str) -> Any:
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
    )


def _connect(database: str) -> sqlite3.Connection:
    import sqlite3

    # A database in a read-only directory has no place for the files that a log of writes needs.
    alone = not os.access(os.path.dirname(database), os.W_OK) and not os.path.exists(database + "-wal")
    mode = "mode=ro&immutable=1" if alone else "mode=rw"
    return sqlite3.connect(
        f"file:{quote(os.fsencode(database))}?{mode}",
        uri=True,
        timeout=_PATIENCE,
        isolation_level=None,
        check_same_thread=False,
    )


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_dev, status.st_ino


def _sqlite_error(error: BaseException | None) -> sqlite3.DatabaseError | None:
    """Find SQLite's own error behind diskcache's Timeout, which stands for any that came up at its begin."""
    import sqlite3

    while error is not None and not isinstance(error, sqlite3.DatabaseError):
        error = error.__context__
    return cast("sqlite3.DatabaseError | None", error)


def _is_locked(error: BaseException) -> bool:
    return "locked" in str(error) or "busy" in str(error)
