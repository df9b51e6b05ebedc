"""What a function counts by: code, defaults, closure, attributes, what its names stand for."""

from __future__ import annotations

import importlib
import sys
import types

from dagger.cache import code_imports, ownership
from dagger.cache.code_digests import code_form
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.cache.code_imports import ABSENT
from dagger.cache.code_nodes import namespace_builtins
from dagger.cache.foreign_nodes import contents, fill_dispatcher, fill_foreign, function_aspects, module_name
from dagger.cache.reach import Reference, reach
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_IGNORED_GLOBALS = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__"})
_IMPORTERS = (importlib.import_module, __import__)


def fill_function(maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
    """Fill a function's node."""
    namespace = function.__globals__
    if ownership.is_own_namespace(namespace):
        _FunctionFiller(maker, node, function).fill()
    elif namespace.get("__name__") == "functools" and hasattr(function, "registry"):
        fill_dispatcher(maker, node, function)
    else:
        fill_foreign(maker, node, function)


def qualified_name(function: types.FunctionType) -> str:
    """The name of a function's code among the parts, whatever a decorator calls it."""
    code = function.__code__
    name = getattr(code, "co_qualname", None)  # from 3.11 on
    if name is None:
        name = code.co_name if "__wrapped__" in function.__dict__ else function.__qualname__
    module = module_name(function.__globals__)
    return f"{ownership.canonical_name(module, function.__globals__)}.{name}" if module else str(name)


class _FunctionFiller:
    """Resolves the references of one function against its globals and closure."""

    def __init__(self, maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
        self.maker = maker
        self.node = node
        self.function = function
        self.namespace = function.__globals__
        self.module = module_name(self.namespace)
        self.words: list[tuple[str, str]] = []
        node.name = qualified_name(function)

    def fill(self) -> None:
        function, node = self.function, self.node
        found = reach(function.__code__)
        form = code_form(function.__code__)
        node.mentions = found.mentions
        node.extras = lambda aspect: function_aspects(function, aspect)
        self.note_itself()
        for reference in found.references:
            self.follow_reference(reference)
        self.follow_closure(form.free)
        self.follow_defaults()
        if "subclasses" in found.mentions:
            self.follow_all_modules("subclasses")
        node.local = digest_text("function", form.digest, sorted(self.words))

    def note_itself(self) -> None:
        first = self.function.__qualname__.partition(".")[0]
        if self.module and first in self.namespace:
            self.node.reached.add((self.module, first))

    def follow_closure(self, free: tuple[str, ...]) -> None:
        """Count the variables around the function by their order of use, not by name."""
        read_through = {
            reference.name for reference in reach(self.function.__code__).references if reference.kind == "cell"
        }
        for index, name in enumerate(free):
            value = self.cell(name)
            if value is ABSENT:
                self.words.append((f"cell {index}", "empty"))
            elif not (isinstance(value, types.ModuleType) and name in read_through):
                self.edge(f"cell {index}", value, f"{self.node.name}.{name}")

    def follow_defaults(self) -> None:
        function, name = self.function, self.node.name
        for index, value in enumerate(function.__defaults__ or ()):
            self.edge(f"default {index}", value, f"{name}(default {index})", inner=True)
        for key, value in sorted((function.__kwdefaults__ or {}).items()):
            self.edge(f"default {key}", value, f"{name}(default {key})", inner=True)
        for key, value in sorted(function.__dict__.items()):
            self.edge(f"attribute {key}", value, f"{name}.{key}", inner=key != "__wrapped__")

    def cell(self, name: str) -> object:
        position = self.function.__code__.co_freevars.index(name)
        return contents((self.function.__closure__ or ())[position])

    def follow_reference(self, reference: Reference) -> None:
        name = reference.name
        if reference.kind == "cell":
            value = self.cell(name)
            if isinstance(value, types.ModuleType):
                form = code_form(self.function.__code__)
                place = form.free.index(name) if name in form.free else -1
                self.follow(f"cell {place}", value, reference.attributes, reference.literal)
        elif reference.kind == "import":
            self.follow_import(reference)
        elif name in _IGNORED_GLOBALS:
            return
        elif name in self.namespace:
            if self.module:
                self.node.reached.add((self.module, name))
            label = f"{self.module_label()}.{name}" if self.module else name
            self.follow(name, self.namespace[name], reference.attributes, reference.literal, label)
        elif name in namespace_builtins(self.namespace):
            self.words.append((name, "builtin"))
            self.follow_special(namespace_builtins(self.namespace)[name], reference.literal)
        else:
            self.words.append((name, "absent"))

    def follow(
        self,
        label: str,
        value: object,
        attributes: tuple[str, ...],
        literal: str | None = None,
        name: str = "",
    ) -> None:
        """Follow a chain of attributes through modules, to the first thing that is none."""
        rest = list(attributes)
        while isinstance(value, types.ModuleType) and rest:
            own = ownership.is_own(value)
            found = code_imports.attribute(value, rest[0])
            if found is ABSENT and own:
                found = self.computed_attribute(label, value, rest[0])
            if found is ABSENT:
                break
            if not own and not isinstance(found, types.ModuleType) and not _is_own_code(found):
                break
            if own:
                self.node.reached.add((value.__name__, rest[0]))
            name = f"{ownership.canonical_name(value.__name__, value.__dict__)}.{rest[0]}"
            label = f"{label}.{rest.pop(0)}"
            value = found
        if not isinstance(value, types.ModuleType):
            self.follow_special(value, literal)
            self.edge(label, value, name or label)
        elif ownership.is_own(value):
            self.follow_own_module(label, value, rest)
        else:
            self.follow_foreign_module(label, value, rest, literal)

    def follow_own_module(self, label: str, module: types.ModuleType, rest: list[str]) -> None:
        if not rest:
            self.edge(label, module, module.__name__)
            return
        if ownership.is_extension(module.__dict__):
            self.edge(label, module, module.__name__)
        self.words.append((".".join([label, *rest]), "absent"))

    def computed_attribute(self, label: str, module: types.ModuleType, name: str) -> object:
        """Ask an own module's ``__getattr__``, which counts too."""
        compute = vars(module).get("__getattr__")
        if compute is None:
            return ABSENT
        self.edge(f"{label}.__getattr__", compute, f"{module.__name__}.__getattr__")
        self.node.reached.add((module.__name__, None))
        try:
            return getattr(module, name)
        except Exception:  # the user's function may fail in any way; the call will say so
            return ABSENT

    def follow_foreign_module(self, label: str, module: types.ModuleType, rest: list[str], literal: str | None) -> None:
        self.node.edges.append(Edge(label, self.maker.leaf(".".join([module.__name__, *rest]), module)))
        if rest:
            self.follow_special(vars(module).get(rest[0]), literal)
            if module is sys and rest[0] == "modules":
                self.follow_all_modules("sys.modules")

    def follow_special(self, value: object, literal: str | None) -> None:
        """Follow functions that reach code by a name or a text in their argument."""
        if any(value is importer for importer in _IMPORTERS):
            if literal is None or literal.startswith("."):
                self.follow_all_modules("import")
            else:
                self.follow_import(Reference("import", literal))
        elif value is eval or value is exec:
            self.follow_text(literal)
        elif value is globals:
            self.follow_own_globals()

    def follow_own_globals(self) -> None:
        """Follow all globals of the function, which it reads by computed names."""
        module = sys.modules.get(self.module)
        if module is not None and module.__dict__ is self.namespace:
            self.edge("globals", module, self.module)
            return
        for name in sorted(self.namespace):
            if not name.startswith("__"):
                self.follow_reference(Reference("global", name))

    def follow_text(self, text: str | None) -> None:
        """Follow the names in a constant text that is evaluated; any other may name anything."""
        if text is None:
            self.follow_all_modules("evaluated text")
            return
        try:
            code = compile(text, "<text>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return
        for reference in reach(code).references:
            if not (reference.kind == "global" and reference.name in ("eval", "exec")):
                self.follow_reference(reference)

    def follow_all_modules(self, why: str) -> None:
        for name, module in sorted(sys.modules.items()):
            if isinstance(module, types.ModuleType) and module.__name__ == name and ownership.is_own(module):
                self.edge(f"{why} {ownership.canonical_name(name)}", module, name)

    def follow_import(self, reference: Reference) -> None:
        """Follow an import in the body: own code is imported, as by a call; others are leaves."""
        full = code_imports.full_name(reference, self.namespace)
        label = f"import {'.' * reference.level}{reference.name}"
        found = code_imports.find(full)
        if isinstance(found, str):
            self.words.append((label, found))
            return
        if found is None:
            name = ".".join([full, *reference.attributes])
            self.node.edges.append(Edge(label, self.maker.leaf(name, full)))
            return
        if reference.package:
            found = sys.modules.get(full.partition(".")[0], found)
        if reference.attributes:
            code_imports.find_submodule(found, reference.attributes[0])
        self.follow(label, found, reference.attributes)

    def edge(self, label: str, value: object, name: str, inner: bool = False) -> None:
        self.node.edges.append(Edge(label, self.maker.node(value, name), inner))

    def module_label(self) -> str:
        return ownership.canonical_name(self.module, self.namespace)


def _is_own_code(value: object) -> bool:
    if isinstance(value, types.FunctionType):
        return ownership.is_own_namespace(value.__globals__)
    if isinstance(value, type):
        return ownership.is_own_class(value)
    return False
