"""The files that people see: are they what a record says, put them back, take old ones away.

Nothing that is only the user's is lost: a file whose content dagger did not make is moved to ``saved/`` first.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from dagger.abstract import AbstractDatum, AbstractTask, DatumList
from dagger.cache import Cache
from dagger.cache.blob_files import all_beside, beside_some
from dagger.cache.locks import Lock
from dagger.cache.presence import orphaned
from dagger.cache.records import Member, Output
from dagger.core.datum import FileDatum, FileGlob, declared_paths
from dagger.core.places import Places
from dagger.core.task import matches
from dagger.errors import CacheError, DamagedError, TaskError

Leaf = tuple[AbstractDatum, Output]


class Workspace:
    """The output files of one run.

    Args:
        cache: The store that they are put back from.
        places: Where paths lead.

    Attributes:
        tell: Called with a sentence when a file of the user's own was moved out of the way.
    """

    def __init__(self, cache: Cache, places: Places) -> None:
        self.cache = cache
        self.places = places
        self.tell: Callable[[str], object] = print
        self._orphaned: dict[str, tuple[int, int]] = {}

    def note_orphan(self, path: str, lock: Lock) -> None:
        """Take note of an output that a run was at which was killed, when its lock says so.

        Args:
            path: The output's real path.
            lock: Its lock.
        """
        if lock.left and (span := orphaned(lock)) is not None:
            self._orphaned[path] = span

    def holds(self, datum: AbstractDatum, output: Output) -> bool:
        """Tell whether an output is as a record says: a file in its place, a value in the store."""
        if type(datum) is FileDatum and output.kind == "file":
            return self._is(self.places.absolute(datum.pointer), output.members[0])
        pairs = leaves(datum, output)
        return pairs is not None and all(self._leaf_holds(*pair) for pair in pairs)

    def _leaf_holds(self, datum: AbstractDatum, output: Output) -> bool:
        if isinstance(datum, FileGlob):
            if matches(datum.pattern, self.places.root) != [it.path for it in output.members]:
                return False
            return all(self._is(self.places.absolute(it.path), it) for it in output.members)
        if not isinstance(datum, FileDatum):
            return self._is_stored(output)
        full = self.places.absolute(datum.pointer)
        if output.kind == "tree":
            try:
                return self.cache.stats.digest_path(full) == output.content
            except (OSError, CacheError):
                return False
        return self._is(full, output.members[0])

    def _is(self, full: str, member: Member) -> bool:
        try:
            status = os.lstat(full)
            mode = status.st_mode
            return (
                stat.S_ISREG(mode)
                and status.st_size == member.size
                and bool(mode & stat.S_IXUSR) == member.executable
                and self.cache.stats.digest_of(full, status) == member.digest
            )
        except OSError:
            return False

    def can_restore(self, datum: AbstractDatum, output: Output) -> bool:
        """Tell whether the store has all that it takes to put an output back."""
        pairs = leaves(datum, output)
        return pairs is not None and all(self._is_stored(leaf) for _, leaf in pairs)

    def _is_stored(self, output: Output) -> bool:
        has = self.cache.blobs.has
        if output.kind in ("value", "handle"):
            return output.inline is not None or has(output.content, output.size)
        return all(has(it.digest, it.size) for it in output.members if it.digest)

    def restore(self, datum: AbstractDatum, output: Output) -> None:
        """Put an output's files back where the task at hand declares them.

        Raises:
            DamagedError: A blob is not what its digest says, or the record names a place that the task does not.
        """
        for leaf, kept in leaves(datum, output) or ():
            if isinstance(leaf, FileGlob):
                _check_matches(leaf.pattern, kept)
                wanted = {it.path for it in kept.members}
                for stray in matches(leaf.pattern, self.places.root):
                    if stray not in wanted:
                        self._take_away(stray, leaf.pattern)
                for member in kept.members:
                    self._restore_file(member.path, member, leaf.pattern)
            elif isinstance(leaf, FileDatum) and kept.kind == "tree":
                if not self._leaf_holds(leaf, kept):
                    self._take_away(leaf.pointer, leaf.pointer)
                    full = self.places.absolute(leaf.pointer)
                    self.cache.blobs.restore_tree(kept.members, full)
                    self._remember(leaf.pointer, kept.content)
            elif isinstance(leaf, FileDatum):
                self._restore_file(leaf.pointer, kept.members[0], leaf.pointer)

    def _restore_file(self, path: str, member: Member, declared: str) -> None:
        full = self.places.absolute(path)
        if self._is(full, member):
            return
        self._take_away(path, declared)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        self.cache.blobs.restore(member.digest, full, executable=member.executable)
        self._remember(path, member.digest)

    def clear(self, datum: AbstractDatum) -> None:
        """Take an output's old files away before its task runs, and make the folders that they go into."""
        for path, declared in self._paths(datum):
            self._take_away(path, declared)
        for path in declared_paths(datum):
            full = self.places.absolute(path)
            folder = full if path.endswith("/") else os.path.dirname(full)
            if not os.path.isdir(folder):  # mostly it is there, and to try costs some times that
                os.makedirs(folder, exist_ok=True)

    def discard(self, task: AbstractTask) -> None:
        """Remove what a task that did not end well left under its outputs' names."""
        for datum in task.outputs.values():
            for path, _ in self._paths(datum):
                self._discard(self.places.absolute(path))

    def discard_unfinished(self, task: AbstractTask) -> None:
        """Remove what was to become a file of a task's outputs when whoever wrote it was killed."""
        for datum in task.outputs.values():
            for path in declared_paths(datum):
                if isinstance(datum, FileGlob):
                    found = self._unfinished_matches(path)
                else:
                    found = all_beside(self.places.absolute(path))
                for unfinished in found:
                    self._discard(self.places.absolute(unfinished))

    def _unfinished_matches(self, pattern: str) -> list[str]:
        from dagger.core.patterns import takes_in

        found = beside_some(os.path.dirname(pattern), self.places.root)
        return [unfinished for unfinished, path in found if takes_in(pattern, path)]

    def _discard(self, full: str) -> None:
        try:
            _remove(full)
        except OSError as error:
            self.tell(f"{self.places.shown(full)} is left of a task that did not end well: {error.strerror}; remove it")

    def journal(self, datum: AbstractDatum, output: Output) -> None:
        """Note the files of an output as made by a task."""
        for leaf, kept in leaves(datum, output) or ():
            if isinstance(leaf, FileDatum):
                self._remember(leaf.pointer, kept.content)
            else:
                for member in kept.members:
                    self._remember(member.path, member.digest)

    def _paths(self, datum: AbstractDatum) -> Iterator[tuple[str, str]]:
        """Each existing file or directory under an output's name, with the path that declares it."""
        for path in declared_paths(datum):
            if isinstance(datum, FileGlob):
                yield from ((match, path) for match in matches(path, self.places.root))
            elif os.path.lexists(self.places.absolute(path)):
                yield path, path

    def _take_away(self, path: str, declared: str) -> None:
        full = self.places.absolute(path)
        if not os.path.lexists(full):
            return
        _refuse_special(full, self.places.shown(full))
        if os.path.isdir(full) and not os.path.islink(full) and not os.listdir(full):
            os.rmdir(full)
            return
        span = self._orphaned.get(self.places.real(declared)) if self._orphaned else None
        if span is not None and _was_written(full, *span):
            _remove(full)
            return
        shown = self.places.shown(full)
        try:
            digest = "" if os.path.islink(full) else self.cache.stats.digest_path(full)
        except (OSError, CacheError):
            digest = ""
        if digest and self.cache.known_digest(self.places.root, shown, digest):
            _remove(full)
            return
        kept = self.cache.save(full, self.places.root)
        self.tell(f"{shown} was not made by dagger as it is; moved it to {self.places.shown(kept)}")

    def _remember(self, path: str, digest: str) -> None:
        full = self.places.absolute(path)
        self.cache.journal_add(self.places.root, self.places.shown(full), digest)
        self.cache.stats.note(full, digest)


def _check_matches(pattern: str, output: Output) -> None:
    """A record never says where to write: what it names must be among what the task's own pattern takes in."""
    from dagger.core.patterns import takes_in

    for member in output.members:
        if not takes_in(pattern, member.path):
            raise DamagedError(f"a record names {member.path!r}, which {pattern} does not take in")


def leaves(datum: AbstractDatum, output: Output) -> list[Leaf] | None:
    """Return each single datum with its part of the record, or None where the two do not fit."""
    if isinstance(datum, FileGlob):
        return [(datum, output)] if output.kind == "glob" else None
    if not isinstance(datum, DatumList):
        return [(datum, output)] if output.kind != "list" else None
    if output.kind != "list" or len(datum.datums) != len(output.items):
        return None
    found: list[Leaf] = []
    for member, item in zip(datum.datums, output.items, strict=True):
        below = leaves(member, item)
        if below is None:
            return None
        found += below
    return found


def _was_written(full: str, since: int, until: int) -> bool:
    """Tell whether a file, or a directory with all below it, last changed within a time, given in ns.

    By the time that the kernel sets and nobody else can: what a person puts there later has a later one, whatever its
    other times say.
    """
    found = [full]
    if not os.path.islink(full):
        for folder, folders, files in os.walk(full):
            found += (os.path.join(folder, name) for name in (*folders, *files))
    return all(since <= os.lstat(path).st_ctime_ns <= until for path in found)


def _refuse_special(full: str, shown: str) -> None:
    """Leave what is no file alone: a device, a pipe or a socket is somebody's, and cannot be an output.

    Raises:
        TaskError: It is one of these.
    """
    mode = os.lstat(full).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        raise TaskError(f"its output {shown} is neither a file nor a directory; give it another path")


def _remove(full: str) -> None:
    try:
        if stat.S_ISDIR(os.lstat(full).st_mode):
            from shutil import rmtree

            rmtree(full)
        else:
            os.remove(full)
    except FileNotFoundError:
        pass
