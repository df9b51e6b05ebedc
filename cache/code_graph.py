"""Functions, classes, values and modules as a graph, and the digest of what each one reaches.

`fingerprints` builds the graph; here every node gets a digest of itself and of all below it.
Without recursion that is a plain tree of digests. Functions that call each other form a knot, which
is digested round by round until no round tells more nodes apart than the one before, so that a
knot's digests do not depend on where one enters it, nor on whether a worker's copy of it shares the
same objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import xxhash

from dagger.errors import UndigestibleError
from dagger.lean_typing import NamedTuple


def digest_text(*parts: object) -> str:
    """Digest plain values (texts, numbers, tuples of them) by their repr."""
    return xxhash.xxh3_128_hexdigest(repr(parts).encode("utf-8", "surrogatepass"))


class Node:
    """One function, class, value, module or leaf.

    Attributes:
        kind: "function", "class", "value", "module", "extension" or "leaf".
        name: What it is called among the parts: module and qualified name.
        local: Digest of what it is without what it uses.
        relocal: For a value with code inside: gives `local`, from the digests of that code.
        edges: What it uses.
        reached: (own module, name in it or None for all of it) that it reads.
        modules: Installed (name, version) that it uses directly.
        mentions: Which aspects of other code it can see (see `reach.TOLD_BY_MENTION`).
        extras: Gives an aspect's digest, for when somebody can see it.
        error: Why it has no digest.
        subject: The object itself.
        digest: Digest of it and all it reaches; empty until `settle`.
    """

    __slots__ = (
        "digest",
        "edges",
        "error",
        "extras",
        "kind",
        "local",
        "mentions",
        "modules",
        "name",
        "part_digest",
        "reached",
        "relocal",
        "subject",
    )

    def __init__(self, kind: str, name: str, subject: object = None, local: str = "") -> None:
        self.kind = kind
        self.name = name
        self.subject = subject
        self.local = local
        self.relocal: Callable[[Callable[[Node], str]], str] | None = None
        self.edges: list[Edge] = []
        self.reached: set[tuple[str, str | None]] = set()
        self.modules: set[tuple[str, str]] = set()
        self.mentions: frozenset[str] = frozenset()
        self.extras: Callable[[str], str] | None = None
        self.error: UndigestibleError | None = None
        self.digest = ""
        self.part_digest = ""

    def own_digest(self) -> str:
        """Digest of this node and its pieces alone: what tells whether this part changed."""
        if not self.part_digest:
            self.part_digest = self.local  # for a piece that leads back here
            pieces = sorted((edge.label, edge.node.own_digest()) for edge in self.edges if edge.inner)
            self.part_digest = digest_text(self.local, pieces)
        return self.part_digest


class Edge(NamedTuple):
    """Something that a node uses.

    Attributes:
        label: As what, in words that do not depend on where modules lie.
        node: What.
        inner: Whether it is a piece of the node (a method of a class, a default), not a part of its
            own.
    """

    label: str
    node: Node
    inner: bool = False


def walk(root: Node) -> Iterator[tuple[Node, bool]]:
    """Yield every node below a root, and whether it is a part of its own; a piece maybe twice."""
    seen: set[tuple[int, bool]] = {(id(root), True)}
    waiting = [(root, True)]
    while waiting:
        node, whole = waiting.pop()
        yield node, whole
        for edge in node.edges:
            key = (id(edge.node), not edge.inner)
            if key not in seen:
                seen.add(key)
                waiting.append((edge.node, not edge.inner))


class Settler:
    """Gives nodes their digests; one for all nodes of a graph that grows."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def settle(self, root: Node) -> None:
        """Give a node, and all that it reaches, its digest."""
        if not root.digest:
            for knot in _knots(root):
                self._settle_knot(knot)

    def _settle_knot(self, knot: list[Node]) -> None:
        current = {id(node): digest_text("start", node.local) for node in knot}

        def look(node: Node) -> str:
            return node.digest or current[id(node)]

        if len(knot) == 1 and not any(edge.node is knot[0] for edge in knot[0].edges):
            signature = _signature(knot[0], lambda node: node.digest)
            # A copy of a function that is part of a knot elsewhere is the same function.
            knot[0].digest = self._known.get(signature, signature)
            return
        told_apart = 0
        while len(set(current.values())) > told_apart:
            told_apart = len(set(current.values()))
            current = {id(node): _signature(node, look) for node in knot}
        # A round tells only of neighbours; that no further one tells more apart makes the set of
        # all of them whole.
        whole = sorted(set(current.values()))
        for node in knot:
            node.digest = digest_text("knot", current[id(node)], whole)
        for node in knot:
            self._known[_signature(node, lambda other: other.digest)] = node.digest


def _signature(node: Node, look: Callable[[Node], str]) -> str:
    local = node.relocal(look) if node.relocal else node.local
    return digest_text(local, sorted((edge.label, look(edge.node)) for edge in node.edges))


def _knots(root: Node) -> Iterable[list[Node]]:
    """Yield strongly connected components without a digest, users after what they use (Tarjan)."""
    order: dict[int, int] = {}
    lowest: dict[int, int] = {}
    path: list[Node] = []
    on_path: set[int] = set()
    work: list[tuple[Node, int]] = [(root, 0)]
    while work:
        node, position = work.pop()
        key = id(node)
        if position == 0:
            if key in order:
                continue
            order[key] = lowest[key] = len(order)
            path.append(node)
            on_path.add(key)
        descended = False
        for index in range(position, len(node.edges)):
            child = node.edges[index].node
            if child.digest:
                continue
            if id(child) not in order:
                work.append((node, index + 1))
                work.append((child, 0))
                descended = True
                break
            if id(child) in on_path:
                lowest[key] = min(lowest[key], lowest[id(child)])
        if descended:
            continue
        if work:
            parent = id(work[-1][0])
            lowest[parent] = min(lowest[parent], lowest[key])
        if lowest[key] == order[key]:
            knot = []
            while True:
                member = path.pop()
                on_path.discard(id(member))
                knot.append(member)
                if member is node:
                    break
            yield knot
