"""What the last run of the same tasks came to, so that one with nothing to do looks at each file once and at no record.

A memo holds, for each task, its outline, its key, what it made and what it was seen to read. A task is as it was when
its outline is, all that it needs is, its outputs are there and its discovered reads hold: then its key is the one that
it had. That takes one run's memo for all of them, since an outline names what a task needs and not what that was
worth. Any run that changes something drops the memos of its root first; losing one costs the look-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dagger.abstract import TaskState
from dagger.cache import Cache
from dagger.cache.memos import RUN
from dagger.cache.records import Member, Output, Read
from dagger.core.graph import Slot
from dagger.core.lookup import Lookup
from dagger.core.report import RAN, RESTORED, UP_TO_DATE

_GOOD = {RAN, RESTORED, UP_TO_DATE}


class Known(NamedTuple):
    """What is remembered of a task that was up to date at the end of a run.

    Attributes:
        outline: As `Walker.outline`.
        key: As in its manifest.
        outputs: What it made, in the order of its outputs.
        reads: Its discovered reads.
    """

    outline: bytes
    key: str
    outputs: tuple[Output, ...]
    reads: tuple[Read, ...]


class Recall:
    """The memo of one set of tasks.

    Args:
        slots: All of the tasks, in topological order.
        cache: Where the memo is.
        lookup: Knows whether outputs are there and reads hold.
    """

    def __init__(self, slots: Sequence[Slot], cache: Cache, lookup: Lookup) -> None:
        self.slots = slots
        self.cache = cache
        self.lookup = lookup
        self._name = "\0".join(sorted(slot.name for slot in slots if not slot.followers))

    def settle(self, forced: frozenset[str]) -> bool:
        """Find the tasks that are as they were, and give their data what they hold; tell whether all are.

        Args:
            forced: Identifiers of tasks that are to run in any case.
        """
        walker = self.lookup.walker
        former = self.cache.memo(RUN, self._name)
        former = (
            former if isinstance(former, dict) and len({slot.name for slot in self.slots}) == len(self.slots) else {}
        )
        whole = True
        for slot in self.slots:
            task = slot.task
            walker.introduce(task)
            found = former.get(task.identifier)
            if (
                found is not None
                and task.identifier not in forced
                and task.cache
                and task.state is TaskState.WAITING
                and all(above.known for above in slot.upstream)
                and self._is_as_it_was(slot, found)
            ):
                continue
            whole = False
        return whole

    def _is_as_it_was(self, slot: Slot, found: tuple[bytes, str, Any, Any]) -> bool:
        task, lookup = slot.task, self.lookup
        outline, key, outputs, reads = found
        try:
            if lookup.walker.outline(task) != outline:
                return False
        except Exception:  # whatever is wrong with it, the look-up tells
            return False
        known = Known(outline, key, tuple(map(_output, outputs)), tuple(Read(*read) for read in reads))
        if not all(map(lookup.holds, task.outputs.values(), known.outputs)):
            return False
        if not all(lookup.current(read) == read.digest for read in known.reads):
            return False
        lookup.take(task, known.outputs)
        slot.known = known
        return True

    def drop(self) -> None:
        """Forget the memos of the root: what comes may make them wrong."""
        self.cache.drop_memos(RUN)

    def keep(self) -> None:
        """Remember the tasks that are up to date now."""
        kept = {}
        for slot in self.slots:
            if slot.known is not None and slot.report is not None and slot.report.outcome in _GOOD:
                outline, key, outputs, reads = slot.known
                kept[slot.name] = outline, key, tuple(map(_plain, outputs)), tuple(map(tuple, reads))
        self.cache.set_memo(RUN, kept, self._name)


def _plain(output: Output) -> tuple[object, ...]:
    """Return an output without classes of ours, which marshal does not know."""
    members, items = tuple(map(tuple, output.members)), tuple(map(_plain, output.items))
    return (*output[:6], members, items, output.classes)


def _output(plain: tuple[Any, ...]) -> Output:
    name, kind, content, value, size, inline, members, items, classes = plain
    return Output(
        name,
        kind,
        content,
        value,
        size,
        inline,
        tuple([Member(*it) for it in members]),
        tuple(map(_output, items)),
        classes,
    )
