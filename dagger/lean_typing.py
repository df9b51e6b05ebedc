"""What this package takes of `typing`, without loading it: that takes a sixth of what a run with nothing to do imports.

To a type checker these are the names of `typing`. While a program runs, those of annotations stand for nothing, since
nobody evaluates an annotation; and named tuples are made here, each class in a fifth of the time.
"""

from __future__ import annotations

__all__ = [
    "TYPE_CHECKING",
    "Any",
    "BinaryIO",
    "ClassVar",
    "Final",
    "Generic",
    "NamedTuple",
    "NoReturn",
    "Protocol",
    "TypeAlias",
    "TypeVar",
    "cast",
    "overload",
]

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import (
        Any,
        BinaryIO,
        ClassVar,
        Final,
        Generic,
        NamedTuple,
        NoReturn,
        Protocol,
        TypeAlias,
        TypeVar,
        cast,
        overload,
    )
else:
    from _collections import _tuplegetter

    Any = BinaryIO = ClassVar = Final = NoReturn = Protocol = TypeAlias = object

    class Generic:
        __class_getitem__ = classmethod(lambda cls, _: cls)

    def TypeVar(name, *_, **__):
        return name

    def cast(_, value):
        return value

    def overload(function):
        return function

    class _Named(tuple):
        """What all named tuples have in common; they have the methods of those of `collections`."""

        __slots__ = ()
        _make = classmethod(tuple.__new__)

        def __new__(cls, /, *values, **named):
            """Compile what makes an instance when the first is made: most of these classes have none in most runs."""
            names = ", ".join(cls._fields)
            make = eval(f"lambda cls, {names}: new(cls, ({names},))", {"new": tuple.__new__})
            make.__defaults__ = tuple(cls._field_defaults.values())
            cls.__new__ = make
            return make(cls, *values, **named)

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            shown = [f"{name}={value!r}" for name, value in self._asdict().items()]
            return f"{type(self).__name__}({', '.join(shown)})"

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, /, **changes):
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise TypeError(f"{type(self).__name__} has no field {', '.join(map(repr, changes))}")
            return made

    class _ByStatement(type):
        """Makes a class of named tuples of a class statement, whose annotations are the fields."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(body["__annotations__"])
            body["_field_defaults"] = {field: body[field] for field in fields if field in body}
            body.update((field, _tuplegetter(place, "")) for place, field in enumerate(fields))
            return type(name, (_Named,), {**body, "__slots__": (), "_fields": fields, "__match_args__": fields})

    class NamedTuple(metaclass=_ByStatement):
        __slots__ = ()
