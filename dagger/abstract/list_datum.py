"""Many data of one type as one input or output.

A list keeps no state of its own: its state, pointer and quickhash are read off its members, so that
a member that another task populates meanwhile is seen at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dagger.abstract.datum import NOTHING, AbstractDatum
from dagger.abstract.input_converters import Converter, InputForm, converter_registry
from dagger.abstract.states import DATUM_TRANSITIONS, DatumState, checked_move
from dagger.errors import DeclarationError, PointerError, StateError
from dagger.lean_typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from dagger.abstract.task import AbstractTask


class DatumList(AbstractDatum):
    """Many data of one type as one datum.

    It is as far as the member that is least far. With no members known yet it is EMPTY, with none
    at all (an empty list was given) it is AVAILABLE.

    Args:
        datum_type: The type of each.
        datums: The very data to hold, outputs of tasks that have not run too. Without them, members
            are made when the list is populated.
        pointer: The members' pointers, to populate with at once.
        parent: The task that makes the list, members and all.

    Attributes:
        datum_type: The type of each.
        datums: The members, in order.

    Raises:
        TypeError: `datum_type` is no type of datum, or a member is not of it; the message says
            which.
        ValueError: A pointer is badly formed, or there are not as many as members.
    """

    def __init__(
        self,
        datum_type: type[AbstractDatum],
        datums: Iterable[AbstractDatum] | None = None,
        pointer: Iterable[Any] | None = None,
        parent: AbstractTask | None = None,
    ) -> None:
        if not (isinstance(datum_type, type) and issubclass(datum_type, AbstractDatum)):
            raise DeclarationError(f"DatumList: {datum_type!r} is not a subclass of AbstractDatum")
        self.datum_type = datum_type
        self.datums: list[AbstractDatum] = [] if datums is None else _checked(datum_type, datums)
        self._are_given = datums is not None
        self._are_known = datums is not None
        super().__init__()
        if parent is not None:
            self._adopt(parent)
        if pointer is not None:
            self.populate(pointer)
            self.verify_available()

    # Read off the members

    @property
    def state(self) -> DatumState:
        """The least of its members' states; a move moves every member."""
        if not self._are_known:
            return DatumState.EMPTY
        return min((member.state for member in self.datums), default=DatumState.AVAILABLE)

    @state.setter
    def state(self, new: DatumState) -> None:
        old = self.state
        new = checked_move(DATUM_TRANSITIONS, old, new)
        if new is old:
            return
        if not self._are_known:
            raise StateError("a DatumList without members has no state to change; populate it")
        for member in self.datums:
            member.state = new
        if new is DatumState.EMPTY:
            self._forget_made()

    @property
    def pointer(self) -> list[Any] | None:
        """The list of the members' pointers; None while EMPTY."""
        if self.state is DatumState.EMPTY:
            return None
        return [member.pointer for member in self.datums]

    @property
    def quickhash(self) -> int | None:
        """A digest of the members' quickhashes in order; None unless AVAILABLE."""
        return self._quickhash() if self.state is DatumState.AVAILABLE else None

    # Moves, each member's own

    def populate(self, pointer: Iterable[Any]) -> None:
        """Give each member its pointer.

        Members that were given are populated; members that were not are made.

        Args:
            pointer: A list or tuple of as many pointers as there are members, any number where none
                were given.

        Raises:
            ValueError: It is no list, not as long as the members that were given, or a pointer in
                it is badly formed; the list is EMPTY then.
        """
        try:
            pointers = self._as_pointers(pointer)
        except PointerError:
            self._empty()
            raise
        if not self._are_known or len(self.datums) != len(pointers):
            self.datums = [self._made_member() for _ in pointers]
            self._are_known = True
        index = 0
        try:
            for index, member in enumerate(self.datums):
                member.populate(pointers[index])
        except ValueError as error:
            self._empty()
            raise PointerError(f"DatumList item {index}: {error}") from error

    def verify_available(self, update: bool = True) -> bool:
        """Look at every member, so that each one's state is right; tell whether all are there."""
        found = [member.verify_available(update) for member in self.datums]
        return self._are_known and all(found)

    def sync(self) -> None:
        """Look at each member again."""
        for member in self.datums:
            member.sync()

    def clear(self) -> None:
        """Clear each member; those that `populate` made are forgotten."""
        self._clear_logic()
        self._forget_made()

    def _verify_quickhash(self, update: bool = False) -> bool:
        same = [member._verify_quickhash(update) for member in self.datums]
        return self.state is DatumState.AVAILABLE and all(same)

    def _sources(self) -> list[AbstractDatum]:
        if not self.datums:
            return super()._sources()
        return [source for member in self.datums for source in member._sources()]

    def _makers(self) -> tuple[AbstractTask, ...]:
        """Return the tasks that make it or one of its members."""
        known = set(map(id, self._parents))
        found = []
        for member in self.datums:
            for parent in member._makers():
                if id(parent) not in known:
                    known.add(id(parent))
                    found.append(parent)
        if found:
            self._parents += tuple(found)
        return self._parents

    def _adopt(self, task: AbstractTask) -> None:
        pointer = getattr(self, "_declared", NOTHING if self.state is DatumState.EMPTY else self.pointer)
        super()._adopt(task)
        for member in self.datums:
            member._adopt(task)
        self._declared = pointer

    # The four methods of a datum

    def _validate_format_logic(self) -> bool:
        return all(member._validate_format_logic() for member in self.datums)

    def _verify_available_logic(self) -> bool:
        return all(member._verify_available_logic() for member in self.datums)

    def _clear_logic(self) -> None:
        for member in self.datums:
            member.clear()

    def _quickhash(self) -> int:
        from xxhash import xxh3_128_intdigest

        # repr is canonical for what a quickhash may be (int, str, bytes, tuples of them), and keeps
        # 1 and "1" apart.
        quickhashes = repr([member.quickhash for member in self.datums])
        return xxh3_128_intdigest(b"dagger.DatumList 1\0" + quickhashes.encode())

    # Helpers

    def _as_pointers(self, pointer: Iterable[Any]) -> list[Any]:
        if not isinstance(pointer, (list, tuple)):
            raise PointerError(f"the pointer of a DatumList is a list of pointers, not a {type(pointer).__name__}")
        if self._are_given and len(pointer) != len(self.datums):
            raise PointerError(f"{len(pointer)} pointers for the {len(self.datums)} members of a DatumList")
        return list(pointer)

    def _made_member(self) -> AbstractDatum:
        member = self.datum_type()
        for parent in self._parents:
            member._adopt(parent)
        return member

    def _empty(self) -> None:
        for member in self.datums:
            member.state = DatumState.EMPTY
        self._forget_made()

    def _forget_made(self) -> None:
        if not self._are_given:
            self.datums = []
            self._are_known = False

    def __len__(self) -> int:
        return len(self.datums)

    def __iter__(self) -> Iterator[AbstractDatum]:
        return iter(self.datums)

    @overload
    def __getitem__(self, index: int) -> AbstractDatum: ...

    @overload
    def __getitem__(self, index: slice) -> list[AbstractDatum]: ...

    def __getitem__(self, index: int | slice) -> AbstractDatum | list[AbstractDatum]:
        return self.datums[index]

    def __bool__(self) -> bool:
        return True  # a datum like any other: an empty one is still one

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.state.name} {len(self)} x {self.datum_type.__name__}>"


def _checked(datum_type: type[AbstractDatum], datums: Iterable[AbstractDatum]) -> list[AbstractDatum]:
    if isinstance(datums, AbstractDatum) and not isinstance(datums, DatumList):
        raise DeclarationError(f"DatumList: datums is a single {type(datums).__name__}, not a list")
    if not isinstance(datums, Iterable):
        raise DeclarationError(f"DatumList: datums is a {type(datums).__name__}, not a list")
    members = list(datums)
    for index, member in enumerate(members):
        if not isinstance(member, datum_type):
            raise DeclarationError(f"DatumList item {index}: a {type(member).__name__}, not a {datum_type.__name__}")
    return members


def _members_in(form: InputForm) -> Converter:
    def convert(data: DatumList) -> list[Any]:
        return [converter_registry.convert(member, form) for member in data]

    return convert


for _form in InputForm:
    converter_registry.register(DatumList, _form, _members_in(_form))
