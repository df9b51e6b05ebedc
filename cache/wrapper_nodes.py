"""What wrappers of functions count by: partials, bound methods, descriptors, caches.

A wrapper is no part of its own: what it wraps is.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable

from dagger.cache import ownership
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_Fill = Callable[["NodeMaker", Node, Any], None]


def wrapper_rule(obj: object) -> _Fill | None:
    """How the node of a wrapper is filled; None for anything else."""
    if type(obj) is types.MethodType:
        return _method if _is_own_method(obj) else None
    if type(obj) is functools._lru_cache_wrapper:
        return _lru_cache
    for kinds, fill in _RULES:
        if isinstance(obj, kinds):
            return fill
    return _compiled_later if _is_compiled_later(obj) else None


def _method(maker: NodeMaker, node: Node, method: types.MethodType) -> None:
    node.local = digest_text("method")
    node.edges.append(Edge("function", maker.node(method.__func__, node.name)))
    node.edges.append(Edge("self", maker.node(method.__self__, f"{node.name}.__self__")))


def _partial(maker: NodeMaker, node: Node, partial: functools.partial[object]) -> None:
    node.local = digest_text("partial", type(partial).__qualname__, len(partial.args), sorted(partial.keywords))
    node.edges.append(Edge("function", maker.node(partial.func, node.name)))
    for index, value in enumerate(partial.args):
        node.edges.append(Edge(f"argument {index}", maker.node(value, f"{node.name}({index})")))
    for name, value in partial.keywords.items():
        node.edges.append(Edge(f"keyword {name}", maker.node(value, f"{node.name}({name})")))
    if type(partial).__module__ != "functools":
        node.edges.append(Edge("class", maker.node(type(partial), "")))


def _lru_cache(maker: NodeMaker, node: Node, wrapper: functools._lru_cache_wrapper[object]) -> None:
    # What it has cached is no meaning of its own: only the function and the rules of caching
    # count.
    node.local = digest_text("lru_cache", sorted(wrapper.cache_parameters().items()))
    node.edges.append(Edge("wrapped", maker.node(wrapper.__wrapped__, node.name)))


def _static(maker: NodeMaker, node: Node, obj: staticmethod[..., object]) -> None:
    node.local = digest_text(type(obj).__name__)
    node.edges.append(Edge("function", maker.node(obj.__func__, node.name), inner=True))


def _property(maker: NodeMaker, node: Node, obj: property) -> None:
    node.local = digest_text("property")
    for label, function in (("get", obj.fget), ("set", obj.fset), ("delete", obj.fdel)):
        if function is not None:
            node.edges.append(Edge(label, maker.node(function, node.name), inner=True))
    if type(obj) is not property:
        node.edges.append(Edge("class", maker.node(type(obj), "")))


def _cached_property(maker: NodeMaker, node: Node, obj: functools.cached_property[object]) -> None:
    node.local = digest_text("cached_property", obj.attrname)
    node.edges.append(Edge("get", maker.node(obj.func, node.name), inner=True))
    if type(obj) is not functools.cached_property:
        node.edges.append(Edge("class", maker.node(type(obj), "")))


def _dispatch_method(maker: NodeMaker, node: Node, obj: functools.singledispatchmethod[object]) -> None:
    node.local = digest_text("singledispatchmethod")
    node.edges.append(Edge("function", maker.node(obj.func, node.name), inner=True))
    node.edges.append(Edge("dispatcher", maker.node(obj.dispatcher, node.name), inner=True))


def _compiled_later(maker: NodeMaker, node: Node, obj: Any) -> None:
    # Of numba: beside the function and the options it holds what was compiled so far.
    options = sorted((name, repr(value)) for name, value in getattr(obj, "targetoptions", {}).items())
    node.local = digest_text("compiled later", type(obj).__qualname__, options)
    maker.note_distribution(node, type(obj).__module__)
    node.edges.append(Edge("function", maker.node(obj.py_func, node.name)))


def _is_own_method(method: object) -> bool:
    function = getattr(method, "__func__", None)
    if not isinstance(function, types.FunctionType):
        return False
    return ownership.is_own_namespace(function.__globals__)


def _is_compiled_later(obj: object) -> bool:
    if type(obj).__module__.partition(".")[0] != "numba":
        return False
    return isinstance(getattr(obj, "py_func", None), types.FunctionType)


_RULES: tuple[tuple[type | tuple[type, ...], _Fill], ...] = (
    ((functools.partial, functools.partialmethod), _partial),
    ((staticmethod, classmethod), _static),
    (property, _property),
    (functools.cached_property, _cached_property),
    (functools.singledispatchmethod, _dispatch_method),
)
