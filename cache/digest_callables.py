"""Openers of what is called, and of types: by code if it is Python's, by name if it is C's."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from types import ModuleType

from dagger.cache.digest_encoding import Branch, by_names, seal, tag
from dagger.cache.digest_instances import attributes, class_name, refuse
from dagger.errors import UndigestibleError
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]


def _by_code(value: object, code: Code) -> bytes:
    try:
        return tag("code", code(value))
    except UndigestibleError as error:
        raise UndigestibleError(f" > {error.path}", error.kind) from error


def _class(value: type, code: Code) -> bytes:
    if getattr(builtins, value.__name__, None) is value:
        return tag("class", class_name(value))
    return _by_code(value, code)


def _method(value: Any, _code: Code) -> bytes | Branch:
    owner = value.__self__
    if _is_global_generator(owner):
        return seal(tag("global method", class_name(type(owner)), value.__name__))
    return Branch(value, tag("method"), (owner, value.__func__), by_names(("__self__",)))


def _builtin(value: Any, code: Code) -> bytes | Branch:
    owner = value.__self__
    if owner is None or isinstance(owner, ModuleType):
        module = value.__module__ or getattr(owner, "__name__", "")
        if module.partition(".")[0] in sys.stdlib_module_names:
            return seal(tag("builtin", module, value.__qualname__))
        return _by_code(value, code)
    if _is_global_generator(owner):
        return seal(tag("global method", class_name(type(owner)), value.__name__))
    return Branch(value, tag("builtin method", value.__name__), (owner,), by_names(("__self__",)))


def _is_global_generator(owner: object) -> bool:
    """Whether this is the generator behind `random.random` or `numpy.random.normal`.

    Its state differs in each process, and nobody means it.
    """
    for module, name in (("random", "_inst"), ("numpy.random.mtrand", "_rand")):
        if module in sys.modules and getattr(sys.modules[module], name, None) is owner:
            return True
    return False


def _descriptor(value: Any, _code: Code) -> bytes | Branch:
    # A class's own: str.upper, int.__add__. The class goes by code if it is not a builtin one.
    head = tag("descriptor", type(value).__name__, value.__name__)
    return Branch(value, head, (value.__objclass__,), by_names(("__objclass__",)))


def _method_wrapper(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("wrapper", value.__name__), (value.__self__,), by_names(("__self__",)))


def _wrapping(names: tuple[str, ...]) -> Opener:
    def open_wrapping(value: Any, _code: Code) -> Branch:
        parts = [getattr(value, name) for name in names]
        return Branch(value, tag("wrapping", type(value).__name__), parts, by_names(names))

    return open_wrapping


def _partial(value: Any, _code: Code) -> Branch:
    names = ("func", "args", "keywords")
    parts = (value.func, value.args, value.keywords, attributes(value))
    head = tag("partial", class_name(type(value)))
    return Branch(value, head, parts, by_names(names))


def _type_variable(value: Any, _code: Code) -> Branch:
    names = ("__bound__", "__constraints__", "__covariant__", "__contravariant__", "__default__")
    present = [name for name in names if hasattr(value, name)]
    head = tag("type variable", value.__name__, *present)
    return Branch(value, head, [getattr(value, name) for name in present], by_names(present))


def _name_only(kind: str, attribute: str) -> Opener:
    return lambda value, _code: seal(tag(kind, getattr(value, attribute)))


CALLABLES: dict[str, Opener] = {
    "builtins.function": _by_code,
    "builtins.type": _class,
    "builtins.module": _by_code,
    "builtins.method": _method,
    "builtins.builtin_function_or_method": _builtin,
    "builtins.method_descriptor": _descriptor,
    "builtins.classmethod_descriptor": _descriptor,
    "builtins.wrapper_descriptor": _descriptor,
    "builtins.getset_descriptor": _descriptor,
    "builtins.member_descriptor": _descriptor,
    "builtins.method-wrapper": _method_wrapper,
    "builtins.property": _wrapping(("fget", "fset", "fdel", "__doc__")),
    "builtins.staticmethod": _wrapping(("__func__",)),
    "builtins.classmethod": _wrapping(("__func__",)),
    "builtins.code": refuse,
    "functools.partial": _partial,
    "functools._lru_cache_wrapper": _by_code,
    "typing.TypeVar": _type_variable,
    "builtins.NoDefaultType": lambda _value, _code: tag("no default"),
    "typing.ForwardRef": _name_only("forward reference", "__forward_arg__"),
    "annotationlib.ForwardRef": _name_only("forward reference", "__forward_arg__"),
}
