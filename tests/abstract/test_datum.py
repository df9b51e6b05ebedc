"""Data: pointers, quickhashes, clearing."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

from dagger.abstract import NOTHING, AbstractDatum, DatumState


def test_four_methods_suffice(toys: SimpleNamespace) -> None:
    """A subclass with the four methods populates, verifies, hashes and clears."""
    box = toys.Box()
    assert (box.state, box.pointer, box.quickhash, box.parents) == (
        DatumState.EMPTY,
        None,
        None,
        [],
    )
    box.populate(3)
    assert (box.state, box.pointer, box.quickhash) == (DatumState.POPULATED, 3, None)
    assert box.verify_available()
    assert (box.state, box.quickhash) == (DatumState.AVAILABLE, hash("3"))
    box.clear()
    box.clear()
    assert (box.state, box.pointer, box.cleared) == (DatumState.EMPTY, None, 1)


def test_a_missing_method_is_refused() -> None:
    """A subclass that lacks one of the four cannot be instantiated."""
    with pytest.raises(TypeError, match="_clear_logic"):
        type("Half", (AbstractDatum,), {"_quickhash": hash})()


def test_none_is_a_pointer(toys: SimpleNamespace) -> None:
    """`pointer=None` counts as given; without `pointer` there is none."""
    assert toys.Box(pointer=None).state is DatumState.AVAILABLE
    assert toys.Box().state is DatumState.EMPTY


def test_any_object_is_a_pointer(toys: SimpleNamespace) -> None:
    """The pointer comes back as the very object that was given, falsy ones too."""
    for pointer in (0, "", [], {}, object(), float("nan"), NOTHING.__class__):
        assert toys.Box(pointer=pointer).pointer is pointer


def test_a_pointer_to_nothing(toys: SimpleNamespace) -> None:
    """What is not there is populated, and becomes available when it comes."""
    box = toys.Box(pointer="gone")
    assert (box.state, box.quickhash) == (DatumState.POPULATED, None)
    assert box.verify_available(update=False) is False


@pytest.mark.parametrize("before", [[], [1]])
def test_a_bad_pointer_leaves_it_empty(toys: SimpleNamespace, before: list[int]) -> None:
    """A badly formed pointer is a ValueError that shows it, and the datum is EMPTY."""
    box = toys.Box()
    for pointer in before:
        box.populate(pointer)
    with pytest.raises(ValueError, match="Box: badly formed pointer 'bad'"):
        box.populate("bad")
    assert (box.state, box.pointer, box.quickhash) == (DatumState.EMPTY, None, None)
    with pytest.raises(ValueError, match="bad"):
        toys.Box(pointer="bad")


def test_a_check_that_stumbles_has_found_a_bad_pointer(toys: SimpleNamespace) -> None:
    """An exception while the form is looked at is a ValueError with that exception as its cause."""

    class Path(toys.Box):  # type: ignore[misc, name-defined]
        def _validate_format_logic(self) -> bool:
            return bool(self.pointer.endswith(".csv"))

    datum = Path()
    with pytest.raises(ValueError, match=r"badly formed pointer 5 \(AttributeError") as caught:
        datum.populate(5)
    assert isinstance(caught.value.__cause__, AttributeError)
    assert datum.state is DatumState.EMPTY


def test_quickhash_is_computed_once_until_told(toys: SimpleNamespace) -> None:
    """It is remembered; `_verify_quickhash` compares, updates when told; `sync` forgets it."""
    calls = []

    class Counting(toys.Box):  # type: ignore[misc, name-defined]
        def _quickhash(self) -> int:
            calls.append(self.pointer)
            return len(self.pointer)

    datum = Counting(pointer=[1])
    assert not calls, "not before it is asked for"
    assert (datum.quickhash, datum.quickhash, len(calls)) == (1, 1, 1)
    datum.pointer.append(2)
    assert datum.quickhash == 1
    assert datum._verify_quickhash() is False
    assert datum.quickhash == 1
    assert datum._verify_quickhash(update=True) is False
    assert (datum._verify_quickhash(), datum.quickhash) == (True, 2)
    datum.pointer.append(3)
    datum.sync()
    assert datum.quickhash == 3
    datum.populate([])
    assert datum.quickhash is None
    assert datum._verify_quickhash() is False


def test_a_failing_clear_forgets_nothing(toys: SimpleNamespace) -> None:
    """When the data cannot be taken away the datum still says where it is."""

    class Stuck(toys.Box):  # type: ignore[misc, name-defined]
        def _clear_logic(self) -> None:
            raise PermissionError

    datum = Stuck(pointer=1)
    with pytest.raises(PermissionError):
        datum.clear()
    assert (datum.state, datum.pointer) == (DatumState.AVAILABLE, 1)


def test_nothing_survives_pickling() -> None:
    """An empty datum is empty on the other side of a process boundary."""
    assert pickle.loads(pickle.dumps(NOTHING)) is NOTHING


def test_repr_is_short(toys: SimpleNamespace) -> None:
    """A repr shows state and text, never the repr of a value that may be huge."""
    assert repr(toys.Box()) == "<Box EMPTY>"
    assert repr(toys.Box(pointer="a.csv")) == "<Box AVAILABLE 'a.csv'>"
    assert repr(toys.Box(pointer=[0] * 10**6)) == "<Box AVAILABLE of type list>"
    assert len(repr(toys.Box(pointer="x" * 10**6))) < 100


def test_unknown_options_are_refused(toys: SimpleNamespace) -> None:
    """A misspelt `pointer=` is no empty datum."""
    with pytest.raises(TypeError, match="pointr"):
        toys.Box(pointr=1)


def test_quickhash_of_what_came_again(toys: SimpleNamespace) -> None:
    """A new pointer, or data that was gone in between, is hashed anew."""
    box = toys.Box(pointer=1)
    assert box.quickhash == hash("1")
    box.populate(2)
    assert box.verify_available()
    assert box.quickhash == hash("2")
    box._pointer = "gone"
    assert not box.verify_available()
    box._pointer = 3
    assert box.verify_available()
    assert box.quickhash == hash("3")


def test_a_pointer_as_the_parent(toys: SimpleNamespace) -> None:
    """A pointer that was given without its name is refused, with the way out."""
    with pytest.raises(
        TypeError, match=r"parent is a task, not 'a\.txt'; give a pointer by name: Box\(pointer=\.\.\.\)"
    ):
        toys.Box("a.txt")
