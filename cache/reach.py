"""Which names a function's code reaches, read from its instructions; nothing is run.

``utils.clean(x)`` gives the chain (utils, clean), so that the fingerprint follows `clean` and not
all of `utils`. Whether `utils` is a module, a class or a value is for `fingerprints` to see, which
has the globals. Code of nested functions, lambdas, comprehensions and class bodies is read as part
of the function that contains it.

A name bound by an import inside the function, and by nothing else, stands for what was imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import CodeType
from weakref import WeakKeyDictionary

from dagger.cache.bytecode import Operation
from dagger.cache.code_digests import FRAME_READERS, GLOBAL_LOADS
from dagger.cache.silence import meaningful_operations
from dagger.lean_typing import NamedTuple

TOLD_BY_MENTION = {
    "docs": frozenset({"__doc__", "getdoc"}),
    "annotations": frozenset(
        {
            "__annotations__",
            "get_type_hints",
            "get_annotations",
            "signature",
            "Signature",
            "getfullargspec",
        }
    ),
    "names": frozenset({"__name__", "__qualname__"}),
    "subclasses": frozenset({"__subclasses__"}),
}
"""What code that mentions one of these names can see of other code."""

_MENTIONS = {name: aspect for aspect, names in TOLD_BY_MENTION.items() for name in names}
_GLOBAL_WRITES = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_VARIABLE_LOADS = frozenset(
    {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}
)
_VARIABLE_WRITES = frozenset({"STORE_FAST", "STORE_DEREF", "DELETE_FAST", "DELETE_DEREF"})
_IDENTIFIER = r"[^\W\d]\w*"
_PADDING = frozenset({"NOP", "SWAP", "ROT_TWO", "POP_TOP"})


class Reference(NamedTuple):
    """One way in which code reaches something outside itself.

    Attributes:
        kind: "global", "cell" (a variable of the function around) or "import" (inside the
            function).
        name: The global's or the cell's name, or the module's as the import writes it.
        attributes: What is read from it, one after another, as far as the code says it in one go.
        level: Of an import: leading dots.
        package: Of an import: whether the first package is bound (``import a.b``) instead of the
            module.
        literal: A constant string that follows directly: the first argument, where this is a
            function called.
    """

    kind: str
    name: str
    attributes: tuple[str, ...] = ()
    level: int = 0
    package: bool = False
    literal: str | None = None


class Reach(NamedTuple):
    """What a function's code reaches.

    Attributes:
        references: Sorted, without repeats.
        mentions: Which aspects of other code it can see, keys of `TOLD_BY_MENTION`.
    """

    references: tuple[Reference, ...]
    mentions: frozenset[str]


_known: WeakKeyDictionary[CodeType, Reach] = WeakKeyDictionary()

_Scope = Mapping[str, "Reference | None"]


def reach(code: CodeType) -> Reach:
    """Read which names a function's code reaches; remembered as long as the code object lives."""
    found = _known.get(code)
    if found is None:
        around: dict[str, Reference | None] = {name: Reference("cell", name) for name in code.co_freevars}
        reader = _Reader()
        reader.read(code, around)
        references = sorted(set(reader.references), key=repr)
        found = _known[code] = Reach(tuple(references), frozenset(reader.mentions))
    return found


class _Reader:
    """Collects references over a function's code and the code nested in it."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.mentions: set[str] = set()

    def read(self, code: CodeType, around: _Scope) -> None:
        operations = [operation for operation in meaningful_operations(code) if operation.name not in _PADDING]
        scope = self.scope(code, operations, around)
        index = 0
        extends = False
        while index < len(operations):
            reference, following = self.reference(operations, index, scope)
            if reference is None:
                extends = extends and operations[index].name in ("PRECALL", "CACHE")
                self.note(operations[index], scope)
                index += 1
                continue
            if extends and reference.literal is not None:
                # getattr(module, "name") reaches what module.name reaches.
                attributes = (*reference.attributes, reference.literal)
                self.mention(reference.literal)
                reference = reference._replace(attributes=attributes, literal=None)
            extends = reference.kind == "global" and reference.name == "getattr" and not reference.attributes
            self.references.append(reference)
            index = following
        if any(operation.operand in FRAME_READERS for operation in operations if operation.kind == "name"):
            self.references.extend(_named_in_texts(code))

    def reference(self, operations: list[Operation], index: int, scope: _Scope) -> tuple[Reference | None, int]:
        operation = operations[index]
        if operation.name in GLOBAL_LOADS:
            if not operation.operand.startswith("__"):  # __name__ alone is the module's
                self.mention(operation.operand)
            start: Reference | None = Reference("global", operation.operand)
        elif operation.name in _GLOBAL_WRITES:
            return Reference("global", operation.operand), index + 1
        elif operation.name in _VARIABLE_LOADS:
            start = scope.get(operation.operand)
        else:
            start = None
        if start is None:
            return None, index + 1
        attributes = list(start.attributes)
        following = index + 1
        while following < len(operations) and operations[following].name == "LOAD_ATTR":
            attributes.append(operations[following].operand)
            self.mention(operations[following].operand)
            following += 1
        literal = None
        if following < len(operations) and operations[following].name == "LOAD_CONST":
            constant = operations[following].operand
            literal = constant if isinstance(constant, str) else None
        return start._replace(attributes=tuple(attributes), literal=literal), following

    def note(self, operation: Operation, scope: _Scope) -> None:
        """Take what else an instruction says: nested code, attributes, constants that are names."""
        value = operation.operand
        if operation.kind == "name":
            self.mention(value)
        elif operation.kind == "const":
            if isinstance(value, CodeType):
                self.read(value, {name: scope.get(name) for name in value.co_freevars})
            elif isinstance(value, str):
                self.mention(value)

    def mention(self, name: str) -> None:
        aspect = _MENTIONS.get(name)
        if aspect is not None:
            self.mentions.add(aspect)

    def scope(self, code: CodeType, operations: list[Operation], around: _Scope) -> _Scope:
        """What a function's variables stand for, as far as that is something outside it."""
        scope: dict[str, Reference | None] = dict(around)
        if not any(operation.name == "IMPORT_NAME" for operation in operations):
            return scope
        writes = Counter(_written(code, operations))
        for variable, imported in _imports(operations):
            if variable is not None and writes[variable] == 1 and variable not in around:
                scope[variable] = imported
            else:
                self.references.append(imported)  # who uses it, and how, can't be told: it counts whole
        return scope


def _named_in_texts(code: CodeType) -> Iterator[Reference]:
    """Yield what constant texts may name: ``frame.query("size > @LIMIT")`` reads a global."""
    import re

    for const in code.co_consts:
        if isinstance(const, str):
            yield from (Reference("global", name) for name in set(re.findall(_IDENTIFIER, const)))


def _written(code: CodeType, operations: list[Operation]) -> Iterator[str]:
    """Yield the variables that a function and the code nested in it write, once for each place."""
    for operation in operations:
        if operation.name in _VARIABLE_WRITES:
            yield operation.operand
    yield from code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    for const in code.co_consts:
        if isinstance(const, CodeType) and const.co_freevars:
            inner = _written(const, meaningful_operations(const))
            yield from (name for name in inner if name in const.co_freevars)


def _imports(operations: list[Operation]) -> Iterator[tuple[str | None, Reference]]:
    """Yield what each import binds (None: no variable) and what it brings."""
    for index, operation in enumerate(operations):
        if operation.name != "IMPORT_NAME":
            continue
        level, names = operations[index - 2].operand, operations[index - 1].operand
        module = Reference("import", operation.operand, level=level if isinstance(level, int) else 0)
        following = index + 1
        if not names:
            is_renamed = operations[following].name == "IMPORT_FROM"
            while operations[following].name == "IMPORT_FROM":
                following += 1
            yield (
                _bound(operations[following]),
                module._replace(package="." in module.name and not is_renamed),
            )
            continue
        while following + 1 < len(operations) and operations[following].name == "IMPORT_FROM":
            attribute = operations[following].operand
            yield _bound(operations[following + 1]), module._replace(attributes=(attribute,))
            following += 2
        if "*" in names:
            yield None, module


def _bound(operation: Operation) -> str | None:
    return operation.operand if operation.name in ("STORE_FAST", "STORE_DEREF") else None
