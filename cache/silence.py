"""Which instructions of a code object mean nothing: padding, annotations, docstrings, class names.

A nested function's annotations are built by instructions in the code around it, between those for
its defaults and those for its closure. They are found from the end, by how the stack grows; where
an annotation branches, it is left to count.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import CodeType

from dagger.cache.bytecode import Operation, decode, stack_effects

ANNOTATION_FLAGS = 4 | 16
"""The bits that say of a function being made that it has annotations, or a function for them."""

_CLOSURE_FLAG = 8
_OPTIMIZED = 0x1
_SILENT = frozenset({"NOP", "MAKE_CELL", "COPY_FREE_VARS"})
_CLASS_CLUTTER = frozenset({"__doc__", "__qualname__", "__firstlineno__", "__static_attributes__"})


def meaningful_operations(code: CodeType) -> list[Operation]:
    """The instructions in order, without padding, annotations, docstrings, loads for closures."""
    operations, silent = prepared(code)
    cells = frozenset(code.co_cellvars) | frozenset(code.co_freevars)
    return [
        operation
        for index, operation in enumerate(operations)
        if index not in silent and not loads_closure(operation, cells)
    ]


@lru_cache(maxsize=256)
def prepared(code: CodeType) -> tuple[list[Operation], frozenset[int]]:
    """Instructions, not to be changed, and which of them are silent."""
    operations = decode(code)
    return operations, silent_indices(operations, code, annotations=False)


def silent_indices(operations: list[Operation], code: CodeType, annotations: bool) -> frozenset[int]:
    """Indices of what means nothing: padding, annotations, docstrings, names of classes."""
    found = {index for index, operation in enumerate(operations) if operation.name in _SILENT}
    if not code.co_flags & _OPTIMIZED:
        found.update(_class_clutter(operations))
    if any(isinstance(const, CodeType) for const in code.co_consts):
        found.update(_function_clutter(code, operations, annotations))
    return frozenset(found)


def _class_clutter(operations: list[Operation]) -> Iterator[int]:
    for index, operation in enumerate(operations):
        if operation.name != "STORE_NAME" or not index:
            continue
        before = operations[index - 1]
        told = before.name == "LOAD_CONST" and operation.operand in _CLASS_CLUTTER
        if told or (operation.operand == "__module__" and before.operand == "__name__"):
            yield index - 1
            yield index


def _function_clutter(code: CodeType, operations: list[Operation], annotations: bool) -> Iterator[int]:
    """Yield what loads a nested function's qualified name (3.10) and makes its annotations."""
    for index, operation in enumerate(operations):
        if operation.name != "MAKE_FUNCTION":
            continue
        flags = operation.operand or 0
        end = index
        if operations[end - 1].name == "LOAD_CONST" and isinstance(operations[end - 1].operand, str):
            end -= 1
            yield end
        following = index + 1
        while following < len(operations) and operations[following].name == "SET_FUNCTION_ATTRIBUTE":
            flags |= operations[following].operand
            if operations[following].operand & ANNOTATION_FLAGS and not annotations:
                yield following
            following += 1
        if flags & ANNOTATION_FLAGS and not annotations:
            yield from _annotation_span(code, operations, end - 1, flags)


def _annotation_span(code: CodeType, operations: list[Operation], code_index: int, flags: int) -> range:
    effects = stack_effects(code)
    end = code_index
    if flags & _CLOSURE_FLAG:
        end = _start_of_value(operations, effects, end)
    return range(_start_of_value(operations, effects, end), end)


def _start_of_value(operations: list[Operation], effects: list[int], end: int) -> int:
    """Where the value on the stack at `end` begins to be made; `end` itself if that branches."""
    missing = 1
    index = end
    while missing and index:
        index -= 1
        if operations[index].target >= 0:
            return end
        missing -= effects[index]
    return index


def loads_closure(operation: Operation, cells: frozenset[str]) -> bool:
    """Tell whether an instruction loads a variable itself, to be shared with a nested function."""
    # From 3.13 on, the opcode is the one that loads a local's value.
    return operation.name == "LOAD_CLOSURE" or (operation.name == "LOAD_FAST" and operation.operand in cells)
