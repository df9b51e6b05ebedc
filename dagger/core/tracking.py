"""What a task was seen to read without declaring it: files, directory listings, environment variables.

Python tells of each file that it opens and each directory that it lists through an audit hook, before it does so; of
environment variables it tells nothing, so that `environment_reads` stands in front of ``os.environ``. A hook cannot
be taken away again: there is one in each process, which does next to nothing while no tracker is active.

Not seen: what C code opens by itself (arrow, HDF5, SQLite's side files), what child processes read, the network, and
looks that raise no event (``os.path.exists``, ``os.stat``). Not counted: what lies outside the project, in the cache
directory, in ``.git`` and ``__pycache__``, and what is installed.

A file is digested when the task is over, if its stat is then what it was when the task first opened it; so an open
costs some microseconds, however big the file. A file that was changed within the last two seconds before it was
opened is digested at once, since a second change might leave its stat as it is.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import wraps
from types import TracebackType

from dagger.abstract import DatumList
from dagger.core.datum import MemoryDatum, declared_paths
from dagger.core.environment_reads import EnvironmentReads
from dagger.core.project_paths import ProjectPaths
from dagger.core.reads import ABSENT, SeenFile, SeenListing, ValueDigest
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.abstract import AbstractDatum
    from dagger.cache.files import StatIndex
    from dagger.core.jobs import Job

Read = tuple[str, str, str]
"""Kind (``file``, ``absent``, ``listing``, ``env``), name, digest."""


class Tracker:
    """Notes what this process reads while it is active; one at a time.

    Args:
        root: The project's folder.
        ignore: Absolute paths of the task's inputs and outputs; what is below them is theirs too.
        cache_dir: The cache directory.
        digest_file: Returns the digest of a file's content.
        digest_listing: Returns the digest of a directory's names.
        digest_value: Returns the digest of a variable's value.

    Attributes:
        reads: What was read, by kind and name; known once the tracker is left.
        unstable: Names among these that changed while the task ran, so that nobody knows what it saw.
    """

    def __init__(
        self,
        root: str,
        *,
        ignore: Collection[str],
        cache_dir: str,
        digest_file: Callable[[str], str],
        digest_listing: Callable[[str], str],
        digest_value: ValueDigest,
    ) -> None:
        self.reads: list[Read] = []
        self.unstable: list[str] = []
        self._project = root, ignore, cache_dir
        self._known_paths: ProjectPaths | None = None
        self._digest_file = digest_file
        self._digest_listing = digest_listing
        self._environment = EnvironmentReads(digest_value, self._counts)
        self._files: dict[str, SeenFile] = {}
        self._absent: set[str] = set()
        self._listings: dict[str, SeenListing] = {}
        self._settled: set[str] = set()
        self._made: set[str] = set()
        self._local = _Local()

    @classmethod
    def of_job(cls, job: Job, inputs: Mapping[str, AbstractDatum], outputs: Mapping[str, AbstractDatum]) -> Tracker:
        """Make the tracker of a job."""
        from dagger.cache.digests import keyed_digest
        from dagger.cache.files import directory_listing_digest

        data = *inputs.values(), *outputs.values()
        return cls(
            job.root,
            ignore=[os.path.join(job.root, path) for datum in data for path in _paths(datum)],
            cache_dir=job.cache,
            digest_file=_stat_index().digest_file,
            digest_listing=directory_listing_digest,
            digest_value=lambda value: ABSENT if value is None else keyed_digest(value, job.secret),
        )

    def __enter__(self) -> Tracker:
        global _active
        _install_hook()
        self._started = time.time_ns()
        # Threads that are there already are the worker's own, not the task's.
        self._others = set(threading.enumerate()) - {threading.current_thread()}
        self._environment.start()
        _active = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _active
        _active = None
        self._environment.stop()
        if os.open is not _open_at:
            os.open = _open_at
        if kind is None:
            self._settle()

    @property
    def _paths(self) -> ProjectPaths:
        """Made when the task first reads anything, which most do not."""
        if self._known_paths is None:
            self._known_paths = ProjectPaths(*self._project)
        return self._known_paths

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of an audit event; never raises."""
        if self._local.busy or not self._counts():
            return
        self._local.busy = True
        try:
            _EVENTS[event](self, arguments)
        except (OSError, ValueError, TypeError, LookupError):
            # The call that the event is about fails in the same way, and says so itself.
            return
        finally:
            self._local.busy = False

    def _counts(self) -> bool:
        return threading.current_thread() not in self._others

    def _open(self, arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        full = self._paths.absolute(path, self._local.folder if not isinstance(path, int) else None)
        if full is None or full in self._settled:
            return
        access = flags & (os.O_WRONLY | os.O_RDWR)
        if access == 0 and not flags & os.O_TRUNC:
            module = self._paths.imported_module(full)
            if module is not None:
                self._read(module)
            elif not _reads_for_messages():
                self._read(full)
        elif flags & os.O_TRUNC or not os.path.lexists(full):
            self._make(full)
        elif access == os.O_RDWR:
            self._read(full)

    def _read(self, full: str) -> None:
        """Note a file that is about to be read."""
        if full in self._settled or full in self._files:
            return
        if not self._paths.counts(full) or self._is_made(full):
            self._settled.add(full)
            return
        try:
            status = os.stat(full)
        except OSError:
            self._absent.add(full)
            return
        if not stat.S_ISREG(status.st_mode):
            return
        self._files[full] = SeenFile.at_open(full, status, self._digest_file)

    def _library(self, arguments: tuple[Any, ...]) -> None:
        name = arguments[0]
        if isinstance(name, (str, bytes)) and os.fsencode(name).count(b"/"):
            self._read_path(name)

    def _database(self, arguments: tuple[Any, ...]) -> None:
        name = os.fsdecode(arguments[0])
        if name.startswith("file:"):
            from urllib.parse import unquote, urlsplit

            name = unquote(urlsplit(name).path)
        if not name or name.startswith(":"):
            return
        full = self._paths.absolute(name)
        if full is not None and not os.path.lexists(full):
            self._make(full)  # connecting makes it
        else:
            self._read_path(name)

    def _read_path(self, path: Any, folder: int = -1) -> None:
        full = self._paths.absolute(path, folder)
        if full is not None:
            self._read(full)

    def _list(self, arguments: tuple[Any, ...]) -> None:
        full = self._paths.absolute("." if arguments[0] is None else arguments[0])
        if full is None or full in self._listings or full in self._settled:
            return
        if not self._paths.counts(full) or self._is_made(full) or self._paths.is_importing():
            return
        if os.path.isdir(full):
            self._listings[full] = SeenListing.of(full)
        elif not os.path.lexists(full):
            self._absent.add(full)

    def _move(self, arguments: tuple[Any, ...]) -> None:
        source, target, source_folder, target_folder = arguments
        self._read_path(source, source_folder)
        self._make_path(target, target_folder)
        moved = self._paths.absolute(source, source_folder)
        if moved is not None:
            self._remove(moved)

    def _link(self, arguments: tuple[Any, ...]) -> None:
        source, target, source_folder, target_folder = arguments
        self._read_path(source, source_folder)
        self._make_path(target, target_folder)

    def _make_path(self, path: Any, folder: int = -1) -> None:
        full = self._paths.absolute(path, folder)
        if full is not None:
            self._make(full)

    def _make(self, full: str) -> None:
        """Note what the task itself makes: reading it later is no discovered read."""
        self._made.add(full)

    def _removal(self, arguments: tuple[Any, ...]) -> None:
        full = self._paths.absolute(arguments[0], arguments[-1])
        if full is not None:
            self._remove(full)

    def _remove(self, full: str) -> None:
        seen = self._files.get(full)
        if seen is not None and seen.is_younger(self._started):
            # A child process of the task wrote it, the task read it and took it away: it was its scratch file.
            del self._files[full]
        self._made.add(full)

    def _is_made(self, full: str) -> bool:
        if not self._made:
            return False
        while full not in self._made:
            above = os.path.dirname(full)
            if above == full or not self._paths.is_inside(above):
                return False
            full = above
        return True

    def _settle(self) -> None:
        """Digest what was read, now that the task is over, and see whether it is still what was read."""
        reads: list[Read] = []
        for full, file in list(self._files.items()):
            digest, stable = file.settle(full, self._digest_file)
            reads.append(self._settled_read("file", full, digest, stable))
        for full in sorted(self._absent):
            stable = full in self._made or not os.path.lexists(full)
            reads.append(self._settled_read("absent", full, ABSENT, stable))
        for full, listing in list(self._listings.items()):
            digest, stable = listing.settle(full, self._digest_listing, self._own_entry)
            reads.append(self._settled_read("listing", full, digest, stable))
        reads += (("env", name, digest) for name, digest in self._environment.seen.items())
        self.reads = sorted(reads)

    def _settled_read(self, kind: str, full: str, digest: str, stable: bool) -> Read:
        name = self._paths.name(full)
        if not stable:
            self.unstable.append(name)
        return kind, name, digest

    def _own_entry(self, full: str) -> bool:
        """Whether something that came to or went from a directory is the task's own doing."""
        return full in self._made or not self._paths.counts(full)


class _Local(threading.local):
    """What a thread is doing: looking at an event itself, or opening a file relative to a directory."""

    busy = False
    folder = -1


def _made(position: int) -> Callable[[Tracker, tuple[Any, ...]], None]:
    return lambda tracker, arguments: tracker._make_path(arguments[position], arguments[-1])


_EVENTS: dict[str, Callable[[Tracker, tuple[Any, ...]], None]] = {
    "open": Tracker._open,
    "os.listdir": Tracker._list,
    "os.scandir": Tracker._list,
    "os.rename": Tracker._move,
    "os.link": Tracker._link,
    "os.symlink": _made(1),
    "os.mkdir": _made(0),
    "os.remove": Tracker._removal,
    "os.rmdir": Tracker._removal,
    "sqlite3.connect": Tracker._database,
    "ctypes.dlopen": Tracker._library,
}

_active: Tracker | None = None
_installed = False
_index: StatIndex | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    tracker = _active
    if tracker is not None and event in _EVENTS:
        tracker.see(event, arguments)


def _install_hook() -> None:
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)
        os.open = _open_at
        os.supports_dir_fd.add(os.open)


_real_open = os.open


@wraps(os.open)
def _open_at(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Stand in for `os.open`: its event does not tell which directory it opens relative to."""
    tracker = _active
    if dir_fd is None or tracker is None:
        return _real_open(path, flags, mode, dir_fd=dir_fd)
    tracker._local.folder = dir_fd
    try:
        return _real_open(path, flags, mode, dir_fd=dir_fd)
    finally:
        tracker._local.folder = -1


def _stat_index() -> StatIndex:
    """The digests of files that this process has read before, for as long as their stat is what it was."""
    global _index
    if _index is None:
        from dagger.cache.files import StatIndex

        _index = StatIndex()
    return _index


def _reads_for_messages() -> bool:
    """Whether a file is opened to show lines of source in a traceback or a warning: no result depends on that."""
    frame = sys._getframe(4)  # whoever opens
    for _ in range(3):
        if frame.f_globals.get("__name__") == "linecache":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


def _paths(datum: AbstractDatum) -> Iterator[str]:
    """Yield the paths of files, of a pattern those that match."""
    if type(datum) is not MemoryDatum and isinstance(datum, DatumList):
        for member in datum.datums:
            yield from _paths(member)
    else:
        yield from declared_paths(datum)
