"""In what order: of the tasks that must run, the one with the longest way to the end that fits goes first.

Whether a task must run at all is decided elsewhere. A worker that has ended a task would wait for the next one while
the engine takes note of the last; so a task that demands nothing may be sent while all workers are busy, and one that
is known to be short takes others along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        ahead: Tells how many tasks like one may be sent for each worker; 1 where it must not wait there.

    Attributes:
        running: What was taken and not given back.
    """

    def __init__(self, jobs: int | None, supply: Mapping[str, float], ahead: Callable[[Slot], int]) -> None:
        self.running: set[Slot] = set()
        self._along: set[Slot] = set()
        self._blocking: set[Slot] = set()
        self._ahead = ahead
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
        if not any(self._heaps.values()) or any(slot.suspect for slot in self._blocking):
            return None
        fitting = [
            heap for demand, heap in self._heaps.items() if heap and resources_available(self._free, dict(demand))
        ]
        if not fitting:
            return None
        heap = min(fitting, key=lambda it: it[0])
        if heap[0].suspect and self.running:
            return None
        ahead = 1 if heap[0].suspect else self._ahead(heap[0])
        if len(self.running) - len(self._along) >= (self._jobs or cores()) * (1 if self._blocking else ahead):
            return None
        slot = heappop(heap)
        if ahead == 1:
            self._blocking.add(slot)
        decrement_resources(self._free, slot.task.resources)
        self.running.add(slot)
        return slot

    def take_along(self, most: int) -> list[Slot]:
        """Return tasks that go to a worker with one that was taken, to run one after the other; they hold nothing.

        Args:
            most: How many; but no worker gets more than half of its share of what waits.
        """
        heap = self._heaps.get((), [])
        most = min(most, len(heap) // (2 * (self._jobs or cores())))
        taken: list[Slot] = []
        while len(taken) < most and not heap[0].suspect and self._ahead(heap[0]) > 1:
            taken.append(heappop(heap))
        self._along.update(taken)
        self.running.update(taken)
        return taken

    def give_back(self, slot: Slot) -> None:
        """Let go of what a task held."""
        self._along.discard(slot)
        self._blocking.discard(slot)
        self.running.discard(slot)
        increment_resources(self._free, slot.task.resources)
