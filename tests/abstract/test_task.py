"""Tasks: declaring, running, failing, being interrupted, looking again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dagger.abstract import (
    AbstractDatum,
    AbstractTask,
    DatumList,
    DatumState,
    DefaultCommunicator,
    InputForm,
    TaskState,
    on_create,
)
from dagger.errors import DaggerError, TaskError


def test_outputs_are_inputs_before_anything_ran(toys: SimpleNamespace) -> None:
    """`task["name"]` knows its parent, so a graph follows from who uses what."""
    first, second = toys.chain(2)
    third = toys.Step("third", {"a": second["out"], "b": first["out"]}, dependencies=[first])
    assert first["out"].parents == [first]
    assert first["out"].state is DatumState.EMPTY
    assert (first.upstream, second.upstream, third.upstream) == ([], [first], [second, first])
    assert not third.is_ready()
    assert first.is_ready()
    for task in (first, second, third):
        task.run()
    assert (first["out"].pointer, second["out"].pointer) == (1, 2)
    assert third.state is TaskState.COMPLETE


def test_a_missing_output_is_named(toys: SimpleNamespace) -> None:
    """The KeyError names the task, what was asked for and what there is."""
    with pytest.raises(KeyError) as caught:
        toys.Step("clean", outputs={"rows": None, "log": None})["row"]
    assert str(caught.value) == "task 'clean' has no output 'row'; its outputs: 'rows', 'log'"
    with pytest.raises(KeyError, match="its outputs: none"):
        toys.Step("clean")["row"]
    with pytest.raises(TypeError, match="not iterable"):
        list(toys.Step("clean"))


@pytest.mark.parametrize(
    ("declared", "error", "words"),
    [
        ({"identifier": ""}, ValueError, "identifier is empty"),
        ({"identifier": 3}, TypeError, "identifier is text, not a int"),
        ({"inputs": {"a": 5}}, TypeError, "task 't': input 'a' is a int, not a datum"),
        ({"inputs": ["a"]}, TypeError, "task 't': its inputs are a list"),
        ({"outputs": {3: None}}, TypeError, "task 't': output name 3"),
        ({"dependencies": [5]}, TypeError, "task 't': dependency 0 is a int, not a task"),
        ({"dependencies": 5}, TypeError, "task 't': its dependencies are a int"),
        ({"resources": {"gpu": -1}}, ValueError, "task 't': resource 'gpu' is -1"),
        ({"resources": {"gpu": float("nan")}}, ValueError, "task 't': resource 'gpu' is nan"),
        ({"resources": {"gpu": "1"}}, ValueError, "task 't': resource 'gpu' is '1'"),
        ({"resources": {"gpu": True}}, ValueError, "task 't': resource 'gpu' is True"),
        ({"resources": ["gpu"]}, TypeError, "task 't': its resources are a list"),
        ({"retries": -1}, ValueError, "task 't': retries=-1"),
        ({"timeout": 0}, ValueError, "task 't': timeout=0"),
        ({"ignore": "ab"}, TypeError, "task 't': ignore= is a str"),
        ({"ignore": [1]}, TypeError, "task 't': ignore= has a int"),
    ],
)
def test_a_wrong_declaration_is_refused(
    toys: SimpleNamespace, declared: dict[str, Any], error: type[Exception], words: str
) -> None:
    """What cannot be right is refused where it is written, naming the task and the part."""
    with pytest.raises(error, match=words) as caught:
        toys.Step(**{"identifier": "t", **declared})
    assert isinstance(caught.value, DaggerError)


def test_a_task_or_a_datum_in_the_others_place(toys: SimpleNamespace) -> None:
    """A task is no input, a datum no dependency, and a lone task no list of them."""
    first = toys.Step("first", outputs={"x": None})
    with pytest.raises(TypeError, match="input 'a' is a Step, not a datum"):
        toys.Step("t", {"a": first})
    with pytest.raises(TypeError, match="dependency 0 is a Box, not a task"):
        toys.Step("t", dependencies=[first["x"]])
    with pytest.raises(TypeError, match="its dependencies are a Step, not a list"):
        toys.Step("t", dependencies=first)


def test_an_output_that_is_no_datum(toys: SimpleNamespace) -> None:
    """`_initialize_outputs` must return data."""

    class Careless(toys.Step):  # type: ignore[misc, name-defined]
        def _initialize_outputs(self, output_dict: dict[str, Any]) -> dict[str, AbstractDatum]:
            return output_dict

    with pytest.raises(TypeError, match="output 'x' is a str, not a datum"):
        Careless("t", outputs={"x": "path"})


def test_input_form_or_collect_inputs(toys: SimpleNamespace) -> None:
    """A task that cannot collect its inputs is refused when it is made; either way will do."""

    class Neither(toys.Step):  # type: ignore[misc, name-defined]
        input_form = None

    class Collecting(Neither):
        def _collect_inputs(self) -> dict[str, Any]:
            return dict.fromkeys(self.inputs, 10)

    class Chosen(Neither):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.input_form = InputForm.OBJECT  # type: ignore[assignment]
            super().__init__(*args, **options)

    with pytest.raises(TypeError, match="'t': Neither must set input_form or write _collect"):
        Neither("t")
    for kind, expected in ((Collecting, 11), (Chosen, 2)):
        task = kind("t", {"a": toys.Box(pointer=1)}, {"out": None})
        task.run()
        assert task["out"].pointer == expected


def test_needs_what_it_needs(toys: SimpleNamespace) -> None:
    """Before all that it needs is complete a task does not run, and says what is missing."""
    first, second = toys.chain(2)
    with pytest.raises(RuntimeError, match="task 's1' needs tasks that are not complete: 's0'"):
        second.run()
    assert second.state == TaskState.WAITING
    first.run()
    second.run()
    with pytest.raises(ValueError, match="Invalid TaskState transition: COMPLETE → RUNNING"):
        second.run()
    assert second.state == TaskState.COMPLETE


@pytest.mark.parametrize("ending", [OSError, SystemExit, GeneratorExit])
def test_an_exception_leaves_it_failed(toys: SimpleNamespace, ending: type[BaseException]) -> None:
    """Whatever is raised inside is raised on, after cleaning up, and the task is FAILED."""
    task = toys.Cleaning("t", outputs={"x": None})

    def work(_: object) -> None:
        task["x"].populate(1)
        raise ending("x")

    task.work = work
    with pytest.raises(ending):
        task.run()
    assert (task.state, task.calls) == (TaskState.FAILED, ["fail"])


def test_an_interrupt_leaves_it_waiting(toys: SimpleNamespace) -> None:
    """A KeyboardInterrupt cleans up; `run` returns, the task waits and can run again."""
    task = toys.Cleaning("t", outputs={"x": None})

    def work(_: object) -> None:
        raise KeyboardInterrupt

    task.work = work
    task.run()
    assert (task.state, task.calls) == (TaskState.WAITING, ["interrupt"])
    task.work = None
    task.run()
    assert task["x"].pointer == 1


@pytest.mark.parametrize("ending", [OSError, KeyboardInterrupt])
def test_default_clean_up(toys: SimpleNamespace, ending: type[BaseException]) -> None:
    """Outputs are cleared; a pointer that was declared, such as a path, is still there after."""
    declared = DatumList(toys.Box, pointer=["a", "b"])
    task = toys.Step("t", outputs={"value": None, "file": toys.Box(pointer="path"), "all": declared})

    def work(_: object) -> None:
        task["value"].populate(5)
        raise ending

    task.work = work
    if ending is KeyboardInterrupt:
        task.run()
    else:
        with pytest.raises(ending):
            task.run()
    assert (task["value"].state, task["value"].pointer) == (DatumState.EMPTY, None)
    assert (task["file"].state, task["file"].pointer) == (DatumState.POPULATED, "path")
    assert task["file"].cleared == 1
    assert declared.pointer == ["a", "b"]


def test_a_clean_up_that_fails(toys: SimpleNamespace) -> None:
    """When cleaning up fails too, the state is right and was reported, and no exception is lost."""

    class Unlucky(toys.Step):  # type: ignore[misc, name-defined]
        def _fail_cleanup(self) -> None:
            raise PermissionError

        def _interrupt_cleanup(self) -> None:
            raise PermissionError

    task = Unlucky("t")
    heard: list[TaskState] = []

    class Ear(DefaultCommunicator):
        def report_state(self, task: AbstractTask) -> None:
            heard.append(task.state)

    def work(_: object) -> None:
        raise OSError("first")

    task.work, task.communicator = work, Ear()
    with pytest.raises(PermissionError) as caught:
        task.run()
    assert isinstance(caught.value.__context__, OSError)
    assert [task.state, heard[-1]] == [TaskState.FAILED] * 2
    with pytest.raises(PermissionError):
        task.interrupt()
    assert [task.state, heard[-1]] == [TaskState.WAITING] * 2


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"x": 1}, "task 't' ended without its outputs: 'y'$"),
        (None, "ended without its outputs: 'x', 'y'$"),
        ({"x": 1, "y": "gone"}, "ended without its outputs: 'y'$"),
        ({"x": 1, "y": 2, "z": 3}, "made 'z', which is not among its outputs: 'x', 'y'$"),
        (5, "_run_logic returned a int"),
        ({"x": 1, "y": "bad"}, "badly formed pointer"),
    ],
)
def test_what_it_made_is_looked_at(toys: SimpleNamespace, made: object, words: str) -> None:
    """A task that ends without each of its outputs has failed, and the message names them."""
    task = toys.Step("t", outputs={"x": None, "y": None})
    task.work = lambda _: made
    with pytest.raises((TaskError, ValueError), match=words):
        task.run()
    assert task.state is TaskState.FAILED
    assert task["x"].state is DatumState.EMPTY


def test_populating_by_itself(toys: SimpleNamespace) -> None:
    """A task may populate its outputs and return None."""
    task = toys.Step("t", outputs={"x": None})
    task.work = lambda _: task["x"].populate(None)
    task.run()
    assert (task.state, task["x"].state, task["x"].pointer) == (
        TaskState.COMPLETE,
        DatumState.AVAILABLE,
        None,
    )


def test_a_former_value_is_no_new_one(toys: SimpleNamespace) -> None:
    """What a former run put into an output does not pass for what the next one makes."""
    task = toys.Step("t", outputs={"x": None})
    task.run()
    task.update_state(TaskState.WAITING)
    task.work = lambda _: None
    with pytest.raises(TaskError, match="ended without its outputs: 'x'"):
        task.run()


def test_sync_goes_upstream_first(toys: SimpleNamespace) -> None:
    """A complete task waits again when its output is gone, and so does what was made from it."""
    steps = toys.chain(4)
    for step in steps:
        step.run()
    steps[-1].sync()
    assert [step.state.name for step in steps] == ["COMPLETE"] * 4
    steps[1]["out"].populate("gone")
    steps[-1].sync(recursive=False)
    assert [step.state.name for step in steps] == ["COMPLETE"] * 4
    steps[-1].sync()
    assert [step.state.name for step in steps] == ["COMPLETE", "WAITING", "WAITING", "WAITING"]
    steps[1]["out"].populate(5)
    steps[-1].sync()
    assert steps[1].state is TaskState.WAITING, "that it is there does not say that it is right"


def test_sync_looks_at_sources(toys: SimpleNamespace) -> None:
    """Sources are looked at again, members of lists among other tasks' outputs too."""
    first = toys.Step("first", outputs={"x": None})
    single, member = toys.Box(pointer="gone"), toys.Box(pointer="gone")
    task = toys.Step("t", {"a": single, "b": DatumList(toys.Box, [first["x"], member])})
    single._pointer = member._pointer = 1
    assert not task.is_ready()
    task.sync()
    assert (single.state, member.state) == (DatumState.AVAILABLE, DatumState.AVAILABLE)
    assert not task.is_ready()
    first.run()
    assert task.is_ready()


def test_quickhash_is_remembered_until_told(toys: SimpleNamespace) -> None:
    """`_verify_quickhash` compares with what was, and takes the new one when told to."""
    task = toys.Step("t")
    assert (task.quickhash, task._verify_quickhash()) == ("t", True)
    task.identifier = "u"
    assert (task.quickhash, task._verify_quickhash()) == ("t", False)
    assert (task._verify_quickhash(update=True), task._verify_quickhash()) == (False, True)
    assert task.quickhash == "u"


def test_every_new_task_is_told(toys: SimpleNamespace) -> None:
    """Who registers with `on_create` hears of each task, its declaration complete."""
    heard: list[Any] = []

    def note(task: AbstractTask) -> None:
        heard.append((task.identifier, list(task.outputs)))

    on_create.append(note)
    try:
        toys.Step("t", outputs={"x": None})
        with pytest.raises(TypeError):
            toys.Step("u", inputs={"x": 1})
    finally:
        on_create.remove(note)
    toys.Step("v")
    assert heard == [("t", ["x"])]


def test_repr(toys: SimpleNamespace) -> None:
    """A repr says what it is, which, and how far."""
    assert repr(toys.Step("clean")) == "<Step 'clean' WAITING>"
