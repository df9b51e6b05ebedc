"""Makes a node of the code graph out of any object: decides what an object counts by.

A node is made at once and filled later from a queue, so that neither recursion in the user's code
nor a long chain of helpers recurses here. What has no digest becomes a node with an error, which
concerns only who reaches it.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
from collections.abc import Callable
from enum import Enum

from dagger.cache import ownership
from dagger.cache.code_digests import canonical_constant
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.cache.wrapper_nodes import wrapper_rule
from dagger.errors import UndigestibleError

_TYPING_MODULES = frozenset({"typing", "typing_extensions"})
_PLAIN = (int, float, complex, str, bytes, bool, type(None))


class NodeMaker:
    """Makes nodes, one for each object, as long as it lives."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[object, ...], Node] = {}
        self._kept: list[object] = []
        self._unfilled: list[tuple[Node, Callable[[], None]]] = []

    def make(self, obj: object) -> Node:
        """The node of an object, with all that it reaches."""
        node = self.node(obj, _called(obj))
        while self._unfilled:
            unfilled, fill = self._unfilled.pop()
            try:
                fill()
            except UndigestibleError as error:
                unfilled.error = error
        return node

    def node(self, obj: object, name: str) -> Node:
        """The node of an object, to be filled in before `make` returns.

        Args:
            obj: Any object.
            name: What a value is called among the parts; functions and classes know their own
                names.
        """
        fill, kind, key = self._rule(obj, name)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(kind, name, obj)
            self._kept.append(obj)  # its id must not pass on to another object
            self._unfilled.append((node, functools.partial(fill, node, obj)))
        return node

    def leaf(self, text: str, module: str | types.ModuleType | None = None) -> Node:
        """The node of what is not own code: it counts by name and by its distribution's version."""
        distribution = ownership.distribution(module) if module is not None else None
        key = ("leaf", text, distribution)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node("leaf", text, local=digest_text("leaf", text))
            if distribution is not None:
                node.modules.add(distribution)
        return node

    def _rule(self, obj: object, name: str) -> tuple[Callable[..., None], str, tuple[object, ...]]:
        """How an object's node is filled, of which kind it is, and what tells it from others."""
        kind = type(obj)
        if kind in _PLAIN:
            return self._fill_plain, "value", (id(obj), name)
        if kind is types.FunctionType:
            return self._fill_function, "function", (id(obj),)
        if isinstance(obj, type):
            return self._fill_class, "class", (id(obj),)
        if isinstance(obj, types.ModuleType):
            return self._fill_module, "module", (id(obj),)
        if _is_logger(obj):
            return self._fill_logger, "leaf", (id(obj), _is_named_for_module(obj, name))
        wrap = wrapper_rule(obj)
        if wrap is not None:
            return functools.partial(wrap, self), "leaf", _identity(obj)
        fill = self._leaf_rule(obj)
        if fill is not None:
            return fill, "leaf", (id(obj),)
        return self._fill_value, "value", (id(obj), name)

    def _leaf_rule(self, obj: object) -> Callable[..., None] | None:
        if _extension_of(obj) is not None:
            return self._fill_extension_member
        if isinstance(obj, types.BuiltinFunctionType) and _owner(obj) is None:
            return self._fill_builtin
        if type(obj).__module__ in _TYPING_MODULES or isinstance(obj, (types.GenericAlias, types.UnionType)):
            return self._fill_typing
        return None

    def _fill_function(self, node: Node, function: types.FunctionType) -> None:
        from dagger.cache.function_nodes import fill_function

        fill_function(self, node, function)

    def _fill_class(self, node: Node, cls: type) -> None:
        from dagger.cache.class_nodes import fill_class

        fill_class(self, node, cls)

    def _fill_module(self, node: Node, module: types.ModuleType) -> None:
        """A module that is passed around, not just read from: all that is in it counts."""
        name = module.__name__
        if not ownership.is_own(module):
            node.kind = "leaf"
            node.local = digest_text("leaf", name)
            self.note_distribution(node, module)
            return
        node.name = ownership.canonical_name(name, module.__dict__)
        node.reached.add((name, None))
        if ownership.is_extension(module.__dict__):
            self._fill_extension(node, module)
            return
        names = sorted(key for key in vars(module) if not (key.startswith("__") and key.endswith("__")))
        node.local = digest_text("module", names)
        for key in names:
            value = vars(module)[key]
            # Tasks and data stay in the main process; code that would look for one in a worker
            # finds no such name.
            if not is_of_dagger(value):
                node.edges.append(Edge(key, self.node(value, f"{node.name}.{key}")))

    def _fill_extension(self, node: Node, module: types.ModuleType) -> None:
        node.kind = "extension"
        try:
            node.local = digest_text("extension", file_digest(str(module.__file__)))
        except OSError as error:
            raise UndigestibleError(node.name, f"extension module ({error})") from error

    def _fill_extension_member(self, node: Node, obj: object) -> None:
        module = _extension_of(obj)
        node.local = digest_text("extension member", getattr(obj, "__qualname__", type(obj).__qualname__))
        node.edges.append(Edge("extension", self.node(module, "")))

    def _fill_builtin(self, node: Node, obj: types.BuiltinFunctionType) -> None:
        module = obj.__module__ or getattr(obj.__self__, "__name__", None)
        node.local = digest_text("builtin", module, obj.__qualname__)
        if module is not None:
            self.note_distribution(node, module)

    def _fill_logger(self, node: Node, obj: object) -> None:
        named = "" if _is_named_for_module(obj, node.name) else getattr(obj, "name", "")
        node.local = digest_text("logger", named)

    def _fill_typing(self, node: Node, obj: object) -> None:
        from dagger.cache.annotations import annotation_text, own_classes

        node.local = digest_text("typing", annotation_text(obj))
        node.edges.extend(Edge("class", self.node(cls, "")) for cls in own_classes(obj))

    def _fill_plain(self, node: Node, value: object) -> None:
        node.local = digest_text("plain", type(value).__name__, canonical_constant(value))

    def _fill_value(self, node: Node, value: object) -> None:
        from dagger.cache.value_nodes import fill_value

        if is_of_dagger(value):
            raise UndigestibleError(node.name, type(value).__name__)
        place = library_place(value)
        if place is None:
            fill_value(self, node, value)
            return
        node.kind = "leaf"
        node.local = digest_text("leaf", ".".join(place))
        self.note_distribution(node, place[0])

    def note_distribution(self, node: Node, module: str | types.ModuleType) -> None:
        """Let a node count by the version of the distribution that a module is from."""
        distribution = ownership.distribution(module)
        if distribution is not None:
            node.modules.add(distribution)


def is_of_dagger(value: object) -> bool:
    """Tell whether a value is one of dagger's own things with a state: a task, a datum, a manager."""
    if isinstance(value, Enum):  # such as InputForm.OBJECT, a constant
        return False
    return any(
        base.__module__ == "dagger" or base.__module__.startswith("dagger.")
        for base in type(value).__mro__
        if isinstance(base.__module__, str)
    )


def library_place(value: object) -> tuple[str, str] | None:
    """Module and name of an object that an installed module made, such as ``scipy.stats.norm``.

    It is a leaf like the functions beside it: what libraries keep for themselves is no value of the
    user's, and often differs in each process.
    """
    name = type(value).__module__
    if name == "builtins" or ownership.is_own_class(type(value)):
        return None
    while name:
        for key, held in list(vars(sys.modules[name]).items()) if name in sys.modules else ():
            if held is value:
                return name, key
        name = name.rpartition(".")[0]
    return None


def file_digest(path: str) -> str:
    """Digest a file's content."""
    import xxhash

    with open(path, "rb") as file:
        return xxhash.xxh3_128_hexdigest(file.read())


def namespace_builtins(namespace: dict[str, object]) -> dict[str, object]:
    """The builtins that code with these globals sees."""
    found = namespace.get("__builtins__", builtins)
    return found if isinstance(found, dict) else vars(found)


def _called(obj: object) -> str:
    name = getattr(obj, "__qualname__", None)
    return name if isinstance(name, str) else type(obj).__qualname__


def _identity(wrapper: object) -> tuple[object, ...]:
    if isinstance(wrapper, types.MethodType):  # a new object each time that it is asked for
        return id(wrapper.__func__), id(wrapper.__self__)
    return (id(wrapper),)


def _owner(builtin: types.BuiltinFunctionType) -> object:
    """The object that a builtin method is bound to; None for a function of a module."""
    owner = builtin.__self__
    return None if isinstance(owner, types.ModuleType) else owner


def _is_logger(obj: object) -> bool:
    logging = sys.modules.get("logging")
    return logging is not None and isinstance(obj, logging.Logger)


def _is_named_for_module(logger: object, name: str) -> bool:
    """Tell whether a logger, called `name` as a part, was made by ``getLogger(__name__)``."""
    own = getattr(logger, "name", "")
    return own == "__main__" or name.startswith(f"{own}.")


def _extension_of(obj: object) -> types.ModuleType | None:
    """The own extension module that a compiled function or class was defined in."""
    if not (callable(obj) or isinstance(obj, type)):
        return None
    name = getattr(obj, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) else None
    if module is None or not ownership.is_extension(module.__dict__) or not ownership.is_own(module):
        return None
    return module
