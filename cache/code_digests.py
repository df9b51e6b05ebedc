"""The digest of one code object's meaning: one for two formattings, two for two meanings.

It is made of the code object that runs, never of a source file. Left out: line tables, file names,
docstrings, annotations, names of locals, of cells and of nested functions, the order of a constant
set. Written is the graph of instructions as it is walked from the entry, so that neither the order
in which the compiler laid out its blocks nor a jump to a jump shows. Short ways out of a function
are written wherever they are reached, because the compiler copies some of them and shares others,
depending on lines.

Rejected: digesting ``co_code`` as it is (a ``pass`` on a line of its own, a call split over two
lines, and a renamed closure variable all show in it), and digesting the syntax tree of the source
file (what was loaded may be gone from the file, a worker has no file, a notebook neither).
"""

from __future__ import annotations

from types import CodeType
from weakref import WeakKeyDictionary

import xxhash

from dagger.cache.bytecode import Operation, nested
from dagger.cache.silence import ANNOTATION_FLAGS, loads_closure, prepared, silent_indices
from dagger.lean_typing import NamedTuple

FRAME_READERS = frozenset({"eval", "query", "evaluate", "sql", "execute"})
"""Methods, as of pandas and duckdb, whose text may name variables of the function that calls them."""

_NAME_READERS = frozenset({"locals", "vars", "eval", "exec", "dir", "stack"})
_FRAMES = frozenset({"_getframe", "currentframe", "f_locals", "f_back"})
GLOBAL_LOADS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_MEANINGFUL_FLAGS = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200
_OPTIMIZED = 0x1
_JUMPS = frozenset({"JUMP_FORWARD", "JUMP_ABSOLUTE", "JUMP_BACKWARD", "JUMP_BACKWARD_NO_INTERRUPT"})
_EXITS = frozenset({"RETURN_VALUE", "RAISE_VARARGS", "RERAISE"})
# What each test does for a true and for a false value: (jumps, pops).
_TESTS = {
    "POP_JUMP_IF_TRUE": ("truth", (True, True), (False, True)),
    "POP_JUMP_IF_FALSE": ("truth", (False, True), (True, True)),
    "JUMP_IF_TRUE_OR_POP": ("truth", (True, False), (False, True)),
    "JUMP_IF_FALSE_OR_POP": ("truth", (False, True), (True, False)),
    "POP_JUMP_IF_NONE": ("none", (True, True), (False, True)),
    "POP_JUMP_IF_NOT_NONE": ("none", (False, True), (True, True)),
}
_SHORT_EXIT = 16
_LARGE_INT_BITS = 10_000


class CodeForm(NamedTuple):
    """What a code object means.

    Attributes:
        digest: Digest of its canonical form, nested code included.
        free: Names of the variables that it takes from around it, in an order that does not depend
            on their names.
    """

    digest: str
    free: tuple[str, ...]


_forms: WeakKeyDictionary[CodeType, CodeForm] = WeakKeyDictionary()
_annotated_forms: WeakKeyDictionary[CodeType, CodeForm] = WeakKeyDictionary()


def code_form(code: CodeType, *, annotations: bool = False) -> CodeForm:
    """Digest what a code object means; remembered as long as the code object lives.

    Args:
        code: The code of a function, a class body or a comprehension.
        annotations: Whether annotations of functions defined inside count too.
    """
    known = _annotated_forms if annotations else _forms
    form = known.get(code)
    if form is None:
        form = known[code] = _Writer(code, annotations).form()
    return form


def docstrings(code: CodeType) -> tuple[str, ...]:
    """The docstrings of a function's code and of all functions defined inside."""
    functions = (it for it in nested(code) if it.co_consts and it.co_flags & _OPTIMIZED)
    return tuple(sorted(it.co_consts[0] for it in functions if isinstance(it.co_consts[0], str)))


def canonical_constant(value: object) -> object:
    """A constant as something whose repr is the same in every process, and tells it from others."""
    if isinstance(value, tuple):
        return tuple(canonical_constant(item) for item in value)
    if isinstance(value, frozenset):
        return ("frozenset", sorted(repr(canonical_constant(item)) for item in value))
    if isinstance(value, int) and value.bit_length() > _LARGE_INT_BITS:
        return ("int", hex(value))  # Python refuses to write this many digits in decimal
    return value


class _Writer:
    """Writes one code object's graph of instructions in canonical order."""

    def __init__(self, code: CodeType, annotations: bool) -> None:
        self.code = code
        self.annotations = annotations
        self.operations, self.silent = prepared(code)
        if annotations:
            self.silent = silent_indices(self.operations, code, annotations)
        parameters = code.co_varnames[: _parameter_count(code)]
        self.variables: dict[str, object] = {name: ("P", index) for index, name in enumerate(parameters)}
        self.cells = frozenset(code.co_cellvars) | frozenset(code.co_freevars)
        self.free: list[str] = []
        self.named = _mentions_local_names(self.operations)
        self.written: list[object] = []
        self.place: dict[int, int] = {}
        self.labels: dict[int, int] = {}
        self.waiting: list[int] = []

    def form(self) -> CodeForm:
        self.write_from(self.after_silence(0))
        while self.waiting:
            self.write_from(self.waiting.pop())
        code = self.code
        head = (
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags & _MEANINGFUL_FLAGS,
            code.co_varnames[: _parameter_count(code)],
        )
        text = repr((head, self.written))
        return CodeForm(xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogatepass")), tuple(self.free))

    def write_from(self, index: int) -> None:
        """Write instructions from one on until control leaves or what follows has been written."""
        while index >= 0:
            if index in self.place:
                self.written.append(("goto", self.reference(index)))
                return
            self.place[index] = len(self.written)
            if index in self.labels:
                self.written.append(("label", self.labels[index]))
            operation = self.operations[index]
            if operation.name in _TESTS:
                self.written.append(self.test(index))
                return
            self.written.append(self.plain(operation))
            if operation.name in _EXITS:
                return
            index = self.after_silence(index + 1)
        self.written.append("spin")

    def plain(self, operation: Operation) -> object:
        entry: tuple[object, ...] = (operation.name, self.operand(operation))
        if operation.extra:
            entry += (operation.extra,)
        if operation.target >= 0:
            entry += ("to", self.reference(self.after_silence(operation.target)))
        return entry if operation.handler is None else entry + self.protection(operation)

    def test(self, index: int) -> object:
        operation = self.operations[index]
        kind = _TESTS[operation.name][0]
        ways = tuple(self.way(*self.outcome(index, value)) for value in (True, False))
        return (kind, *ways, *self.protection(operation))

    def way(self, pops: bool, index: int) -> object:
        return (pops, self.reference(index))

    def outcome(self, index: int, value: bool) -> tuple[bool, int]:
        """Whether a tested value is popped and where control goes, through further tests of it."""
        for _ in range(len(self.operations)):
            kind, if_true, if_false = _TESTS[self.operations[index].name]
            jumps, pops = if_true if value else if_false
            goal = self.after_silence(self.operations[index].target if jumps else index + 1)
            if pops or goal < 0:
                return pops, goal
            following = _TESTS.get(self.operations[goal].name)
            if following is None or following[0] != kind:
                return False, goal
            index = goal
        return False, index

    def protection(self, operation: Operation) -> tuple[object, ...]:
        if operation.handler is None:
            return ()
        index, depth, lasti = operation.handler
        return ("guard", self.reference(self.after_silence(index)), depth, lasti)

    def reference(self, index: int) -> object:
        """Name an instruction for whoever leads to it; a short way out is written in full."""
        if index < 0:
            return "spin"
        if index in self.labels:
            return self.labels[index]
        way_out = self.short_exit(index)
        if way_out is not None:
            return tuple(self.plain(operation) for operation in way_out)
        if index in self.place:
            return ("at", self.place[index])
        self.labels[index] = len(self.labels)
        self.waiting.append(index)
        return self.labels[index]

    def short_exit(self, index: int) -> list[Operation] | None:
        found: list[Operation] = []
        while index >= 0 and len(found) < _SHORT_EXIT:
            operation = self.operations[index]
            if operation.target >= 0 or operation.handler is not None:
                return None
            found.append(operation)
            if operation.name in _EXITS:
                return found
            index = self.after_silence(index + 1)
        return None

    def after_silence(self, index: int) -> int:
        """The first instruction from here on that does something; -1 for an idle loop."""
        operations, silent = self.operations, self.silent
        if index not in silent and operations[index].name not in _JUMPS:
            return index  # by far the most
        for _ in range(len(operations) + 1):
            if index in silent:
                index += 1
            elif operations[index].name in _JUMPS:
                index = operations[index].target
            else:
                return index
        return -1

    def operand(self, operation: Operation) -> object:
        kind, value = operation.kind, operation.operand
        if kind == "name":
            return value
        if kind == "const":
            if isinstance(value, CodeType):
                return self.nested(value)
            return canonical_constant(value)
        if kind == "local" or kind == "free":
            if loads_closure(operation, self.cells):
                return None  # in an order that depends on names; which variables, the nested code says
            return self.variable(value)
        if operation.name == "MAKE_FUNCTION" and value is not None and not self.annotations:
            return value & ~ANNOTATION_FLAGS
        return value

    def nested(self, code: CodeType) -> object:
        form = code_form(code, annotations=self.annotations)
        return ("code", form.digest, tuple(self.variable(name) for name in form.free))

    def variable(self, name: str) -> object:
        token = self.variables.get(name)
        if token is None:
            token = self.variables[name] = name if self.named else ("V", len(self.variables))
        if name in self.code.co_freevars and name not in self.free:
            self.free.append(name)
        return token


def _parameter_count(code: CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 0x4) + bool(code.co_flags & 0x8)


def _mentions_local_names(operations: list[Operation]) -> bool:
    """Tell whether something here can see the names of locals, so that they count."""
    names = {operation.operand for operation in operations if operation.kind == "name"}
    if names.isdisjoint(_NAME_READERS | _FRAMES | FRAME_READERS):
        return False
    if not names.isdisjoint(_FRAMES | FRAME_READERS) or {"inspect", "stack"} <= names:
        return True
    loaded = {operation.operand for operation in operations if operation.name in GLOBAL_LOADS}
    return not loaded.isdisjoint(_NAME_READERS)
