"""How many short tasks go to a worker at once, by how long tasks of their kind have taken of late."""

from __future__ import annotations

from collections import defaultdict, deque

from dagger.core.graph import Slot
from dagger.core.task import FunctionTask, ScriptTask

_WANTED = 0.02
"""Seconds of work that are sent at once: many times what it costs to send them, and little to lose."""
_MOST = 100
_SHORT = 0.01
_LOOKED_AT = 8


class Pace:
    """What a run has seen of how long its tasks take.

    Tasks of one function count as one kind. Unless the last few of a kind were all short, none takes others along.
    """

    def __init__(self) -> None:
        self._last: defaultdict[object, deque[float]] = defaultdict(lambda: deque(maxlen=_LOOKED_AT))

    def note(self, slot: Slot) -> None:
        """Take in how long a task has taken."""
        self._last[_kind(slot)].append(slot.seconds)

    def company(self, slot: Slot) -> int:
        """Return how many tasks may go along with one."""
        if isinstance(slot.task, ScriptTask):
            return 0  # a shell takes one
        last = self._last[_kind(slot)]
        if len(last) < _LOOKED_AT or max(last) > _SHORT:
            return 0
        return min(_MOST, int(_WANTED / max(last))) - 1


def _kind(slot: Slot) -> object:
    task = slot.task
    return task.function if isinstance(task, FunctionTask) else type(task)
