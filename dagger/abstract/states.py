"""The states of data and tasks, and one table each of the moves that there are.

Setters, docs and tests read the tables; nothing else decides whether a move is allowed. Staying
always is.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from dagger.errors import StateError
from dagger.lean_typing import TypeVar


class DatumState(IntEnum):
    """How much is known of a datum.

    Attributes:
        EMPTY: It has no pointer.
        POPULATED: It has a well formed pointer; whether there is anything at its end is not known,
            or there is not.
        AVAILABLE: When last looked at, the data was there.
    """

    EMPTY = 0
    POPULATED = 1
    AVAILABLE = 2


class TaskState(IntEnum):
    """How far a task has come.

    Attributes:
        WAITING: It has not run, or must run again.
        RUNNING: It runs.
        COMPLETE: It ran, or did not need to, and its outputs are there.
        FAILED: It ran and did not make what it declared.
    """

    WAITING = 0
    RUNNING = 1
    COMPLETE = 2
    FAILED = 3


State = TypeVar("State", DatumState, TaskState)

DATUM_TRANSITIONS: Mapping[DatumState, frozenset[DatumState]] = {
    DatumState.EMPTY: frozenset({DatumState.POPULATED}),
    DatumState.POPULATED: frozenset({DatumState.EMPTY, DatumState.AVAILABLE}),
    DatumState.AVAILABLE: frozenset({DatumState.EMPTY, DatumState.POPULATED}),
}
TASK_TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    TaskState.WAITING: frozenset({TaskState.RUNNING, TaskState.COMPLETE}),
    TaskState.RUNNING: frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.WAITING}),
    TaskState.COMPLETE: frozenset({TaskState.WAITING}),
    TaskState.FAILED: frozenset({TaskState.WAITING}),
}


def checked_move(table: Mapping[State, frozenset[State]], old: State, new: object) -> State:
    """Return the state to go to.

    Args:
        table: Where one can go from each state.
        old: The state that is left.
        new: The state that is wanted; nothing but a member of `old`'s own enumeration will do.

    Raises:
        StateError: There is no such move.
    """
    kind = type(old)
    if new is old or (type(new) is kind and new in table[old]):
        return new
    wanted = new.name if isinstance(new, IntEnum) else repr(new)
    raise StateError(f"Invalid {kind.__name__} transition: {old.name} → {wanted}")
