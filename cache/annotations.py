"""Annotations and other typing constructs as text that is the same in every process."""

from __future__ import annotations

import types
from collections.abc import Iterator

from dagger.cache import ownership

_ADDRESS = r" at 0x[0-9A-Fa-f]+"


def annotation_text(value: object) -> str:
    """Write an annotation; a class by its name, without the module where it is own."""
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, type) and not isinstance(value, types.GenericAlias):
        if ownership.is_own_class(value):
            return value.__qualname__
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, types.FunctionType):
        return value.__qualname__
    import re
    import typing

    arguments = typing.get_args(value)
    if not arguments:
        return re.sub(_ADDRESS, "", repr(value)).replace("__main__.", "")
    inside = ", ".join(_argument_text(argument) for argument in arguments)
    return f"{annotation_text(typing.get_origin(value))}[{inside}]"


def own_classes(value: object) -> Iterator[type]:
    """Yield the own classes that an annotation names as classes, not as text."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and not isinstance(current, types.GenericAlias):
            if ownership.is_own_class(current):
                yield current
            continue
        if isinstance(current, (list, tuple)):
            waiting.extend(current)
        else:
            import typing

            waiting.extend(typing.get_args(current))


def _argument_text(argument: object) -> str:
    if isinstance(argument, (list, tuple)):
        return "[" + ", ".join(_argument_text(item) for item in argument) + "]"
    if isinstance(argument, str):
        return repr(argument)
    return annotation_text(argument)
