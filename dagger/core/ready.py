"""In what order: of the tasks that must run, the one with the longest way to the end that fits goes first.

Whether a task must run at all is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush

from dagger.abstract.helpers import decrement_resources, increment_resources, resources_available
from dagger.core.graph import Slot
from dagger.core.pool import cores

Demand = tuple[tuple[str, float], ...]


class ReadyTasks:
    """Tasks that may be launched, and what is free for them.

    Tasks of one demand wait in one heap, so that choosing costs one look at each different demand, not at each task.

    Args:
        jobs: Tasks at once, None for the number of cores.
        supply: Resource kind to amount; a kind that is not named is unlimited.

    Attributes:
        running: What was taken and not given back.
    """

    def __init__(self, jobs: int | None, supply: Mapping[str, float]) -> None:
        self.running: set[Slot] = set()
        self._jobs = jobs
        self._free = dict(supply)
        self._heaps: dict[Demand, list[Slot]] = {}

    def add(self, slot: Slot) -> None:
        """Let a task wait for its turn."""
        heappush(self._heaps.setdefault(slot.demand, []), slot)

    def take(self) -> Slot | None:
        """Return the task to launch now, None while nothing fits; it holds its resources until `give_back`.

        A task that is suspected to kill its worker gets to run alone, so that who dies is known.
        """
        if not any(self._heaps.values()) or any(slot.suspect for slot in self.running):
            return None
        if len(self.running) >= (self._jobs or cores()):
            return None
        fitting = [
            heap for demand, heap in self._heaps.items() if heap and resources_available(self._free, dict(demand))
        ]
        if not fitting:
            return None
        heap = min(fitting, key=lambda it: it[0])
        if heap[0].suspect and self.running:
            return None
        slot = heappop(heap)
        decrement_resources(self._free, slot.task.resources)
        self.running.add(slot)
        return slot

    def give_back(self, slot: Slot) -> None:
        """Let go of what a task held."""
        self.running.discard(slot)
        increment_resources(self._free, slot.task.resources)
