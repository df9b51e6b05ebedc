"""Which part of a value cannot be pickled: a search after the failure, so that the message can name it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType, ModuleType

from dagger.lean_typing import Any

_ATTEMPTS = 10_000

Part = tuple[str, object]


def find_culprit(value: object, path: str, make_pickler: Callable[[], Any]) -> tuple[str, str] | None:
    """Find the innermost part that fails.

    Args:
        value: What could not be pickled as a whole.
        path: What the value is called; empty for the value itself.
        make_pickler: Makes a pickler that writes to nowhere.

    Returns:
        Where it is, as in ``['model'].lock``, and what, as in ``a _thread.lock``; None where every part
        can be pickled by itself.
    """
    attempts = 0

    def fails(part: object) -> bool:
        nonlocal attempts
        attempts += 1
        if attempts > _ATTEMPTS:
            return False
        try:
            make_pickler().dump(part)
        except Exception:
            return True
        return False

    if not fails(value):
        return None
    seen: set[int] = set()
    while True:
        seen.add(id(value))
        inner = next((part for part in _parts(value, path) if id(part[1]) not in seen and fails(part[1])), None)
        if inner is None:
            return path, _kind(value)
        path, value = inner


def _kind(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"a {name}"


def _parts(value: object, path: str) -> Iterator[Part]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}[{key!r}]", item
            yield f"{path} key {key!r}", key
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield f"{path}[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in value:
            yield f"an item of {path or 'it'}", item
    elif isinstance(value, functools.partial):
        yield path, value.func
        for index, item in enumerate(value.args):
            yield f"{path}.args[{index}]", item
        for name, item in value.keywords.items():
            yield f"{path}.keywords[{name!r}]", item
    elif isinstance(value, MethodType):
        yield f"{path}.__self__", value.__self__
        yield path, value.__func__
    elif isinstance(value, FunctionType):
        yield from _function_parts(value)
    elif isinstance(value, type):
        for name, item in vars(value).items():
            yield f"{value.__module__}.{value.__qualname__}.{name}", item
    elif not isinstance(value, ModuleType):
        yield from _object_parts(value, path)


def _function_parts(function: FunctionType) -> Iterator[Part]:
    home = function.__globals__.get("__name__", function.__module__)
    label = f"{function.__module__}.{function.__qualname__}"
    if hasattr(function, "__wrapped__"):
        yield label, function.__wrapped__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"{label}'s {name}", cell.cell_contents
        except ValueError:
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield f"{home}.{name}", function.__globals__[name]
    for index, item in enumerate(function.__defaults__ or ()):
        yield f"{label}'s default {index}", item
    for name, item in (function.__kwdefaults__ or {}).items():
        yield f"{label}'s default {name}", item
    for name, item in vars(function).items():
        yield f"{label}.{name}", item


def _global_names(code: Any) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from _global_names(constant)


def _object_parts(value: object, path: str) -> Iterator[Part]:
    wrapped = getattr(value, "__wrapped__", None)
    if isinstance(wrapped, FunctionType):
        yield path, wrapped
    try:
        state = vars(value)
    except TypeError:
        state = {}
    for name, item in list(state.items()):
        yield f"{path}.{name}", item
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if hasattr(value, name):
                yield f"{path}.{name}", getattr(value, name)
