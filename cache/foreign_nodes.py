"""What installed functions count by: their version, and the user's code and values that they carry."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping

from dagger.cache import ownership
from dagger.cache.annotations import annotation_text
from dagger.cache.code_digests import code_form, docstrings
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.cache.code_imports import ABSENT
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_TRANSPARENT_MODULES = frozenset({"functools", "contextlib", "reprlib"})


def fill_dispatcher(maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
    """A singledispatch function counts by its registry."""
    registry = function.registry  # type: ignore[attr-defined]
    node.kind = "leaf"
    node.local = digest_text("singledispatch")
    for cls, implementation in registry.items():
        label = f"for {annotation_text(cls)}"
        node.edges.append(Edge(label, maker.node(implementation, node.name)))
        node.edges.append(Edge(label, maker.node(cls, "")))


def fill_foreign(maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
    """An installed function: a leaf, but for the own code and the values that it carries."""
    module = module_name(function.__globals__)
    node.kind = "leaf"
    line = function.__code__.co_firstlineno if "<lambda>" in function.__qualname__ else 0
    node.local = digest_text("leaf", f"{module}.{function.__qualname__}", line)
    distribution = ownership.distribution(module)
    if distribution is not None:
        node.modules.add(distribution)
    if module.partition(".")[0] == "dagger" or _is_library_function(function):
        return
    for index, value in enumerate(_carried(function)):
        seen = ""
        if isinstance(value, types.FunctionType) and module not in _TRANSPARENT_MODULES:
            # An installed decorator may look at what it decorates.
            seen = digest_text([function_aspects(value, aspect) for aspect in ("docs", "annotations", "names")])
        node.edges.append(Edge(f"carried {index} {seen}", maker.node(value, f"{node.name}.{index}")))


def function_aspects(function: types.FunctionType, aspect: str) -> str:
    """Digest what only code can see that looks for it: docstrings, annotations, names."""
    code = function.__code__
    if aspect == "docs":
        return digest_text(function.__doc__, docstrings(code))
    if aspect == "annotations":
        annotations = [(name, annotation_text(value)) for name, value in function.__annotations__.items()]
        return digest_text(annotations, code_form(code, annotations=True).digest)
    if aspect == "names":
        return digest_text(function.__name__, function.__qualname__, code.co_name)
    return ""


def module_name(namespace: Mapping[str, object]) -> str:
    """The module that globals say they are of; empty for those of exec."""
    name = namespace.get("__name__")
    return name if isinstance(name, str) else ""


def contents(cell: types.CellType) -> object:
    """What a variable around a function holds; `ABSENT` before it is assigned."""
    try:
        return cell.cell_contents
    except ValueError:
        return ABSENT


def _is_library_function(function: types.FunctionType) -> bool:
    """Tell whether a function is what its module has under its name: no wrapper of something else."""
    found: object = sys.modules.get(function.__module__ or "")
    if not isinstance(found, types.ModuleType) or ownership.is_own(found):
        return False
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


def _carried(function: types.FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        value = contents(cell)
        if value is not ABSENT:
            yield value
    if function.__closure__ and "__wrapped__" in function.__dict__:
        yield function.__dict__["__wrapped__"]
