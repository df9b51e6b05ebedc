"""What of a cache is damaged: found by reading all of it, which changes nothing, and dropped when a person says so.

What a flipped byte has made unreadable has no name of its own any more. Who it belonged to is told by those that
refer to it: a record names its blobs, an entry the key of its task's record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


class _Users:
    """Who refers to what is damaged, as far as the sound rows tell.

    Args:
        blobs: The damaged blobs.
        broken: The damaged rows.
    """

    def __init__(self, blobs: Iterable[str], broken: Iterable[str]) -> None:
        self.of_blob: dict[str, dict[str, None]] = {digest: {} for digest in blobs}
        self._of_name = dict.fromkeys(map(_name, broken), "")

    def note(self, row: str, data: bytes) -> None:
        if row.startswith(rows.RECORD):
            for record in rows.read_records(data, row.removeprefix(rows.RECORD)):
                self._name_task(record.key, record.task)
                self._name_task(rows.short(record.task), record.task)
                for name, digest in _named_blobs(record):
                    if digest in self.of_blob:
                        self.of_blob[digest][name] = None
        elif row.startswith(rows.ENTRY) and (entry := rows.read_entry(data)) is not None:
            self._name_task(entry.entry.key, entry.task)

    def _name_task(self, name: str, task: str) -> None:
        if name in self._of_name:
            self._of_name[name] = _task(task)

    def of_row(self, row: str) -> tuple[str, ...]:
        kind, _, _ = row.partition(":")
        known = self._of_name.get(_name(row))
        about = _ABOUT.get(kind + ":", "")
        return tuple(filter(None, (known, about)))


def find(index: Index, blobs: BlobStore) -> list[Damage]:
    """Read every row and every blob, and return what is damaged. Nothing is changed."""
    faults: list[str] = []
    broken: dict[str, str] = {}
    lost: list[tuple[str, str, int]] = []
    for row, data in _rows(index, faults):
        if what := rows.damage_in(row, data):
            broken[row] = what
        lost += ((record.key, record.task, count) for record, count in _lost(row, data, blobs))
    spoilt = dict(blobs.damaged())
    users = _Users(spoilt, broken)
    # Read once more for these few: who refers to what would be too much to hold of all.
    for row, data in _rows(index, []) if spoilt or broken else ():
        users.note(row, data)
    where = index.directory if isinstance(index, DiskIndex) else ""
    return [
        *(Damage(INDEX, where, what) for what in dict.fromkeys(faults)),
        *(Damage(ROW, row, what, users.of_row(row)) for row, what in broken.items()),
        *(Damage(BLOB, digest, what, tuple(users.of_blob[digest])) for digest, what in spoilt.items()),
        *(Damage(RECORD, key, _missing(count), (_task(task),)) for key, task, count in lost),
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
    for row, data in pending.items(rows.RECORD):
        if lost := [record for record, _ in _lost(row, data, blobs)]:
            pending.change([(row, rows.without(lost))])
    pending.flush()


def _rows(index: Index, faults: list[str]) -> Iterator[tuple[str, bytes]]:
    if isinstance(index, DiskIndex):
        yield from index.examine(faults)
        return
    yield from index.items()


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


def _name(row: str) -> str:
    """Return what a row's name says beside its kind and root: a key, or a task's or a path's short name."""
    return row.rpartition(":")[2]


def _task(name: str) -> str:
    return f"task {name!r}"


def _missing(count: int) -> str:
    return f"{count} of its blobs {'is' if count == 1 else 'are'} missing"


def _without_damage(row: str) -> Change:
    """Keep what is sound of a row of several records; any other row goes."""
    if row.startswith(rows.RECORD):
        return rows.keeping(lambda record: record.key == row.removeprefix(rows.RECORD))
    return lambda _: None
