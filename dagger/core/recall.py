"""What the last run of the same tasks came to, so that one with nothing to do looks at each file once and at no record.

A memo holds for each task its outline, its key, what it made, what it was seen to read, and by which stat its files are
known again, a thousand tasks to a part. A task is as it was when its outline is, all that it needs is, its outputs are
there and its discovered reads hold: then its key is the one that it had. That takes one run's memo for all of them,
since an outline names what a task needs and not what that was worth. Any run that changes something drops the memos of
its root first; losing one costs look-ups.

A memo is read in two ways. A `glance` tells whether all is as it was, in the memo's own order and at one look a task.
Only where it is not, there is a plan, and `settle` says of each task in it what is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from dagger.abstract import AbstractTask, TaskState
from dagger.abstract.helpers import collect_dependencies
from dagger.cache import Cache
from dagger.cache.files import with_bit
from dagger.cache.memos import RUN, Packed
from dagger.cache.records import Output, Read
from dagger.cache.stamps import Stamps
from dagger.core.glance import (
    Entry,
    Glance,
    entries_in,
    has_files,
    is_marked,
    is_whole,
    output_of,
    paths_made,
    plain_output,
    summary_of,
)
from dagger.core.graph import Slot
from dagger.core.lookup import Lookup
from dagger.core.manifest import FORMAT
from dagger.core.outline import Outline
from dagger.core.report import RAN, RESTORED, UP_TO_DATE
from dagger.lean_typing import Any, NamedTuple

_PART = 1000
_GOOD = {RAN, RESTORED, UP_TO_DATE}
_KEPT_SECONDS = 30 * 86_400
_FORM = f"{FORMAT} 2"


class Known(NamedTuple):
    """What is remembered of a task that was up to date at the end of a run.

    Attributes:
        outline: As `Walker.plain_outline` or, where there is none, `Walker.outline`.
        key: As in its manifest.
        outputs: What it made, in the order of its outputs.
        reads: Its discovered reads.
        files: The files that it takes and no task makes, where the outline does not say what they were worth.
    """

    outline: Outline | bytes
    key: str
    outputs: tuple[Output, ...]
    reads: tuple[Read, ...]
    files: tuple[tuple[str, str], ...] = ()


class Unchanged(NamedTuple):
    """All tasks of a workflow in which nothing is to be done, and their keys, one a line."""

    tasks: list[AbstractTask]
    keys: list[str]


class Recall:
    """The memo of one set of tasks.

    Args:
        ends: The tasks that are wanted.
        cache: Where the memo is.
        lookup: Knows whether outputs are there and reads hold.

    Attributes:
        good: Tasks that a glance has found as they were by themselves, whatever has become of what they need.
    """

    def __init__(self, ends: Sequence[AbstractTask], cache: Cache, lookup: Lookup) -> None:
        self.ends = ends
        self.cache = cache
        self.lookup = lookup
        self._name = "\0".join(sorted(task.identifier for task in ends))
        self.good: set[AbstractTask] = set()
        self._recalled: dict[str, Known] = {}
        self._head: object = None
        self._count = 0
        self._touched: set[int] = set()

    def glance(self) -> Unchanged | None:
        """Look at each task and each file once; return what there is to say where all is as it was, else None.

        In that case the tasks' data hold what they are worth, else `good` is set.
        """
        pairs = self._pairs()
        first = next(pairs, None)
        if first is None:
            return None
        look = Glance(self.lookup, self.cache.racy_since(), chain((first,), pairs))
        if not look.are_all_as_they_were(self.ends, _PART):
            self.good = set(look.good)
            return None
        look.adopt()
        if look.has_read:
            self._write(self._renewed())
        return Unchanged(look.good, look.keys)

    def settle(self, slots: Sequence[Slot], forced: frozenset[str]) -> Unchanged | None:
        """Find the tasks of a plan that are as they were, and give their data what they hold.

        Args:
            slots: In topological order.
            forced: Identifiers of tasks that are to run in any case.

        Returns:
            What there is to say where all are as they were, else None.
        """
        by_name = {slot.name: slot for slot in slots if slot.name not in forced}
        places: dict[Slot, int] = {}
        for place, (_, entries) in enumerate(self._pairs()):
            self._count = place + 1
            for name, entry in entries_in(entries).items():
                slot = by_name.get(name)
                if slot is not None and (known := _known(entry)) is not None:
                    slot.known = known
                    places[slot] = place
                else:
                    self._touched.add(place)
        for slot in slots:
            if slot.known is None:
                continue
            if self._holds(slot, slot.known):
                self._recalled[slot.name] = slot.known
                self.lookup.take(slot.task, slot.known.outputs)
            else:
                slot.known = None
                self._touched.add(places[slot])
        if len(self._recalled) < len(slots):
            return None
        return Unchanged([slot.task for slot in slots], [known.key for known in self._recalled.values()])

    def _holds(self, slot: Slot, known: Known) -> bool:
        """Tell whether a task is as it was, as is all that it needs."""
        task = slot.task
        if not task.cache or task.state is not TaskState.WAITING:
            return False
        for above in slot.upstream:
            if above.known is None:
                return False
        try:
            return task in self.good or self._is_as_it_was(task, known)
        except Exception:  # whatever is wrong with it, the look-up tells
            return False

    def _is_as_it_was(self, task: AbstractTask, known: Known) -> bool:
        lookup = self.lookup
        if known.outline != (lookup.walker.plain_outline(task) or lookup.walker.outline(task)):
            return False
        return (
            all(lookup.worth_of_file(path) == digest for path, digest in known.files)
            and all(map(lookup.holds, task.outputs.values(), known.outputs))
            and all(lookup.current(read) == read.digest for read in known.reads)
        )

    def drop(self) -> None:
        """Forget the memos of the root: what comes may make them wrong."""
        self.cache.set_memo_aside(RUN, self._name)

    def keep(self, slots: Iterable[Slot]) -> None:
        """Remember the tasks that are up to date now."""
        known = {
            slot.name: slot.known
            for slot in slots
            if slot.known is not None and slot.report is not None and slot.report.outcome in _GOOD
        }
        self.cache.set_memo(RUN, self._changed(known), self._name)

    def _changed(self, known: dict[str, Known]) -> Iterator[object]:
        """Yield the parts of a memo; those of the former one in which nothing has changed are copied as they are."""
        former = self.cache.memo_aside(RUN, self._name)
        head = next(former, None)
        if head is None or head.value() != self._head or self._count > len(known) / _PART * 2 + 8:
            yield _FORM, time.time()
            # In the order in which they will be looked at.
            names = (task.identifier for task in collect_dependencies(self.ends))
            yield from self._parts((name, _entry(known[name])) for name in names if name in known)
            return
        yield head.value()
        fresh = {name: it for name, it in known.items() if self._recalled.get(name) is not it}
        for index, part in enumerate(zip(former, former, strict=False)):
            bodies = [it.body() for it in part]
            yield from self._merged(*part, known, fresh) if index in self._touched or None in bodies else bodies
        yield from self._parts((name, _entry(it)) for name, it in fresh.items())

    def _merged(
        self, summary: Packed, entries: Packed, known: dict[str, Known], fresh: dict[str, Known]
    ) -> Iterator[object]:
        """Yield a part with what is new of its tasks, fresh no more then, and without those that are not known."""
        was_whole = is_whole(summary.value())
        merged: dict[str, Entry] = {}
        for name, entry in entries_in(entries).items():
            if name in fresh:
                changed = self._marked(_entry(fresh[name]))
                if is_marked(changed) or not was_whole:  # else all of its part would be looked at one by one
                    merged[name] = changed
                    del fresh[name]
            elif name in known:
                merged[name] = entry
        yield summary_of(merged)
        yield merged

    # The memo's form: a head, then of a thousand tasks each a summary and the entries.

    def _pairs(self) -> Iterator[tuple[Packed, Packed]]:
        """Yield summary and entries of each part of the memo; nothing where it is of another form, or old."""
        parts = self.cache.memo(RUN, self._name)
        first = next(parts, None)
        head: Any = None if first is None else first.value()
        # What is recalled is not asked of the digests of files, and they forget what nobody asks for.
        if type(head) is tuple and head[:1] == (_FORM,) and head[1] <= time.time() < head[1] + _KEPT_SECONDS:
            self._head = head
            yield from zip(parts, parts, strict=False)

    def _renewed(self) -> Iterator[tuple[str, Entry]]:
        """Yield what the memo holds in the order in which it will be looked at."""
        parts = self._pairs()
        unpacked: dict[str, Entry] = {}  # not all of it, since that is mostly the order in which it is
        for task in collect_dependencies(self.ends):
            while task.identifier not in unpacked and (part := next(parts, None)) is not None:
                unpacked.update(entries_in(part[1]))
            if (entry := unpacked.pop(task.identifier, None)) is not None:
                yield task.identifier, entry

    def _write(self, entries: Iterable[tuple[str, Entry]]) -> None:
        head = _FORM, time.time()
        self.cache.set_memo(RUN, chain((head,), self._parts(entries)), self._name)

    def _parts(self, entries: Iterable[tuple[str, Entry]]) -> Iterator[object]:
        """Yield summary and entries, a thousand tasks at a time, apart from those that cannot be summed up."""
        kept: dict[bool, dict[str, Entry]] = {True: {}, False: {}}
        for name, unmarked in entries:
            entry = self._marked(unmarked)
            part = kept[is_marked(entry)]
            part[name] = entry
            if len(part) == _PART:
                yield summary_of(part)
                yield part
                part.clear()
        for part in filter(None, kept.values()):
            yield summary_of(part)
            yield part

    def _marked(self, entry: Entry) -> Entry:
        """Return an entry with the marks of its files as far as they are known now."""
        outline, key, outputs, reads, files, marks = entry
        if type(outline) is not tuple or not has_files(entry):
            return entry
        mark = self._mark
        reads = tuple([(*it[:3], mark(it[1], it[2]) or it[3]) if it[0] == "file" else it for it in reads])
        files = tuple([(path, digest, mark(path, digest) or known) for path, digest, known in files])
        made = zip(paths_made(outline, len(outputs)), map(output_of, outputs), marks, strict=True)
        marks = tuple([(mark(path, _worth(it)) if it.kind == "file" else None) or known for path, it, known in made])
        return outline, key, outputs, reads, files, marks

    def _mark(self, path: str, digest: str) -> Stamps | None:
        return self.cache.stats.mark(self.lookup.places.absolute(path), digest)


def _entry(known: Known) -> Entry:
    """Return plain data, without classes of ours, which marshal does not know, and as yet without marks."""
    return (
        known.outline,
        known.key,
        tuple(map(plain_output, known.outputs)),
        tuple([(*read, None) for read in known.reads]),
        tuple([(path, digest, None) for path, digest in known.files]),
        (None,) * len(known.outputs),
    )


def _known(entry: Any) -> Known | None:
    """Return what an entry says; None where it is of another form."""
    try:
        outline, key, outputs, reads, files, _ = entry
        made = tuple(map(output_of, outputs))
        seen = tuple([Read(*it[:3]) for it in reads]) if reads else ()
        return Known(outline, key, made, seen, tuple([it[:2] for it in files]) if files else ())
    except (TypeError, ValueError):
        return None


def _worth(output: Output) -> str:
    """Return the digest of a file with its executable bit."""
    return with_bit(output.content, output.members[0].executable)
