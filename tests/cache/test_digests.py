"""Value digests of Python's own values: one digest for one meaning."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import operator
import pathlib
import random
import re
import socket
import sys
import threading
import time
import types
import typing
import uuid
import weakref
import zoneinfo
from typing import Any

import pytest

from dagger.cache.digests import digest_bytes, digest_text, digest_value, register_digest
from dagger.errors import UndigestibleError


def code(thing: Any) -> str:
    return digest_text(f"{type(thing).__name__} {thing.__name__}")


def digest(value: object) -> str:
    return digest_value(value, code=code)


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - another name for RED
    BLUE = 2


class Number(enum.IntEnum):
    ONE = 1


class Flags(enum.Flag):
    A = 1
    B = 2


class Word(str, enum.Enum):
    A = "a"


Pair = collections.namedtuple("Pair", "x y")
Other = collections.namedtuple("Other", "x y")


@dataclasses.dataclass
class Point:
    x: object
    y: object = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: object


class Plain:
    def __init__(self, **attributes: object) -> None:
        vars(self).update(attributes)

    def method(self) -> None: ...


class Slots:
    __slots__ = ("__hidden", "x")

    def __init__(self, x: object, hidden: object) -> None:
        self.x = x
        self.__hidden = hidden


class MyList(list):  # type: ignore[type-arg]
    pass


class MyInt(int):
    pass


class MyDict(dict):  # type: ignore[type-arg]
    pass


class MyPath(type(pathlib.Path())):  # type: ignore[misc]
    pass


class MyDate(datetime.datetime):
    pass


class Pickled:
    def __init__(self, x: object) -> None:
        self.x = x
        self.lock = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        return {"x": self.x}


class Singleton:
    def __reduce__(self) -> str:
        return "SINGLETON"


SINGLETON = Singleton()


class Counted:
    """An iterator with a state that can be seen."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> int:
        self.at += 1
        return self.at


def _with(value: Any, **attributes: object) -> Any:
    for name, item in attributes.items():
        setattr(value, name, item)
    return value


def _function() -> None: ...


UTC = datetime.timezone.utc
PARIS = zoneinfo.ZoneInfo("Europe/Paris")
MOMENT = datetime.datetime(2024, 10, 27, 2, 30)

# No two of these mean the same.
DIFFERENT: list[tuple[str, typing.Callable[[], object]]] = [
    ("nothing", lambda: [None, False, 0, 0.0, -0.0, 0j, "", b"", (), [], {}, set(), frozenset()]),
    ("one", lambda: [1, True, 1.0, 1 + 0j, "1", b"1", decimal.Decimal(1), fractions.Fraction(1)]),
    ("one as subclass", lambda: [MyInt(1), Number.ONE, Colour.RED, _with(MyInt(1), x=1), Flags.A]),
    ("constants", lambda: [..., NotImplemented, None, object()]),
    ("integers", lambda: [*range(-40, 40), *(sign << n for n in range(60, 70) for sign in (1, -1))]),
    ("more integers", lambda: [2**64 - 1, -(2**64), 10**5000, 10**5000 + 1]),
    ("floats", lambda: [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 5e-324]),
    ("complex", lambda: [0j, -0j, complex(-0.0, 0.0), complex("nan"), complex(0, float("nan"))]),
    ("decimals", lambda: [decimal.Decimal(x) for x in ("1.0", "1.00", "-0", "0", "NaN", "sNaN")]),
    ("texts", lambda: ["", "a", "ä", "a\u0308", "\ud800", "\udc00", "\U00010000", "a" * 65, "a" * 66]),
    ("long texts", lambda: ["x" * 64, "x" * 65, b"x" * 64, b"x" * 65, bytearray(b"x" * 65)]),
    ("bytes-likes", lambda: [b"a", bytearray(b"a"), memoryview(b"a"), array.array("b", b"a")]),
    ("memoryviews", lambda: [memoryview(b"abcd"), memoryview(b"abcd").cast("b"), memoryview(b"abcd")[::2]]),
    ("array types", lambda: [array.array(kind, [1]) for kind in "bBhHiIlLqQfd"]),
    ("boundaries of texts", lambda: [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"]]),
    ("boundaries of lists", lambda: [[[1], 2], [1, [2]], [[1, 2]], [1, 2], [[1], [2]], [[], 1, 2]]),
    ("boundaries in bulk", lambda: [["ab"] * 16, ["ab"] * 15 + ["a", "b"], ["a", "b"] * 16, "ab" * 16]),
    ("bulk of kinds", lambda: [[0] * 20, [0.0] * 20, [-0.0] * 20, [False] * 20, [""] * 20, [0] * 21]),
    ("dict orders", lambda: [{1: 2, 3: 4}, {3: 4, 1: 2}, {1: 3, 2: 4}, {1: 4, 3: 2}, [(1, 2), (3, 4)]]),
    ("keys and values", lambda: [{1: 2}, {2: 1}, {1: {}}, {1: ()}, [1, 2], (1, 2)]),
    ("dict kinds", lambda: [{1: 2}, collections.OrderedDict({1: 2}), collections.Counter({1: 2})]),
    ("more dict kinds", lambda: [MyDict({1: 2}), types.MappingProxyType({1: 2}), {1: 2}.items()]),
    ("defaults", lambda: [collections.defaultdict(kind, {1: 2}) for kind in (list, int, None)]),
    ("deques", lambda: [collections.deque([1, 2]), collections.deque([1, 2], 2), [1, 2]]),
    ("sets", lambda: [{1, 2}, frozenset({1, 2}), {(1,), 2}, {1, (2,)}, [1, 2], {1: None, 2: None}]),
    ("lists", lambda: [[1, 2], (1, 2), MyList([1, 2]), _with(MyList([1, 2]), x=1), Pair(1, 2)]),
    ("named tuples", lambda: [Pair(1, 2), Other(1, 2), Pair(2, 1), (1, 2)]),
    ("instances", lambda: [Plain(), Plain(x=1), Plain(y=1), Plain(x=1, y=None), Point(1), Frozen(1)]),
    ("fields", lambda: [Point(1, 0), Point(1, 1), Point(1, 1.0), Point(1, True), _with(Point(1), z=1)]),
    ("slots", lambda: [Slots(1, 2), Slots(2, 1), Slotted(1), Slotted([1]), Slotted((1,))]),
    ("states", lambda: [Pickled(1), Pickled(2), Counted(), SINGLETON]),
    ("enums", lambda: [Colour.RED, Colour.BLUE, Word.A, "a", Flags.A, Flags.A | Flags.B, Flags(0)]),
    ("ranges", lambda: [range(3), range(0, 3, 2), range(0), range(1, 0), slice(3), slice(0, 3), (0, 3, 1)]),
    ("times", lambda: [datetime.date(2024, 10, 27), MOMENT, MOMENT.replace(fold=1), MOMENT.time()]),
    ("zones", lambda: [MOMENT.replace(tzinfo=zone) for zone in (None, UTC, PARIS)]),
    ("folds", lambda: [MOMENT.replace(tzinfo=PARIS), MOMENT.replace(tzinfo=PARIS, fold=1)]),
    ("same moment", lambda: [MOMENT.replace(tzinfo=UTC), MOMENT.replace(tzinfo=UTC).astimezone(PARIS)]),
    ("zone objects", lambda: [UTC, PARIS, zoneinfo.ZoneInfo("Europe/Berlin"), datetime.timezone.min]),
    ("dates' subclasses", lambda: [MOMENT, MyDate(2024, 10, 27, 2, 30), _with(MyDate(2024, 10, 27), x=1)]),
    ("durations", lambda: [datetime.timedelta(1), datetime.timedelta(seconds=1), datetime.timedelta()]),
    ("paths", lambda: [pathlib.Path("a"), pathlib.PurePosixPath("a"), MyPath("a"), "a", pathlib.Path("/a")]),
    ("identifiers", lambda: [uuid.UUID(int=1), uuid.UUID(int=2), 1]),
    ("patterns", lambda: [re.compile("a"), re.compile("a", re.I), re.compile(b"a"), "a"]),
    ("functions", lambda: [_function, code, len, operator.add, str.upper, [].append, [1].append]),
    ("partials", lambda: [functools.partial(_function, *a) for a in ((), (1,), ([1],))]),
    ("partials' names", lambda: [functools.partial(_function, a=1), functools.partial(_function, b=1)]),
    ("methods", lambda: [Plain(x=1).method, Plain(x=2).method, Plain.method, (1).__add__, (2).__add__]),
    ("classes", lambda: [int, Plain, Colour, Plain(), type, list[int], list[str], int | str]),
    ("annotations", lambda: [typing.Any, int | None, list[int], dict[str, int]]),
    ("type variables", lambda: [typing.TypeVar("T"), typing.TypeVar("U"), typing.TypeVar("T", bound=int)]),
    ("generators", lambda: [random.Random(1), random.Random(2), random.random, random.choice]),
    ("errors", lambda: [ValueError(1), ValueError(2), TypeError(1), _with(ValueError(1), x=1)]),
    ("files in memory", lambda: [io.BytesIO(b"a"), io.BytesIO(b"b"), io.StringIO("a")]),
    ("wrappings", lambda: [property(_function), property(code), staticmethod(_function)]),
    ("namespaces", lambda: [types.SimpleNamespace(a=1), types.SimpleNamespace(a=2), {"a": 1}]),
]  # fmt: skip


@pytest.mark.parametrize("make", [make for _, make in DIFFERENT], ids=[name for name, _ in DIFFERENT])
def test_different_meanings_differ(make: typing.Callable[[], list[object]]) -> None:
    """What a function can tell apart has digests of its own, also inside of something."""
    values = make()
    assert len({digest(value) for value in values}) == len(values)
    assert len({digest([[value], 1]) for value in values}) == len(values)
    assert len({digest({"key": value}) for value in values}) == len(values)


@pytest.mark.parametrize("make", [make for _, make in DIFFERENT], ids=[name for name, _ in DIFFERENT])
def test_made_again_is_the_same(make: typing.Callable[[], list[object]]) -> None:
    """A value that is made a second time has the digest of the first."""
    assert [digest(value) for value in make()] == [digest(value) for value in make()]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({1, 9, 17}, {17, 9, 1}),
        (frozenset("abc"), frozenset("cba")),
        ({("a", 1), ("b", 2)}, {("b", 2), ("a", 1)}),
        (float("nan"), -float("nan")),
        (float("inf") - float("inf"), float("nan")),
        ([float("nan")] * 20, [-float("nan")] * 20),
        (Plain(x=1, y=2), Plain(y=2, x=1)),
        (Colour.RED, Colour.CRIMSON),
        (Pickled(1), Pickled(1)),
        (memoryview(bytearray(b"abc")), memoryview(b"abc")),
        (memoryview(b"a-b-c-")[::2], memoryview(b"abc")),
        (datetime.timezone(datetime.timedelta(0)), datetime.timezone.utc),
        (zoneinfo.ZoneInfo.no_cache("UTC"), zoneinfo.ZoneInfo("UTC")),
        (random.Random(3).choice, random.Random(3).choice),
    ],
)
def test_same_meaning_is_the_same(one: object, other: object) -> None:
    """Order of sets and of attributes, NaNs and buffers make no difference."""
    assert digest(one) == digest(other)


def test_shared_and_copied_parts_are_the_same() -> None:
    """Whether two parts are one object makes no difference."""
    part = [1, {"a": ["long enough to be remembered" * 9]}]
    value = [part, part, {"again": part}]
    assert digest(value) == digest([copy.deepcopy(item) for item in value])
    assert digest([Point(part), Point(part)]) == digest(copy.deepcopy([Point(part), Point(copy.copy(part))]))


def test_temporary_parts_do_not_get_mixed_up() -> None:
    """Ids of parts that lived only for the walk are not taken for one another's."""

    class Made:
        def __init__(self, n: int) -> None:
            self.n = n

        def __reduce__(self) -> Any:
            return Made, ([[str(self.n) * 50, [self.n]]],)

    values = [Made(n) for n in range(500)]
    assert digest(values) == digest([Made(n) for n in range(500)])
    assert len({digest([value, values[0]]) for value in values}) == 500


def test_recursive_values() -> None:
    """What contains itself has a digest, by what its unfolding looks like."""
    one: list[Any] = []
    one.append(one)
    two: list[Any] = [[]]
    two[0].append(two)
    assert digest(one) == digest(two) != digest([[]])
    assert digest([one, one]) == digest([one, two])
    keyed: dict[str, Any] = {"a": 1}
    keyed["self"] = keyed
    other: dict[str, Any] = {"a": 2}
    other["self"] = other
    assert digest(keyed) != digest(other)
    mylist = MyList([1])
    mylist.append(mylist)
    assert digest(mylist) == digest(copy.deepcopy(mylist)) != digest(one)


def _family(children: int, favourite: int) -> Plain:
    parent = Plain(name="parent")
    made = [Plain(parent=parent, number=number) for number in range(children)]
    vars(parent).update(children=set(made), favourite=made[favourite])
    return parent


def test_recursive_objects() -> None:
    """Trees with parent pointers, in sets too, are told apart by what is in them."""
    assert digest(_family(9, 2)) == digest(_family(9, 2))
    assert len({digest(_family(9, 2)), digest(_family(9, 3)), digest(_family(8, 2))}) == 3


def test_entering_a_cycle_elsewhere() -> None:
    """A part of a cycle has one digest, wherever the cycle was entered."""
    parent = _family(4, 1)
    assert digest([parent, parent.favourite]) == digest([parent, copy.deepcopy(parent.favourite)])
    assert digest((parent.favourite, parent)) == digest(copy.deepcopy((parent.favourite, parent)))


def _grid(size: int, mark: int) -> list[Plain]:
    nodes = [Plain(mark=number == mark) for number in range(size * size)]
    for number, node in enumerate(nodes):
        places = [number - 1, number + 1, number - size, number + size]
        vars(node)["near"] = [nodes[place % len(nodes)] for place in places]
    return nodes


def test_dense_graphs_are_not_unfolded() -> None:
    """A graph of objects takes time by its size, not by its number of paths."""
    started = time.perf_counter()
    assert digest(_grid(12, 5)) == digest(_grid(12, 5)) != digest(_grid(12, 6))
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "object", "ring", "chain"])
def test_depth_has_no_limit(kind: str) -> None:
    """Containers 100,000 deep are digested, in time that grows with their size."""

    def build(leaf: object) -> list[object]:
        top: list[object] = []
        links: list[Any] = []
        value: Any = leaf
        for _ in range(100_000):
            if kind == "tuple":
                value = (value,)
            elif kind == "dict":
                value = {"a": value}
            elif kind == "object":
                value = Frozen(value)
            else:
                value = [value]
                links.append(value)
        top.append(value)
        if kind == "ring":
            links[0].append(top)
        elif kind == "chain":
            for link in links:
                link.append(links[0])
        return top

    started = time.perf_counter()
    values = build("a"), build("a"), build("b")
    first, again, other = map(digest, values)
    assert first == again != other
    assert time.perf_counter() - started < 60
    for value in values:
        value.clear()


def test_sharing_costs_nothing() -> None:
    """A part that is shared a billion times over is looked at once."""
    value: list[object] = [object()]
    for _ in range(100):
        value = [value, value]
    started = time.perf_counter()
    digest(value)
    assert time.perf_counter() - started < 5


def _undigestible() -> list[tuple[str, object, str]]:
    held = Plain(optimizer=(n for n in ()))
    lock = threading.Lock()
    return [
        ("value['model'].optimizer", {"model": held}, "generator"),
        ("value[1][0]", [1, [lock]], "lock"),
        ("value.x", Point(lock), "lock"),
        ("value.x", Slotted(lock), "lock"),
        ("value.y", Pair(1, lock), "lock"),
        ("value.args[0]", functools.partial(_function, lock), "lock"),
        ("value.__self__", [].__iter__().__next__, "list_iterator"),
        ("value{...}", {lock}, "lock"),
        ("value key lock", {lock: 1}, "lock"),
        ("value.attribute", _with(MyList(), attribute=lock), "lock"),
        ("value", itertools.count(), "count"),
        ("value", sys._getframe(), "frame"),
        ("value", weakref.ref(held), "ReferenceType"),
        ("value", threading.local(), "_local"),
        ("value", map(int, ()), "map"),
        ("value", _function.__code__, "code"),
        ("value", zip(), "zip"),
    ]


@pytest.mark.parametrize(("path", "value", "kind"), _undigestible())
def test_what_has_no_digest_says_where(path: str, value: object, kind: str) -> None:
    """The error names the path to the offending part, and its type."""
    with pytest.raises(UndigestibleError) as caught:
        digest(value)
    assert (caught.value.path, caught.value.kind) == (path, kind)


def test_open_things_have_no_digest(tmp_path: pathlib.Path) -> None:
    """Files, sockets and coroutines are refused."""

    async def wait() -> None: ...

    coroutine = wait()
    with open(tmp_path / "file", "w") as file, socket.socket() as connection:
        for value in (file, connection, coroutine):
            with pytest.raises(UndigestibleError, match=r"^data\[0\]: "):
                digest_value([value], path="data")
    coroutine.close()


def test_a_class_that_fails_has_no_digest() -> None:
    """An error in somebody's __getstate__ is an UndigestibleError that tells of it."""

    class Broken:
        def __reduce_ex__(self, _protocol: object) -> Any:
            raise ZeroDivisionError

    with pytest.raises(UndigestibleError, match=r"value\[0\]: .*Broken"):
        digest([Broken()])


def test_functions_and_classes_go_through_code() -> None:
    """A function, or a class as a value, counts by what `code` says; an instance's class by name."""
    seen: list[object] = []

    def note(thing: object) -> str:
        seen.append(thing)
        return digest_text("same")

    same = [digest_value(thing, code=note) for thing in (_function, code, Plain)]
    assert seen == [_function, code, Plain]
    assert len(set(same)) == 1
    digest_value([Plain(), Point(1), Colour.RED, Pair(1, 2), MyList(), int], code=note)
    assert len(seen) == 3


def test_what_code_refuses_is_named() -> None:
    """The path leads to the function, and on to what it cannot do with."""

    def refuse(_thing: object) -> str:
        raise UndigestibleError("helpers.CONNECTION", "socket")

    with pytest.raises(UndigestibleError, match=r"^value\['f'\] > helpers.CONNECTION: socket"):
        digest_value({"f": _function}, code=refuse)


def test_registered_digests() -> None:
    """A type's own digest wins, for its subclasses too unless they have theirs."""

    class Base:
        def __init__(self, x: object, noise: object = None) -> None:
            self.x, self.noise = x, noise

    class Derived(Base):
        pass

    class More(Derived):
        pass

    register_digest(Base, lambda value: value.x)
    register_digest(More, lambda value: value.noise)
    assert digest(Base(1, 2)) == digest(Base(1, 3)) != digest(Base(2))
    assert digest(Derived(1, 2)) == digest(Derived(1, 3)) != digest(Base(1))
    assert digest(More(1, 2)) == digest(More(2, 2)) != digest(More(1, 3))
    with pytest.raises(UndigestibleError, match=r"^value\[0\]: lock"):
        digest([Base(threading.Lock())])


def test_bytes_and_texts() -> None:
    """Bytes are digested by xxh3_128, from any buffer."""
    assert digest_bytes(b"") == "99aa06d3014798d86001c324468d497f"
    assert digest_bytes(memoryview(b"a-b-")[::2]) == digest_bytes(b"ab") == digest_text("ab")
    assert len(digest_text("\ud800")) == 32


def test_looking_leaves_no_trace() -> None:
    """A class is not changed by a look at its instance."""

    class Untouched:
        def __init__(self) -> None:
            self.x = 1

    before = set(vars(Untouched))
    digest(Untouched())
    assert set(vars(Untouched)) == before
