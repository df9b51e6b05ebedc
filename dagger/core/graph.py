"""One task's place in a run, and how the places hang together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from dagger.abstract import AbstractTask
from dagger.core.report import TaskReport
from dagger.core.task import runs_in_worker
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.locks import Lock
    from dagger.cache.records import Reason
    from dagger.core.manifest import Manifest
    from dagger.core.recall import Known


class Slot:
    """A task in a run.

    Attributes:
        name: The task's identifier.
        index: Its place in topological order, as `tie` says, as do `waits` and `followers`.
        waits: How many tasks upstream are neither settled nor known.
        upstream: The tasks that it needs, and `followers` those that need it.
        known: What is remembered of it, where it is as it was or came out well; else None.
        manifest: Its ingredients, known once everything upstream is settled.
        reasons: Why it runs.
        length: Seconds from its start to the end of the run, by remembered times.
        seen: When the records were made that its look-up saw; None where records do not matter.
        attempt: How often it was launched.
        suspect: Whether it may be the one that killed a worker.
        heals: The tasks that it is run again for, since what they took from it turned out damaged.
        locks: What keeps other managers from running it meanwhile, None while it holds nothing.
        report: How it came out, None while it is not settled.
    """

    __slots__ = (
        "attempt",
        "followers",
        "heals",
        "index",
        "known",
        "length",
        "locks",
        "manifest",
        "name",
        "notes",
        "reasons",
        "report",
        "seconds",
        "seen",
        "suspect",
        "task",
        "upstream",
        "waits",
    )

    def __init__(self, task: AbstractTask) -> None:
        self.task = task
        self.name = task.identifier
        self.index = 0
        self.waits = 0
        self.upstream: Sequence[Slot] = ()
        self.followers: Sequence[Slot] = ()
        self.known: Known | None = None
        self.manifest: Manifest | None = None
        self.reasons: tuple[Reason, ...] = ()
        self.length = 0.0
        self.seconds = 0.0
        self.attempt = 0
        self.heals: tuple[Slot, ...] = ()
        self.suspect = False
        self.notes: tuple[str, ...] = ()
        self.locks: list[Lock] | None = None
        self.seen: frozenset[float] | None = None
        self.report: TaskReport | None = None

    @property
    def demand(self) -> tuple[tuple[str, float], ...]:
        """What it holds while it runs, in a form that can be compared."""
        return tuple(sorted(self.task.resources.items())) if self.task._resources else ()


def slots_of(graph: Mapping[AbstractTask, Sequence[AbstractTask]]) -> list[Slot]:
    """Return a slot for each task.

    Args:
        graph: What each task needs directly, each task behind those that it needs.
    """
    slots: dict[AbstractTask, Slot] = {}
    for task, needed in graph.items():
        slot = slots[task] = Slot(task)
        if needed:
            slot.upstream = tuple([slots[it] for it in needed])
    return list(slots.values())


def tie(slots: Sequence[Slot]) -> None:
    """Tell each slot its place and who waits for it: what it takes to run something. Nothing waits for what is known.

    Args:
        slots: In topological order.
    """
    followers: dict[Slot, list[Slot]] = {}
    for index, slot in enumerate(slots):
        slot.index = index
        if slot.known is None:
            waited_for = [above for above in slot.upstream if above.known is None]
            slot.waits = len(waited_for)
            for above in waited_for:
                followers.setdefault(above, []).append(slot)
    for slot, waiting in followers.items():
        slot.followers = tuple(waiting)


def untie(slots: Iterable[Slot]) -> None:
    """Undo that, once nothing waits any more: no slot leads back to itself then."""
    for slot in slots:
        slot.followers = slot.heals = ()


def measure(slots: Sequence[Slot], seconds: dict[str, float]) -> None:
    """Set each slot's `length`: the longest way from its start to the end.

    Args:
        slots: In topological order.
        seconds: How long tasks took when they last ran; an unknown one counts as their mean.
    """
    usual = sum(seconds.values()) / len(seconds) if seconds else 1.0
    for slot in reversed(slots):
        longest = max((follower.length for follower in slot.followers), default=0.0)
        slot.length = longest + seconds.get(slot.name, usual)


def most_workers(slots: Sequence[Slot], enough: int) -> int:
    """Return how many workers there can be work for at once, `enough` at most: none that only costs its start."""
    return most_at_once(slots, lambda slot: slot.known is None and runs_in_worker(slot.task), enough)


def most_at_once(slots: Sequence[Slot], counts: Callable[[Slot], bool], enough: int) -> int:
    """Return a number of slots of a kind of which no more can run at once, at least 1: of a chain, only one can.

    Args:
        slots: In topological order.
        counts: Tells whether a slot is of that kind.
        enough: No more than this is returned, and no slot looked at behind the one by which it is reached.
    """
    lengths: dict[Slot, int] = {}
    count = longest = 0
    for slot in slots:
        above = max([lengths.get(it, 0) for it in slot.upstream], default=0)
        if counts(slot):
            count += 1
            above += 1
            longest = max(longest, above)
            if count - longest + 1 >= enough:
                return enough
        if above:
            lengths[slot] = above
    return max(1, count - longest + 1)
