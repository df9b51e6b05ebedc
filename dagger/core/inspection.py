"""May a result be trusted, and filed: a look at what the task read undeclared, and at its inputs once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from dagger.abstract import AbstractDatum
from dagger.cache.records import Output, Read
from dagger.core.datum import FileDatum, MemoryDatum, declared_paths
from dagger.core.graph import Slot
from dagger.core.jobs import Outcome
from dagger.core.manifest import Walker, members
from dagger.core.places import Places

_MOST_NAMED = 5


class Inspector:
    """Looks results over, for one run.

    Args:
        slots: The whole run, to know who makes which file.
        walker: Knows what a source is worth now.
        made: What is a task's output, and so not looked at again.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        places: Places,
        walker: Walker,
        made: Mapping[AbstractDatum, Output],
    ) -> None:
        self.slots = slots
        self.places = places
        self.walker = walker
        self.made = made

    def undeclared(self, slot: Slot, outcome: Outcome) -> str:
        """Say what a task read that is not among its inputs; empty where there is nothing to say."""
        read = [it.name for it in outcome.reads if self._maker(it) in (None, slot)]
        if not read:
            return ""
        more = f" and {len(read) - _MOST_NAMED} more" if len(read) > _MOST_NAMED else ""
        verb = "is" if len(read) == 1 else "are"
        return f"read {', '.join(read[:_MOST_NAMED])}{more}, which {verb} not among its inputs"

    def misplaced(self, slot: Slot, outcome: Outcome) -> str:
        """Name a file of another task that a task read without depending on it: it may be there or not."""
        for read in outcome.reads:
            maker = self._maker(read)
            if maker is not None and maker is not slot and not _is_above(maker, slot):
                return (
                    f"read {read.name}, which task {maker.name!r} makes, without depending on "
                    "it; make that task's output an input"
                )
        return ""

    def changed(self, slot: Slot, outcome: Outcome) -> list[str]:
        """Name the sources that changed while a task ran: nobody knows what it saw of them."""
        given = {name: it for name, it in slot.task.inputs.items() if type(it) is not MemoryDatum}
        if not given:
            return [*outcome.unstable]
        assert slot.manifest is not None
        before = {name: digest for kind, name, digest in slot.manifest.rows if kind == "input"}
        places = (pair for name, it in given.items() for pair in members(name, it) if pair[0] in before)
        return [
            *(f"input {place!r}" for place, datum in places if self._has_changed(place, datum, before[place])),
            *outcome.unstable,
        ]

    def _has_changed(self, place: str, datum: AbstractDatum, before: str) -> bool:
        if datum in self.made or not isinstance(datum, FileDatum):
            return False
        try:
            return self.walker.source(place, datum)[0] != before
        except OSError:
            return True

    def _maker(self, read: Read) -> Slot | None:
        return None if read.kind == "env" else self._makers.get(read.name)

    @cached_property
    def _makers(self) -> dict[str, Slot]:
        return {
            self.places.shown(self.places.absolute(path)): slot
            for slot in self.slots
            for datum in slot.task.outputs.values()
            for path in declared_paths(datum)
        }


def _is_above(maker: Slot, slot: Slot) -> bool:
    seen: set[Slot] = set()
    stack = list(slot.upstream)
    while stack:
        above = stack.pop()
        if above is maker:
            return True
        if above not in seen and above.index > maker.index:
            seen.add(above)
            stack += above.upstream
    return False
