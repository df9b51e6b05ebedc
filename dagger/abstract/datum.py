"""The interface of a datum: something at the end of a pointer, that a task needs or makes.

A datum is EMPTY until it has a pointer, POPULATED while nobody knows whether there is anything at
the pointer's end, AVAILABLE when the data was there at the last look. The output of a task that has
not run is such an IOU: it can already be another task's input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from enum import Enum

from dagger.abstract.states import DATUM_TRANSITIONS, DatumState, checked_move
from dagger.errors import DeclarationError, PointerError
from dagger.lean_typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dagger.abstract.task import AbstractTask

__all__ = ["NOTHING", "AbstractDatum", "DatumState", "Nothing"]

_LONGEST_SHOWN = 60


class Nothing(Enum):
    """The type of `NOTHING`. An enumeration, so that it is one and the same also after pickling."""

    NOTHING = "no pointer"


NOTHING: Final = Nothing.NOTHING
"""Stands where a pointer would, since None is a pointer like any other."""

_EMPTY, _AVAILABLE = DatumState.EMPTY, DatumState.AVAILABLE  # looking up a member of an enumeration is dear


class AbstractDatum(ABC):
    """Something that tasks need and make.

    A subclass writes `_validate_format_logic`, `_verify_available_logic`, `_clear_logic` and
    `_quickhash`; all four find the pointer in `self.pointer`.

    Args:
        parent: The task that makes it; a task sets itself as the parent of its outputs.
        pointer: Where the data is, or the data itself: any object. When given, None too, the datum
            is populated and looked at at once.

    Raises:
        TypeError: `parent` is no task; most often a pointer that was given without its name.
        ValueError: The pointer is badly formed.
    """

    # Slots: a copy that is made for a worker would else leave each datum with a dict of its own.
    __slots__ = ("__dict__", "__weakref__", "_declared", "_known_quickhash", "_parents", "_pointer", "_state")

    def __init__(self, parent: AbstractTask | None = None, *, pointer: Any = NOTHING) -> None:
        self._state = _EMPTY
        self._pointer: Any = NOTHING
        self._known_quickhash: Hashable = None
        self._parents: tuple[AbstractTask, ...] = () if parent is None else (_checked_parent(parent, self),)
        if pointer is not NOTHING:
            self.populate(pointer)
            self.verify_available()

    # What a subclass writes

    @abstractmethod
    def _validate_format_logic(self) -> bool:
        """Tell whether `self.pointer` is well formed, without looking at what it points to."""

    @abstractmethod
    def _verify_available_logic(self) -> bool:
        """Look whether the data is there. Called with a well formed pointer."""

    @abstractmethod
    def _clear_logic(self) -> None:
        """Take the data away, if it is there. Called with a well formed pointer."""

    @abstractmethod
    def _quickhash(self) -> Hashable:
        """Return what the data is worth, best an int: the same for the same data, in every process.

        Called only while the datum is AVAILABLE.
        """

    @property
    def parents(self) -> list[AbstractTask]:
        """The tasks that make it: none for a source, one for an output."""
        return list(self._makers())

    @parents.setter
    def parents(self, parents: Iterable[AbstractTask]) -> None:
        self._parents = tuple(parents)

    # State

    @property
    def state(self) -> DatumState:
        """How much is known of it; moves as `DATUM_TRANSITIONS` says."""
        return self._state

    @state.setter
    def state(self, new: DatumState) -> None:
        self._state = checked_move(DATUM_TRANSITIONS, self._state, new)
        if new is not DatumState.AVAILABLE:
            self._known_quickhash = None
        if new is DatumState.EMPTY:
            self._pointer = NOTHING

    @property
    def pointer(self) -> Any:  # a pointer may be anything
        """Where the data is, or the data itself; None while EMPTY."""
        return None if self._pointer is NOTHING else self._pointer

    @property
    def quickhash(self) -> Any:  # an int, or what a person's `_quickhash` returns
        """What the data is worth, None unless AVAILABLE. Computed once, when first asked for."""
        if self.state is not DatumState.AVAILABLE:
            return None
        if self._known_quickhash is None:
            self._known_quickhash = self._quickhash()
        return self._known_quickhash

    # Moves

    def populate(self, pointer: Any) -> None:
        """Set the pointer. Afterwards the datum is POPULATED, whatever it was.

        Args:
            pointer: Any object that this kind of datum takes; None is one.

        Raises:
            ValueError: The pointer is badly formed; the datum is EMPTY then.
        """
        self._pointer = pointer
        self._validate_format()
        self.state = DatumState.POPULATED

    def verify_available(self, update: bool = True) -> bool:
        """Look whether the data is there.

        Args:
            update: Move to AVAILABLE, or back to POPULATED, by what was found.
        """
        if self.state is DatumState.EMPTY:
            return False
        available = bool(self._verify_available_logic())
        if update:
            self.state = DatumState.AVAILABLE if available else DatumState.POPULATED
        return available

    def sync(self) -> None:
        """Look again: whether the data is there, and, when next asked, what it is worth."""
        self._known_quickhash = None
        self.verify_available()

    def clear(self) -> None:
        """Take the data away and forget the pointer. Does nothing the second time."""
        if self.state is DatumState.EMPTY:
            return
        self._clear_logic()
        self.state = DatumState.EMPTY

    def _validate_format(self) -> None:
        """Look at the pointer's form.

        Raises:
            ValueError: It is badly formed; the datum is EMPTY then.
        """
        pointer, cause = self._pointer, None
        try:
            if self._validate_format_logic():
                return
        except Exception as error:  # a check that stumbles over a pointer has found it badly formed
            cause = error
        self.state = DatumState.EMPTY
        shown = shown_pointer(pointer)
        why = "" if cause is None else f" ({type(cause).__name__}: {cause})"
        raise PointerError(f"{type(self).__name__}: badly formed pointer {shown}{why}") from cause

    def _verify_quickhash(self, update: bool = False) -> bool:
        """Compute the quickhash anew and tell whether it is what it was. False unless AVAILABLE.

        Args:
            update: Remember the new one. The first one is always remembered.
        """
        if self.state is not DatumState.AVAILABLE:
            return False
        known, now = self._known_quickhash, self._quickhash()
        if update or known is None:
            self._known_quickhash = now
        return known is None or known == now

    def _found(self, quickhash: Hashable) -> None:
        """Be AVAILABLE: somebody has looked, and knows what it is worth. It must have a pointer."""
        self._state = _AVAILABLE
        self._known_quickhash = quickhash

    def _sources(self) -> list[AbstractDatum]:
        """Return the data in it that no task makes."""
        return [] if self._parents else [self]

    def _makers(self) -> tuple[AbstractTask, ...]:
        return self._parents

    def _adopt(self, task: AbstractTask) -> None:
        """Make a task one of the parents, once; the pointer that there is now, such as a path, outlives a failure."""
        if not self._parents:
            self._parents = (task,)
            self._declared: Any = self._pointer
            return
        if not any(parent is task for parent in self._parents):
            self._parents += (task,)
        self._declared = self._declared_pointer()

    def _declared_pointer(self) -> Any:
        """Return the pointer that a task's output was declared with, `NOTHING` where it was without one."""
        return getattr(self, "_declared", self._pointer)

    def __repr__(self) -> str:
        pointer = "" if self._pointer is NOTHING else f" {shown_pointer(self._pointer)}"
        return f"<{type(self).__name__} {self.state.name}{pointer}>"


def _checked_parent(parent: AbstractTask, datum: AbstractDatum) -> AbstractTask:
    from dagger.abstract.task import AbstractTask

    if isinstance(parent, AbstractTask):
        return parent
    kind, shown = type(datum).__name__, shown_pointer(parent)
    raise DeclarationError(f"{kind}: the parent is a task, not {shown}; give a pointer by name: {kind}(pointer=...)")


def shown_pointer(pointer: object) -> str:
    """Return a pointer for a message: text and numbers; of all else, maybe huge, the type."""
    if not isinstance(pointer, (str, bytes, int, float, type(None))):
        return f"of type {type(pointer).__name__}"
    shown = repr(pointer[:_LONGEST_SHOWN] if isinstance(pointer, (str, bytes)) else pointer)
    return shown if len(shown) <= _LONGEST_SHOWN + 3 else shown[:_LONGEST_SHOWN] + "..."
