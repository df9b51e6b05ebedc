"""Keeps other managers from the tasks of a run: each is held from its launch until its record is there to be found."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from dagger.core.datum import MemoryDatum, declared_paths
from dagger.core.graph import Slot
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.holdings import Holdings
    from dagger.cache.locks import Lock
    from dagger.core.places import Places
    from dagger.core.workspace import Workspace

_MOST_PATHS = 10
_GROUP = 0.3
_MOST_KEPT = 2000
_MOST_BYTES = 4 << 20


class Holder:
    """Holds the slots of one run: each by its key and by the real paths of its outputs.

    Args:
        holdings: What the run holds.
        places: Where paths lead.
        workspace: Is told of what a run that was killed may have left half written.

    Attributes:
        due: When what is kept is to be committed; None while nothing is.
    """

    def __init__(self, holdings: Holdings, places: Places, workspace: Workspace) -> None:
        self.due: float | None = None
        self._holdings = holdings
        self._places = places
        self._workspace = workspace
        self._kept: list[Lock] = []
        self._size = 0

    def take(self, slots: Sequence[Slot]) -> list[Slot]:
        """Hold slots, and return those that are held: no other manager has one of their names."""
        wanted = [slot for slot in slots if slot.locks is None]
        folders: dict[str, str] = {}
        names = [self._names(slot, folders) for slot in wanted]
        for slot, own, locks in zip(wanted, names, self._holdings.take(names), strict=True):
            slot.locks = locks
            for name, lock in zip(own, locks or (), strict=False):
                if lock.left:
                    self._note_orphan(slot, name, lock)
            if any(lock.left for lock in locks or ()):
                self._workspace.discard_unfinished(slot.task)
        return [slot for slot in slots if slot.locks is not None]

    def mark(self, slots: Iterable[Slot]) -> None:
        """Say that slots are launched or restored: what comes to lie under their outputs' names is theirs."""
        self._holdings.mark([lock for slot in slots for lock in slot.locks or ()])

    def let_go(self, slot: Slot) -> None:
        """Let go of a slot; twice is harmless."""
        if slot.locks:
            self._holdings.release(slot.locks)
        slot.locks = None

    def keep(self, slot: Slot, size: int) -> bool:
        """Keep what holds a slot until `release`, when its record is written; tell whether that is best done now.

        Args:
            slot: Its task has ended well.
            size: How many bytes of what it printed and made are in its record, and in memory until that is written.
        """
        if self.due is None:
            self.due = time.monotonic() + _GROUP
        self._kept += slot.locks or ()
        self._size += size
        slot.locks = None
        return len(self._kept) > _MOST_KEPT or self._size > _MOST_BYTES

    def release(self) -> None:
        """Let go of what was kept."""
        self._holdings.release(self._kept)
        self._kept.clear()
        self._size = 0
        self.due = None

    def close(self) -> None:
        """Have no more to do with it."""
        self._holdings.close()

    def _names(self, slot: Slot, folders: dict[str, str]) -> list[str]:
        """Return what a slot is held by: of many outputs the first few, since whoever makes all needs these too."""
        assert slot.manifest is not None
        return sorted({name for name in (slot.manifest.key, *self._paths(slot, folders)[:_MOST_PATHS]) if name})

    def _paths(self, slot: Slot, folders: dict[str, str] | None = None) -> list[str]:
        files = [datum for datum in slot.task.outputs.values() if type(datum) is not MemoryDatum]
        return sorted({self._places.real(path, folders) for datum in files for path in declared_paths(datum)})

    def _note_orphan(self, slot: Slot, name: str, lock: Lock) -> None:
        assert slot.manifest is not None
        self._workspace.note_orphan(name, lock)
        if name == slot.manifest.key:
            for path in self._paths(slot)[_MOST_PATHS:]:
                self._workspace.note_orphan(path, lock)
