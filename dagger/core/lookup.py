"""Is a task's result known, does it still hold, and what is it worth: the look-up that comes before any run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from dagger.abstract import AbstractDatum, AbstractTask, DatumList
from dagger.cache import Cache
from dagger.cache.files import directory_listing_digest
from dagger.cache.records import Output, Read, Reason, Record
from dagger.core import reasons as why
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum, StoredValue
from dagger.core.manifest import ABSENT, Manifest, Walker
from dagger.core.places import Places
from dagger.core.workspace import Workspace, leaves
from dagger.errors import CacheError
from dagger.lean_typing import NamedTuple

_NONE: frozenset[float] = frozenset()
UNREADABLE = "neither a file nor a directory"

Mend = Callable[[AbstractDatum], object]


class Found(NamedTuple):
    """What a look-up came to.

    Attributes:
        record: The one that holds, or None: the task must run.
        missing: Whether output files have to be put back.
        reasons: Why it must run, or which outputs are missing.
        seen: When the records that were looked at were made, so that a newer one is noticed; None where records do
            not matter.
    """

    record: Record | None
    missing: bool
    reasons: tuple[Reason, ...]
    seen: frozenset[float] | None = None


class Lookup:
    """Looks tasks up, for one run.

    Attributes:
        elsewhere: The project's root, where that is not the working directory.
    """

    def __init__(self, cache: Cache, places: Places, walker: Walker, workspace: Workspace, mend: Mend) -> None:
        self.cache = cache
        self.places = places
        self.walker = walker
        self.workspace = workspace
        self.mend = mend
        self._given_up: set[tuple[str, float]] = set()
        self.elsewhere = None if places.root == os.getcwd() else places.root

    def find(self, task: AbstractTask, manifest: Manifest, *, forced: bool) -> Found:
        """Return the newest record that holds, or the reasons why the task must run."""
        if forced:
            return Found(None, False, (Reason(why.FORCED),))
        if not manifest.key:
            return Found(None, False, (Reason(why.UNCACHEABLE, manifest.uncacheable),))
        if not task.cache:
            return Found(None, False, (Reason(why.NOT_CACHED),))
        stale: list[tuple[Read, str]] = []
        gone: tuple[Reason, ...] = ()
        records = self.cache.records(manifest.key)
        seen = frozenset(record.started for record in records) if records else _NONE
        for record in records:
            changed = self._stale(record)
            if changed:
                stale = stale or changed
                continue
            missing = self._missing(task, record)
            if missing is None:
                continue
            if not missing:
                return Found(record, False, (), seen)
            gone = tuple(Reason(why.MISSING, name) for name in missing)
            if (record.key, record.started) not in self._given_up and self._can_restore(task, record):
                return Found(record, True, gone, seen)
        if gone:
            return Found(None, False, gone, seen)
        entry = self.cache.entry(self.places.root, task.identifier)
        return Found(
            None,
            False,
            why.why_run(entry, manifest.rows, stale, partial(self._parts, manifest)),
            seen,
        )

    def give_up(self, record: Record) -> None:
        """Try no more to put back what a record says: a blob was damaged, or it cannot be built as it stands."""
        self._given_up.add((record.key, record.started))

    def restore(self, task: AbstractTask, record: Record) -> None:
        """Put the output files of a record back.

        Raises:
            DamagedError: The store no longer has what it had.
            OSError: A file cannot be written.
        """
        for datum, output in zip(task.outputs.values(), record.outputs, strict=True):
            self.workspace.restore(datum, output)

    def take(self, task: AbstractTask, outputs: Sequence[Output]) -> None:
        """Give a task's data what they hold, and note what they are worth."""
        made = self.walker.made
        for datum, output in zip(task.outputs.values(), outputs, strict=True):
            self.adopt(datum, output)
            made[datum] = output
            if output.kind in ("list", "glob"):
                made.update(leaves(datum, output) or ())

    def adopt(self, datum: AbstractDatum, output: Output) -> None:
        """Make a datum available with what an output holds; values stay in the store until asked for."""
        if type(datum) is FileDatum and output.kind == "file" and datum.pointer is not None:
            self._place(datum)
            datum._found(int(output.value or output.content, 16))
            return
        if type(datum) is MemoryDatum:
            datum._hold(self.stored(datum, output))
            return
        if isinstance(datum, FileGlob):
            datum.populate([member.path for member in output.members])
        elif isinstance(datum, DatumList):
            if len(datum.datums) != len(output.items):
                datum.populate([None] * len(output.items))
            for member, item in zip(datum.datums, output.items, strict=True):
                self.adopt(member, item)
        elif isinstance(datum, MemoryDatum):
            datum.populate(self.stored(datum, output))
        elif not isinstance(datum, FileDatum):
            datum.populate(self.stored(datum, output).load())
        elif datum.pointer is None:
            datum.populate(output.members[0].path)
        for member in datum.datums if isinstance(datum, FileGlob) else (datum,):
            if isinstance(member, FileDatum):
                self._place(member)
        datum.verify_available()
        if isinstance(datum, FileDatum):
            datum._known_quickhash = int(output.value or output.content, 16)

    def _place(self, datum: FileDatum) -> None:
        """Tell a datum where its path counts from."""
        if datum.root != self.elsewhere:
            datum.root = self.elsewhere

    def stored(self, datum: AbstractDatum, output: Output) -> StoredValue:
        """Return the value of an output as it lies in the store."""
        mend = None if output.inline is not None else lambda: self.mend(datum)
        return StoredValue(self.cache.blobs.directory, output.content, output.inline, output.value or "", mend)

    def _stale(self, record: Record) -> list[tuple[Read, str]]:
        """Return the discovered reads of a record that no longer hold, with what they are now."""
        changed = []
        for read in record.reads:
            now = self.current(read)
            if now != read.digest:
                changed.append((read, now))
        return changed

    def current(self, read: Read) -> str:
        """Return what a discovered read would come to now."""
        if read.kind == "env":
            return self.walker.variable(read.name)
        path = self.places.absolute(read.name)
        try:
            if read.kind == "listing":
                return directory_listing_digest(path)
            return self.cache.stats.digest_path(path)
        except OSError:
            return ABSENT
        except CacheError:
            return UNREADABLE

    def worth_of_file(self, path: str) -> str:
        """Return the digest of a file as a source counts by it.

        Raises:
            OSError: It is missing or cannot be read.
        """
        return self.cache.stats.digest_path(self.places.absolute(path))

    def _missing(self, task: AbstractTask, record: Record) -> list[str] | None:
        """Return the names of outputs that are not as recorded; None where the record is of another form."""
        if [output.name for output in record.outputs] != list(task.outputs):
            return None
        pairs = zip(task.outputs.values(), record.outputs, strict=True)
        return [output.name for datum, output in pairs if not self.holds(datum, output)]

    def holds(self, datum: AbstractDatum, output: Output) -> bool:
        """Tell whether an output is as a record says."""
        if not self.workspace.holds(datum, output):
            return False
        if output.kind != "handle":
            return True
        try:
            self.adopt(datum, output)
        except Exception:
            return False
        from dagger.cache.digests import digest_value

        return datum.quickhash is not None and digest_value(datum.quickhash) == output.value

    def _can_restore(self, task: AbstractTask, record: Record) -> bool:
        pairs = zip(task.outputs.values(), record.outputs, strict=True)
        return all(
            output.kind != "handle" and self.workspace.can_restore(datum, output)
            for datum, output in pairs
            if not self.holds(datum, output)
        )

    def _parts(self, manifest: Manifest, fingerprint: str) -> dict[str, str] | None:
        code = manifest.code
        stored = code if code and code.digest == fingerprint else self.cache.parts(fingerprint)
        return None if stored is None else {part.name: part.digest for part in stored.parts}
