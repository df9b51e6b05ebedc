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

    Any = BinaryIO = NoReturn = Protocol = TypeAlias = object

    class Generic:
        __class_getitem__ = classmethod(lambda cls, _: cls)

    ClassVar = Final = Generic

    def TypeVar(*_, **__):
        return object

    def cast(_, value):
        return value

    def overload(function):
        return function

    def _constructor(cls):
        """Compile what makes instances of a class of named tuples, and give it to the class."""
        names = ", ".join(cls._fields)
        make = eval(f"lambda cls, {names}: new(cls, ({names},))", {"new": tuple.__new__})
        make.__defaults__ = tuple(cls._field_defaults.values())
        owner = next(it for it in cls.__mro__ if "_fields" in vars(it))
        make.__name__, make.__qualname__ = "__new__", f"{owner.__qualname__}.__new__"
        owner.__new__ = make
        return make

    class _Signature:
        """Lets `inspect` find a constructor that nobody has used yet."""

        def __get__(self, _, cls):
            _constructor(cls)
            raise AttributeError("the constructor has one")

    class _Named(tuple):
        """What all named tuples have in common; they have the methods of those of `collections`."""

        __slots__ = ()
        __signature__ = _Signature()

        def __new__(cls, /, *values, **named):
            """Have this compiled when the first instance is made: most of these classes have none in most runs."""
            return _constructor(cls)(cls, *values, **named)

        @classmethod
        def _make(cls, iterable):
            made = tuple.__new__(cls, iterable)
            if len(made) != len(cls._fields):
                raise TypeError(f"{cls.__name__} has {len(cls._fields)} fields, not {len(made)}")
            return made

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

        __replace__ = _replace  # for `copy.replace`

    class _ByStatement(type):
        """Makes a class of named tuples of a class statement, whose annotations are the fields."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = tuple(body["__annotations__"])
            body["_field_defaults"] = {field: body[field] for field in fields if field in body}
            body.update((field, _tuplegetter(place, f"Field {place}.")) for place, field in enumerate(fields))
            return type(name, (_Named,), {**body, "__slots__": (), "_fields": fields, "__match_args__": fields})

    class NamedTuple(metaclass=_ByStatement):
        __slots__ = ()
