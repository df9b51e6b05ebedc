"""What of a cache is damaged: found by reading all of it, which changes nothing, and dropped when a person says so.

What a flipped byte has made unreadable has no name of its own any more. Who it belonged to is told by those that
refer to it: a record names its blobs, an entry the key of its task's record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dagger.cache import rows
from dagger.cache.blobs import BlobStore
from dagger.cache.collect import blobs_of, blobs_of_output
from dagger.cache.disk_index import DiskIndex
from dagger.cache.index import Index
from dagger.cache.pending import Change, Pending
from dagger.cache.records import Record

INDEX = "index"
ROW = "row"
BLOB = "blob"
RECORD = "record"


_ABOUT = {
    rows.RECORD: "results",
    rows.CODE: "code as it was, for reasons",
    rows.PART: "code as it was, for reasons",
    rows.ENTRY: "what it last did",
    rows.JOURNAL: "which file a task made",
}


@dataclass(frozen=True)
class Damage:
    """Something that is not what it should be.

    Attributes:
        kind: ``index`` (the database), ``row`` (of the index), ``blob``, or ``record``, which is whole itself but
            cannot be restored for want of a blob.
        name: Which: the database's directory, the row's name, the blob's digest, the record's key.
        what: What is wrong with it.
        of: What it belongs to, as in ``task 'plot', output 'figure'``; empty where nobody refers to it.
    """

    kind: str
    name: str
    what: str
    of: tuple[str, ...] = ()


@dataclass
class _Users:
    """Who refers to what, as far as the sound rows tell."""

    of_blob: dict[str, dict[str, None]] = field(default_factory=dict)
    of_key: dict[str, str] = field(default_factory=dict)
    of_entry: dict[str, str] = field(default_factory=dict)

    def note(self, row: str, data: bytes) -> None:
        if row.startswith(rows.RECORD):
            for record in rows.read_records(data, row.removeprefix(rows.RECORD)):
                self.of_key[record.key] = self.of_entry[rows.short(record.task)] = _task(record.task)
                for name, digest in _named_blobs(record):
                    self.of_blob.setdefault(digest, {})[name] = None
        elif row.startswith(rows.ENTRY) and (entry := rows.read_entry(data)) is not None:
            self.of_key.setdefault(entry.entry.key, _task(entry.task))

    def of_row(self, row: str) -> tuple[str, ...]:
        kind, _, name = row.partition(":")
        known = self.of_key.get(name) or self.of_entry.get(name.rpartition(":")[2])
        about = _ABOUT.get(kind + ":", "")
        return tuple(filter(None, (known, about)))


def find(index: Index, blobs: BlobStore) -> list[Damage]:
    """Read every row and every blob, and return what is damaged. Nothing is changed."""
    faults: list[str] = []
    broken: dict[str, str] = {}
    users = _Users()
    lost: list[tuple[Record, int]] = []
    for row, data in _rows(index, faults):
        if what := rows.damage_in(row, data):
            broken[row] = what
        users.note(row, data)
        lost += _lost(row, data, blobs)
    where = index.directory if isinstance(index, DiskIndex) else ""
    return [
        *(Damage(INDEX, where, what) for what in dict.fromkeys(faults)),
        *(Damage(ROW, row, what, users.of_row(row)) for row, what in broken.items()),
        *(Damage(BLOB, digest, what, tuple(users.of_blob.get(digest, ()))) for digest, what in blobs.damaged()),
        *(Damage(RECORD, record.key, _missing(count), (_task(record.task),)) for record, count in lost),
    ]


def drop(found: Iterable[Damage], pending: Pending, blobs: BlobStore) -> None:
    """Drop what was found, and the records that cannot be restored without it."""
    named: dict[str, list[str]] = {}
    for damage in found:
        named.setdefault(damage.kind, []).append(damage.name)
    if INDEX in named and isinstance(pending.index, DiskIndex):
        pending.index.rebuild()
    for digest in named.get(BLOB, ()):
        blobs.drop(digest)
    pending.change((row, _without_damage(row)) for row in named.get(ROW, ()))
    for row in pending.keys(rows.RECORD):
        data = pending.get(row)
        if data is not None and (lost := _lost(row, data, blobs)):
            pending.change([(row, rows.without([record for record, _ in lost]))])
    pending.flush()


def _rows(index: Index, faults: list[str]) -> Iterator[tuple[str, bytes]]:
    if isinstance(index, DiskIndex):
        yield from index.examine(faults)
        return
    for key in index.keys(""):
        row = index.get(key)
        if row is not None:
            yield key, row


def _lost(row: str, data: bytes, blobs: BlobStore) -> Iterator[tuple[Record, int]]:
    """Return the records of a row that want blobs, and how many."""
    if row.startswith(rows.RECORD):
        for record in rows.read_records(data, row.removeprefix(rows.RECORD)):
            gone = sum(not blobs.has(digest, None if size < 0 else size) for digest, size in blobs_of(record))
            if gone:
                yield record, gone


def _named_blobs(record: Record) -> Iterator[tuple[str, str]]:
    """Return each blob of a record with what it is there."""
    if record.log_blob:
        yield f"{_task(record.task)}, its log", record.log_blob
    for output in record.outputs:
        for digest, _ in blobs_of_output(output):
            yield f"{_task(record.task)}, output {output.name!r}", digest


def _task(name: str) -> str:
    return f"task {name!r}"


def _missing(count: int) -> str:
    return f"{count} of its blobs {'is' if count == 1 else 'are'} missing"


def _without_damage(row: str) -> Change:
    """Keep what is sound of a row of several records; any other row goes."""
    if row.startswith(rows.RECORD):
        return rows.keeping(lambda record: record.key == row.removeprefix(rows.RECORD))
    return lambda _: None
