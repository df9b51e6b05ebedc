"""A code object's instructions, in one form for every Python from 3.10 on.

The compiler lays out the same meaning in several ways: it fuses neighbours that share a line (3.13), pads with NOP
where a line would vanish, and threads a jump to a jump only within one line. `decode` undoes what depends on lines
alone, so that `code_digests` and `reach` see the same instructions however the source was formatted.
"""

from __future__ import annotations

import dis
import opcode
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any, NamedTuple

_VERSION = sys.version_info[:2]
_EXTENDED_ARG = dis.EXTENDED_ARG
_CACHES: dict[int, int] = {}
if _VERSION >= (3, 13):
    _CACHES = {dis.opmap[name]: size for name, size in opcode._inline_cache_entries.items()}  # type: ignore[attr-defined]
elif _VERSION >= (3, 11):
    _CACHES = dict(enumerate(opcode._inline_cache_entries))  # type: ignore[attr-defined]

_RELATIVE = frozenset(dis.hasjrel)
_ABSOLUTE = frozenset(dis.hasjabs)
_FUSED = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": ("LOAD_FAST", "LOAD_FAST"),
}
_RENAMED = {
    "LOAD_FAST_BORROW": "LOAD_FAST",
    "POP_JUMP_FORWARD_IF_TRUE": "POP_JUMP_IF_TRUE",
    "POP_JUMP_BACKWARD_IF_TRUE": "POP_JUMP_IF_TRUE",
    "POP_JUMP_FORWARD_IF_FALSE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_BACKWARD_IF_FALSE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_FORWARD_IF_NONE": "POP_JUMP_IF_NONE",
    "POP_JUMP_BACKWARD_IF_NONE": "POP_JUMP_IF_NONE",
    "POP_JUMP_FORWARD_IF_NOT_NONE": "POP_JUMP_IF_NOT_NONE",
    "POP_JUMP_BACKWARD_IF_NOT_NONE": "POP_JUMP_IF_NOT_NONE",
}
_HAS_CONST = frozenset(dis.opname[code] for code in dis.hasconst) | {"LOAD_CONST"}
_HAS_NAME = frozenset(dis.opname[code] for code in dis.hasname)
_HAS_LOCAL = frozenset(dis.opname[code] for code in dis.haslocal) | {"LOAD_FAST", "STORE_FAST"}
_HAS_FREE = frozenset(dis.opname[code] for code in dis.hasfree)
_SHIFTED_NAMES = {"LOAD_GLOBAL": 1} if _VERSION >= (3, 11) else {}
if _VERSION >= (3, 12):
    _SHIFTED_NAMES = {"LOAD_GLOBAL": 1, "LOAD_ATTR": 1, "LOAD_SUPER_ATTR": 2}


class Operation(NamedTuple):
    """One instruction.

    Attributes:
        name: The opcode's name, without what only says in which direction it jumps.
        kind: What `operand` is: "const", "name", "local", "free", "jump", "plain" or "none".
        operand: The constant, name or variable's name itself, or the plain argument.
        extra: Bits of the argument beside the operand, as LOAD_GLOBAL's "and push a NULL".
        target: Index of the instruction that a jump leads to, else -1.
        handler: (index of the handler's first instruction, stack depth, lasti) while protected, else None.
    """

    name: str
    kind: str
    operand: Any
    extra: int = 0
    target: int = -1
    handler: tuple[int, int, bool] | None = None


def decode(code: CodeType) -> list[Operation]:
    """Decode a code object's instructions."""
    raw = list(_raw(code.co_code))
    variable = _variable_names(code)
    found: list[Operation] = []
    index_of: dict[int, int] = {}
    targets: list[int] = []
    offsets: list[int] = []
    for first, offset, number, argument in raw:
        index = len(found)
        index_of[first] = index
        index_of[offset] = index
        operations, target = _operations(code, variable, offset, number, argument)
        found.extend(operations)
        targets.extend([target] * len(operations))
        offsets.extend([offset] * len(operations))
    handlers = _handlers(code, offsets, index_of)
    for index, target in enumerate(targets):
        if target >= 0 or handlers:
            goal = index_of[target] if target >= 0 else -1
            found[index] = found[index]._replace(target=goal, handler=handlers[index] if handlers else None)
    _settle_stores(found)
    return found


def _raw(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (offset with prefixes, offset, opcode, argument) without prefixes and inline caches."""
    extended = 0
    first = 0
    skip = 0
    for offset in range(0, len(data), 2):
        if skip:
            skip -= 1
            first = offset + 2
            continue
        number = data[offset]
        argument = data[offset + 1] | extended
        if number == _EXTENDED_ARG:
            extended = argument << 8
            continue
        yield first, offset, number, argument
        extended = 0
        first = offset + 2
        skip = _CACHES.get(number, 0)


def _operations(
    code: CodeType, variable: Any, offset: int, number: int, argument: int
) -> tuple[tuple[Operation, ...], int]:
    name = dis.opname[number]
    if name in _FUSED:
        high, low = _FUSED[name]
        return (
            Operation(high, "local", variable(argument >> 4)),
            Operation(low, "local", variable(argument & 15)),
        ), -1
    if number in _RELATIVE:
        distance = -argument if "JUMP_BACKWARD" in name else argument
        cached = _CACHES.get(number, 0) if _VERSION >= (3, 12) else 0
        if _VERSION < (3, 11):
            distance = argument
        return (Operation(_RENAMED.get(name, name), "jump", None),), offset + 2 + 2 * (distance + cached)
    if number in _ABSOLUTE:
        return (Operation(_RENAMED.get(name, name), "jump", None),), argument * 2
    name = _RENAMED.get(name, name)
    if name == "RETURN_CONST":
        value = code.co_consts[argument]
        return (Operation("LOAD_CONST", "const", value), Operation("RETURN_VALUE", "none", None)), -1
    return (_operation(code, variable, name, number, argument),), -1


def _operation(code: CodeType, variable: Any, name: str, number: int, argument: int) -> Operation:
    if name in _HAS_CONST:
        return Operation(name, "const", code.co_consts[argument])
    if name in _HAS_NAME:
        shift = _SHIFTED_NAMES.get(name, 0)
        return Operation(name, "name", code.co_names[argument >> shift], argument & ((1 << shift) - 1))
    if name in _HAS_LOCAL:
        return Operation(name, "local", variable(argument))
    if name in _HAS_FREE:
        return Operation(name, "free", _free_name(code, variable, argument))
    if number < dis.HAVE_ARGUMENT:
        return Operation(name, "none", None)
    return Operation(name, "plain", argument)


def _settle_stores(operations: list[Operation]) -> None:
    """Apply swaps before a run of stores, and drop stores that the same run overwrites.

    The compiler does both itself, but only where the stores share a line.
    """
    entered: set[int] | None = None
    index = 0
    while index < len(operations) - 1:
        if operations[index].name != "SWAP" and operations[index].name != "STORE_FAST":
            index += 1
            continue
        if entered is None:
            entered = _entered(operations)
        first = index
        while index < len(operations) and operations[index].name == "SWAP":
            index += 1
        stores = index
        while index < len(operations) and operations[index].name in ("STORE_FAST", "POP_TOP"):
            index += 1
        if index - first > 1 and entered.isdisjoint(range(first + 1, index)):
            _settle_run(operations, first, stores, index)
        index = max(index, first + 1)


def _entered(operations: list[Operation]) -> set[int]:
    handlers = {operation.handler[0] for operation in operations if operation.handler}
    return handlers | {operation.target for operation in operations}


def _settle_run(operations: list[Operation], first: int, stores: int, end: int) -> None:
    overwritten: set[str] = set()  # before the swaps: the store that comes last in the code is the one that holds
    for index in reversed(range(stores, end)):
        operation = operations[index]
        if operation.name == "STORE_FAST":
            if operation.operand in overwritten:
                operations[index] = operation._replace(name="POP_TOP", kind="none", operand=None)
            overwritten.add(operation.operand)
    for index in reversed(range(first, stores)):
        depth = operations[index].operand
        if not 2 <= depth <= end - stores:
            return
        other = stores + depth - 1
        operations[stores], operations[other] = operations[other], operations[stores]
        operations[index] = operations[index]._replace(name="NOP", kind="none", operand=None)


def _variable_names(code: CodeType) -> Any:
    """How a local's number becomes its name: from 3.11 on, cells and locals are numbered together."""
    if _VERSION >= (3, 11):
        return code._varname_from_oparg  # type: ignore[attr-defined]
    return code.co_varnames.__getitem__


def _free_name(code: CodeType, variable: Any, argument: int) -> str:
    if _VERSION >= (3, 11):
        return str(variable(argument))
    return (code.co_cellvars + code.co_freevars)[argument]


def _handlers(
    code: CodeType, offsets: list[int], index_of: dict[int, int]
) -> list[tuple[int, int, bool] | None]:
    """The handler of each instruction; empty when nothing is protected, or the code says it in opcodes (3.10)."""
    table = getattr(code, "co_exceptiontable", b"")
    if not table:
        return []
    entries = list(_exception_entries(table))
    found: list[tuple[int, int, bool] | None] = []
    position = 0
    for offset in offsets:
        while position < len(entries) and entries[position][1] <= offset:
            position += 1
        entry = entries[position] if position < len(entries) else None
        covered = entry is not None and entry[0] <= offset
        found.append((index_of[entry[2]], entry[3] >> 1, bool(entry[3] & 1)) if entry and covered else None)
    return found


def _exception_entries(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, end, target, depth and lasti) in bytes, as Objects/exception_handling_notes.txt lays them out."""
    numbers: list[int] = []
    value = 0
    for byte in table:
        value = (value << 6) | (byte & 63)
        if not byte & 64:
            numbers.append(value)
            value = 0
    for at in range(0, len(numbers), 4):
        start, length, target, depth = numbers[at : at + 4]
        yield start * 2, (start + length) * 2, target * 2, depth
