"""A manager of five methods: it runs all, in order, and its sets are right whatever happens."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from dagger.abstract import AbstractManager, AbstractTask, DatumList, TaskState
from dagger.errors import DaggerError, RefusedError, TaskError


def names(tasks: Any) -> set[str]:
    return {task.identifier for task in tasks}


def is_consistent(manager: AbstractManager) -> bool:
    """Every task in exactly one place, the one that its state says."""
    places = [manager.waiting, manager.ready, manager.running, manager.complete, manager.failed]
    filed = [task for place in places for task in place]
    return (
        len(filed) == len(set(filed)) == len(manager.adj_list)
        and {it.state for it in manager.complete} <= {TaskState.COMPLETE}
        and {it.state for it in manager.failed} <= {TaskState.FAILED}
        and {it.state for it in manager.running} <= {TaskState.RUNNING}
        and {it.state for it in [*manager.ready, *manager.waiting]} <= {TaskState.WAITING}
        and all(it.is_ready() for it in manager.ready)
        and not any(it.is_ready() for it in manager.waiting)
    )


def test_five_methods_suffice(toys: SimpleNamespace) -> None:
    """A diamond runs, at most two tasks at once, each wrapped up once; the second time nothing."""
    top = toys.Step("top", outputs={"x": None})
    middle = [toys.Step(f"m{n}", {"x": top["x"]}, {"x": None}) for n in range(5)]
    end = toys.Step("end", {"all": DatumList(toys.Box, [it["x"] for it in middle])}, {"x": None})
    end.work = lambda collected: {"x": sum(collected["all"])}
    manager = toys.ThreadManager(end)
    assert manager.run() is None
    assert end["x"].pointer == 10
    assert manager.launched[0] == "top"
    assert manager.launched[-1] == "end"
    assert sorted(manager.wrapped) == sorted(manager.launched)
    assert manager.most == 2
    assert len(manager.complete) == 7
    assert is_consistent(manager)
    manager.run()
    manager.run(sync=False)
    assert len(manager.launched) == 7
    assert not manager.interrupted


def test_a_missing_method_is_refused(toys: SimpleNamespace) -> None:
    """A manager that lacks one of the five cannot be made."""
    with pytest.raises(TypeError, match="_choose_tasks"):
        AbstractManager(toys.Step("t"))  # type: ignore[abstract]  # that is the point


def test_initial_state(toys: SimpleNamespace) -> None:
    """The sets and the adjacency list say how far each task is, before anything runs."""
    first, second, third, last = toys.chain(4)
    failed = toys.Step("failed")
    failed.update_state(TaskState.RUNNING)
    failed.fail()
    first.run()
    manager = toys.ThreadManager([last, failed])
    manager.initialize_workflow_state()
    assert manager.adj_list == {
        first: [second],
        second: [third],
        third: [last],
        last: [],
        failed: [],
    }
    assert (manager.complete, manager.failed) == ({first}, {failed})
    assert (manager.ready, manager.running, manager.waiting) == ([second], [], {third, last})
    first["out"].populate("gone")
    manager.initialize_workflow_state(sync=False)
    assert manager.complete == {first}
    manager.initialize_workflow_state(sync=True)
    assert (manager.complete, manager.ready) == (set(), [first])
    assert is_consistent(manager)


def test_several_end_tasks(toys: SimpleNamespace) -> None:
    """One task or a list of them; anything else is refused when the manager is made."""
    one, two = toys.Step("one"), toys.Step("two")
    manager = toys.ThreadManager([one, two, one])
    manager.run()
    assert manager.complete == {one, two}
    assert toys.ThreadManager(one).end_task is one
    toys.ThreadManager([]).run()
    for wrong in (5, [5], [one, None], one.__getitem__):
        with pytest.raises(TypeError, match="a manager runs tasks"):
            toys.ThreadManager(wrong)


def test_a_cycle_is_refused(toys: SimpleNamespace) -> None:
    """A cycle is refused before anything ran, printed whole."""
    first, second, end = toys.chain(3)
    first.dependencies.append(second)
    manager = toys.ThreadManager(end)
    with pytest.raises(RefusedError, match=r"s0 → s1 → s0|s1 → s0 → s1"):
        manager.validate_dag()
    with pytest.raises(ValueError, match="→"):
        manager.run()
    assert not manager.launched


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_failure(toys: SimpleNamespace, keep_going: bool) -> None:
    """It is not raised; what depends on it waits, and nothing new starts unless told to go on."""
    bad = toys.Step("bad", outputs={"x": None})
    bad.work = lambda _: 1 / 0
    below = toys.Step("below", {"x": bad["x"]})
    steps = toys.chain(3)
    manager = toys.ThreadManager([below, steps[-1]])
    manager.keep_going = keep_going
    manager.run()
    assert names(manager.failed) == {"bad"}
    assert below in manager.waiting
    assert (steps[-1] in manager.complete) is keep_going
    assert not manager.running
    assert is_consistent(manager)
    bad.work = None
    manager.run()
    assert len(manager.complete) == 5
    assert manager.launched.count("bad") == 2


def test_a_missing_source(toys: SimpleNamespace) -> None:
    """A source that is not there is refused before anything ran; once it comes, all runs."""
    source = toys.Box(pointer="gone")
    first = toys.Step("first", outputs={"x": None})
    end = toys.Step("end", {"a": first["x"], "b": DatumList(toys.Box, [first["x"], source])})
    end.work = lambda _: {}
    manager = toys.ThreadManager(end)
    with pytest.raises(RefusedError, match="task 'end': input 'b' is not there"):
        manager.run()
    assert not manager.launched
    source._pointer = 1
    manager.run(sync=False)
    assert end.state is TaskState.COMPLETE


def test_an_interrupt(toys: SimpleNamespace) -> None:
    """An interrupt ends what runs and is raised on; the rest is as it was and can be run."""
    steps = toys.chain(3)

    class Impatient(toys.ThreadManager):  # type: ignore[misc, name-defined]
        patience = 2

        def _get_running_task_state(self, task: AbstractTask) -> TaskState:
            self.patience -= 1
            if not self.patience:
                raise KeyboardInterrupt
            return super()._get_running_task_state(task)  # type: ignore[no-any-return]

    manager = Impatient(steps[-1])
    with pytest.raises(KeyboardInterrupt):
        manager.run()
    assert manager.interrupted
    assert is_consistent(manager)
    manager.run()
    assert len(manager.complete) == 3


def test_a_task_that_was_interrupted(toys: SimpleNamespace) -> None:
    """An interrupt that reached a task rather than the manager does not start it again."""
    step = toys.Step("step")

    def work(_: object) -> None:
        raise KeyboardInterrupt

    step.work = work
    manager = toys.ThreadManager(step)
    with pytest.raises(KeyboardInterrupt):
        manager.run()
    assert (manager.launched, manager.ready) == (["step"], [step])


def test_a_launch_that_fails(toys: SimpleNamespace) -> None:
    """What a launch raises ends the run; what the task became decides where it is filed."""

    class Direct(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _launch_task(self, task: AbstractTask) -> None:
            task.run()

    step = toys.Step("step")
    step.work = lambda _: 1 / 0
    manager = Direct(step)
    with pytest.raises(ZeroDivisionError):
        manager.run()
    assert (manager.failed, manager.running) == ({step}, [])
    assert manager.interrupted


def test_never_hangs(toys: SimpleNamespace) -> None:
    """A run that cannot go on says why rather than waiting for ever."""

    class Lazy(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
            return ready[:0]

    class Eager(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
            return [*self.end_tasks, *ready]

    class Losing(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _wrapup_task(self, task: AbstractTask) -> None:
            super()._wrapup_task(task)
            for datum in task.outputs.values():
                datum.clear()

    with pytest.raises(TaskError, match="none of the ready tasks was chosen: 's0'"):
        Lazy(toys.chain(2)[-1]).run()
    with pytest.raises(TaskError, match="task 's1' was chosen but is not ready"):
        Eager(toys.chain(2)[-1]).run()
    with pytest.raises(DaggerError, match="task 's1' cannot start: its input 'before'"):
        Losing(toys.chain(2)[-1]).run()


def test_tasks_that_run_elsewhere(toys: SimpleNamespace) -> None:
    """A manager whose tasks run out of sight says how they came out, and that is their state."""

    class Remote(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _launch_task(self, task: AbstractTask) -> None:
            self.launched.append(task.identifier)

        def _get_running_task_state(self, task: AbstractTask) -> TaskState:
            return TaskState.FAILED if task.identifier == "s2" else TaskState.COMPLETE

        def _wrapup_task(self, task: AbstractTask) -> None:
            for datum in task.outputs.values():
                datum.populate(1)
                datum.verify_available()

    steps = toys.chain(4)
    manager = Remote(steps[-1])
    manager.run()
    assert [step.state.name for step in steps] == ["COMPLETE", "COMPLETE", "FAILED", "WAITING"]
    assert is_consistent(manager)


def test_random_graphs_with_failures(toys: SimpleNamespace) -> None:
    """With keep_going, exactly what needs no failed task is complete, and each ran at most once."""
    choose = random.Random(7)
    for _ in range(15):
        tasks: list[Any] = []
        for index in range(choose.randint(1, 12)):
            needed = choose.sample(tasks, min(index, choose.randint(0, 3)))
            tasks.append(toys.Step(f"t{index}", {it.identifier: it["x"] for it in needed}, {"x": None}))
            if choose.random() < 0.15:
                tasks[-1].work = lambda _: 1 / 0
        manager = toys.ThreadManager(tasks)
        manager.keep_going = True
        manager.run()
        blocked: set[Any] = set()
        for task in tasks:
            if task.work or blocked & set(task.upstream):
                blocked.add(task)
        assert manager.complete == set(tasks) - blocked
        assert len(manager.launched) == len(set(manager.launched))
        assert is_consistent(manager)


def test_many_tasks_at_once(toys: SimpleNamespace) -> None:
    """A fan of 2,000 costs no look at every task for every task that ends."""

    class Instant(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _launch_task(self, task: AbstractTask) -> None:
            task.run()

        def _get_running_task_state(self, task: AbstractTask) -> TaskState:
            return task.state

        def _wrapup_task(self, task: AbstractTask) -> None:
            pass

        def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
            return ready

    fan = [toys.Step(f"f{index}", outputs={"x": None}) for index in range(2000)]
    end = toys.Step("end", {it.identifier: it["x"] for it in fan})
    manager = Instant(end)
    manager.run()
    assert len(manager.complete) == 2001


def test_a_source_that_came_late(toys: SimpleNamespace) -> None:
    """A source that came since it was last looked at makes its task ready, also without a sync."""
    source = toys.Box(pointer="gone")
    step = toys.Step("step", {"x": source})
    source._pointer = 1
    toys.ThreadManager(step).run(sync=False)
    assert step.state is TaskState.COMPLETE


def test_a_stall_after_a_failure(toys: SimpleNamespace) -> None:
    """Told to keep going, a run that never starts what is ready says so, failure or not."""

    class Picky(toys.ThreadManager):  # type: ignore[misc, name-defined]
        def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
            return [task for task in ready if task.identifier == "bad"]

    bad = toys.Step("bad")
    bad.work = lambda _: 1 / 0
    manager = Picky([bad, toys.Step("left")])
    manager.keep_going = True
    with pytest.raises(TaskError, match="none of the ready tasks was chosen: 'left'"):
        manager.run()
    assert manager.failed == {bad}
