"""The interface of a manager: it runs the tasks of a workflow, each after all that it needs.

What is here works by polling, with the five methods that a subclass writes. `core` has the manager
that people use, which looks results up first and waits on a queue.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable

from dagger.abstract.datum import DatumState
from dagger.abstract.helpers import (
    Tasks,
    as_tasks,
    construct_adj_list,
    cycle_message,
    find_cycle,
    topological_order,
)
from dagger.abstract.states import TaskState
from dagger.abstract.task import AbstractTask
from dagger.errors import DeclarationError, RefusedError, TaskError


class AbstractManager(ABC):
    """Runs a workflow.

    A subclass writes `_launch_task`, `_wrapup_task`, `_get_running_task_state`, `_choose_tasks` and
    `_interrupt`.

    Every task is in exactly one of `waiting`, `ready`, `running`, `complete` and `failed`, once
    `initialize_workflow_state` was called.

    Args:
        end_task: The task that is wanted, or a list of them; what they need belongs to the workflow
            too.

    Attributes:
        end_task: As it was given.
        end_tasks: The same as a list.
        adj_list: Each task to those that depend on it directly.
        waiting: Tasks that need others that are not complete.
        ready: Tasks that could run now, in topological order at first.
        running: Tasks that were launched, in that order.
        complete: Tasks that are done.
        failed: Tasks that failed.
        keep_going: After a failure, go on with what does not depend on it.
        poll_seconds: How long to wait when nothing has changed.

    Raises:
        TypeError: `end_task` holds something that is not a task.
    """

    keep_going: bool = False
    poll_seconds: float = 0.01

    def __init__(self, end_task: Tasks) -> None:
        self.end_tasks = _checked_end(end_task)
        self.end_task = end_task
        self.adj_list: dict[AbstractTask, list[AbstractTask]] = {}
        self.waiting: set[AbstractTask] = set()
        self.ready: list[AbstractTask] = []
        self.running: list[AbstractTask] = []
        self.complete: set[AbstractTask] = set()
        self.failed: set[AbstractTask] = set()
        self._unmet: dict[AbstractTask, int] = {}

    # What a subclass writes

    @abstractmethod
    def _launch_task(self, task: AbstractTask) -> None:
        """Have a task run, best elsewhere. It is RUNNING already; what this raises ends the run."""

    @abstractmethod
    def _wrapup_task(self, task: AbstractTask) -> None:
        """Take in what a launched task made. Called once it ended, whichever way.

        Afterwards the outputs of a task that is complete must be AVAILABLE in this process.
        """

    @abstractmethod
    def _get_running_task_state(self, task: AbstractTask) -> TaskState:
        """Return how far a launched task has come; WAITING means that it was interrupted."""

    @abstractmethod
    def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
        """Return those of the ready tasks to launch now; none while what runs leaves no room."""

    @abstractmethod
    def _interrupt(self) -> None:
        """End what runs, since the run cannot go on; each task that ran should be WAITING then."""

    # The run

    def validate_dag(self) -> None:
        """Look whether the workflow can be put in an order.

        Raises:
            ValueError: There is a cycle; the message prints it whole.
        """
        cycle = find_cycle(self.end_tasks)
        if cycle is not None:
            raise RefusedError(cycle_message(cycle))

    def initialize_workflow_state(self, sync: bool = True) -> None:
        """Put every task where its state says. There must be no cycle.

        Args:
            sync: Look at all data again before.
        """
        order = topological_order(self.end_tasks)
        if sync:
            for task in order:
                task.sync(recursive=False)
        self.adj_list = construct_adj_list(self.end_tasks)
        self.waiting, self.complete, self.failed = set(), set(), set()
        self.ready, self.running = [], []
        self._unmet = {}
        for task in order:
            self._unmet[task] = sum(it.state is not TaskState.COMPLETE for it in task.upstream)
            self._file(task)

    def run(self, sync: bool = True) -> object:
        """Run what is not complete. Tasks that failed in a former run are tried again.

        A task's failure is not raised: the task is in `failed`, what depends on it in `waiting`,
        and, unless `keep_going`, what could have run as well in `ready`.

        Args:
            sync: Look at all data again before.

        Returns:
            None here; a subclass may have something to report.

        Raises:
            ValueError: There is a cycle, or a source is missing; nothing ran.
            TaskError: Nothing runs and nothing can, though no task failed.
            KeyboardInterrupt: It, or a task, was interrupted; what ran was ended.
        """
        self.validate_dag()
        self._retry_failed()
        self.initialize_workflow_state(sync)
        self._refuse_missing_sources()
        try:
            while self._advance():
                pass
        except BaseException:
            self._end_early()
            raise
        return None

    def _advance(self) -> bool:
        """Take in what ended, launch what may; tell whether there is more to wait for."""
        ended = self._take_in()
        launched = self._launch() if self.keep_going or not self.failed else False
        if not self.running:
            return False
        if not (ended or launched):
            time.sleep(self.poll_seconds)
        return True

    def _take_in(self) -> bool:
        states = [(task, self._get_running_task_state(task)) for task in self.running]
        ended = [(task, state) for task, state in states if state is not TaskState.RUNNING]
        for task, state in ended:
            self._wrapup_task(task)
            if task.state is not state:  # it ran elsewhere, and its twin here has not heard
                task.update_state(state)
            self.running.remove(task)
            self._settle(task)
        if any(state is TaskState.WAITING for _, state in ended):
            raise KeyboardInterrupt("a task was interrupted")
        return bool(ended)

    def _end_early(self) -> None:
        try:
            self._interrupt()
        finally:
            ended, self.running = self.running, []
            for task in ended:
                self._settle(task)

    def _settle(self, task: AbstractTask) -> None:
        """File a task that ended; when it is complete, what waited for it may be ready."""
        self._file(task)
        if task.state is not TaskState.COMPLETE:
            return
        for dependent in self.adj_list[task]:
            self._unmet[dependent] -= 1
            if not self._unmet[dependent] and dependent in self.waiting:
                self.waiting.remove(dependent)
                self._file(dependent)

    def _launch(self) -> bool:
        chosen = list(self._choose_tasks(list(self.ready))) if self.ready else []
        if not (chosen or self.running) and (self.ready or not self.failed):
            self._explain_stall()
        for task in chosen:
            if task not in self.ready:
                raise TaskError(f"task {task.identifier!r} was chosen but is not ready")
            self.ready.remove(task)
            self.running.append(task)
            task.update_state(TaskState.RUNNING)
            self._launch_task(task)
        return bool(chosen)

    def _file(self, task: AbstractTask) -> None:
        """Put a task that is nowhere where its state says."""
        if task.state is TaskState.COMPLETE:
            self.complete.add(task)
        elif task.state is TaskState.FAILED:
            self.failed.add(task)
        elif task.state is TaskState.RUNNING:
            self.running.append(task)
        elif self._unmet[task] == 0 and task.is_ready():
            self.ready.append(task)
        else:
            self.waiting.add(task)

    def _retry_failed(self) -> None:
        for task in topological_order(self.end_tasks):
            if task.state is TaskState.FAILED:
                task.update_state(TaskState.WAITING)

    def _refuse_missing_sources(self) -> None:
        for task in self._in_order(self.waiting):
            for name, datum in task.inputs.items():
                for source in datum._sources():
                    if not source.verify_available():
                        raise RefusedError(
                            f"task {task.identifier!r}: input {name!r} is not there, and no task makes it: {source!r}"
                        )
            self.waiting.remove(task)
            self._file(task)  # a source may have come since it was last looked at

    def _in_order(self, tasks: set[AbstractTask]) -> list[AbstractTask]:
        return [task for task in self._unmet if task in tasks]

    def _explain_stall(self) -> None:
        if self.ready:
            names = ", ".join(repr(task.identifier) for task in self.ready)
            raise TaskError(f"nothing runs, yet none of the ready tasks was chosen: {names}")
        for task in self._in_order(self.waiting):
            for name, datum in task.inputs.items():
                if datum.state is not DatumState.AVAILABLE and not self._unmet[task]:
                    raise TaskError(
                        f"task {task.identifier!r} cannot start: its input {name!r} is not there, "
                        f"though all that it needs is complete: {datum!r}"
                    )


def _checked_end(end_task: Tasks) -> list[AbstractTask]:
    if not isinstance(end_task, (AbstractTask, Iterable)):
        raise DeclarationError(f"a manager runs tasks, not a {type(end_task).__name__}")
    tasks = as_tasks(end_task)
    for task in tasks:
        if not isinstance(task, AbstractTask):
            raise DeclarationError(f"a manager runs tasks, not a {type(task).__name__}: {task!r}")
    return tasks
