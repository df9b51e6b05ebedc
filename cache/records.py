"""What is remembered of a task, and how it is turned into bytes and back.

Sits between the engine, which fills these tuples, and the index, which keeps their bytes. Every
row is ``format (1 byte), flags (1 byte), checksum of the rest (16 bytes), MessagePack``: a flipped
bit anywhere is noticed here and costs a rerun, never a wrong result. A run with nothing to do reads
no row, and so does without msgspec, whose import takes as long as that of all the rest.

The annotations of rows are not postponed, here and in ``rows`` and ``uses``: msgspec would compile
each when the first row is read.
"""

from collections.abc import Callable

import xxhash

from dagger.errors import DamagedError
from dagger.lean_typing import NamedTuple, TypeVar

FORMAT = 1
INLINE_LIMIT = 4096
LOG_LIMIT = 8192

Row = tuple[str, str, str]
"""One row of a manifest: kind, name, digest or text."""

_HEADER = 18
_ESCAPED = 1
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
    items: tuple["Output", ...] = ()
    classes: tuple[str, ...] = ()


Output.__annotations__["items"] = tuple[Output, ...]  # Python 3.10 does not resolve a name inside of a plain type


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


def encode(value: object) -> bytes:
    """Turn a struct, or plain lists, dicts and tuples of simple values, into checked bytes."""
    import msgspec

    flags = 0
    try:
        body = msgspec.msgpack.encode(value)
    except UnicodeEncodeError:
        # A file name that is not UTF-8, or a log with stray bytes: Python holds these as lone
        # surrogates.
        flags = _ESCAPED
        body = msgspec.msgpack.encode(_each_text(msgspec.to_builtins(value, builtin_types=(bytes,)), _escape))
    tail = bytes((FORMAT, flags))
    return tail + _checksum(tail, body) + body


def decode(data: bytes, type_: type[_T]) -> _T:
    """Turn bytes from ``encode`` back into a value of ``type_``.

    Raises:
        DamagedError: The bytes are not what ``encode`` wrote, or another format wrote them.
    """
    import msgspec

    if len(data) < _HEADER or data[0] != FORMAT:
        raise DamagedError("a row of the cache was not written by this version of its format")
    body = memoryview(data)[_HEADER:]
    if data[2:_HEADER] != _checksum(data[:2], body):
        raise DamagedError("a row of the cache is damaged: its checksum does not match")
    try:
        if not data[1] & _ESCAPED:
            return msgspec.msgpack.decode(body, type=type_)
        plain = _each_text(msgspec.msgpack.decode(body), _unescape)
        return msgspec.convert(plain, type=type_, builtin_types=(bytes,))
    except (msgspec.DecodeError, ValueError) as error:
        raise DamagedError(f"a row of the cache has an unknown form: {error}") from error


def _checksum(head: bytes, body: bytes | memoryview) -> bytes:
    state = xxhash.xxh3_128(head)
    state.update(body)
    return state.digest()


# Compiled when first used, which no run with nothing to do comes to.
_LONE = "[\0\ud800-\udfff]"
_MARKED = "\0([0-9a-f]{4})"


def _escape(text: str) -> str:
    """Write each lone surrogate, and the mark itself, as a NUL and four hexadecimal digits."""
    import re

    return re.sub(_LONE, lambda found: f"\0{ord(found[0]):04x}", text)


def _unescape(text: str) -> str:
    import re

    return re.sub(_MARKED, lambda found: chr(int(found[1], 16)), text)


def _each_text(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {_each_text(name, change): _each_text(item, change) for name, item in value.items()}
    return value
