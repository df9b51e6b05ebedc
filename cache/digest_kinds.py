"""Which opener knows what a value is made of: by its class, found once for each class.

An opener takes a value and returns its encoding, or a branch of its parts. It is looked up along
the method resolution order: at each class first what was registered, then what we know by name.
Names, not classes, since neither numpy nor decimal is imported for the sake of a list of numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from dagger.cache.digest_builtins import BUILTINS, PLAIN
from dagger.cache.digest_callables import CALLABLES
from dagger.cache.digest_encoding import Branch, Encoded, by_nothing, forget_leaf, tag
from dagger.cache.digest_instances import (
    attributes,
    by_global_name,
    class_name,
    instance_opener,
    pickling_hooks,
)
from dagger.errors import UndigestibleError
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]

# Families of third-party classes: the module that opens them, imported when one is met.
_FAMILIES = {
    "numpy": "digest_arrays",
    "scipy": "digest_arrays",
    "pandas": "digest_frames",
    "polars": "digest_polars",
    "pyarrow": "digest_arrow",
}
_registered: dict[type, Callable[[Any], object]] = {}
_openers: dict[type, Opener] = {}
_MOST_OPENERS = 10_000


def register(kind: type, digest: Callable[[Any], object]) -> None:
    """Let `digest` say what values of `kind` are made of."""
    _registered[kind] = digest
    forget_leaf(kind)
    _openers.clear()


def open_value(value: object, code: Code) -> bytes | Branch:
    """A value's encoding, or the branch of its parts.

    Raises:
        UndigestibleError: The value itself has none; its path is still to be filled in.
    """
    kind = type(value)
    opener = _openers.get(kind)
    if opener is None:
        if kind is Branch:
            return value  # type: ignore[return-value]
        opener = _find_opener(value)
        if len(_openers) >= _MOST_OPENERS:
            _openers.clear()
        _openers[kind] = opener
    try:
        return opener(value, code)
    except UndigestibleError:
        raise
    except Exception as error:
        # A property, __getstate__ or __reduce__ that fails must not end the run: no digest.
        reason = f"{kind.__qualname__} ({type(error).__name__}: {error})"
        raise UndigestibleError("", reason) from error


def _find_opener(value: object) -> Opener:
    kind = type(value)
    for base in _bases(kind):
        if base in _registered:
            return _registered_opener(_registered[base], class_name(kind))
        found = _known_opener(base)
        if found is None:
            continue
        opener, whole = found
        if base is kind or whole:
            return opener
        if _is_plain_subclass(kind, base):
            return _subclass_opener(opener, base, kind)
        break
    return instance_opener(value)


def _bases(kind: type) -> Iterable[type]:
    # An enum of strings is an enum, though its class comes after str in the resolution order.
    enum = sys.modules.get("enum")
    if enum is not None and issubclass(kind, enum.Enum):
        return [base for base in kind.__mro__ if issubclass(base, enum.Enum)]
    return kind.__mro__


def _known_opener(base: type) -> tuple[Opener, bool] | None:
    """The opener of a class, and whether it also does for subclasses whole, attributes included."""
    module = base.__module__ if isinstance(base.__module__, str) else ""
    root = module.partition(".")[0]
    name = f"{root}.{base.__qualname__}"
    if name in CALLABLES:
        return CALLABLES[name], True
    if name in BUILTINS:
        return BUILTINS[name]
    if root in _FAMILIES:
        from importlib import import_module

        family: dict[str, tuple[Opener, bool]]
        family = import_module(f"dagger.cache.{_FAMILIES[root]}").OPENERS
        return family.get(name)
    if base.__qualname__ == "cython_function_or_method":
        return by_global_name, True
    return None


def _is_plain_subclass(kind: type, base: type) -> bool:
    if base is tuple and hasattr(kind, "_fields"):
        own: object = kind.__reduce_ex__
        return own is base.__reduce_ex__
    return pickling_hooks(kind) == pickling_hooks(base)


def _registered_opener(digest: Callable[[Any], object], name: str) -> Opener:
    head = tag("registered", name)
    return lambda value, _code: Branch(value, head, (digest(value),), by_nothing)


def _subclass_opener(opener: Opener, base: type, kind: type) -> Opener:
    fields = getattr(kind, "_fields", ()) if base is tuple else ()
    head = tag("subclass", class_name(kind), *fields)
    plain = PLAIN.get(base)

    def open_subclass(value: Any, code: Code) -> bytes | Branch:
        contents = opener(plain(value) if plain else value, code)
        inner = Encoded(contents) if isinstance(contents, bytes) else contents
        if fields and isinstance(inner, Branch):
            inner.label = lambda _branch, position: f".{fields[position]}"
        return Branch(value, head, (inner, attributes(value, base)), by_nothing)

    return open_subclass
