"""What a value of the user's counts by: its value digest, the code and the classes in it."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dagger.cache import ownership
from dagger.cache.code_graph import Edge, Node, digest_text

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_PENDING = "0" * 32
_ATOMS = (
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    bool,
    type(None),
    type,
    types.FunctionType,
    types.ModuleType,
)
_CONTAINERS = (list, tuple, set, frozenset)


def fill_value(maker: NodeMaker, node: Node, value: object) -> None:
    """Fill a value's node.

    Functions and classes inside count by their own nodes, whose digests come later: the value is
    digested once to find them, and again with their digests in place.
    """
    from dagger.cache.digests import digest_value

    inside: list[Node] = []

    def discover(obj: object) -> str:
        found = maker.node(obj, node.name)
        inside.append(found)
        return _PENDING

    first = digest_value(value, path=node.name, code=discover)
    classes = {id(cls): cls for cls in _own_classes(value)}
    node.edges.extend(Edge("class", maker.node(cls, "")) for cls in classes.values())
    node.edges.extend(Edge("inside", found) for found in inside)
    node.local = digest_text("value", first)
    if inside:
        node.relocal = _relocal(maker, node.name, value)


def _relocal(maker: NodeMaker, name: str, value: object) -> Callable[[Callable[[Node], str]], str]:
    from dagger.cache.digests import digest_value

    def relocal(look: Callable[[Node], str]) -> str:
        return digest_text(
            "value", digest_value(value, path=name, code=lambda obj: look(maker.node(obj, name)))
        )

    return relocal


def _own_classes(value: object) -> Iterator[type]:
    """Yield the own classes of the objects in a value."""
    seen: set[int] = set()
    waiting: list[Any] = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, _ATOMS) and type(current).__module__ == "builtins":
            continue
        if id(current) in seen:
            continue
        seen.add(id(current))
        if ownership.is_own(type(current).__module__):
            yield type(current)
        waiting.extend(_contents(current))


def _contents(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, _CONTAINERS) or type(value).__name__ == "deque":
        yield from value
    elif getattr(getattr(value, "dtype", None), "hasobject", False):
        yield from getattr(value, "flat", ())
    state = getattr(value, "__dict__", None)
    if isinstance(state, dict):
        yield from state.values()
    for cls in type(value).__mro__:
        for name in _slots(cls):
            if hasattr(value, name):
                yield getattr(value, name)


def _slots(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    if isinstance(slots, str):
        slots = (slots,)
    named = (name for name in slots if name not in ("__dict__", "__weakref__"))
    return tuple(
        f"_{cls.__name__.lstrip('_')}{name}"
        if name.startswith("__") and not name.endswith("__")
        else name
        for name in named
    )
