"""How many short tasks go to a worker at once, by how long tasks of their kind have taken so far."""

from __future__ import annotations

from dagger.core.graph import Slot
from dagger.core.task import FunctionTask

_WANTED = 0.02
"""Seconds of work that are sent at once: hundreds of times what it costs to send them, and little to lose."""
_MOST = 50
_SHORT = 0.01
_FEWEST_SEEN = 4


class Pace:
    """What a run has seen of how long its tasks take.

    Tasks of one function count as one kind. Unless every one of a kind was short so far, none takes others along.
    """

    def __init__(self) -> None:
        self._seen: dict[object, tuple[int, float, float]] = {}

    def note(self, slot: Slot) -> None:
        """Take in how long a task has taken."""
        kind = _kind(slot)
        count, total, longest = self._seen.get(kind, (0, 0.0, 0.0))
        self._seen[kind] = count + 1, total + slot.seconds, max(longest, slot.seconds)

    def companions(self, slot: Slot) -> int:
        """Return how many tasks may go along with one."""
        count, total, longest = self._seen.get(_kind(slot), (0, 0.0, 0.0))
        if count < _FEWEST_SEEN or longest > _SHORT:
            return 0
        return min(_MOST, int(_WANTED * count / total)) - 1


def _kind(slot: Slot) -> object:
    task = slot.task
    return task.function if isinstance(task, FunctionTask) else type(task)
