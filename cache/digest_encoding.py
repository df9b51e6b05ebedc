"""How a value turns into bytes: leaves at once, everything else as a branch of what it is made of.

Every encoding says its kind first and where it ends, so no two different values can feed the same
bytes: numbers end with `;`, texts begin with their length, a branch begins with the number of its
parts. A branch longer than `INLINE` bytes stands in its parent as the xxh3_128 of its bytes.
The walk over branches is in `digests`; what a branch is made of, in the `digest_*` modules beside.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence

from xxhash import xxh3_128_digest

INLINE = 64
_BULK = 16
_INT64 = 1 << 63
_NAN = float("nan")
_double = struct.Struct("<d").pack


class Encoded(bytes):
    """Bytes that are an encoding already, to stand among the children of a branch."""

    __slots__ = ()


class Branch:
    """A value as the walk sees it: what it is, and the parts it is made of.

    Attributes:
        value: Kept alive as long as its id may be remembered.
        tag: Kind and names; different for any two values whose parts could be alike.
        children: The parts, in an order that is the same in every process, or `unordered`.
        label: Says where the n-th child sits, as in `.name` or `['key']`, for messages only.
        parts: The children's encodings so far; a branch in place of bytes is one of a cycle.
    """

    __slots__ = (
        "children", "cyclic", "index", "label", "low", "parts", "rest", "shared", "tag", "unordered",
        "value",
    )  # fmt: skip

    def __init__(
        self,
        value: object,
        tag: bytes,
        children: Sequence[object],
        label: Callable[[Branch, int], str],
        unordered: bool = False,
    ) -> None:
        self.value = value
        self.tag = tag
        self.children = children
        self.label = label
        self.unordered = unordered
        self.rest: Iterator[object] = iter(children)
        self.parts: list[bytes | Branch] = []
        self.index = self.low = 0
        self.cyclic = self.shared = False

    def encode(self, stand_in: Callable[[Branch], bytes] | None = None) -> bytes:
        """The whole branch as bytes, with `stand_in` for the parts that belong to its own cycle."""
        if stand_in is None:
            parts: list[bytes] = self.parts  # type: ignore[assignment]
        else:
            parts = [stand_in(part) if type(part) is Branch else part for part in self.parts]  # type: ignore[misc]
        if self.unordered:
            parts = sorted(parts)
        return self.tag + b"%d:" % len(parts) + b"".join(parts)


def seal(encoding: bytes) -> bytes:
    """What stands for a branch in its parent: itself when short, its digest otherwise."""
    return encoding if len(encoding) <= INLINE else b"#" + xxh3_128_digest(encoding)


def text(string: str) -> bytes:
    """UTF-8 that also takes the lone surrogates which a Python string may hold."""
    return string.encode("utf-8", "surrogatepass")


def tag(kind: str, *names: str) -> bytes:
    """The head of a branch: its kind and the names that belong to it."""
    head = b"<%s/%d>" % (kind.encode(), len(names))
    for name in names:
        data = text(name)
        head += b"%d:%s" % (len(data), data)
    return head


def by_position(_branch: Branch, position: int) -> str:
    """Label of a list's item."""
    return f"[{position}]"


def by_key(branch: Branch, position: int) -> str:
    """Label of a dict's item, whose branch holds all keys and then all values."""
    half = len(branch.children) // 2
    if position >= half:
        key = branch.children[position - half]
        return f"[{_brief(key)}]"
    return f" key {_brief(branch.children[position])}"


def by_nothing(_branch: Branch, _position: int) -> str:
    """Label of a part that has no name of its own."""
    return ""


def by_names(names: Sequence[str]) -> Callable[[Branch, int], str]:
    """Labels of attributes: `.name`, or nothing where the name is empty or missing."""

    def label(_branch: Branch, position: int) -> str:
        name = names[position] if position < len(names) else ""
        return f".{name}" if name else ""

    return label


def _brief(key: object) -> str:
    # An arbitrary repr may be long, slow or recursive.
    return repr(key)[:80] if isinstance(key, (str, int, float, bytes)) else type(key).__name__


def _integer(value: int) -> bytes:
    if -_INT64 <= value < _INT64:
        return b"i%d;" % value
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"I%d:" % len(data) + data


def _real(value: float) -> bytes:
    # One NaN: x86 and ARM differ in the sign of inf - inf.
    return b"f" + _double(value if value == value else _NAN)


def _complex(value: complex) -> bytes:
    return b"c" + _real(value.real) + _real(value.imag)


def _string(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    if len(data) <= INLINE:
        return b"s%d:%s" % (len(data), data)
    return b"S%d:%s" % (len(data), xxh3_128_digest(data))


def _bytes(value: bytes) -> bytes:
    if len(value) <= INLINE:
        return b"b%d:%s" % (len(value), value)
    return b"B%d:%s" % (len(value), xxh3_128_digest(value))


LEAVES: dict[type, Callable[..., bytes]] = {
    int: _integer,
    float: _real,
    complex: _complex,
    str: _string,
    bytes: _bytes,
    bool: lambda value: b"T" if value else b"F",
    type(None): lambda _value: b"N",
    type(...): lambda _value: b"E",
    type(NotImplemented): lambda _value: b"n",
    Encoded: bytes,
}


def flat(values: Sequence[object]) -> bytes | None:
    """All values in a row, or None if one of them is not a leaf."""
    leaves = LEAVES
    if len(values) >= _BULK:
        kinds = set(map(type, values))
        if len(kinds) == 1:
            bulk = _BULKS.get(next(iter(kinds)))
            encoding = bulk(values) if bulk is not None else None
            if encoding is not None:
                return encoding
        if not kinds <= leaves.keys():
            return None
    try:
        return b"".join([leaves[type(value)](value) for value in values])
    except KeyError:
        return None


def row(numbers: array[int] | array[float]) -> bytes:
    """Numbers as little-endian bytes."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _integers(values: Iterable[int]) -> bytes | None:
    try:
        return b"*i" + row(array("q", values))
    except OverflowError:
        return None


def _reals(values: Sequence[float]) -> bytes:
    total = sum(values)
    if total != total:
        values = [value if value == value else _NAN for value in values]
    return b"*f" + row(array("d", values))


def _strings(values: Sequence[str]) -> bytes | None:
    if sum(map(len, values)) > INLINE * len(values):
        # One long text may stand here many times.
        return None
    data = text("".join(values))
    return b"*s%d:" % len(data) + row(array("q", map(len, values))) + data


# Lists of one kind of leaf, in one go: ten times as fast as one by one.
_BULKS: dict[type, Callable[..., bytes | None]] = {int: _integers, float: _reals, str: _strings}


def forget_leaf(kind: type) -> None:
    """Somebody registered a digest of their own for this kind of leaf."""
    LEAVES.pop(kind, None)
    _BULKS.pop(kind, None)
