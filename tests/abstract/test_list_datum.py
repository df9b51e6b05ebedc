"""Lists of data: everything is read off the members."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from dagger.abstract import AbstractDatum, DatumList, DatumState, InputForm, converter_registry


class Cell(AbstractDatum):
    def _validate_format_logic(self) -> bool:
        return bool(self.pointer != "bad")

    def _verify_available_logic(self) -> bool:
        return bool(self.pointer != "gone")

    def _clear_logic(self) -> None:
        pass

    def _quickhash(self) -> Any:
        return self.pointer


def test_holds_the_very_data(toys: SimpleNamespace) -> None:
    """Members are the objects that were given, outputs of tasks that have not run too."""
    first, second = toys.Step("a", outputs={"x": None}), toys.Step("b", outputs={"x": None})
    source = toys.Box(pointer=1)
    data = DatumList(toys.Box, [first["x"], source, second["x"], first["x"]])
    assert [it is other for it, other in zip(data, data.datums, strict=True)] == [True] * 4
    assert data[1] is source
    assert data[:2] == [first["x"], source]
    assert len(data) == 4
    assert data.parents == [first, second]
    assert (data.state, data.pointer, data.quickhash) == (DatumState.EMPTY, None, None)
    first["x"].populate(2)
    second["x"].populate(3)
    assert (data.state, data.pointer) == (DatumState.POPULATED, [2, 1, 3, 2])
    assert data.verify_available()
    assert data.state is DatumState.AVAILABLE


def test_a_parent_that_a_member_gets_later(toys: SimpleNamespace) -> None:
    """A member that becomes a task's output after the list was made makes the task a parent."""
    member = toys.Box()
    data = DatumList(toys.Box, [member])
    task = toys.Step("late", outputs={"x": member})
    assert data.parents == [task]


@given(st.lists(st.sampled_from(["EMPTY", "POPULATED", "AVAILABLE"]), min_size=1, max_size=5))
def test_state_is_the_least(states: list[str]) -> None:
    """A list is as far as its least member."""
    members = [Cell() for _ in states]
    for member, state in zip(members, states, strict=True):
        if state != "EMPTY":
            member.populate(1 if state == "AVAILABLE" else "gone")
            member.verify_available()
    data = DatumList(Cell, members)
    assert data.state == min(DatumState[state] for state in states)
    assert (data.quickhash is not None) == (set(states) == {"AVAILABLE"})
    data.clear()
    data.clear()
    assert {member.state for member in members} == {DatumState.EMPTY}


def test_populate_makes_members(toys: SimpleNamespace) -> None:
    """Without data of its own a list makes members, as many as there are pointers, each time."""
    task = toys.Step("a", outputs={"parts": DatumList(toys.Box)})
    data = task["parts"]
    assert (data.state, len(data), data.verify_available()) == (DatumState.EMPTY, 0, False)
    data.populate([1, 2])
    assert (data.state, data.pointer) == (DatumState.POPULATED, [1, 2])
    assert [member.parents for member in data] == [[task], [task]]
    data.populate([1, 2, 3])
    assert data.pointer == [1, 2, 3]
    data.clear()
    assert (data.state, len(data)) == (DatumState.EMPTY, 0)
    assert DatumList(toys.Box, pointer=[5]).state is DatumState.AVAILABLE


def test_no_data_at_all(toys: SimpleNamespace) -> None:
    """An empty list is there; a list that nobody has told its members is not. Both are true."""
    assert DatumList(toys.Box, []).state is DatumState.AVAILABLE
    assert DatumList(toys.Box, []).pointer == []
    assert DatumList(toys.Box, pointer=[]).verify_available()
    assert DatumList(toys.Box).state is DatumState.EMPTY
    assert bool(DatumList(toys.Box)) is True


def test_populate_fills_given_members(toys: SimpleNamespace) -> None:
    """Members that were given are populated, and stay the same objects."""
    members = [toys.Box(), toys.Box()]
    data = DatumList(toys.Box, members, pointer=(1, 2))
    assert [member.pointer for member in members] == [1, 2]
    with pytest.raises(ValueError, match="3 pointers for the 2 members"):
        data.populate([1, 2, 3])
    assert data.state is DatumState.EMPTY


@pytest.mark.parametrize("pointer", ["ab", 5, {1: 2}, None])
def test_a_pointer_that_is_no_list(toys: SimpleNamespace, pointer: Any) -> None:
    """A list's pointer is a list; a text is not a list of letters."""
    data = DatumList(toys.Box, pointer=[1])
    with pytest.raises(ValueError, match="list of pointers"):
        data.populate(pointer)
    assert data.state is DatumState.EMPTY


def test_a_bad_pointer_is_named_by_its_place(toys: SimpleNamespace) -> None:
    """The message says which pointer is badly formed, and the list is EMPTY."""
    data = DatumList(toys.Box)
    with pytest.raises(ValueError, match="item 1: Box: badly formed pointer 'bad'"):
        data.populate([1, "bad", 2])
    assert (data.state, data.pointer) == (DatumState.EMPTY, None)


def test_types_are_checked(toys: SimpleNamespace) -> None:
    """A member of another type is a TypeError that names its place."""
    with pytest.raises(TypeError, match="item 1: a Cell, not a Box"):
        DatumList(toys.Box, [toys.Box(), Cell()])
    with pytest.raises(TypeError, match="single Box"):
        DatumList(toys.Box, toys.Box())
    with pytest.raises(TypeError, match="subclass of AbstractDatum"):
        DatumList(int)  # type: ignore[arg-type]  # that is the point


@given(
    st.lists(st.integers() | st.text(max_size=2) | st.tuples(st.integers()), max_size=4),
    st.lists(st.integers() | st.text(max_size=2) | st.tuples(st.integers()), max_size=4),
)
def test_quickhash_follows_the_members(left: list[Any], right: list[Any]) -> None:
    """Two lists have one quickhash exactly if their members' quickhashes agree in order."""
    first, second = DatumList(Cell, pointer=left), DatumList(Cell, pointer=right)
    if first.state is second.state is DatumState.AVAILABLE:
        assert isinstance(first.quickhash, int)
        assert (first.quickhash == second.quickhash) == (left == right)


def test_quickhash_is_stable() -> None:
    """The digest is the same in every process; a change of it would empty every cache."""
    assert DatumList(Cell, pointer=[1, "a"]).quickhash == 183275340158178970478728597800990836910


def test_sync_and_verify_reach_each_member(toys: SimpleNamespace) -> None:
    """One member that is gone does not keep the others from being looked at."""
    members = [toys.Box(pointer="gone"), toys.Box(pointer=[1])]
    data = DatumList(toys.Box, members)
    members[0]._pointer, members[1]._pointer = 1, "gone"
    data.sync()
    assert [member.state.name for member in members] == ["AVAILABLE", "POPULATED"]


def test_state_can_be_set_within_the_table(toys: SimpleNamespace) -> None:
    """Setting a list's state moves its members; what the table lacks is refused."""
    members = [toys.Box(), toys.Box()]
    data = DatumList(toys.Box, members, pointer=[1, 2])
    data.state = DatumState.POPULATED
    assert {member.state for member in members} == {DatumState.POPULATED}
    data.state = DatumState.EMPTY
    with pytest.raises(ValueError, match="EMPTY → AVAILABLE"):
        data.state = DatumState.AVAILABLE
    with pytest.raises(ValueError, match="without members"):
        DatumList(toys.Box).state = DatumState.POPULATED


def test_conversion_is_the_list_of_conversions(toys: SimpleNamespace) -> None:
    """A function gets what each member converts to; a member without a converter is named."""
    nested = DatumList(DatumList, [DatumList(toys.Box, pointer=[1, 2]), DatumList(toys.Box, [])])
    assert converter_registry.convert(nested, InputForm.OBJECT) == [[1, 2], []]
    assert all(converter_registry.has_converter(DatumList, form) for form in InputForm)
    with pytest.raises(TypeError, match=r"registered for Cell -> InputForm\.FILEPATH"):
        converter_registry.convert(DatumList(Cell, pointer=[1]), InputForm.FILEPATH)


def test_a_bad_pointer_empties_every_member(toys: SimpleNamespace) -> None:
    """A list that was half populated is EMPTY in all its members, not in some."""
    members = [toys.Box(pointer=1), toys.Box(pointer=2), toys.Box(pointer=3)]
    data = DatumList(toys.Box, members)
    with pytest.raises(ValueError, match="item 1"):
        data.populate([5, "bad", 7])
    assert {member.state for member in members} == {DatumState.EMPTY}


def test_an_output_list_is_its_members_too(toys: SimpleNamespace) -> None:
    """Each member of an output can be an input by itself; asking for parents twice adds none."""
    members = [toys.Box(), toys.Box()]
    task = toys.Step("t", outputs={"parts": DatumList(toys.Box, members)})
    assert [member.parents for member in members] == [[task], [task]]
    assert task["parts"].parents == task["parts"].parents == [task]
    assert toys.Step("u", {"x": members[1]}).upstream == [task]
