"""The fingerprint of a function: the digest of all own code and values that it can reach.

A function is looked at as it is loaded: its code object, defaults, closure and the globals that its
code names. What it names is followed, across modules, to functions, classes and values; installed
distributions and the standard library are leaves. `reach` reads the names out of the instructions,
`code_digests` digests the instructions, `class_nodes` knows what a class is made of, `code_graph`
digests the whole.

What code can do that this cannot see: a method called on a value that is made elsewhere (the class
is followed where it is named, and for values that are globals), a module found by a name that is
computed (then all own modules count), and what C code calls.

A function that imports own code inside its body has that code imported here, as its call would.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from dagger.cache.code_graph import Node, Settler, digest_text, walk
from dagger.cache.ownership import with_required
from dagger.cache.parts import Fingerprint, Part
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

__all__ = ["Fingerprint", "Fingerprinter", "Part", "fingerprint"]

_FORMAT = "fingerprint 1"


def fingerprint(obj: object) -> Fingerprint:
    """Fingerprint what can be called, with the values of its globals as they are now.

    Args:
        obj: A function, method, partial, class, callable instance or builtin.

    Raises:
        UndigestibleError: Something that it uses has no digest; its path begins with module and
            name of the global.
    """
    return Fingerprinter().of(obj)


class Fingerprinter:
    """Fingerprints many functions that share code: each thing they reach is looked at once.

    Values are those at the first look. So a run makes one of these before anything runs, and drops
    it afterwards.
    """

    def __init__(self) -> None:
        self._maker: NodeMaker | None = None
        self._settler = Settler()
        self._known: dict[int, Fingerprint] = {}

    def of(self, obj: object) -> Fingerprint:
        """Fingerprint one function; see `fingerprint`."""
        if self._maker is None:
            from dagger.cache.code_nodes import NodeMaker

            self._maker = NodeMaker()
        root = self._maker.make(obj)
        known = self._known.get(id(root))
        if known is None:
            known = self._known[id(root)] = self._assemble(root)
        return known

    def _assemble(self, root: Node) -> Fingerprint:
        found = list(walk(root))
        for node, _ in found:
            if node.error is not None:
                raise type(node.error)(node.error.path, node.error.kind)
        self._settler.settle(root)
        nodes = list({id(node): node for node, _ in found}.values())
        distributions = with_required({module for node in nodes for module in node.modules})
        digest = digest_text(_FORMAT, root.digest, _seen_aspects(nodes), distributions)
        return Fingerprint(digest, _parts(found), distributions, _reached(nodes))


def _seen_aspects(nodes: list[Node]) -> list[tuple[str, list[str]]]:
    """Docstrings, annotations and names of all reached code, where some of it can see them."""
    mentioned = sorted(frozenset().union(*(node.mentions for node in nodes)))
    return [
        (
            aspect,
            sorted({digest_text(node.digest, node.extras(aspect)) for node in nodes if node.extras}),
        )
        for aspect in mentioned
    ]


def _parts(found: list[tuple[Node, bool]]) -> tuple[Part, ...]:
    """The parts; of two with one name, the second is called ``name (2)``."""
    nodes = {(node.name, node.kind, node.own_digest()): node for node, whole in found if whole and node.kind != "leaf"}
    parts = []
    counted: dict[str, int] = {}
    for name, kind, digest in sorted(nodes):
        counted[name] = counted.get(name, 0) + 1
        unique = name if counted[name] == 1 else f"{name} ({counted[name]})"
        parts.append(Part(unique, kind, digest, _source(nodes[name, kind, digest])))
    return tuple(sorted(parts, key=lambda part: part.name))


def _source(node: Node) -> Callable[[], str]:
    kind, subject = node.kind, node.subject

    def read() -> str:
        from dagger.cache import sources

        if kind == "function":
            return sources.function_source(subject)  # type: ignore[arg-type]
        if kind == "class":
            return sources.class_source(subject)  # type: ignore[arg-type]
        return sources.value_source(subject)

    return read


def _reached(nodes: list[Node]) -> Mapping[str, frozenset[str] | None]:
    names: dict[str, set[str]] = {}
    whole: set[str] = set()
    for node in nodes:
        for module, name in node.reached:
            if module not in sys.modules:
                continue  # of code from exec, with globals that only claim to be a module
            names.setdefault(module, set())
            if name is None:
                whole.add(module)
            else:
                names[module].add(name)
    return {module: None if module in whole else frozenset(names[module]) for module in sorted(names)}
