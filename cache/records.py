"""What is remembered of a task, and how it is turned into bytes and back.

Sits between the engine, which fills these tuples, and the index, which keeps their bytes. Every
row is ``format (1 byte), kind (1 byte), checksum (16 bytes), marshal``: a flipped bit
anywhere is noticed here and costs a rerun, never a wrong result. The fourth version of marshal is
what each Python since 3.4 writes and reads, lone surrogates and all; nothing has to be imported for
it. The same value may come to other bytes, so these are not what anything is named by. A text must be
a `str`: one of another class, such as numpy's, would become bytes.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable

import xxhash

from dagger.errors import DamagedError
from dagger.lean_typing import Any, NamedTuple, TypeVar

FORMAT = 2
INLINE_LIMIT = 4096
LOG_LIMIT = 8192

Row = tuple[str, str, str]
"""One row of a manifest: kind, name, digest or text."""

_HEADER = 18
_MARSHAL = 4
_T = TypeVar("_T")


class Read(NamedTuple):
    """Something that a task was seen to read without declaring it.

    Attributes:
        kind: ``file``, ``listing``, ``env`` or another kind that the tracker knows.
        name: The path or the variable's name.
        digest: Of what was read, or ``absent``.
    """

    kind: str
    name: str
    digest: str


class Member(NamedTuple):
    """One entry of a directory or of a set of files.

    Attributes:
        path: Relative, with ``/`` between its parts; one of an empty directory ends in ``/``; the
            only member of a single file has the path ``""``.
        digest: Of the content; ``""`` for a directory and for a link.
        size: Of the content in bytes.
        executable: Whether its owner may execute it.
        link: What a symbolic link says, or None for anything else.
    """

    path: str
    digest: str
    size: int
    executable: bool = False
    link: str | None = None


class Output(NamedTuple):
    """What a task made under one of its outputs' names.

    Attributes:
        name: The output's name in its task.
        kind: ``value``, ``file``, ``tree``, ``glob``, ``handle`` or ``list``.
        content: The digest of its bytes (of its members for a tree).
        value: The digest of its meaning, or None when its value has none.
        size: In bytes.
        inline: Its bytes, where they are at most ``INLINE_LIMIT`` long; then there need not be a
            blob.
        members: Of a tree or a set of files; one with the path ``""`` for a file.
        items: Of a list, in order.
        classes: ``module:qualname`` of the classes in own code that its pickle needs.
    """

    name: str
    kind: str
    content: str
    value: str | None
    size: int
    inline: bytes | None = None
    members: tuple[Member, ...] = ()
    items: tuple[Output, ...] = ()
    classes: tuple[str, ...] = ()


class Record(NamedTuple):
    """What is remembered of one finished task.

    Attributes:
        key: What it is filed under.
        root: The root of the manager that made it.
        task: The task's identifier.
        kind: The task's type.
        rows: The manifest that the key was made of.
        fingerprint: The digest of its code, or ``""``.
        reads: The discovered reads; the record holds where they all hold.
        outputs: What it made.
        started: When, in seconds since the epoch.
        seconds: How long it took.
        log: What it printed, or the end of it.
        log_blob: The blob of the whole log, where it is longer than ``LOG_LIMIT``; else ``""``.
        reason: Why it ran.
        made_by: The version of the format.
    """

    key: str
    root: str
    task: str
    kind: str
    rows: tuple[Row, ...]
    fingerprint: str
    reads: tuple[Read, ...]
    outputs: tuple[Output, ...]
    started: float
    seconds: float
    log: str = ""
    log_blob: str = ""
    reason: str = ""
    made_by: int = FORMAT


class Reason(NamedTuple):
    """One reason why a task ran or did not: what changed, from what, to what."""

    code: str
    subject: str = ""
    before: str = ""
    after: str = ""


class Entry(NamedTuple):
    """What a task of a root last did; there is one per root and task.

    Attributes:
        key: Its key then.
        rows: The manifest of that key.
        fingerprint: The digest of its code, or ``""``.
        outcome: ``ran``, ``restored``, ``up to date``, ``failed`` or ``skipped``.
        reasons: Why.
        when: In seconds since the epoch.
        seconds: How long it took.
        error: What failed, or ``""``.
    """

    key: str
    rows: tuple[Row, ...]
    fingerprint: str
    outcome: str
    reasons: tuple[Reason, ...] = ()
    when: float = 0.0
    seconds: float = 0.0
    error: str = ""


_marks: dict[type, int] = {list: ord("l")}
_held: dict[type, list[tuple[int, type, bool]]] = {}


def is_row(kind: type, mark: str, **held: type | list[type]) -> None:
    """Say that named tuples of a class are rows.

    Args:
        kind: The class.
        mark: A letter that no other kind of row has; empty for one that is only part of rows.
        held: The fields that are of such classes themselves: of one, or ``[of a tuple of them]``.
    """
    if mark:
        _marks[kind] = ord(mark)
    fields: tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    _held[kind] = [
        (fields.index(name), it[0] if isinstance(it, list) else it, isinstance(it, list)) for name, it in held.items()
    ]


is_row(Output, "", members=[Member], items=[Output])
is_row(Record, "r", reads=[Read], outputs=[Output])
is_row(Entry, "", reasons=[Reason])


def encode(row: object) -> bytes:
    """Turn a row, or a list of bytes, into checked bytes."""
    kind = type(row)
    mark = _marks[kind]
    plain: Any = row if kind is list else _taken_apart(kind, row)
    body = marshal.dumps(plain, _MARSHAL)
    return bytes((FORMAT, mark)) + xxhash.xxh3_128_digest(body, mark) + body


def decode(data: bytes, kind: type[_T]) -> _T:
    """Turn bytes from ``encode`` back into a row of a kind.

    Raises:
        DamagedError: The bytes are not what ``encode`` made of such a row, or another format wrote them.
    """
    if len(data) < _HEADER or data[0] != FORMAT:
        raise DamagedError("a row of the cache was not written by this version of its format")
    mark = data[1]
    body = memoryview(data)[_HEADER:]
    if data[2:_HEADER] != xxhash.xxh3_128_digest(body, mark):
        raise DamagedError("a row of the cache is damaged: its checksum does not match")
    if mark != _marks[kind]:
        raise DamagedError("a row of the cache is of another kind than its name says")
    try:
        plain: Any = marshal.loads(body)
        row: _T = plain if kind is list else _put_together(kind, plain)
    except (ValueError, TypeError, EOFError, IndexError) as error:
        raise DamagedError(f"a row of the cache has an unknown form: {error}") from error
    return row


def _taken_apart(kind: type, row: Any) -> tuple[Any, ...]:
    """Return a row without classes of ours, which marshal does not know."""
    return tuple(_converted(kind, row, _taken_apart))


def _put_together(kind: type, plain: tuple[Any, ...]) -> Any:
    return tuple.__new__(kind, _converted(kind, plain, _put_together))


def _converted(kind: type, row: Iterable[Any], convert: Callable[[type, Any], Any]) -> list[Any]:
    """Return the fields of a row, those converted that hold other rows."""
    fields = list(row)
    for place, inner, are_several in _held.get(kind, ()):
        held = fields[place]
        if not are_several:
            fields[place] = convert(inner, held)
        elif held:
            fields[place] = tuple([convert(inner, it) for it in held])
    return fields
