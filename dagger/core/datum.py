"""The data that people use: a value in memory, a file, a set of files that match a pattern.

A datum says where its data is. What the data is worth (its digest, its blob) is known to the cache; the manager
joins the two and hands a finished task's data their values as `StoredValue`, read when they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache

from dagger.abstract import AbstractDatum, AbstractTask, DatumList, DatumState
from dagger.abstract.datum import NOTHING
from dagger.abstract.declarations import plain
from dagger.core.session import NotComputed, current
from dagger.errors import DamagedError, DeclarationError, PointerError
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.cache.files import StatIndex

try:
    from dagger.abstract._declared import is_plain_path as _is_plain_path, promised_files as _promised
except ImportError:
    _promised = None

    def _is_plain_path(value: object) -> bool:
        """Tell of most paths by a glance that they are those of one file: no patterns, and fit for any file system."""
        return (
            type(value) is str
            and 0 < len(value) <= _LONGEST_PLAIN
            and value.isascii()
            and value.isprintable()
            and _SPECIAL.isdisjoint(value)
        )


_LONGEST_PLAIN = 250 if os.name == "posix" else 0  # elsewhere more characters have a meaning
_SPECIAL = frozenset("*?[\\")
# Looking up a member of an enumeration is dear.
_POPULATED, _AVAILABLE = DatumState.POPULATED, DatumState.AVAILABLE


class StoredValue:
    """A value that stays in the store until it is asked for.

    Attributes:
        inline: The container's bytes where they are small, else None and the blob has them.
        value: The digest of what it means, or empty.
        mend: Called when the blob is gone or damaged; runs the producer again and returns the new value.
    """

    __slots__ = ("digest", "directory", "inline", "mend", "value")

    def __init__(
        self,
        directory: str,
        digest: str,
        inline: bytes | None,
        value: str = "",
        mend: Callable[[], object] | None = None,
    ) -> None:
        self.directory = directory
        self.digest = digest
        self.inline = inline
        self.value = value
        self.mend = mend

    @property
    def quickhash(self) -> int:
        """What the value is worth: by its meaning, or by its bytes where that has no digest."""
        return int(self.value or self.digest, 16)

    def load(self) -> object:
        """Return the value, its blob checked first.

        Raises:
            DamagedError: The blob is gone or is not what its digest says, and nobody here can mend it.
        """
        from dagger.cache import values
        from dagger.core.by_name import value_unpickler

        if self.inline is not None:
            return values.load(self.inline, value_unpickler)
        from dagger.cache.blobs import BlobStore

        try:
            path = BlobStore(self.directory).open_checked(self.digest)
        except (DamagedError, FileNotFoundError):
            if self.mend is None:
                raise
            return self.mend()
        return values.load(path, value_unpickler)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredValue, (self.directory, self.digest, self.inline, self.value)


class MemoryDatum(AbstractDatum):
    """A Python value. A task's output is read from the cache when its `pointer` is first asked for.

    Args:
        pointer: The value; any object, also None.
        parent: The task that makes it, if any.
    """

    @property
    def pointer(self) -> Any:
        """The value itself, or None when there is none yet.

        Raises:
            NotComputed: `dagger run` was told to leave the task that makes it aside.
        """
        if self.state == 0 and self.parents:
            session = current()
            if session is not None and session.partial:
                raise NotComputed
        if isinstance(self._pointer, StoredValue):
            stored = self._pointer
            self._pointer = stored.load()
            self._known_quickhash = stored.quickhash
        return super().pointer

    def _hold(self, stored: StoredValue) -> None:
        """Become AVAILABLE with a value that the store has."""
        self._pointer = stored
        self._state = _AVAILABLE
        self._known_quickhash = None

    def _validate_format_logic(self) -> bool:
        return True

    def _verify_available_logic(self) -> bool:
        return True

    def _clear_logic(self) -> None:
        """A value in memory leaves nothing behind."""

    def _quickhash(self) -> int:
        if isinstance(self._pointer, StoredValue):
            return self._pointer.quickhash
        from dagger.cache.digests import digest_value

        return int(digest_value(self.pointer), 16)


class FileDatum(AbstractDatum):
    """A file, or a directory where the path ends in ``/`` or is one.

    Args:
        pointer: The path, str or path-like; a relative one counts from the project's root.
        parent: The task that makes it, if any.

    Raises:
        ValueError: The path is empty or cannot be a path here.
    """

    root: str | None = None

    def __init__(self, parent: AbstractTask | None = None, *, pointer: Any = NOTHING) -> None:
        if type(self) is FileDatum and parent is None and _is_plain_path(pointer):
            # What `AbstractDatum` comes to for most of the files there are.
            self._parents = ()
            self._known_quickhash = None
            self._pointer = pointer
            self._state = _AVAILABLE if os.access(pointer, os.F_OK) else _POPULATED
        else:
            super().__init__(parent, pointer=pointer)

    def populate(self, pointer: Any) -> None:
        """Set the path; it is kept as a str."""
        if type(pointer) is not str:
            pointer = os.fspath(pointer) if isinstance(pointer, os.PathLike) else pointer
            pointer = plain(pointer) if isinstance(pointer, str) else pointer
        super().populate(pointer)

    @property
    def location(self) -> str:
        """The path to open: absolute where the project's root is not the working directory."""
        return os.path.join(self.root, self._pointer) if self.root else str(self._pointer)

    def _validate_format_logic(self) -> bool:
        return is_path(self._pointer)

    def _verify_available_logic(self) -> bool:
        path = self.location
        return os.path.isdir(path) if path.endswith("/") else os.path.exists(path)

    def _clear_logic(self) -> None:
        # A file that no task made is its owner's: forgetting the datum leaves it alone.
        if self.parents and os.path.isfile(self.location):
            os.remove(self.location)

    def _quickhash(self) -> int:
        return int(_stats().digest_path(self.location), 16)


class FileGlob(DatumList):
    """The files that a script writes under a pattern, as in ``out/part-*.csv``; its members are known once it ran.

    Args:
        pattern: The pattern, as `glob` reads it; it stands for regular files below the project's root.
    """

    def __init__(self, pattern: str) -> None:
        super().__init__(FileDatum)
        self.pattern = plain(pattern) if isinstance(pattern, str) else pattern


@cache
def _stats() -> StatIndex:
    """What digests files that no manager looks after."""
    from dagger.cache.files import StatIndex

    return StatIndex()


def declared_paths(datum: AbstractDatum) -> Sequence[str]:
    """Return each path that an output declares, patterns as they stand."""
    if type(datum) is MemoryDatum:
        return ()
    if type(datum) is FileDatum or isinstance(datum, FileDatum):
        path = datum.pointer
        return () if path is None else (path,)
    if isinstance(datum, FileGlob):
        return (datum.pattern,)
    if isinstance(datum, DatumList):
        return [path for member in datum.datums for path in declared_paths(member)]
    return ()


def is_path(value: object) -> bool:
    """Tell whether a value can be the path of a file on this platform."""
    if not isinstance(value, str):
        return False
    if _is_plain_path(value):
        return True
    from pathvalidate import is_valid_filepath

    try:
        return is_valid_filepath(value, platform="auto")
    except UnicodeEncodeError:
        return os.name == "posix"  # there a name need not be text in any encoding


def is_pattern(path: str) -> bool:
    """Tell whether a path is a pattern for several files."""
    return "*" in path or "?" in path or "[" in path


def promised_files(declared: dict[str, Any]) -> dict[str, FileDatum | None]:
    """Return name to the datum of a file that a task will make, where it is declared by a plain path; else to None."""
    if _promised is not None:
        return _promised(declared, FileDatum, _POPULATED)  # type: ignore[no-any-return]
    return {name: unseen_file(it) if _is_plain_path(it) else None for name, it in declared.items()}


def unseen_file(path: str) -> FileDatum:
    """Return the datum of a file whose path is well formed, without a look at either."""
    datum = FileDatum.__new__(FileDatum)
    datum._parents = ()
    datum._known_quickhash = None
    datum._pointer = path
    datum._state = _POPULATED
    return datum


def output_file(task: str, name: str, path: object) -> FileDatum:
    """Make the datum of an output that was declared by its path.

    Raises:
        DeclarationError: It is neither a path nor a datum.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise DeclarationError(
            f"task {task!r}: output {name!r} is a {type(path).__name__}; give a path, a FileDatum, or None for a value"
        )
    datum = FileDatum()
    try:
        datum.populate(path)
    except PointerError as error:
        raise DeclarationError(f"task {task!r}: output {name!r} cannot be a file: {error}") from None
    return datum
