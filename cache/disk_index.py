"""The index on disk: a diskcache ``Cache`` with its traps closed.

- Eviction is off (``eviction_policy="none"``, ``cull_limit=0``); by default rows vanish at 1 GiB.
- ``sqlite_mmap_size=0``: a database that is cut off under a mapping kills the process.
- It expands ``$NAME`` in its directory's name; such a directory is reached through a link.
- Two processes that create one at once find it locked; that is done under a lock of ours.
- It would pickle and unpickle (CVE-2025-69872), write files for large values, and retry whatever went wrong, forever,
  also on a full or read-only disk. So it makes the database and no more: rows are read and written by plain SQL on its
  table, many at a time, and tried again only where the database is locked. Where there is one, diskcache is not loaded.

A damaged database is moved aside and a fresh one begun. Workers never open the index.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import islice

from dagger.cache.database import Writer, connect, has_part, is_made, make_database
from dagger.cache.index import UnavailableError
from dagger.cache.layout import make_private, make_temporary, remove_tree
from dagger.cache.locks import wait_for_lock
from dagger.lean_typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlite3

_T = TypeVar("_T")
_CHUNK = 500
_PAGE_BYTES = 4 << 20
_ROUNDS = 20
_LONGEST_PAUSE = 1.0
_LAST = "\U0010ffff"
_LAST_ROW = 2**63 - 1


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
        self._writer: Writer | None = None
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

    def items(self, prefix: str = "", *, newest_first: bool = False) -> Iterator[tuple[str, bytes]]:
        """Return the rows whose names begin with ``prefix`` in the order in which they were made, few at a time.

        That is the order in which they lie in the file: by name each would cost a page of it. No transaction is open
        between the pages, so that the log of writes beside the file does not grow.
        """
        beyond, order = ("<", "DESC") if newest_first else (">", "ASC")
        query = (
            "SELECT rowid, key, value FROM Cache NOT INDEXED WHERE raw = 1 AND key >= ? AND key < ? "
            f"AND rowid {beyond} ? ORDER BY rowid {order} LIMIT {_CHUNK}"
        )
        last = _LAST_ROW if newest_first else -_LAST_ROW
        while page := self._select(query, (prefix, prefix + _LAST, last), most=_PAGE_BYTES):
            last = page[-1][0]
            for _, key, value in page:
                if isinstance(key, str) and isinstance(value, bytes):
                    yield key, value

    def set_many(self, rows: Mapping[str, bytes]) -> None:
        """Write rows, all or none.

        Raises:
            UnavailableError: It cannot be written.
        """
        if rows:
            self._write(lambda writer: writer.set(rows))

    def delete(self, keys: Iterable[str]) -> None:
        """Remove rows.

        Raises:
            UnavailableError: It cannot be written.
        """
        wanted = list(keys)
        if wanted and os.path.exists(self._database):
            self._write(lambda writer: writer.delete(wanted))

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        """Keep other writers out, of this process and of others, until the block ends.

        Raises:
            UnavailableError: It cannot be written.
        """
        with self._lock:
            try:
                with contextlib.ExitStack() as stack:
                    self._attempt(lambda: stack.enter_context(self._opened_writer().transact()))
                    yield
            except UnavailableError:
                raise
            except Exception as error:
                # The commit itself can fail, as on a full disk.
                if (cause := _sqlite_error(error)) is None:
                    raise
                raise UnavailableError(f"{self.directory} cannot be used: {cause}") from error

    def examine(self, faults: list[str]) -> Generator[tuple[str, bytes], None, None]:
        """Return every row that can be read; nothing is changed.

        Args:
            faults: What is wrong with the file itself is added to these.
        """
        return _examine(self._database, faults)

    def rebuild(self) -> None:
        """Move the database aside and begin a fresh one with every row of it that can still be read.

        Raises:
            UnavailableError: It cannot be moved or written.
        """
        with self._lock:
            self.close()
            aside = self._move_aside(self._files())
            with contextlib.closing(_examine(os.path.join(aside, "cache.db"), [])) as kept:
                while rows := dict(islice(kept, _CHUNK)):
                    self.set_many(rows)
        self._tell(f"the cache's index was damaged; it was moved to {aside}, what can be read of it was kept")

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        with self._lock:
            reader, self._reader = self._reader, None
            writer, self._writer = self._writer, None
            link, self._link = self._link, None
            if self._opened[2] == os.getpid():
                with contextlib.suppress(Exception):
                    if writer is not None:
                        writer.close()
                    if reader is not None:
                        reader.close()
                if link is not None:
                    remove_tree(os.path.dirname(link))
            self._opened = (0, 0, 0)

    def _select(self, query: str, values: Iterable[object], most: int = 0) -> list[tuple[Any, ...]]:
        """Return what a query finds; with ``most``, which is in bytes, it may be only the first of it."""

        def read() -> list[tuple[Any, ...]]:
            with self._lock:
                reader = self._opened_reader()
                if reader is None:
                    return []
                found = reader.execute(query, tuple(values))
                return _take(found, most) if most else found.fetchall()

        return self._attempt(read)

    def _write(self, work: Callable[[Writer], None]) -> None:
        def write() -> None:
            with self._lock:
                work(self._opened_writer())

        self._attempt(write)

    def _attempt(self, work: Callable[[], _T]) -> _T:
        """Do ``work``; wait for a locked database, begin a fresh one for a damaged one."""
        replaced = False
        for pauses in range(_ROUNDS):
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
                    # SQLite waits by itself but for some moments, as while another process makes the database.
                    time.sleep(min(0.01 * 2**pauses, _LONGEST_PAUSE))
                    continue
                if "no such table" in str(cause) and not replaced:
                    # Cut off to nothing: diskcache makes the tables when it opens the file again.
                    self.close()
                elif replaced or not (_is_damage(cause) or self._blocking()):
                    raise UnavailableError(f"{self.directory} cannot be used: {cause}") from error
                else:
                    self._replace()
                replaced = True
        raise UnavailableError(f"{self.directory} stays locked by another process")

    def _blocking(self) -> list[str]:
        """What is no file and stands where one of the database's goes."""
        database, *beside = self._files()
        blocked = [place for place in beside if os.path.lexists(place) and not _is_plain(place)]
        return [database, *blocked] if os.path.lexists(database) and not os.path.isfile(database) else blocked

    def _is_stale(self) -> bool:
        """Whether the open database is no more the one of its name, or is a parent process's."""
        if self._opened == (0, 0, 0):
            return False
        return self._opened != (*_identity(self._database), os.getpid())

    def _opened_reader(self) -> sqlite3.Connection | None:
        if self._reader is None:
            if not os.path.exists(self._database):
                return None
            self._reader = connect(self._database)
            self._opened = (*_identity(self._database), os.getpid())
            if not _has_rows(self._reader):
                self._reader.close()
                self._reader = None
        return self._reader

    def _opened_writer(self) -> Writer:
        if self._writer is None:
            make_private(self.directory)
            if not is_made(self._database):
                with wait_for_lock(os.path.join(self.directory, "lock")):
                    make_database(self._plain_directory())
                    os.chmod(self._database, 0o600)
            self._writer = Writer(self._database)
            self._opened = (*_identity(self._database), os.getpid())
        return self._writer

    def _plain_directory(self) -> str:
        if os.path.expandvars(self.directory) == self.directory:
            return self.directory
        self._link = os.path.join(make_temporary("dagger-index-"), "index")
        os.symlink(self.directory, self._link)
        return self._link

    def _replace(self) -> None:
        """Move a damaged database aside, unless another process has done so meanwhile."""
        with self._lock:
            stale = self._is_stale()
            self.close()
            if stale:
                return
            blocking = self._blocking()
            if blocking and self._database not in blocking:
                self._tell(f"what stood in the way of the cache's index was moved to {self._move_aside(blocking)}")
            elif aside := self._move_aside(self._files(), unless=self._is_sound):
                self._tell(f"the cache's index was damaged; it was moved to {aside} and a fresh one begun")

    def _files(self) -> list[str]:
        return [self._database + suffix for suffix in ("", "-wal", "-shm")]

    def _move_aside(self, places: list[str], unless: Callable[[], bool] = lambda: False) -> str:
        """Move the database's files to a folder beside them and return that; ``""`` where they need not be moved."""
        aside = os.path.join(self.directory, f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        try:
            with wait_for_lock(os.path.join(self.directory, "lock")):
                if unless():
                    return ""  # it was read while another process made it
                os.makedirs(aside, 0o700, exist_ok=True)
                for place in places:
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(place, os.path.join(aside, os.path.basename(place)))
        except OSError as error:
            raise UnavailableError(f"{self._database} is damaged and cannot be moved: {error}") from error
        return aside

    def _is_sound(self) -> bool:
        import sqlite3

        try:
            with contextlib.closing(connect(self._database)) as reader:
                _probe(reader)
                return list(reader.execute("PRAGMA quick_check(1)")) == [("ok",)]
        except sqlite3.Error:
            return False


def _examine(database: str, faults: list[str]) -> Generator[tuple[str, bytes], None, None]:
    import sqlite3

    if not os.path.lexists(database):
        return
    try:
        with contextlib.closing(connect(database, as_it_is=True)) as reader:
            faults += [answer for (answer,) in reader.execute("PRAGMA integrity_check(1)") if answer != "ok"]
            if not _has_rows(reader):
                return
            for key, raw, value in reader.execute("SELECT key, raw, value FROM Cache"):
                if raw == 1 and isinstance(key, str) and isinstance(value, bytes):
                    yield key, value
                else:
                    faults.append(f"the row {key!r} is of another form than ours")
            _probe(reader)
    except sqlite3.Error as error:
        faults.append(str(error))


def _take(found: sqlite3.Cursor, most: int) -> list[tuple[Any, ...]]:
    taken = []
    with contextlib.closing(found):
        for row in found:
            taken.append(row)
            most -= len(row[-1]) if isinstance(row[-1], bytes) else 0
            if most <= 0:
                break
    return taken


def _has_rows(reader: sqlite3.Connection) -> bool:
    """Whether there is a table for them: not where a database was only begun, as on a full disk, or cut off to nothing.

    Whoever writes it next makes what is missing.
    """
    return has_part(reader, "Cache")


def _probe(reader: sqlite3.Connection) -> None:
    """Look at all that diskcache needs.

    Raises:
        sqlite3.Error: It is not there, or cannot be read.
    """
    columns = "store_time, expire_time, access_time, access_count, tag, size, mode, filename"
    reader.execute(f"SELECT key, raw, value, {columns} FROM Cache LIMIT 1").fetchall()
    reader.execute("SELECT key, value FROM Settings LIMIT 1").fetchall()


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (-1, -1)
    return status.st_dev, status.st_ino


def _sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    """Find SQLite's own error behind diskcache's Timeout, which can stand for any."""
    import sqlite3

    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__context__
    return error


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no database of ours; SQLite's other errors are of kinds of their own."""
    import sqlite3

    return type(error) is sqlite3.DatabaseError or "column" in str(error)


def _is_locked(error: BaseException) -> bool:
    return "locked" in str(error) or "busy" in str(error)
