"""Rows: what was remembered comes back as it was, or is known to be damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from dagger.cache.records import Entry, Member, Output, Read, Reason, Record, decode, encode
from dagger.cache.rows import EntryRow
from dagger.errors import DamagedError

# Python's text holds what UTF-8 cannot: a file name's stray bytes are lone surrogates.
texts = st.text(st.characters(), max_size=8)
rows = st.lists(st.tuples(texts, texts, texts), max_size=3).map(tuple)
members = st.lists(
    st.builds(Member, texts, texts, st.integers(0, 2**63 - 1), st.booleans(), st.none() | texts),
    max_size=2,
).map(tuple)


def outputs(items: st.SearchStrategy[tuple[Output, ...]]) -> st.SearchStrategy[Output]:
    return st.builds(
        Output,
        name=texts,
        kind=texts,
        content=texts,
        value=st.none() | texts,
        size=st.integers(0, 2**63 - 1),
        inline=st.none() | st.binary(max_size=20),
        members=members,
        items=items,
        classes=st.lists(texts, max_size=2).map(tuple),
    )


flat = outputs(st.just(()))
nested = outputs(st.lists(flat, max_size=2).map(tuple))
records = st.builds(
    Record,
    key=texts,
    root=texts,
    task=texts,
    kind=texts,
    rows=rows,
    fingerprint=texts,
    reads=st.lists(st.builds(Read, texts, texts, texts), max_size=3).map(tuple),
    outputs=st.lists(nested, max_size=2).map(tuple),
    started=st.floats(allow_nan=False),
    seconds=st.floats(allow_nan=False),
    made_by=st.integers(0, 2**63 - 1),
    log=texts,
    reason=texts,
)
entries = st.builds(
    Entry,
    key=texts,
    rows=rows,
    fingerprint=texts,
    outcome=texts,
    reasons=st.lists(st.builds(Reason, texts, texts, texts, texts), max_size=2).map(tuple),
    when=st.floats(allow_nan=False),
    seconds=st.floats(allow_nan=False),
    error=texts,
)


@given(records)
def test_record_round_trip(record: Record) -> None:
    """A record comes back equal, whatever its texts hold."""
    assert decode(encode(record), Record) == record


@given(entries)
def test_entry_round_trip(entry: Entry) -> None:
    """An entry comes back equal, whatever its texts hold."""
    row = EntryRow("task", entry)
    assert decode(encode(row), EntryRow) == row


@given(records, st.data())
def test_flipped_bit(record: Record, data: st.DataObject) -> None:
    """A single flipped bit anywhere is noticed."""
    row = bytearray(encode(record))
    at = data.draw(st.integers(0, len(row) - 1))
    row[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamagedError):
        decode(bytes(row), Record)


@given(records, st.data())
def test_cut_off(record: Record, data: st.DataObject) -> None:
    """A row that was cut off anywhere is noticed."""
    row = encode(record)
    with pytest.raises(DamagedError):
        decode(row[: data.draw(st.integers(0, len(row) - 1))], Record)


@given(st.binary(max_size=64))
def test_garbage(row: bytes) -> None:
    """Bytes that we did not write are refused, never half understood."""
    with pytest.raises(DamagedError):
        decode(row, Record)


@given(entries)
def test_another_form(entry: Entry) -> None:
    """A row of one kind is not read as another."""
    with pytest.raises(DamagedError):
        decode(encode(EntryRow("task", entry)), Record)
