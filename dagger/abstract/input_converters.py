"""What a datum turns into on its way into a task: the registry, and the forms to ask it for.

`core` registers its own data here, and so does anyone with a datum of their own; a task names only
the form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum

from dagger.abstract.datum import AbstractDatum
from dagger.errors import DeclarationError
from dagger.lean_typing import Any

Converter = Callable[[Any], Any]
"""Takes a datum of the type that it was registered for, gives what the task's code gets to see."""


class InputForm(Enum):
    """What a task wants its inputs to be.

    Attributes:
        OBJECT: A Python object.
        FILEPATH: The path of a file.
    """

    OBJECT = "object"
    FILEPATH = "filepath"

    __hash__ = object.__hash__  # as good as Enum's, which hashes the name each time


class ConverterRegistry:
    """Turns data into inputs, by type and form. The most specific type in the MRO wins."""

    def __init__(self) -> None:
        self._converters: dict[tuple[type, InputForm], Converter] = {}
        self._found: dict[tuple[type, InputForm], Converter | None] = {}
        self._custom: dict[tuple[type, InputForm], Converter | None] = {}

    def register(self, datum_type: type[AbstractDatum], input_form: InputForm, fn: Converter) -> None:
        """Say what data of a type and its subclasses convert to; the last word counts.

        Args:
            datum_type: The type of datum.
            input_form: The form that is asked for.
            fn: Called with the datum.

        Raises:
            TypeError: One of the three is of the wrong type.
        """
        if not (isinstance(datum_type, type) and issubclass(datum_type, AbstractDatum)):
            raise DeclarationError(f"register: {datum_type!r} is not a subclass of AbstractDatum")
        if not isinstance(input_form, InputForm):
            raise DeclarationError(f"register: {input_form!r} is not an InputForm")
        if not callable(fn):
            raise DeclarationError(f"register: the converter is a {type(fn).__name__}, not callable")
        self._converters[datum_type, input_form] = fn
        self._found.clear()
        self._custom.clear()

    def convert(self, datum: AbstractDatum, input_form: InputForm) -> Any:
        """Return what a datum is in a form.

        Raises:
            TypeError: Nothing is registered for any of its classes.
        """
        fn = self._find(type(datum), input_form)
        if fn is None:
            raise DeclarationError(
                f"No converter registered for {type(datum).__name__} -> {input_form}; "
                "register one with converter_registry.register(...)"
            )
        return fn(datum)

    def has_converter(self, datum_type: type, input_form: InputForm) -> bool:
        """Tell whether data of a type can be converted."""
        return self._find(datum_type, input_form) is not None

    @contextmanager
    def also(self, registrations: Iterable[tuple[type, InputForm, Converter]]) -> Iterator[None]:
        """Know some more converters for a while, as a worker does for one job."""
        former = dict(self._converters)
        for datum_type, form, fn in registrations:
            self.register(datum_type, form, fn)
        try:
            yield
        finally:
            self._converters = former
            self._found.clear()
            self._custom.clear()

    def custom(self) -> list[tuple[type, InputForm, Converter]]:
        """Return what people registered: each a type and a form, and the function for them.

        The type or the function is not dagger's own. All else a fresh process has by importing it.
        """
        return [
            (datum_type, form, fn)
            for (datum_type, form), fn in self._converters.items()
            if not (_is_ours(datum_type) and _is_ours(fn))
        ]

    def custom_for(self, datum_type: type, input_form: InputForm) -> Converter | None:
        """Return the converter of a type where a person registered it, else None."""
        sought = datum_type, input_form
        if sought not in self._custom:
            cls = self._registered(datum_type, input_form)
            fn = None if cls is None else self._converters[cls, input_form]
            self._custom[sought] = None if _is_ours(cls) and _is_ours(fn) else fn
        return self._custom[sought]

    def _find(self, datum_type: type, input_form: InputForm) -> Converter | None:
        sought = datum_type, input_form
        if sought not in self._found:
            cls = self._registered(datum_type, input_form)
            self._found[sought] = None if cls is None else self._converters[cls, input_form]
        return self._found[sought]

    def _registered(self, datum_type: type, input_form: InputForm) -> type | None:
        return next((cls for cls in datum_type.__mro__ if (cls, input_form) in self._converters), None)


def _is_ours(thing: object) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == "dagger"


converter_registry = ConverterRegistry()
"""The registry that every task asks."""
