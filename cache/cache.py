"""The cache of a project: records and blobs, what tasks last did, which files they made.

The one object of this room that the engine holds. Small rows go to the index through ``Pending``,
bytes to the blobs; nothing in here knows what a task is.

Rows, by the beginning of their names: ``record:<key>`` (all records of a key, newest first),
``code:<fingerprint>`` and ``part:<digest>`` (what a fingerprint was made of),
``entry:<root>:<task>`` and ``journal:<root>:<path>``, with roots, tasks and paths as digests.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from itertools import chain

from dagger.cache import rows
from dagger.cache.files import StatIndex
from dagger.cache.layout import Layout, make_temporary, remove_tree
from dagger.cache.memos import RUN, STATS, Packed, drop_memos, read_memo, read_packed, write_parts
from dagger.cache.presence import Presence
from dagger.cache.records import Entry, Record
from dagger.cache.rows import StoredCode
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.blobs import BlobStore
    from dagger.cache.collect import Summary
    from dagger.cache.damage import Damage
    from dagger.cache.fingerprints import Fingerprint
    from dagger.cache.holdings import Holdings
    from dagger.cache.index import Index
    from dagger.cache.pending import Change, Pending

_GLANCE = 0.1
"""Seconds after which a run looks again whether somebody has deleted the cache."""


class Cache:
    """What is remembered, in one directory. Use ``Cache.open`` or ``Cache.in_memory``.

    Attributes:
        root: The root whose files ``stats`` knows.
        stats: The digests of files by their stat.
        warnings: Sentences for the person who runs this, each said once: what the cache could not
            do.
        is_private: Whether one manager alone knows of it.
    """

    def __init__(
        self,
        layout: Layout | None,
        root: str,
        *,
        is_private: bool = False,
    ) -> None:
        self.root = root
        self.warnings: list[str] = []
        self.is_private = is_private
        self._temporary = layout is None
        if layout is not None:
            self._layout = layout
        self._secret: bytes | None = None
        self._stats: StatIndex | None = None
        self._process = os.getpid()
        self._has_warned = False
        self._is_created = False
        self._looked_at = -math.inf
        self._codes: set[str] = set()
        self._homeless: dict[str, list[Record]] = {}
        _close_at_exit(self)

    @classmethod
    def open(
        cls,
        directory: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        allow_shared: bool | None = None,
    ) -> Cache:
        """Open a cache directory, which need not exist.

        Args:
            directory: The directory.
            root: The root of the project that will use it; the working directory by default.
            allow_shared: Accept a directory that others can write. By default, whether
                ``DAGGER_ALLOW_SHARED_CACHE`` is ``1``.

        Raises:
            CacheError: Others can write the directory, or it is none; the message names the way
                out.
        """
        layout = Layout(os.path.abspath(directory))
        if allow_shared is None:
            allow_shared = os.environ.get("DAGGER_ALLOW_SHARED_CACHE") == "1"
        if not allow_shared:
            layout.check_owner()
        return cls(layout, os.path.abspath(root or os.getcwd()))

    @classmethod
    def in_memory(cls, *, root: str | os.PathLike[str] | None = None, is_private: bool = False) -> Cache:
        """Return a cache that is gone when it is closed; its blobs are in a temporary directory.

        Args:
            root: As for `open`.
            is_private: Whether one manager alone will know of it.
        """
        cache = cls(None, os.path.abspath(root or os.getcwd()), is_private=is_private)
        if not is_private:
            _ = cache._layout  # two threads that ask for it at once would make two
        return cache

    @property
    def directory(self) -> str:
        """The cache directory; made at the first write."""
        return self._layout.directory

    @cached_property
    def _layout(self) -> Layout:
        """Where all is; for a private cache made when it is first asked for, when workers are coming up already."""
        return Layout(make_temporary("dagger-"))

    @property
    def _has_place(self) -> bool:
        return not self._temporary or "_layout" in vars(self)

    @cached_property
    def blobs(self) -> BlobStore:
        """The bytes of outputs."""
        from dagger.cache.blobs import BlobStore

        return BlobStore(self._layout.blobs)

    @cached_property
    def _pending(self) -> Pending:
        """The index, opened on first use: a run with nothing to do has none."""
        from dagger.cache.index import MemoryIndex
        from dagger.cache.pending import Pending

        if self._temporary:
            return Pending(MemoryIndex(), self._degrade)
        from dagger.cache.disk_index import DiskIndex

        tell = self.warnings.append
        return Pending(DiskIndex(self._layout.index_directory(tell), tell=tell), self._degrade)

    @property
    def _is_open(self) -> bool:
        return "_pending" in vars(self)

    @property
    def is_new(self) -> bool:
        """Whether nothing can be known yet, since there is no cache so far."""
        return not self._is_open and (self._temporary or not os.path.isdir(self._layout.versioned))

    @property
    def stats(self) -> StatIndex:
        """The digests of files by their stat, as of the last run."""
        if self._stats is None:
            place = self._layout.versioned if self._has_place else ""
            self._stats = StatIndex(place if os.path.isdir(place) else None, former=self._former_stats)
        return self._stats

    def _former_stats(self) -> object:
        return read_memo(self._memo_path(STATS)) if self._has_place else {}

    def racy_since(self) -> int:
        """Return the stamp, in ns, from which on a file may have changed without a trace in its stat."""
        return self.stats.racy_since(self._layout.versioned)

    @property
    def secret(self) -> bytes:
        """What digests of environment variables are keyed with."""
        if self._secret is None:
            try:
                self._secret = self._layout.read_or_make_secret()
            except OSError as error:
                self._warn_unwritable(error)
                self._secret = os.urandom(32)
        return self._secret

    def presence(self) -> Presence:
        """Return what ties a run's processes together; nothing is made yet."""
        return Presence(self._layout.locks)

    def holdings(self, presence: Presence) -> Holdings:
        """Return what a run holds names by (keys, outputs' paths), so that no other is at the same task."""
        from dagger.cache.holdings import Holdings, PrivateHoldings

        kind = PrivateHoldings if self.is_private else Holdings
        return kind(self._layout.locks, presence)

    def records(self, key: str) -> list[Record]:
        """Return the records of a key, newest first; damaged ones are passed over."""
        return self._with_homeless(key, self._pending.get(rows.record_key(key)))

    def records_many(self, keys: Iterable[str]) -> dict[str, list[Record]]:
        """Return the records of many keys at once; a key without any has an empty list."""
        wanted = list(keys)
        found = self._pending.get_many(rows.record_key(key) for key in wanted)
        return {key: self._with_homeless(key, found.get(rows.record_key(key))) for key in wanted}

    def reading_ahead(
        self, keys: Iterable[str], root: str, tasks: Iterable[str]
    ) -> contextlib.AbstractContextManager[None]:
        """Read at once what is asked for in here: the records of keys, and what tasks last did."""
        records = map(rows.record_key, filter(None, keys))
        return self._pending.reading_ahead([*records, *(rows.entry_key(root, task) for task in tasks)])

    def add(self, record: Record, fingerprint: Fingerprint | None = None) -> None:
        """File a record; its blobs are there already. It is written at most half a second later.

        One whose blobs found no room in the store is not written: it ends with this process, as they do.

        Args:
            record: Replaces one of the same key, root and discovered reads.
            fingerprint: What its code is made of, for explaining a later change.
        """
        is_homeless = self._is_homeless(record)
        if is_homeless or record.key in self._homeless:
            others = [it for it in self._homeless.get(record.key, ()) if not rows.is_same_case(it, record)]
            self._homeless[record.key] = [record, *others] if is_homeless else others
        if is_homeless:
            self._change([(rows.record_key(record.key), rows.keeping(lambda it: not rows.is_same_case(it, record)))])
        else:
            self._change(rows.adding_record(record), renew=True)
        if fingerprint is not None and fingerprint.digest not in self._codes:
            self._codes.add(fingerprint.digest)
            # Nobody can ask for the source in a private cache; to find it takes as long as to start a worker.
            self._change(rows.adding_code(fingerprint, with_source=not self.is_private))

    def parts(self, fingerprint: str) -> StoredCode | None:
        """Return what a fingerprint was made of, if that is known."""
        return rows.read_code(self._pending.get_many, fingerprint)

    def entry(self, root: str, task: str) -> Entry | None:
        """Return what a task last did."""
        row = rows.read_entry(self._pending.get(rows.entry_key(root, task)))
        return row.entry if row is not None else None

    def set_entry(self, root: str, task: str, entry: Entry) -> None:
        """Remember what a task did."""
        self._change(rows.setting_entry(root, task, entry))

    def entries(self, root: str, tasks: Iterable[str] | None = None) -> dict[str, Entry]:
        """Return what each task of a root last did, or each of these."""
        if tasks is None:
            keys: Iterable[str] = self._pending.keys(rows.entries_prefix(root))
        else:
            keys = [rows.entry_key(root, task) for task in tasks]
        found = map(rows.read_entry, self._pending.get_many(keys).values())
        return {row.task: row.entry for row in found if row is not None}

    def all_records(self, *, newest_first: bool = False) -> Iterator[Record]:
        """Return every record, of every root, in the order in which they were filed; few are held at a time."""
        homeless = list(self._homeless.values())
        if newest_first:
            yield from chain.from_iterable(reversed(homeless))
        for key, row in self._pending.items(rows.RECORD, newest_first=newest_first):
            yield from rows.read_records(row, key.removeprefix(rows.RECORD))
        if not newest_first:
            yield from chain.from_iterable(homeless)

    def forget(self, root: str, tasks: Collection[str] | None, dry_run: bool = False) -> list[Record]:
        """Drop the records and entries of tasks of a root; blobs go with the next ``gc``.

        Args:
            root: The root.
            tasks: Their identifiers; None for all.
            dry_run: Only say what would go.

        Returns:
            The records that were dropped, or would be.
        """
        named = None if tasks is None else set(tasks)

        def is_meant(record: Record) -> bool:
            return record.root == root and (named is None or record.task in named)

        dropped = [record for record in self.all_records() if is_meant(record)]
        if not dry_run:
            self.drop_memos(RUN, every_root=True)
            keys = {record.key for record in dropped}
            self._change((rows.record_key(key), rows.keeping(lambda it: not is_meant(it))) for key in keys)
            for key in keys & self._homeless.keys():
                self._homeless[key] = [record for record in self._homeless[key] if not is_meant(record)]
            forgotten = self.entries(root) if named is None else named
            self._pending.delete(rows.entry_key(root, task) for task in forgotten)
        return dropped

    def journal_add(self, root: str, path: str, digest: str) -> None:
        """Note that a task made a file with this content."""
        self._change(rows.adding_to_journal(root, path, digest))

    def journal(self, root: str) -> dict[str, str]:
        """Return each path that a task made below a root, and the digest of what it made last."""
        keys = self._pending.keys(rows.journal_prefix(root))
        found = map(rows.read_journal, self._pending.get_many(keys).values())
        return {row.path: row.digests[-1] for row in found if row is not None}

    def journal_drop(self, root: str, paths: Iterable[str]) -> None:
        """Forget that files were made: they are gone, or are the user's now."""
        self._pending.delete(rows.journal_key(root, path) for path in paths)

    def known_digest(self, root: str, path: str, digest: str) -> bool:
        """Whether a task once made this content at this path, so that it can be made again."""
        row = rows.read_journal(self._pending.get(rows.journal_key(root, path)))
        return row is not None and digest in row.digests

    def save(self, path: str, root: str) -> str:
        """Move a file or directory that is the user's own out of the way; return where it is now.

        Raises:
            CacheError: It cannot be moved; it is where it was.
        """
        from dagger.cache.saved import move_beside, move_to_saved

        if not self._temporary:
            try:
                self._layout.create()
                return move_to_saved(self._layout.saved, path, root)
            except OSError as error:
                self._warn_unwritable(error)
        return move_beside(path)

    def memo(self, kind: str, name: str) -> Iterator[Packed]:
        """Yield what was remembered for the root to spare work, part by part."""
        return read_packed(self._memo_path(kind, name)) if self._has_place else iter(())

    def set_memo(self, kind: str, parts: Iterable[object], name: str) -> None:
        """Remember something that can be made again: plain tuples, lists, dicts, texts, bytes and numbers."""
        try:
            write_parts(self._memo_path(kind, name), parts)
        except OSError as error:
            self._warn_unwritable(error)

    def drop_memos(self, kind: str, *, every_root: bool = False) -> None:
        """Forget all memos of a kind, of this root or of every root."""
        drop_memos(self._layout.memos, f"{kind}-" if every_root else f"{kind}-{rows.short(self.root)}-")

    def set_memo_aside(self, kind: str, name: str) -> None:
        """Forget all memos of a kind of this root, but for what `memo_aside` returns of one."""
        path = self._memo_path(kind, name)
        drop_memos(self._layout.memos, f"{kind}-{rows.short(self.root)}-", aside=os.path.basename(path))

    def memo_aside(self, kind: str, name: str) -> Iterator[Packed]:
        """Yield the parts of a memo that was set aside, for the one that replaces it."""
        path = f"{self._memo_path(kind, name)}~"
        try:
            yield from read_packed(path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def commit(self) -> None:
        """Write the records and other rows that wait, so that other processes see them."""
        self._begin_group()
        if self._is_open:
            self._pending.flush()

    def flush(self) -> None:
        """Write what waits, and what was learnt of files."""
        # What was learnt of files is no reason to make a cache: a dry run leaves nothing.
        exists = self._is_created or (self._has_place and os.path.isdir(self._layout.versioned))
        if self._stats is not None and self._stats.changed and exists:
            self.set_memo(STATS, [self._stats.dump()], "")
        self._begin_group()
        if self._is_open:
            self._pending.flush()
        if self._is_created and self._has_overflow():
            self._warn_unwritable("there was no room for some results")

    def close(self) -> None:
        """Write what waits and let go of all files; one that is in memory ends here."""
        if self._process != os.getpid():
            return
        self.flush()
        self._homeless.clear()
        if self._is_open:
            self._pending.close()
        if self._is_created and "blobs" in vars(self):
            self.blobs.remove_overflow()
        if self._temporary and self._has_place:
            remove_tree(self.directory)

    def note_uses(self, keys: Iterable[str]) -> None:
        """Tell ``gc`` that a run has just used the records of these keys; it gives them in the same order each time."""
        if not self._temporary and os.path.isdir(self._layout.versioned):
            from dagger.cache.uses import note_uses

            with contextlib.suppress(OSError):
                note_uses(self._layout.uses, rows.short(self.root), keys)

    def size(self) -> Summary:
        """Count records, blobs and bytes."""
        from dagger.cache import collect

        return collect.size(self.all_records(), self.blobs)

    def gc(self, max_age: float | None = None, max_bytes: int | None = None, dry_run: bool = False) -> Summary:
        """Throw away records beyond the limits given, and blobs that no record names.

        ``saved/`` is never touched, nor what is younger than ten minutes: another manager may be
        about to use it.

        Args:
            max_age: Drop records that no run has used for so many seconds.
            max_bytes: Drop the records that were not used for longest until the blobs of the rest
                fit.
            dry_run: Only count.

        Returns:
            What went, or would go.
        """
        from dagger.cache import collect

        if not dry_run:
            self.drop_memos(RUN, every_root=True)
        return collect.gc(self._pending, self.blobs, self._layout, max_age, max_bytes, dry_run)

    def verify(self, *, repair: bool = False) -> list[Damage]:
        """Read every row and every blob, and return what is damaged. Nothing is changed, unless it is to be repaired.

        Args:
            repair: Drop what is damaged, and the records that cannot be restored, so that their tasks run again.
        """
        from dagger.cache import damage

        self._pending.flush()
        found = damage.find(self._pending.index, self.blobs)
        if repair and found:
            self.drop_memos(RUN, every_root=True)
            damage.drop(found, self._pending, self.blobs)
        return found

    def _begin_group(self) -> None:
        """Take nothing for granted that was there for the changes until now: somebody may have deleted it."""
        self._codes.clear()
        self._looked_at = -math.inf

    def _memo_path(self, kind: str, name: str = "") -> str:
        return os.path.join(self._layout.memos, f"{kind}-{rows.short(self.root)}-{rows.short(name)}")

    def _change(self, changes: Iterable[tuple[str, Change]], *, renew: bool = False) -> None:
        # Also when somebody has deleted it since.
        now = time.monotonic()
        is_due = now - self._looked_at > _GLANCE
        if is_due:
            self._looked_at = now
        if not self._is_created or (is_due and not os.path.isdir(self._layout.versioned)):
            self._is_created = True
            try:
                self._layout.create()
            except OSError as error:
                self._pending.index = self._degrade(error)
        self._pending.change(changes, renew=renew)

    def _has_overflow(self) -> bool:
        return "blobs" in vars(self) and not self._temporary and os.path.isdir(self.blobs.overflow)

    def _is_homeless(self, record: Record) -> bool:
        from dagger.cache.collect import blobs_of

        needed = [digest for digest, _ in blobs_of(record)]
        return bool(needed) and self._has_overflow() and any(map(self.blobs.is_spare, needed))

    def _with_homeless(self, key: str, row: bytes | None) -> list[Record]:
        return [*self._homeless.get(key, ()), *rows.read_records(row, key)]

    def _degrade(self, error: Exception) -> Index:
        """Go on in memory: what is on disk stays readable, what is new ends with this process."""
        self._warn_unwritable(error)
        from dagger.cache.index import MemoryIndex, OverlayIndex

        before = self._pending.index
        return before if isinstance(before, MemoryIndex) else OverlayIndex(before)

    def _warn_unwritable(self, error: object) -> None:
        if not self._has_warned:
            self._has_warned = True
            self.warnings.append(
                f"the cache {self.directory} cannot be written, so this run is not remembered: {error}"
            )


def _close_at_exit(cache: Cache) -> None:
    known = weakref.ref(cache)

    def close() -> None:
        if (alive := known()) is not None:
            alive.close()

    atexit.register(close)
    # At exit itself the finalizer must not run first, or it would take the hook away.
    weakref.finalize(cache, atexit.unregister, close).atexit = False
