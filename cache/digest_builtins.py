"""Openers of the standard library's values: containers, numbers, times, bytes-likes.

What pickles by its meaning (Decimal, Fraction, UUID, deque, OrderedDict, re.Pattern, ...) needs
none: `digest_instances` opens it by what it reduces to. Here is what does not pickle, what pickles
by representation, and what is so common that it should be quick.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xxhash import xxh3_128_digest

from dagger.cache.digest_encoding import (
    LEAVES,
    Branch,
    by_key,
    by_names,
    by_nothing,
    by_position,
    flat,
    seal,
    tag,
)
from dagger.cache.digest_instances import attributes, class_name, refuse
from dagger.errors import UndigestibleError
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]

# Subclasses of builtins, as the builtin itself, past any method that the subclass overrides.
PLAIN: dict[type, Callable[[Any], object]] = {
    list: lambda value: list.__getitem__(value, slice(None)),
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    dict: dict.copy,
    set: lambda value: set().union(value),
    frozenset: lambda value: set().union(value),
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
}


def _sequence(kind: bytes) -> Opener:
    def open_sequence(value: Sequence[object], _code: Code) -> bytes | Branch:
        body = flat(value)
        if body is not None:
            return seal(kind + b"%d:" % len(value) + body)
        return Branch(value, kind, value, by_position)

    return open_sequence


def _dict(value: dict[Any, Any], _code: Code) -> bytes | Branch:
    keys, values = list(value), list(value.values())
    return _pairs(value, b"d", keys, values)


def _pairs(value: object, head: bytes, keys: list[object], values: list[object]) -> bytes | Branch:
    flat_keys = flat(keys)
    flat_values = flat(values) if flat_keys is not None else None
    if flat_keys is not None and flat_values is not None:
        return seal(head + b"%d:" % (2 * len(keys)) + flat_keys + flat_values)
    return Branch(value, head, keys + values, by_key)


def _set(kind: bytes) -> Opener:
    def open_set(value: Any, _code: Code) -> bytes | Branch:
        leaves = LEAVES
        try:
            members = sorted([leaves[type(member)](member) for member in value])
        except KeyError:
            return Branch(value, kind, list(value), lambda _branch, _position: "{...}", True)
        return seal(kind + b"%d:" % len(members) + b"".join(members))

    return open_set


def _leaf(value: object, _code: Code) -> bytes:
    # Reached for subclasses only: an exact leaf never gets as far as an opener.
    return LEAVES[type(value)](value)


def _buffer(kind: str) -> Opener:
    def open_buffer(value: Any, _code: Code) -> bytes:
        view = memoryview(value)
        head = tag(kind, view.format, *map(str, view.shape or ()))
        data = view if view.c_contiguous else view.tobytes()
        return seal(head + b"%d:" % view.nbytes + xxh3_128_digest(data))

    return open_buffer


def _mapping_proxy(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("mappingproxy"), (dict(value),), by_nothing)


def _dict_view(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("view", type(value).__name__), list(value), by_position)


def _range(value: range, _code: Code) -> bytes:
    return seal(tag("range") + (flat((value.start, value.stop, value.step)) or b""))


def _slice(value: slice, _code: Code) -> Branch:
    names = ("start", "stop", "step")
    return Branch(value, tag("slice"), (value.start, value.stop, value.step), by_names(names))


def _date(value: Any, _code: Code) -> bytes:
    return tag("date") + b"%d;" % value.toordinal()


def _datetime(value: Any, _code: Code) -> bytes | Branch:
    moment = (
        *(value.year, value.month, value.day, value.hour, value.minute, value.second),
        *(value.microsecond, value.fold),
    )
    head = tag("datetime") + b"%d,%d,%d,%d,%d,%d,%d,%d;" % moment
    return _with_zone(value, head)


def _time(value: Any, _code: Code) -> bytes | Branch:
    moment = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return _with_zone(value, tag("time") + b"%d,%d,%d,%d,%d;" % moment)


def _with_zone(value: Any, head: bytes) -> bytes | Branch:
    if value.tzinfo is None:
        return seal(head + b"0:")
    return Branch(value, head, (value.tzinfo,), by_names(("tzinfo",)))


def _timedelta(value: Any, _code: Code) -> bytes:
    return tag("timedelta") + b"%d,%d,%d;" % (value.days, value.seconds, value.microseconds)


def _zone(value: Any, _code: Code) -> bytes:
    if value.key is None:
        raise UndigestibleError("", "ZoneInfo without a key")
    return seal(tag("zone", class_name(type(value)), value.key))


def _decimal(value: Any, _code: Code) -> bytes:
    # The string tells 1.0 from 1.00, -0 from 0 and one NaN's diagnosis from another's.
    return seal(tag("decimal", str(value)))


def _path(value: Any, _code: Code) -> bytes:
    return seal(tag("path", type(value).__name__, str(value)))


def _enum(value: Any, _code: Code) -> Branch:
    own = {name: item for name, item in vars(value).items() if not name.startswith("_") or not name.endswith("_")}
    names = ("value", *sorted(own))
    head = tag("enum", class_name(type(value)), value._name_ or "", *names)
    return Branch(value, head, (value._value_, *(own[name] for name in names[1:])), by_names(names))


def _namespace(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("namespace"), (attributes(value),), by_nothing)


_PART = False
_WHOLE = True

# By module and name; whether subclasses are opened whole, rather than as contents and attributes.
BUILTINS: dict[str, tuple[Opener, bool]] = {
    "builtins.list": (_sequence(b"l"), _PART),
    "builtins.tuple": (_sequence(b"t"), _PART),
    "builtins.dict": (_dict, _PART),
    "builtins.set": (_set(b"e"), _PART),
    "builtins.frozenset": (_set(b"z"), _PART),
    "builtins.bytearray": (_buffer("bytearray"), _PART),
    "builtins.memoryview": (_buffer("memoryview"), _PART),
    "array.array": (_buffer("array"), _PART),
    "builtins.mappingproxy": (_mapping_proxy, _PART),
    "builtins.dict_keys": (_dict_view, _PART),
    "builtins.dict_values": (_dict_view, _PART),
    "builtins.dict_items": (_dict_view, _PART),
    "builtins.range": (_range, _PART),
    "builtins.slice": (_slice, _PART),
    "datetime.datetime": (_datetime, _PART),
    "datetime.date": (_date, _PART),
    "datetime.time": (_time, _PART),
    "datetime.timedelta": (_timedelta, _PART),
    "zoneinfo.ZoneInfo": (_zone, _WHOLE),
    "decimal.Decimal": (_decimal, _PART),
    "pathlib.PurePath": (_path, _PART),
    "pathlib.PosixPath": (_path, _PART),
    "pathlib.WindowsPath": (_path, _PART),
    "pathlib.PurePosixPath": (_path, _PART),
    "pathlib.PureWindowsPath": (_path, _PART),
    "pathlib.Path": (_path, _PART),
    "enum.Enum": (_enum, _WHOLE),
    "types.SimpleNamespace": (_namespace, _PART),
    "weakref.ReferenceType": (refuse, _WHOLE),
    "weakref.CallableProxyType": (refuse, _WHOLE),
    "weakref.ProxyType": (refuse, _WHOLE),
    **{f"builtins.{kind.__name__}": (_leaf, _PART) for kind in PLAIN if kind in LEAVES},
}
