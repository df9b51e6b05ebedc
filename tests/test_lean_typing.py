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


LOOKS = {
    "fields": lambda it: (it._fields, it._field_defaults, it.__match_args__, list(it.__annotations__)),
    "docstring": lambda it: it.__doc__,
    "by place": lambda it: tuple(it(1, 2, "q")),
    "by name": lambda it: tuple(it(y=2, x=1)),
    "default": lambda it: it(1, 2).label,
    "made": lambda it: tuple(it._make([1, 2, 3])),
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
