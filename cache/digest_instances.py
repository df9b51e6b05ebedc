"""Openers of instances: qualified class name and state; the class's code counts elsewhere.

State is what pickle would carry over, since that is what a task gets to see: `__dict__` and slots
of an ordinary class, else what `__reduce_ex__(4)` gives, with names in place of the functions and
classes that rebuild it. What refuses to be pickled, and iterators, have no digest.
"""

from __future__ import annotations

import copyreg
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType

from dagger.cache.digest_encoding import (
    Branch,
    Encoded,
    by_key,
    by_names,
    by_nothing,
    by_position,
    flat,
    seal,
    tag,
)
from dagger.errors import UndigestibleError
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]

_HOOKS = ("__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
# A hash that attrs remembers depends on the hash seed.
_NO_STATE = {"__dict__", "__weakref__", "_attrs_cached_hash"}


def class_name(kind: type) -> str:
    """A class's name as it counts in a digest."""
    return f"{kind.__module__}.{kind.__qualname__}"


def pickling_hooks(kind: type) -> tuple[object, ...]:
    """What a class says about its pickling; equal to a base's if it says nothing of its own."""
    return tuple(
        None if hook is getattr(object, name, None) or _is_of_dataclass(hook) else hook
        for name in _HOOKS
        for hook in (getattr(kind, name, None),)
    )


def _is_of_dataclass(hook: object) -> bool:
    # Frozen dataclasses with slots are given one; it says no more than the slots do.
    return getattr(hook, "__module__", "") == "dataclasses"


_ORDINARY = pickling_hooks(object)


def attributes(value: object, base: type = object) -> Encoded | Branch:
    """A value's own attributes by name: its `__dict__`, and the slots that `base` has not."""
    found: dict[str, object] = {}
    for name in _slots(type(value), base):
        # Not getattr: a class's own __getattr__ would make up attributes.
        with suppress(AttributeError):
            found[name] = object.__getattribute__(value, name)
    with suppress(AttributeError):
        found.update(object.__getattribute__(value, "__dict__"))
    for name in _NO_STATE & found.keys():
        del found[name]
    names = sorted(found)
    return _named(value, tag("attributes"), names, [found[name] for name in names])


def _named(value: object, head: bytes, names: list[str], values: list[object]) -> Encoded | Branch:
    head += b"%d:" % len(names) + (flat(names) or b"")
    body = flat(values)
    if body is not None:
        return Encoded(seal(head + b"%d:" % len(values) + body))
    return Branch(value, head, values, by_names(names))


_slot_names: dict[tuple[type, type], tuple[str, ...]] = {}


def _slots(kind: type, base: type) -> tuple[str, ...]:
    names = _slot_names.get((kind, base))
    if names is None:
        if len(_slot_names) > 10_000:
            _slot_names.clear()
        names = _slot_names[kind, base] = tuple(_find_slots(kind, base))
    return names


def _find_slots(kind: type, base: type) -> Iterable[str]:
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ()) if owner not in base.__mro__ else ()
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__") and owner.__name__.strip("_"):
                yield f"_{owner.__name__.lstrip('_')}{name}"
            else:
                yield name


def instance_opener(value: object) -> Opener:
    """The opener of an instance that nobody knows by its class."""
    kind = type(value)
    if kind is object:
        return _open_object
    following = getattr(kind, "__next__", None)
    if following is not None and not isinstance(following, FunctionType):
        # An iterator of C's is used up by looking; BytesIO and StringIO are not.
        return _open_reduced if kind.__module__ == "_io" else refuse
    if kind not in copyreg.dispatch_table and pickling_hooks(kind) == _ORDINARY:
        return _ordinary_opener(kind) if _is_all_in_attributes(value) else _open_reduced
    return _open_reduced


def refuse(value: object, _code: Code) -> bytes:
    """The opener of what has no digest.

    Raises:
        UndigestibleError: Always.
    """
    raise UndigestibleError("", type(value).__qualname__)


def _open_object(_value: object, _code: Code) -> bytes:
    # A bare object() has no state; tasks get copies of their inputs, so none can tell two apart.
    return tag("object")


def _is_all_in_attributes(value: object) -> bool:
    """Whether attributes are all there is: object's own reducer refuses what hides state in C."""
    kind = type(value)
    had_names = "__slotnames__" in kind.__dict__
    try:
        value.__reduce_ex__(4)
    except Exception:
        return False
    finally:
        # Left behind by the reducer; a class should not change for having been looked at.
        if not had_names and "__slotnames__" in kind.__dict__:
            del kind.__slotnames__  # type: ignore[attr-defined]
    return True


def _ordinary_opener(kind: type) -> Opener:
    head = tag("instance", class_name(kind))

    def open_ordinary(value: object, _code: Code) -> bytes | Branch:
        state = attributes(value)
        if type(state) is Encoded:
            return seal(head + state)
        assert isinstance(state, Branch)
        state.tag = head + state.tag
        return state

    return open_ordinary


def by_global_name(value: Any, _code: Code, name: str = "") -> bytes:
    """Encode something that is reached by its name: a singleton, a function of an extension.

    Raises:
        UndigestibleError: That name does not lead to it.
    """
    name = name or getattr(value, "__qualname__", "") or getattr(value, "__name__", "")
    module = getattr(value, "__module__", None) or type(value).__module__
    if not isinstance(module, str) or _resolve(module, name) is not value:
        raise UndigestibleError("", type(value).__qualname__)
    return seal(tag("global", module, name))


def _resolve(module: str, name: str) -> object:
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _open_reduced(value: Any, _code: Code) -> bytes | Branch:
    kind = type(value)
    reducer: Callable[[Any], Any] | None = copyreg.dispatch_table.get(kind)
    try:
        reduced: Any = reducer(value) if reducer else value.__reduce_ex__(4)
    except UndigestibleError:
        raise
    except Exception as error:
        raise UndigestibleError("", kind.__qualname__) from error
    if isinstance(reduced, str):
        return _global(value, reduced, _code)
    function, arguments, state, items, pairs, setter = tuple(reduced) + (None,) * (6 - len(reduced))
    children: tuple[object, ...] = (
        _rebuilder(function),
        Branch(arguments, b"t", [_name_of(kind, part) for part in arguments], by_position),
        _state(state),
        None if items is None else list(items),
        None if pairs is None else _pairs(pairs),
        None if setter is None else _rebuilder(setter),
    )
    return Branch(value, tag("reduced", class_name(kind)), children, by_nothing)


def _global(value: Any, name: str, code: Code) -> bytes | Branch:
    encoding = by_global_name(value, code, name)
    if _is_of_python(type(value)):
        return encoding
    # The name leads another process to its own object, whose state this one stands for.
    return Branch(value, tag("singleton"), (Encoded(encoding), attributes(value)), by_nothing)


def _is_of_python(kind: type) -> bool:
    """Whether a class comes with Python, so that its code counts by Python's version."""
    return kind.__module__.partition(".")[0] in sys.stdlib_module_names


def _rebuilder(function: Any) -> object:
    """What rebuilds a value, by name: its code is no part of the value."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if isinstance(function, (FunctionType, BuiltinFunctionType, MethodType, type)):
        owner = getattr(function, "__self__", None)
        if isinstance(owner, type):
            module, name = owner.__module__, f"{owner.__qualname__}.{function.__name__}"
        if isinstance(module, str) and (_resolve(module, name) == function or isinstance(function, type)):
            return Encoded(tag("rebuilder", module, name))
    return function


def _name_of(kind: type, part: object) -> object:
    return Encoded(tag("class", class_name(kind))) if part is kind else part


def _state(state: object) -> object:
    """A state under the names of its attributes, if that is what it is."""
    if type(state) is dict and all(type(name) is str for name in state):
        return _named(state, tag("state"), list(state), list(state.values()))
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return Branch(state, tag("states"), [_state(part) for part in state], by_nothing)
    return state


def _pairs(pairs: Iterable[tuple[object, object]]) -> Branch:
    keys, values = [], []
    for key, item in pairs:
        keys.append(key)
        values.append(item)
    return Branch(None, tag("pairs"), keys + values, by_key)
