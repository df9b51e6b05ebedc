"""The two state machines, against a model that knows nothing but the tables of the design."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dagger.abstract import (
    DATUM_TRANSITIONS,
    TASK_TRANSITIONS,
    AbstractDatum,
    AbstractTask,
    DatumState,
    InputForm,
    TaskState,
)
from dagger.abstract.states import checked_move
from dagger.errors import DaggerError

DATUM_MOVES = {"EMPTY": "POPULATED", "POPULATED": "EMPTY AVAILABLE", "AVAILABLE": "EMPTY POPULATED"}
TASK_MOVES = {
    "WAITING": "RUNNING COMPLETE",
    "RUNNING": "COMPLETE FAILED WAITING",
    "COMPLETE": "WAITING",
    "FAILED": "WAITING",
}


def test_numbers_are_fixed() -> None:
    """The states have the numbers of the design."""
    assert [(it.name, it.value) for it in DatumState] == [
        ("EMPTY", 0),
        ("POPULATED", 1),
        ("AVAILABLE", 2),
    ]
    assert [(it.name, it.value) for it in TaskState] == [
        ("WAITING", 0),
        ("RUNNING", 1),
        ("COMPLETE", 2),
        ("FAILED", 3),
    ]


@pytest.mark.parametrize(
    ("kind", "table", "moves"),
    [(DatumState, DATUM_TRANSITIONS, DATUM_MOVES), (TaskState, TASK_TRANSITIONS, TASK_MOVES)],
)
def test_every_pair_of_states(kind: Any, table: Any, moves: dict[str, str]) -> None:
    """Each move of the design is allowed, staying too, and every other is refused by name."""
    for old, new in itertools.product(kind, kind):
        if old is new or new.name in moves[old.name].split():
            assert checked_move(table, old, new) is new
        else:
            message = f"^Invalid {kind.__name__} transition: {old.name} → {new.name}$"
            with pytest.raises(ValueError, match=message) as caught:
                checked_move(table, old, new)
            assert isinstance(caught.value, DaggerError)


@pytest.mark.parametrize("new", [DatumState.POPULATED, 1, None, "RUNNING"])
def test_only_a_state_of_its_own_kind(new: object) -> None:
    """A number or the other machine's state is no state, though it may be equal to one."""
    with pytest.raises(ValueError, match="Invalid TaskState transition: WAITING → "):
        checked_move(TASK_TRANSITIONS, TaskState.WAITING, new)


class Thing(AbstractDatum):
    there = True

    def _validate_format_logic(self) -> bool:
        return bool(self.pointer != "bad")

    def _verify_available_logic(self) -> bool:
        return self.there

    def _clear_logic(self) -> None:
        assert self.state is not DatumState.EMPTY

    def _quickhash(self) -> int:
        assert self.state is DatumState.AVAILABLE
        return hash(repr(self.pointer))


class DatumMachine(RuleBasedStateMachine):
    """A datum beside a model of three variables."""

    def __init__(self) -> None:
        super().__init__()
        self.datum = Thing()
        self.state = "EMPTY"
        self.pointer: object = None

    @rule(pointer=st.none() | st.integers() | st.text(max_size=3))
    def populate(self, pointer: object) -> None:
        self.datum.populate(pointer)
        self.state, self.pointer = "POPULATED", pointer

    @rule()
    def populate_badly(self) -> None:
        with pytest.raises(ValueError, match="Thing: badly formed pointer 'bad'"):
            self.datum.populate("bad")
        self.state, self.pointer = "EMPTY", None

    @rule(there=st.booleans())
    def the_world_changes(self, there: bool) -> None:
        self.datum.there = there

    @rule(update=st.booleans())
    def verify(self, update: bool) -> None:
        expected = self.state != "EMPTY" and self.datum.there
        assert self.datum.verify_available(update) is expected
        if update and self.state != "EMPTY":
            self.state = "AVAILABLE" if expected else "POPULATED"

    @rule()
    def sync(self) -> None:
        self.datum.sync()
        if self.state != "EMPTY":
            self.state = "AVAILABLE" if self.datum.there else "POPULATED"

    @rule()
    def clear(self) -> None:
        self.datum.clear()
        self.state, self.pointer = "EMPTY", None

    @rule(new=st.sampled_from(DatumState))
    def set_state(self, new: DatumState) -> None:
        if new.name == self.state or new.name in DATUM_MOVES[self.state].split():
            self.datum.state = new
            self.state = new.name
            self.pointer = None if new is DatumState.EMPTY else self.pointer
        else:
            with pytest.raises(ValueError, match="Invalid DatumState transition"):
                self.datum.state = new

    @invariant()
    def agrees(self) -> None:
        assert self.datum.state.name == self.state
        assert self.datum.pointer == self.pointer
        assert (self.datum.quickhash is not None) == (self.state == "AVAILABLE")


class Job(AbstractTask):
    input_form = InputForm.OBJECT
    ending: BaseException | None = None

    def _initialize_outputs(self, output_dict: dict[str, Any]) -> dict[str, AbstractDatum]:
        return {name: Thing() for name in output_dict}

    def _run_logic(self, collected_inputs: dict[str, Any]) -> dict[str, Any]:
        assert not collected_inputs
        if self.ending is not None:
            raise self.ending
        return dict.fromkeys(self.outputs)

    def _quickhash(self) -> int:
        return 0


class TaskMachine(RuleBasedStateMachine):
    """A task with one output beside a model of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.task = Job("job", outputs={"out": None})
        self.reported: list[str] = []
        reported = self.reported

        class Note:
            def report_state(self, task: AbstractTask) -> None:
                reported.append(task.state.name)

        self.task.communicator = Note()  # type: ignore[assignment]  # it has the one method
        self.state = "WAITING"

    def _may(self, new: str) -> bool:
        return new == self.state or new in TASK_MOVES[self.state].split()

    @rule(ending=st.sampled_from([None, OSError, SystemExit, KeyboardInterrupt]))
    def run(self, ending: type[BaseException] | None) -> None:
        self.task.ending = None if ending is None else ending()
        if not self._may("RUNNING"):
            with pytest.raises(ValueError, match="→ RUNNING"):
                self.task.run()
        elif ending in (None, KeyboardInterrupt):
            self.task.run()
            self.state = "WAITING" if ending else "COMPLETE"
            assert self.reported[-2:] == ["RUNNING", self.state]
        else:
            with pytest.raises(ending):
                self.task.run()
            self.state = "FAILED"
            assert self.reported[-2:] == ["RUNNING", "FAILED"]

    @rule(new=st.sampled_from(TaskState))
    def update_state(self, new: TaskState) -> None:
        if self._may(new.name):
            self.task.update_state(new)
            self.state = new.name
            assert self.reported[-1] == new.name
        else:
            count = len(self.reported)
            with pytest.raises(ValueError, match="Invalid TaskState transition"):
                self.task.update_state(new)
            assert len(self.reported) == count

    @rule()
    def fail(self) -> None:
        if self._may("FAILED"):
            self.task.fail()
            self.state = "FAILED"
        else:
            with pytest.raises(ValueError, match="→ FAILED"):
                self.task.fail()

    @rule()
    def interrupt(self) -> None:
        self.task.interrupt()
        self.state = "WAITING"

    @rule(recursive=st.booleans())
    def sync(self, recursive: bool) -> None:
        there = self.task["out"].verify_available(update=False)
        self.task.sync(recursive)
        if self.state == "COMPLETE" and not there:
            self.state = "WAITING"

    @rule()
    def the_output_goes(self) -> None:
        self.task["out"].clear()

    @invariant()
    def agrees(self) -> None:
        assert self.task.state.name == self.state
        assert self.task.is_ready() is (self.state == "WAITING")


test_datum_machine = DatumMachine.TestCase
test_task_machine = TaskMachine.TestCase
