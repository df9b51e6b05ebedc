"""How many short tasks are sent at once, by how long tasks of their kind have taken of late."""

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
        self._known: dict[object, int] = {}

    def note(self, slot: Slot) -> None:
        """Take in how long a task has taken."""
        kind = _kind(slot)
        self._last[kind].append(slot.seconds)
        self._known.pop(kind, None)

    def company(self, slot: Slot) -> int:
        """Return how many tasks may go along with one."""
        kind = _kind(slot)
        known = self._known.get(kind)
        if known is None:
            known = self._known[kind] = self._company(kind)
        return known

    def _company(self, kind: object) -> int:
        last = self._last[kind]
        if len(last) < _LOOKED_AT or max(last) > _SHORT:
            return 0
        return min(_MOST, int(_WANTED / max(last))) - 1


_SCRIPT = "script"
"""All are one kind: those that go along keep none waiting, since any shell takes the next one."""


def _kind(slot: Slot) -> object:
    task = slot.task
    if type(task) is FunctionTask:  # looked at first: `isinstance` of an abstract class takes five times as long
        return task.function
    if isinstance(task, ScriptTask):
        return _SCRIPT
    return task.function if isinstance(task, FunctionTask) else type(task)
