"""What a function counts by: code, defaults, closure, attributes, what its names stand for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dagger.cache import ownership
from dagger.cache.annotations import annotation_text
from dagger.cache.code_digests import code_form, docstrings
from dagger.cache.code_graph import Edge, Node, digest_text
from dagger.cache.code_nodes import file_digest, namespace_builtins
from dagger.cache.reach import Reference, reach

if TYPE_CHECKING:
    from dagger.cache.code_nodes import NodeMaker

_ABSENT = object()
_IGNORED_GLOBALS = frozenset({"__builtins__", "__loader__", "__spec__", "__cached__"})
_IMPORTERS = (importlib.import_module, __import__)
_TRANSPARENT_MODULES = frozenset({"functools", "contextlib", "reprlib"})


def fill_function(maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
    """Fill a function's node."""
    namespace = function.__globals__
    if ownership.is_own_namespace(namespace):
        _FunctionFiller(maker, node, function).fill()
    elif namespace.get("__name__") == "functools" and hasattr(function, "registry"):
        _fill_dispatcher(maker, node, function)
    else:
        _fill_foreign(maker, node, function)


def qualified_name(function: types.FunctionType) -> str:
    """The name of a function's code among the parts, whatever a decorator calls it."""
    code = function.__code__
    name = getattr(code, "co_qualname", None)  # from 3.11 on
    if name is None:
        name = code.co_name if "__wrapped__" in function.__dict__ else function.__qualname__
    module = _module_name(function.__globals__)
    return f"{ownership.canonical_name(module, function.__globals__)}.{name}" if module else str(name)


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


class _FunctionFiller:
    """Resolves the references of one function against its globals and closure."""

    def __init__(self, maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
        self.maker = maker
        self.node = node
        self.function = function
        self.namespace = function.__globals__
        self.module = _module_name(self.namespace)
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
            if value is _ABSENT:
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
        return _contents((self.function.__closure__ or ())[position])

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
            found = module_attribute(value, rest[0])
            if found is _ABSENT and own:
                found = self.computed_attribute(label, value, rest[0])
            if found is _ABSENT:
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
            return _ABSENT
        self.edge(f"{label}.__getattr__", compute, f"{module.__name__}.__getattr__")
        self.node.reached.add((module.__name__, None))
        try:
            return getattr(module, name)
        except Exception:  # the user's function may fail in any way; the call will say so
            return _ABSENT

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
        full = self.full_name(reference)
        label = f"import {'.' * reference.level}{reference.name}"
        module = sys.modules.get(full)
        if module is None:
            if not _is_own_unloaded(full):
                self.follow_unloaded(label, full, reference.attributes)
                return
            try:
                module = importlib.import_module(full)
            except ImportError:
                self.words.append((label, "absent"))
                return
            except Exception:  # the user's module may fail in any way; the call will say so
                self.words.append((label, f"fails {_file_of(full)}"))
                return
        if reference.package:
            module = sys.modules.get(full.partition(".")[0], module)
        if reference.attributes and module_attribute(module, reference.attributes[0]) is _ABSENT:
            _import_submodule(module, reference.attributes[0])
        self.follow(label, module, reference.attributes)

    def follow_unloaded(self, label: str, full: str, attributes: tuple[str, ...]) -> None:
        name = full if full.partition(".")[0] not in sys.builtin_module_names else full.partition(".")[0]
        if _is_missing(name):
            self.words.append((label, "absent"))
        else:
            self.node.edges.append(Edge(label, self.maker.leaf(".".join([full, *attributes]), full)))

    def full_name(self, reference: Reference) -> str:
        if not reference.level:
            return reference.name
        package = self.namespace.get("__package__")
        if not isinstance(package, str) or not package:
            package = self.module if "__path__" in self.namespace else self.module.rpartition(".")[0]
        for _ in range(reference.level - 1):
            package = package.rpartition(".")[0]
        return f"{package}.{reference.name}" if reference.name else package

    def edge(self, label: str, value: object, name: str, inner: bool = False) -> None:
        self.node.edges.append(Edge(label, self.maker.node(value, name), inner))

    def module_label(self) -> str:
        return ownership.canonical_name(self.module, self.namespace)


def module_attribute(module: types.ModuleType, name: str) -> object:
    """What ``module.name`` gives without ``__getattr__``; a submodule also where it is unbound."""
    found = vars(module).get(name, _ABSENT)
    if found is _ABSENT:
        return sys.modules.get(f"{module.__name__}.{name}") or _ABSENT
    return found


def _fill_dispatcher(maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
    """A singledispatch function counts by its registry."""
    registry = function.registry  # type: ignore[attr-defined]
    node.kind = "leaf"
    node.local = digest_text("singledispatch")
    for cls, implementation in registry.items():
        label = f"for {annotation_text(cls)}"
        node.edges.append(Edge(label, maker.node(implementation, node.name)))
        node.edges.append(Edge(label, maker.node(cls, "")))


def _fill_foreign(maker: NodeMaker, node: Node, function: types.FunctionType) -> None:
    """An installed function: a leaf, but for the own code and the values that it carries."""
    module = _module_name(function.__globals__)
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
        value = _contents(cell)
        if value is not _ABSENT:
            yield value
    if function.__closure__ and "__wrapped__" in function.__dict__:
        yield function.__dict__["__wrapped__"]


def _contents(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return _ABSENT


def _module_name(namespace: dict[str, object]) -> str:
    name = namespace.get("__name__")
    return name if isinstance(name, str) else ""


def _is_own_code(value: object) -> bool:
    if isinstance(value, types.FunctionType):
        return ownership.is_own_namespace(value.__globals__)
    if isinstance(value, type):
        return ownership.is_own_class(value)
    return False


def _is_own_unloaded(full: str) -> bool:
    top = full.partition(".")[0]
    if top in sys.modules:
        return ownership.is_own(sys.modules[top])
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    location = spec.origin or next(iter(spec.submodule_search_locations or ()), None)
    return ownership.is_own_location(top, location)


def _is_missing(full: str) -> bool:
    top = full.partition(".")[0]
    if top in sys.modules:
        return False
    try:
        return importlib.util.find_spec(top) is None
    except (ImportError, ValueError):
        return True


def _file_of(full: str) -> str:
    try:
        spec = importlib.util.find_spec(full)
        return file_digest(spec.origin) if spec is not None and spec.origin else ""
    except (ImportError, ValueError, OSError):
        return ""


def _import_submodule(module: types.ModuleType, name: str) -> None:
    if not hasattr(module, "__path__") or not ownership.is_own(module):
        return
    try:
        importlib.import_module(f"{module.__name__}.{name}")
    except Exception:  # counted as absent
        return
