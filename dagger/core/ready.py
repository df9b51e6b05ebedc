"""In what order: of the tasks that must run, the one with the longest way to the end that fits goes first.

Whether a task must run at all is decided elsewhere. A worker that has ended a task would wait for the next one while
the engine takes note of the last; so a task that demands nothing may be sent while all workers are busy, and short ones
go several at a time. That holds while all that is sent goes the same way, to workers or to shells: each of the two
keeps to the number of jobs, but they do not know of each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from heapq import heappop, heappush

from dagger.abstract.helpers import decrement_resources, increment_resources, resources_available
from dagger.core.cores import cores
from dagger.core.graph import Slot

Demand = tuple[tuple[str, float], ...]

_AHEAD = 2
"""How much is sent for each worker: what it runs and what it runs next, so that little is lost at once."""
_SHORT_AHEAD = 3
"""The same, where the tasks are short."""


class ReadyTasks:
    """Tasks that may be launched, and what is free for them.

    Tasks of one demand wait in one heap, so that choosing costs one look at each different demand, not at each task.

    Args:
        jobs: Tasks at once, None for the number of cores.
        supply: Resource kind to amount; a kind that is not named is unlimited.
        way: Tells which way a task goes; empty where it must not wait there.
        company: Tells how many tasks may go with one, since all are short.

    Attributes:
        running: What was taken and not given back, and which way it went.
    """

    def __init__(
        self,
        jobs: int | None,
        supply: Mapping[str, float],
        way: Callable[[Slot], str],
        company: Callable[[Slot], int],
    ) -> None:
        self.running: dict[Slot, str] = {}
        self._together: set[Slot] = set()
        self._ways: Counter[str] = Counter()
        self._way = way
        self._company = company
        self._jobs = jobs
        self._free = dict(supply)
        self._heaps: dict[Demand, list[tuple[float, int, Slot]]] = {}
        self._suspect: Slot | None = None

    def add(self, slot: Slot) -> None:
        """Let a task wait for its turn: longest way to the end first; among equals, in the order of the graph."""
        heappush(self._heaps.setdefault(slot.demand, []), (-slot.length, slot.index, slot))

    def take(self) -> list[Slot]:
        """Return the tasks to launch now, to run one after the other; none while nothing fits.

        They hold their resources until `give_back`. A task that is suspected to kill its worker gets to run alone, so
        that who dies is known.
        """
        if self._suspect is not None:
            return []
        fitting = [
            heap for demand, heap in self._heaps.items() if heap and resources_available(self._free, dict(demand))
        ]
        if not fitting:
            return []
        heap = min(fitting, key=lambda it: it[0])
        _, _, first = heap[0]
        if first.suspect:
            if not self.running:
                self._suspect = first
                return [self._taken(heap, "")]
            return []
        way = self._way(first)
        company = self._company(first) if way else 0
        if len(self.running) - len(self._together) >= self._most(way, company):
            return []
        taken = [self._taken(heap, way)]
        # No worker gets more than half of its share of what waits.
        company = min(company, len(heap) // (2 * self._at_once))
        while len(taken) <= company and self._goes_with(heap[0][2], way):
            taken.append(self._taken(heap, way))
        self._together.update(taken[1:])
        return taken

    def give_back(self, slot: Slot) -> None:
        """Let go of what a task held."""
        way = self.running.pop(slot, None)
        if way is not None:
            self._ways[way] -= 1
            self._together.discard(slot)
            self._suspect = None
            if slot.demand:
                increment_resources(self._free, dict(slot.demand))

    def to_spare(self) -> int:
        """Return how many may end before anything must be launched: more than one where nothing runs but short scripts.

        What runs in workers ends in rounds, many at a time, and has no need of that; what holds a resource may be what
        others wait for.
        """
        if not self._together or self._ways["shell"] < len(self.running):
            return 1
        return max(1, (len(self.running) - _AHEAD * self._at_once) // 2)

    def _most(self, way: str, company: int) -> int:
        alone = way and self._ways[way] == len(self.running)
        return self._at_once * ((_SHORT_AHEAD if company else _AHEAD) if alone else 1)

    @property
    def _at_once(self) -> int:
        return self._jobs or cores()

    def _goes_with(self, slot: Slot, way: str) -> bool:
        return not slot.suspect and self._way(slot) == way and self._company(slot) > 0

    def _taken(self, heap: list[tuple[float, int, Slot]], way: str) -> Slot:
        _, _, slot = heappop(heap)
        if slot.demand:
            decrement_resources(self._free, dict(slot.demand))
        self.running[slot] = way
        self._ways[way] += 1
        return slot
