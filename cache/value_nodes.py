"""What a value of the user's counts by: its value digest, the code and the classes in it."""

from __future__ import annotations

from collections.abc import Callable

from dagger.cache import ownership
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_PENDING = "0" * 32


def fill_value(maker: NodeMaker, node: Node, value: object) -> None:
    """Fill a value's node.

    Functions and classes inside count by their own nodes, whose digests come later: the value is
    digested once to find them, and again with their digests in place. An object counts by its state
    and by its class: by code if that is own, by its distribution's version if it is installed.
    """
    from dagger.cache.digests import digest_value

    inside: list[Node] = []
    classes: set[type] = set()

    def discover(obj: object) -> str:
        inside.append(maker.node(obj, node.name))
        return _PENDING

    first = digest_value(value, path=node.name, code=discover, instances=classes)
    for cls in sorted(classes, key=lambda cls: (str(cls.__module__), cls.__qualname__)):
        if ownership.is_own_class(cls):
            node.edges.append(Edge("class", maker.node(cls, "")))
        else:
            maker.note_distribution(node, cls.__module__)
    node.edges.extend(Edge("inside", found) for found in inside)
    node.local = digest_text("value", first)
    if inside:
        node.relocal = _relocal(maker, node.name, value)


def _relocal(maker: NodeMaker, name: str, value: object) -> Callable[[Callable[[Node], str]], str]:
    from dagger.cache.digests import digest_value

    def relocal(look: Callable[[Node], str]) -> str:
        digest = digest_value(value, path=name, code=lambda obj: look(maker.node(obj, name)))
        return digest_text("value", digest)

    return relocal
