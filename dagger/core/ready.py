"""In what order: of the tasks that must run, the one with the longest way to the end that fits goes first.

Whether a task must run at all is decided elsewhere. A worker that has ended a task waits for the next one while the
engine takes note of the last; so a task that demands nothing may be sent while all workers are busy, one for each, and
one that is known to be short takes others along.
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
        can_wait: Tells whether a task may be sent to a worker that is still busy.

    Attributes:
        running: What was taken and not given back.
    """

    def __init__(self, jobs: int | None, supply: Mapping[str, float], can_wait: Callable[[Slot], bool]) -> None:
        self.running: set[Slot] = set()
        self._along: set[Slot] = set()
        self._can_wait = can_wait
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
        jobs = self._jobs or cores()
        sent = len(self.running) - len(self._along)
        if sent >= 2 * jobs:
            return None
        fitting = [
            heap for demand, heap in self._heaps.items() if heap and resources_available(self._free, dict(demand))
        ]
        if not fitting:
            return None
        heap = min(fitting, key=lambda it: it[0])
        if heap[0].suspect and self.running:
            return None
        if sent >= jobs and not (self._can_wait(heap[0]) and all(map(self._can_wait, self.running))):
            return None
        slot = heappop(heap)
        decrement_resources(self._free, slot.task.resources)
        self.running.add(slot)
        return slot

    def take_along(self, most: int) -> list[Slot]:
        """Return tasks that go to a worker with one that was taken, to run one after the other; they hold nothing.

        Args:
            most: How many; but no worker gets more than half of its share of what waits.
        """
        heap = self._heaps[()]
        most = min(most, len(heap) // (2 * (self._jobs or cores())))
        taken: list[Slot] = []
        while len(taken) < most and not heap[0].suspect and self._can_wait(heap[0]):
            taken.append(heappop(heap))
        self._along.update(taken)
        self.running.update(taken)
        return taken

    def give_back(self, slot: Slot) -> None:
        """Let go of what a task held."""
        self._along.discard(slot)
        self.running.discard(slot)
        increment_resources(self._free, slot.task.resources)
