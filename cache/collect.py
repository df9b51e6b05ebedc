"""What to throw away, and how much there is: asked by a person, never by a run."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dagger.cache import rows
from dagger.cache.blobs import BlobStore
from dagger.cache.layout import Layout
from dagger.cache.locks import remove_unused_lock
from dagger.cache.pending import Pending
from dagger.cache.records import Entry, Output, Record
from dagger.cache.uses import keep_uses, last_uses

GRACE = 600.0
_TEMPORARY = 3600.0
_DAY = 86_400.0


@dataclass(frozen=True)
class Summary:
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
    sizes = [size for _, size, _ in blobs.iter()]
    return Summary(sum(1 for _ in records), len(sizes), sum(sizes))


def gc(
    pending: Pending,
    blobs: BlobStore,
    layout: Layout,
    max_age: float | None,
    max_bytes: int | None,
    dry_run: bool,
) -> Summary:
    """Throw away what ``Cache.gc`` says, records first: none is left without its blobs by us."""
    now = time.time()
    # Blobs before records: a record that comes in between keeps blobs that we do not know of, and
    # those are young.
    present = list(blobs.iter())
    records, entries = _records(pending), _entries(pending)
    used = last_uses(layout.uses)
    for entry in entries:
        used[entry.key] = max(entry.when, used.get(entry.key, 0.0))
    kept = _within_limits(records, used, now, max_age, max_bytes)
    dropped = {id(record) for record in records} - {id(record) for record in kept}
    needed = {digest for record in kept for digest, _ in blobs_of(record)}
    useless = [it for it in present if it[0] not in needed and it[2] < now - GRACE]
    if not dry_run:
        _drop_records(pending, [record for record in records if id(record) in dropped])
        _drop_code(pending, {it.fingerprint for it in kept} | {it.fingerprint for it in entries})
        for digest, _, _ in useless:
            blobs.remove(digest)
        _sweep(os.path.join(blobs.directory, "tmp"), now - _TEMPORARY)
        keep_uses(layout.uses, {record.key for record in kept})
        _sweep_locks(layout.locks, now - _DAY)
    return Summary(len(dropped), len(useless), sum(size for _, size, _ in useless))


def _entries(pending: Pending) -> list[Entry]:
    found = map(rows.read_entry, pending.get_many(pending.keys(rows.ENTRY)).values())
    return [row.entry for row in found if row is not None]


def _records(pending: Pending) -> list[Record]:
    keys = pending.keys(rows.RECORD)
    stored = pending.get_many(keys)
    return [record for key in keys for record in rows.read_records(stored.get(key), key.removeprefix(rows.RECORD))]


def _within_limits(
    records: list[Record],
    used: Mapping[str, float],
    now: float,
    max_age: float | None,
    max_bytes: int | None,
) -> list[Record]:
    def last_use(record: Record) -> float:
        return max(record.started + record.seconds, used.get(record.key, 0.0))

    kept = []
    counted: set[str] = set()
    total = 0
    for record in sorted(records, key=last_use, reverse=True):
        age = now - last_use(record)
        total += sum(size for digest, size in set(blobs_of(record)) if digest not in counted and size > 0)
        too_old = max_age is not None and age > max_age
        too_much = max_bytes is not None and total > max_bytes
        if age < GRACE or not (too_old or too_much):
            kept.append(record)
            counted.update(digest for digest, _ in blobs_of(record))
    return kept


def _drop_records(pending: Pending, dropped: list[Record]) -> None:
    by_key: dict[str, list[Record]] = {}
    for record in dropped:
        by_key.setdefault(record.key, []).append(record)
    pending.change((rows.record_key(key), rows.without(gone)) for key, gone in by_key.items())
    pending.flush()


def _drop_code(pending: Pending, fingerprints: set[str]) -> None:
    codes = pending.keys(rows.CODE)
    useless = [key for key in codes if key.removeprefix(rows.CODE) not in fingerprints]
    needed = {part for key, row in pending.get_many(set(codes) - set(useless)).items() for part in rows.part_keys(row)}
    pending.delete([*useless, *(key for key in pending.keys(rows.PART) if key not in needed)])


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
                if item.stat(follow_symlinks=False).st_mtime < before:
                    remove_unused_lock(item.path)
