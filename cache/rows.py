"""The rows of the index: how each is named, read and changed.

Each ``adding_...`` returns changes for ``Pending``: they are applied to the row as it is when it is
written, so that two processes that add to one row lose nothing. A row that cannot be read is begun
anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache

import xxhash

from dagger.cache.records import Entry, Record, decode, encode, is_row
from dagger.errors import DamagedError
from dagger.lean_typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from dagger.cache.fingerprints import Fingerprint
    from dagger.cache.pending import Change

RECORD = "record:"
CODE = "code:"
PART = "part:"
ENTRY = "entry:"
JOURNAL = "journal:"

_HISTORY = 100
_T = TypeVar("_T")


class StoredPart(NamedTuple):
    """One part of a fingerprint: its name, kind, digest and source text."""

    name: str
    kind: str
    digest: str
    source: str


class StoredCode(NamedTuple):
    """What a fingerprint was made of: its parts by name, and distributions with their versions."""

    parts: tuple[StoredPart, ...]
    distributions: tuple[tuple[str, str], ...]


class EntryRow(NamedTuple):
    """An entry and the task that it is of."""

    task: str
    entry: Entry


class JournalRow(NamedTuple):
    """A file that tasks made: its path, and the digests of what they made, the latest last."""

    path: str
    digests: tuple[str, ...]


class _CodeRow(NamedTuple):
    parts: tuple[str, ...]
    distributions: tuple[tuple[str, str], ...]


is_row(StoredPart, "p")
is_row(_CodeRow, "c")
is_row(EntryRow, "e", entry=Entry)
is_row(JournalRow, "j")


def short(name: str) -> str:
    """Digest a root, a task or a path, so that any name can stand in a row's name."""
    return str(xxhash.xxh3_128_hexdigest(name.encode("utf-8", "surrogatepass")))


def record_key(key: str) -> str:
    """Name the row of all records of a key."""
    return RECORD + key


def entry_key(root: str, task: str) -> str:
    """Name the row of what a task last did."""
    return entries_prefix(root) + short(task)


@lru_cache(maxsize=8)
def entries_prefix(root: str) -> str:
    """Name what the entries of a root have in common."""
    return f"{ENTRY}{short(root)}:"


def journal_key(root: str, path: str) -> str:
    """Name the row of a made file."""
    return journal_prefix(root) + short(path)


def journal_prefix(root: str) -> str:
    """Name what the journal of a root has in common."""
    return f"{JOURNAL}{short(root)}:"


def read_records(row: bytes | None, key: str) -> list[Record]:
    """Return the records of a row, newest first, without those damaged or of another key."""
    found = (_read(data, Record) for data in _read(row, list) or ())
    return [record for record in found if record is not None and record.key == key]


def adding_record(record: Record) -> Iterator[tuple[str, Change]]:
    """Put a record before its key's others; one of the same root and reads goes."""
    data = encode(record)

    def change(row: bytes | None) -> bytes:
        kept = [it for it in read_records(row, record.key) if not is_same_case(it, record)]
        return encode([data, *map(encode, kept)])

    yield record_key(record.key), change


def is_same_case(one: Record, other: Record) -> bool:
    """Whether two records of a key are of one root and were found by the same reads, so that one replaces the other."""
    return one.root == other.root and set(one.reads) == set(other.reads)


def without(gone: Collection[Record]) -> Change:
    """Change a row of records to those that are not ``gone``."""
    return keeping(lambda record: record not in gone)


def keeping(is_kept: Callable[[Record], bool]) -> Change:
    """Change a row of records to those that are kept; without any, the row goes."""

    def change(row: bytes | None) -> bytes | None:
        parts = _read(row, list) or []
        kept = [it for it in parts if (record := _read(it, Record)) is not None and is_kept(record)]
        return encode(kept) if kept else None

    return change


def adding_code(fingerprint: Fingerprint, *, with_source: bool) -> Iterator[tuple[str, Change]]:
    """Keep what a fingerprint is made of; parts that several share are kept once."""
    names = []
    for part in fingerprint.parts:
        stored = StoredPart(part.name, part.kind, part.digest, part.source if with_source else "")
        names.append(_name_of(stored))
        yield PART + names[-1], _setting(encode(stored))
    yield (
        CODE + fingerprint.digest,
        _setting(encode(_CodeRow(tuple(names), fingerprint.distributions))),
    )


def _name_of(part: StoredPart) -> str:
    return short("\0".join(part))


def read_code(get_many: Callable[[Iterable[str]], dict[str, bytes]], fingerprint: str) -> StoredCode | None:
    """Return what a fingerprint was made of; None if any of it is missing."""
    key = CODE + fingerprint
    row = _read(get_many((key,)).get(key), _CodeRow)
    if row is None:
        return None
    found = get_many(PART + name for name in row.parts)
    parts = [_read(found.get(PART + name), StoredPart) for name in row.parts]
    whole = tuple(part for part in parts if part is not None)
    return StoredCode(whole, row.distributions) if len(whole) == len(parts) else None


def part_keys(row: bytes | None) -> list[str]:
    """Return the names of the rows that a row of code refers to."""
    code = _read(row, _CodeRow)
    return [PART + name for name in code.parts] if code is not None else []


def setting_entry(root: str, task: str, entry: Entry) -> Iterator[tuple[str, Change]]:
    """Replace what a task last did."""
    yield entry_key(root, task), _setting(encode(EntryRow(task, entry)))


def read_entry(row: bytes | None) -> EntryRow | None:
    """Read what a task last did."""
    return _read(row, EntryRow)


def adding_to_journal(root: str, path: str, digest: str) -> Iterator[tuple[str, Change]]:
    """Put a digest last among those that tasks made at a path."""

    def change(row: bytes | None) -> bytes:
        before = _read(row, JournalRow)
        if before is not None and before.digests[-1:] == (digest,):
            assert row is not None
            return row
        others = [it for it in (before.digests if before else ()) if it != digest]
        return encode(JournalRow(path, (*others[1 - _HISTORY :], digest)))

    yield journal_key(root, path), change


def read_journal(row: bytes | None) -> JournalRow | None:
    """Read what tasks made at a path."""
    found = _read(row, JournalRow)
    return found if found is not None and found.digests else None


def damage_in(key: str, row: bytes) -> str:
    """Return what is wrong with a row, or ``""``."""
    kind, _, name = key.partition(":")
    try:
        return "" if _names(kind + ":", name, row) else "it is filed under a wrong name"
    except DamagedError as error:
        return str(error)


def _names(kind: str, name: str, row: bytes) -> bool:
    """Whether a row's name is that of what is in it, as far as that can be told.

    Raises:
        DamagedError: The row cannot be read.
    """
    if kind == RECORD:
        return all(decode(data, Record).key == name for data in decode(row, list))
    if kind == PART:
        return name == _name_of(decode(row, StoredPart))
    if kind == ENTRY:
        return name.endswith(":" + short(decode(row, EntryRow).task))
    if kind == JOURNAL:
        return name.endswith(":" + short(decode(row, JournalRow).path))
    if kind == CODE:
        decode(row, _CodeRow)
    return True


def _setting(data: bytes) -> Change:
    return lambda _: data


def _read(row: bytes | None, form: type[_T]) -> _T | None:
    if row is None:
        return None
    try:
        return decode(row, form)
    except DamagedError:
        return None
