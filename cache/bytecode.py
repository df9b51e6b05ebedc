"""A code object's instructions, in one form for every Python from 3.10 on.

The compiler lays out the same meaning in several ways: it fuses neighbours that share a line
(3.13), pads with NOP where a line would vanish, and threads a jump to a jump only within one line.
`decode` undoes what depends on lines alone, so that `code_digests` and `reach` see the same
instructions however the source was formatted.
"""

from __future__ import annotations

import opcode
import sys
from collections.abc import Callable, Iterator
from types import CodeType

from dagger.lean_typing import Any, NamedTuple

_VERSION = sys.version_info[:2]
_EXTENDED_ARG = opcode.EXTENDED_ARG
_CACHES: dict[int, int] = {}
if _VERSION >= (3, 13):
    _CACHES = {opcode.opmap[name]: size for name, size in opcode._inline_cache_entries.items()}  # type: ignore[attr-defined]
elif _VERSION >= (3, 11):
    _CACHES = dict(enumerate(opcode._inline_cache_entries))  # type: ignore[attr-defined]

_ABSOLUTE = frozenset(opcode.hasjabs)
_FUSED = {
    "LOAD_FAST_LOAD_FAST": ("LOAD_FAST", "LOAD_FAST"),
    "STORE_FAST_LOAD_FAST": ("STORE_FAST", "LOAD_FAST"),
    "STORE_FAST_STORE_FAST": ("STORE_FAST", "STORE_FAST"),
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW": ("LOAD_FAST", "LOAD_FAST"),
}
_RENAMED = {
    "LOAD_FAST_BORROW": "LOAD_FAST",
    # Which of the two ways to call a method is taken depends on the imports at the file's top.
    "LOAD_METHOD": "LOAD_ATTR",
    "CALL_METHOD": "CALL_FUNCTION",
    "PUSH_NULL": "NOP",
    "POP_JUMP_FORWARD_IF_TRUE": "POP_JUMP_IF_TRUE",
    "POP_JUMP_BACKWARD_IF_TRUE": "POP_JUMP_IF_TRUE",
    "POP_JUMP_FORWARD_IF_FALSE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_BACKWARD_IF_FALSE": "POP_JUMP_IF_FALSE",
    "POP_JUMP_FORWARD_IF_NONE": "POP_JUMP_IF_NONE",
    "POP_JUMP_BACKWARD_IF_NONE": "POP_JUMP_IF_NONE",
    "POP_JUMP_FORWARD_IF_NOT_NONE": "POP_JUMP_IF_NOT_NONE",
    "POP_JUMP_BACKWARD_IF_NOT_NONE": "POP_JUMP_IF_NOT_NONE",
}
_SHIFTS: dict[int, int] = {}
if _VERSION >= (3, 11):
    _SHIFTS[opcode.opmap["LOAD_GLOBAL"]] = 1
if _VERSION >= (3, 12):
    _SHIFTS[opcode.opmap["LOAD_ATTR"]] = 1
    _SHIFTS[opcode.opmap["LOAD_SUPER_ATTR"]] = 2


def _kinds() -> tuple[str, ...]:
    kinds = ["plain" if number >= opcode.HAVE_ARGUMENT else "none" for number in range(len(opcode.opname))]
    groups = {
        "free": opcode.hasfree,
        "local": opcode.haslocal,
        "name": opcode.hasname,
        "const": opcode.hasconst,
        "jump": (*opcode.hasjrel, *opcode.hasjabs),
        "fused": [number for number, name in enumerate(opcode.opname) if name in _FUSED or name == "RETURN_CONST"],
    }
    for kind, group in groups.items():
        for number in group:
            kinds[number] = kind
    return tuple(kinds)


class Operation(NamedTuple):
    """One instruction.

    Attributes:
        name: The opcode's name, without what only says in which direction it jumps.
        kind: What `operand` is: "const", "name", "local", "free", "jump", "plain" or "none".
        operand: The constant, name or variable's name itself, or the plain argument.
        extra: Bits of the argument beside the operand, as LOAD_GLOBAL's "and push a NULL".
        target: Index of the instruction that a jump leads to, else -1.
        handler: (index of the handler's first instruction, stack depth, lasti) while protected,
            else None.
    """

    name: str
    kind: str
    operand: Any
    extra: int = 0
    target: int = -1
    handler: tuple[int, int, bool] | None = None


_KINDS = _kinds()
_NAMES = tuple(_RENAMED.get(name, name) for name in opcode.opname)
_JUMPS = {number: Operation(_NAMES[number], "jump", None) for number, kind in enumerate(_KINDS) if kind == "jump"}


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object, and those of all that is defined inside."""
    waiting = [code]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(const for const in current.co_consts if isinstance(const, CodeType))


def decode(code: CodeType) -> list[Operation]:
    """Decode a code object's instructions."""
    found: list[Operation] = []
    index_of: dict[int, int] = {}
    jumps: list[tuple[int, int]] = []
    offsets: list[int] = []
    decoder = _Decoder(code)
    for first, offset, number, argument in _raw(code.co_code):
        # A jump may lead to the prefixes of an instruction or, past them, to itself.
        index_of[first] = index_of[offset] = len(found)
        kind = _KINDS[number]
        if kind == "jump":
            jumps.append((len(found), _target(offset, number, argument)))
            found.append(_JUMPS[number])
        elif kind == "fused":
            found.extend(decoder.fused(number, argument))
        else:
            found.append(decoder.operation(number, argument))
        offsets.extend([offset] * (len(found) - len(offsets)))
    for index, target in jumps:
        found[index] = found[index]._replace(target=index_of[target])
    _protect(found, code, offsets, index_of)
    _settle_stores(found)
    return found


def stack_effects(code: CodeType) -> list[int]:
    """By how much each of the instructions that `decode` gives lets the stack grow."""
    found: list[int] = []
    for _, _, number, argument in _raw(code.co_code):
        halves = _FUSED.get(opcode.opname[number])
        if halves is not None:
            found.extend(1 if half == "LOAD_FAST" else -1 for half in halves)
        elif opcode.opname[number] == "RETURN_CONST":
            found.extend((1, -1))
        else:
            takes = number >= opcode.HAVE_ARGUMENT
            found.append(opcode.stack_effect(number, argument if takes else None))
    return found


def _raw(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (offset with prefixes, offset, opcode, argument) without prefixes and inline caches."""
    extended = 0
    first = offset = 0
    end = len(data)
    while offset < end:
        number = data[offset]
        argument = data[offset + 1] | extended
        if number == _EXTENDED_ARG:
            extended = argument << 8
            offset += 2
            continue
        yield first, offset, number, argument
        extended = 0
        offset = first = offset + 2 + 2 * _CACHES.get(number, 0)


def _target(offset: int, number: int, argument: int) -> int:
    if number in _ABSOLUTE:
        return argument * 2
    distance = -argument if "JUMP_BACKWARD" in opcode.opname[number] else argument
    cached = _CACHES.get(number, 0) if _VERSION >= (3, 12) else 0
    return offset + 2 + 2 * (distance + cached)


class _Decoder:
    """Knows what an instruction's argument stands for in one code object."""

    def __init__(self, code: CodeType) -> None:
        self.constants = code.co_consts
        self.names = code.co_names
        # From 3.11 on, cells and locals are numbered together.
        self.variable: Callable[[int], str]
        self.free: Callable[[int], str]
        if _VERSION >= (3, 11):
            self.variable = self.free = code._varname_from_oparg  # type: ignore[attr-defined]
        else:
            self.variable = code.co_varnames.__getitem__
            self.free = (code.co_cellvars + code.co_freevars).__getitem__

    def operation(self, number: int, argument: int) -> Operation:
        name, kind = _NAMES[number], _KINDS[number]
        if kind == "name":
            shift = _SHIFTS.get(number, 0)
            # The lowest bit says how a call is set up; of super, the other whether it has arguments.
            extra = argument & 2 if shift == 2 else 0
            return Operation(name, kind, self.names[argument >> shift], extra)
        if kind == "local":
            return Operation(name, kind, self.variable(argument))
        if kind == "const":
            return Operation(name, kind, self.constants[argument])
        if kind == "free":
            return Operation(name, kind, self.free(argument))
        return Operation(name, kind, argument if kind == "plain" else None)

    def fused(self, number: int, argument: int) -> tuple[Operation, Operation]:
        name = opcode.opname[number]
        if name == "RETURN_CONST":
            constant = Operation("LOAD_CONST", "const", self.constants[argument])
            return constant, Operation("RETURN_VALUE", "none", None)
        high, low = _FUSED[name]
        return (
            Operation(high, "local", self.variable(argument >> 4)),
            Operation(low, "local", self.variable(argument & 15)),
        )


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


def _protect(operations: list[Operation], code: CodeType, offsets: list[int], index_of: dict[int, int]) -> None:
    """Note the handlers of protected instructions; in 3.10 opcodes say it instead."""
    table = getattr(code, "co_exceptiontable", b"")
    entries = list(_exception_entries(table)) if table else []
    position = 0
    for index, offset in enumerate(offsets if entries else ()):
        while position < len(entries) and entries[position][1] <= offset:
            position += 1
        if position == len(entries):
            return
        start, _, target, depth = entries[position]
        if start <= offset:
            handler = (index_of[target], depth >> 1, bool(depth & 1))
            operations[index] = operations[index]._replace(handler=handler)


def _exception_entries(table: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (start, end, target, depth and lasti); see CPython's exception_handling_notes.txt."""
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
