"""Named tuples are made here, not by typing: they are what those of typing are, without its import."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys
import typing

import pytest

from dagger import lean_typing
from dagger.cache.records import Read


class Lean(lean_typing.NamedTuple):
    """A point."""

    x: int
    y: int | None
    label: str = "p"

    def moved(self, by: int) -> Lean:
        """Return it elsewhere."""
        return self._replace(x=self.x + by)


class Usual(typing.NamedTuple):
    """A point."""

    x: int
    y: int | None
    label: str = "p"

    def moved(self, by: int) -> Usual:
        """Return it elsewhere."""
        return self._replace(x=self.x + by)


def _told(kind: type) -> str:
    try:
        return str(kind(1))
    except TypeError as error:
        return str(error).rpartition("()")[2]


LOOKS = {
    "fields": lambda it: (it._fields, it._field_defaults, it.__match_args__, list(it.__annotations__)),
    "docstring": lambda it: it.__doc__,
    "by place": lambda it: tuple(it(1, 2, "q")),
    "by name": lambda it: tuple(it(y=2, x=1)),
    "default": lambda it: it(1, 2).label,
    "made": lambda it: tuple(it._make([1, 2, 3])),
    "made of too few": lambda it: it._make([1]),
    "what is wrong": lambda it: _told(it),
    "copied otherwise": lambda it: tuple(copy.replace(it(1, 2), x=3)) if hasattr(copy, "replace") else None,
    "changed": lambda it: tuple(it(1, 2)._replace(y=5)),
    "a method": lambda it: tuple(it(1, 2).moved(3)),
    "dict": lambda it: it(1, 2)._asdict(),
    "repr": lambda it: repr(it(1, None)).partition("(")[2],
    "equal": lambda it: (it(1, 2) == (1, 2, "p"), hash(it(1, 2)) == hash((1, 2, "p"))),
    "type": lambda it: (type(it), isinstance(it(1, 2), tuple), hasattr(it(1, 2), "__dict__"), it.__module__),
    "signature": lambda it: it(1, 2) and [str(name) for name in inspect.signature(it).parameters],
    "copy": lambda it: (copy.copy(it(1, 2)) == it(1, 2), type(copy.deepcopy(it(1, []))) is it),
    "pickle": lambda it: [type(pickle.loads(pickle.dumps(it(1, 2), protocol))) is it for protocol in range(6)],
    "too few": lambda it: it(1),
    "too many": lambda it: it(1, 2, 3, 4),
    "unknown": lambda it: it(1, 2, z=3),
    "no such change": lambda it: it(1, 2)._replace(z=3),
    "set": lambda it: setattr(it(1, 2), "x", 5),
    "set other": lambda it: setattr(it(1, 2), "z", 5),
}


def came_to(look: typing.Any, kind: type) -> object:
    try:
        return look(kind)
    except Exception as error:
        # `_replace` says ValueError until Python 3.12, and TypeError from 3.13 on.
        return "no such field" if isinstance(error, (TypeError, ValueError)) else type(error)


class UpperLean(Lean):
    def __new__(cls, x: int) -> UpperLean:
        return super().__new__(cls, x, None, "upper")


class UpperUsual(Usual):
    def __new__(cls, x: int) -> UpperUsual:
        return super().__new__(cls, x, None, "upper")


def test_a_class_derived_from_one_keeps_its_own_constructor() -> None:
    for number in (1, 2):
        assert tuple(UpperLean(number)) == tuple(UpperUsual(number)) == (number, None, "upper")
    assert "__new__" in vars(Lean)
    assert tuple(Lean(1, 2)) == (1, 2, "p")


def test_what_is_public_can_be_looked_at_before_there_is_an_instance() -> None:
    """By `inspect`, and by those who ask for the types behind annotations."""
    code = """
import inspect, typing
from dagger import core
print([*inspect.signature(core.TaskReport).parameters] == [*core.TaskReport._fields])
for name in core.__all__:
    typing.get_type_hints(getattr(core, name))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "True\n"


@pytest.mark.parametrize("name", LOOKS)
def test_named_tuples_are_those_of_typing(name: str) -> None:
    assert came_to(LOOKS[name], Lean) == came_to(LOOKS[name], Usual)


def test_a_class_without_an_instance_yet_can_be_unpickled_and_matched() -> None:
    """What makes instances is compiled for the first one, wherever that comes from."""
    code = f"""
import pickle
from dagger.cache.records import Read
match pickle.loads({pickle.dumps(Read("file", "x", "ab"))!r}):
    case Read(kind, name=name) as read:
        print(kind, name, read)
"""
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said == "file x Read(kind='file', name='x', digest='ab')\n"
