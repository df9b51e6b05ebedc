"""What to throw away, and how much there is: asked by a person, never by a run."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator

from dagger.cache import rows
from dagger.cache.blobs import BlobStore
from dagger.cache.holdings import NAME
from dagger.cache.index import UnavailableError
from dagger.cache.layout import Layout
from dagger.cache.locks import remove_unused_lock
from dagger.cache.pending import Change, Pending
from dagger.cache.records import Output, Record
from dagger.cache.tally import Rank, Tally, number
from dagger.cache.uses import keep_uses, last_uses
from dagger.lean_typing import NamedTuple

GRACE = 600.0
_GROUP = 100
_TEMPORARY = 3600.0
_DAY = 86_400.0


class Summary(NamedTuple):
    """How many records and blobs, and how many bytes in blobs."""

    records: int
    blobs: int
    bytes: int


def blobs_of(record: Record) -> Iterator[tuple[str, int]]:
    """Return digest and size of each blob that a record needs (-1 for a log: not known)."""
    if record.log_blob:
        yield record.log_blob, -1
    for output in record.outputs:
        yield from blobs_of_output(output)


def blobs_of_output(output: Output) -> Iterator[tuple[str, int]]:
    """Return digest and size of each blob that an output needs."""
    if output.kind in ("tree", "glob", "file") and output.members:
        yield from ((member.digest, member.size) for member in output.members if member.digest)
    elif output.inline is None and output.kind != "list":
        yield output.content, output.size
    for item in output.items:
        yield from blobs_of_output(item)


def size(records: Iterable[Record], blobs: BlobStore) -> Summary:
    """Count what there is."""
    filed = sum(1 for _ in records)
    number = total = 0
    for _, size, _ in blobs.iter():
        number += 1
        total += size
    return Summary(filed, number, total)


def gc(
    pending: Pending,
    blobs: BlobStore,
    layout: Layout,
    max_age: float | None,
    max_bytes: int | None,
    dry_run: bool,
) -> Summary:
    """Throw away what ``Cache.gc`` says, records first: none is left without its blobs by us.

    Neither records nor blobs are ever held together: both may be millions.

    Raises:
        UnavailableError: The index cannot be read, so that nobody knows what is needed, or cannot be written.
    """
    pending.flush()
    now = time.time()
    collection = _Collection(pending, now)
    collection.note_entries()
    if max_age is not None or max_bytes is not None:
        collection.note_uses(layout.uses)
        collection.limit(max_age, max_bytes)
    dropped = collection.sort_records(dry_run=dry_run)
    if pending.index is not collection.index:
        raise UnavailableError(f"{layout.index} cannot be written, so its blobs stay")
    # What a record needs that comes in from here on is young: it was written, or made young, after ``now``.
    useless, freed = _drop_blobs(blobs, collection.needed, now - GRACE, dry_run=dry_run)
    if not dry_run:
        collection.drop_code()
        _sweep(os.path.join(blobs.directory, "tmp"), now - _TEMPORARY)
        keep_uses(layout.uses, collection.kept)
        _sweep_locks(layout.locks, now - _DAY)
    return Summary(dropped, useless, freed)


class _Collection:
    """What there is to know for one collection: it reads the index row by row, and keeps tallies.

    Args:
        pending: The index; it is read past ``pending``, which would go on without what it cannot read.
        now: When it began.

    Attributes:
        index: What is read.
        needed: The blobs of the records that are kept.
        kept: The keys of these records.
    """

    def __init__(self, pending: Pending, now: float) -> None:
        self.needed = Tally()
        self.kept = Tally()
        self._pending = pending
        self.index = pending.index
        self._now = now
        self._used = Tally()
        self._codes = Tally()
        self._oldest = -math.inf
        self._beyond: Rank = (-math.inf, 0)

    def note_entries(self) -> None:
        """Learn what each task last did."""
        for _, row in self.index.items(rows.ENTRY):
            if (found := rows.read_entry(row)) is not None:
                self._used.note(found.entry.key, (found.entry.when, 0))
                self._codes.note(found.entry.fingerprint)

    def note_uses(self, folder: str) -> None:
        """Learn when results were last used."""
        for key, when in last_uses(folder):
            self._used.note(key, (when, 0))

    def limit(self, max_age: float | None, max_bytes: int | None) -> None:
        """Set what is kept beside the young: what is used since, and what is used last and fits."""
        if max_age is not None:
            self._oldest = self._now - max_age
        if max_bytes is not None:
            sizes = Tally()
            for _, record in self._records():
                for digest, size in blobs_of(record):
                    sizes.note(digest, self._rank(record), max(size, 0))
            self._beyond = sizes.first_beyond(max_bytes)

    def sort_records(self, *, dry_run: bool) -> int:
        """Note what is kept and drop the rest; return how many that are."""
        dropped = 0
        changed: dict[str, Change] = {}
        for row, record in self._records():
            if self._is_kept(record):
                self.kept.note(record.key)
                self._codes.note(record.fingerprint)
                for digest, _ in blobs_of(record):
                    self.needed.note(digest)
                continue
            dropped += 1
            if not dry_run:
                changed[row] = rows.keeping(self._is_kept)
            if len(changed) >= _GROUP:
                self._change(changed)
        self._change(changed)
        return dropped

    def drop_code(self) -> None:
        """Drop what no kept record or entry was made with."""
        parts = Tally()
        useless = []
        for key, row in self.index.items(rows.CODE):
            if key.removeprefix(rows.CODE) in self._codes:
                for part in rows.part_keys(row):
                    parts.note(part)
            else:
                useless.append(key)
        self._pending.delete(useless)
        self._pending.delete([key for key, _ in self.index.items(rows.PART) if key not in parts])

    def _records(self) -> Iterator[tuple[str, Record]]:
        for key, row in self.index.items(rows.RECORD):
            yield from ((key, record) for record in rows.read_records(row, key.removeprefix(rows.RECORD)))

    def _rank(self, record: Record) -> Rank:
        return max(record.started + record.seconds, self._used.last(record.key)), number(record.key)

    def _is_kept(self, record: Record) -> bool:
        rank = self._rank(record)
        return rank[0] > self._now - GRACE or (rank[0] >= self._oldest and rank > self._beyond)

    def _change(self, changed: dict[str, Change]) -> None:
        self._pending.change(changed.items())
        self._pending.flush()
        changed.clear()


def _drop_blobs(blobs: BlobStore, needed: Tally, before: float, *, dry_run: bool) -> tuple[int, int]:
    """Drop the blobs from before a time that nobody needs; return how many, and how many bytes."""
    number = freed = 0
    for digest, size, written in blobs.iter():
        if written < before and digest not in needed:
            number += 1
            freed += size
            if not dry_run:
                blobs.remove(digest)
    return number, freed


def _sweep(folder: str, before: float) -> None:
    with contextlib.suppress(OSError):
        for item in os.scandir(folder):
            with contextlib.suppress(OSError):
                if item.stat(follow_symlinks=False).st_mtime < before:
                    os.unlink(item.path)


def _sweep_locks(folder: str, before: float) -> None:
    with contextlib.suppress(OSError):
        for item in os.scandir(folder):
            with contextlib.suppress(OSError):
                # What runs hold stands in a file that none of them keeps locked.
                if item.name != NAME and item.stat(follow_symlinks=False).st_mtime < before:
                    remove_unused_lock(item.path)
