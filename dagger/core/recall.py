"""What the last run of the same tasks came to, so that one with nothing to do looks at each file once and at no record.

A memo holds for each task its outline, its key, what it made and what it was seen to read, a thousand tasks to a part.
A task is as it was when its outline is, all that it needs is, its outputs are there and its discovered reads hold: then
its key is the one that it had. That takes one run's memo for all of them, since an outline names what a task needs and
not what that was worth. Any run that changes something drops the memos of its root first; losing one costs look-ups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dagger.abstract import TaskState
from dagger.cache import Cache
from dagger.cache.memos import RUN
from dagger.cache.records import Member, Output, Read
from dagger.core.graph import Slot
from dagger.core.lookup import Lookup
from dagger.core.report import RAN, RESTORED, UP_TO_DATE

_PART = 1000
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
        needed = {above for slot in slots for above in slot.upstream}
        self._name = "\0".join(sorted(slot.name for slot in slots if slot not in needed))

    def settle(self, forced: frozenset[str]) -> bool:
        """Find the tasks that are as they were, and give their data what they hold; tell whether all are.

        Args:
            forced: Identifiers of tasks that are to run in any case.
        """
        are_distinct = len({slot.name for slot in self.slots}) == len(self.slots)
        former = _Former(self.cache.memo(RUN, self._name) if are_distinct else iter(()))
        whole = True
        for slot in self.slots:
            found = former.pop(slot.name)
            slot.known = self._known(slot, found) if slot.name not in forced else None
            whole = whole and slot.known is not None
        return whole

    def _known(self, slot: Slot, found: Any) -> Known | None:
        """Return what is remembered of a task if it is as it was."""
        task, lookup = slot.task, self.lookup
        if found is None or not task.cache or task.state is not TaskState.WAITING:
            return None
        for above in slot.upstream:
            if above.known is None:
                return None
        try:
            outline, key, outputs, reads = found
            if lookup.walker.outline(task) != outline:
                return None
            known = Known(outline, key, tuple(map(_output, outputs)), tuple(Read(*read) for read in reads))
            if not all(map(lookup.holds, task.outputs.values(), known.outputs)):
                return None
            if known.reads and not all(lookup.current(read) == read.digest for read in known.reads):
                return None
        except Exception:  # whatever is wrong with it, the look-up tells
            return None
        lookup.take(task, known.outputs)
        return known

    def drop(self) -> None:
        """Forget the memos of the root: what comes may make them wrong."""
        self.cache.drop_memos(RUN)

    def keep(self) -> None:
        """Remember the tasks that are up to date now."""
        self.cache.set_memo(RUN, self._parts(), self._name)

    def _parts(self) -> Iterator[dict[str, object]]:
        kept: dict[str, object] = {}
        for slot in self.slots:
            if slot.known is not None and slot.report is not None and slot.report.outcome in _GOOD:
                outline, key, outputs, reads = slot.known
                kept[slot.name] = outline, key, tuple(map(_plain, outputs)), tuple(map(tuple, reads))
            if len(kept) == _PART:
                yield kept
                kept = {}
        yield kept


class _Former:
    """What a memo holds, unpacked part by part: who asks in the order of the last run never has all of it at once."""

    def __init__(self, parts: Iterator[object]) -> None:
        self._parts = parts
        self._open: dict[str, Any] = {}

    def pop(self, name: str) -> Any:
        """Return what is remembered of a task, and forget it; None where it is nothing."""
        while name not in self._open:
            part = next(self._parts, None)
            if not isinstance(part, dict):  # the end, or whole, but in another form than this
                self._parts = iter(())
                break
            self._open |= part
        return self._open.pop(name, None)


def _plain(output: Output) -> tuple[object, ...]:
    """Return an output without classes of ours, which marshal does not know."""
    # Equal digests are one object, also when they are read again.
    value = output.content if output.value == output.content else output.value
    members = tuple(
        (it.path, output.content if it.digest == output.content else it.digest, *it[2:]) for it in output.members
    )
    return (*output[:3], value, *output[4:6], members, tuple(map(_plain, output.items)), output.classes)


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
