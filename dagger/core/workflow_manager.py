"""The manager that people use: a workflow in, a report out; the run itself is the engine's.

Under `dagger run` the session's options win over the arguments given here.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from dagger.abstract import AbstractDatum, AbstractManager, AbstractTask, TaskState
from dagger.abstract.declarations import check_amounts, unknown_option
from dagger.abstract.helpers import (
    decrement_resources,
    ordered_graph,
    resources_available,
    topological_order,
)
from dagger.cache import Cache
from dagger.cache.records import Output
from dagger.core import leaving, plain, session as sessions
from dagger.core.datum import declared_paths
from dagger.core.events import Event, Listener, Noted, RunEnded, RunStarted, TaskEnded, TaskStarted
from dagger.core.graph import Slot, most_workers, slots_of
from dagger.core.lookup import Lookup
from dagger.core.manifest import Walker, source_files
from dagger.core.places import Places
from dagger.core.report import UP_TO_DATE, RunReport, TaskReport, WorkflowError
from dagger.core.task import runs_in_worker
from dagger.core.workspace import Workspace
from dagger.errors import DaggerError, DeclarationError, RefusedError
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from dagger.core.engine import Engine
    from dagger.core.recall import Recall
    from dagger.core.spawning import Early

_EXECUTOR_OPTIONS = frozenset(("max_workers", "job_reducers", "result_reducers", "timeout", "context", "env"))
"""What loky's executor takes, but for the initializer, which is dagger's own."""

UNDECLARED = ("track", "warn", "error", "ignore")


class WorkflowManager(AbstractManager):
    """Runs a workflow in parallel within the resources there are, and takes from the cache what is known.

    Args:
        root: The task, or a list of the tasks, that are wanted; what they need comes along.
        resources: Kind to amount, as in ``{"gpu": 4, "memory_gb": 64}``; a kind that is not named is unlimited.
        executor_kwargs: ``max_workers`` sets `jobs`. Any other is an argument of loky's executor, in which functions
            then run instead of in dagger's own workers.
        executor: Any PEP 3148 executor to run functions in. What runs in it is not tracked, has no time limit, and is
            waited for at an interrupt, since it cannot be ended.
        cache: A directory, a `Cache`, or False for none. The default is ``$DAGGER_CACHE_DIR``, else ``.dagger``
            in the project's root.
        jobs: Tasks at once, scripts included; the default is the number of cores.
        undeclared: What to do about files and variables that a task reads without declaring them: ``track``
            them, also ``warn``, make it an ``error``, or ``ignore`` them.
        root_dir: The project's root; the default is the working directory.
        listeners: Callables that hear every event. None stands for short lines on standard error.

    Raises:
        RefusedError: The workflow has a cycle, or an argument is out of its range.
    """

    def __init__(
        self,
        root: AbstractTask | Sequence[AbstractTask],
        resources: Mapping[str, float] | None = None,
        executor_kwargs: Mapping[str, Any] | None = None,
        *,
        executor: Executor | None = None,
        cache: str | os.PathLike[str] | Cache | bool | None = None,
        jobs: int | None = None,
        undeclared: str = "track",
        root_dir: str | os.PathLike[str] | None = None,
        listeners: Iterable[Listener] | None = None,
    ) -> None:
        super().__init__(root)
        if undeclared not in UNDECLARED:
            raise RefusedError(f"undeclared={undeclared!r} is none of {', '.join(UNDECLARED)}")
        options = _executor_options(executor_kwargs)
        self.resources = _supply(resources)
        self.places = Places(_root(root_dir))
        self._jobs = _at_once("max_workers", options.pop("max_workers", None))
        self._jobs = self._jobs if jobs is None else _at_once("jobs", jobs)
        self._executor = _checked_executor(executor)
        self._executor_kwargs = options
        self._undeclared = undeclared
        self._cache_given = _checked_cache(cache)
        self._cache: Cache | None = None
        self._listeners = None if listeners is None else _checked_listeners(listeners)
        self._engine: Engine | None = None
        self._slots: list[Slot] = []
        self._hearing: list[Listener] = []
        self._made: dict[AbstractDatum, Output] = {}
        self._by_name: dict[str, AbstractTask] = {}
        session = sessions.current()
        if session is not None:
            session.managers.append(self)

    @property
    def cache(self) -> Cache:
        """The store, opened on first use."""
        if self._cache is None:
            self._cache = self._open_cache()
        return self._cache

    def _open_cache(self) -> Cache:
        given = self._cache_given
        if isinstance(given, Cache):
            return given
        if given is False:
            return Cache.in_memory(is_private=True)
        if given is None or given is True:
            given = os.environ.get("DAGGER_CACHE_DIR") or ".dagger"
        return Cache.open(self.places.absolute(os.fspath(given)), root=self.places.root)

    def run(self, sync: bool = True, *, keep_going: bool = False) -> RunReport:
        """Run what must run, take the rest from the cache.

        Args:
            sync: Look at every source and output again. False takes tasks that are COMPLETE as they are.
            keep_going: After a failure, run all that does not depend on it.

        Returns:
            What ran, was restored, was up to date, with reasons and times.

        Raises:
            RefusedError: The workflow cannot run as it is; nothing was run.
            WorkflowError: A task failed; raised once nothing more can run.
            KeyboardInterrupt: After what was running is ended.
            SystemExit: With code 143, after SIGTERM and when what was running is ended; raised in the main thread
                alone, and where the program does not handle SIGTERM itself.
        """
        report = self._run(self._wanted(), sync=sync, keep_going=keep_going)
        if report.failed:
            raise WorkflowError(report)
        return report

    def _wanted(self) -> list[AbstractTask]:
        """Return the tasks that this run is for; what they need comes along."""
        session = sessions.current()
        if session is None or not session.targets:
            return self.end_tasks
        return [task for task in topological_order(self.end_tasks) if self.is_target(task, session.targets)]

    def is_target(self, task: AbstractTask, targets: Iterable[str]) -> bool:
        """Tell whether a task, or a file that it makes, is named among `targets`."""
        wanted = set(targets)
        if task.identifier in wanted:
            return True
        real = {self.places.real(target) for target in wanted}
        return any(self.places.real(path) in real for datum in task.outputs.values() for path in declared_paths(datum))

    def _run(
        self,
        ends: Sequence[AbstractTask],
        *,
        sync: bool = True,
        keep_going: bool = False,
        force: frozenset[str] = frozenset(),
    ) -> RunReport:
        from dagger.core.recall import Recall

        session = sessions.current()
        jobs = self._jobs
        dry = False
        if session is not None:
            jobs = session.jobs or jobs
            keep_going = keep_going or session.keep_going
            dry = session.dry_run
            force |= session.force
        self._by_name, self._slots = {}, []
        self.waiting, self.complete, self.failed = set(), set(), set()
        self.ready, self.running = [], []
        clock = time.perf_counter()
        self._hearing = self._all_listeners()
        walker = Walker(self.cache, self.places, self._made)
        lookup = Lookup(self.cache, self.places, walker, Workspace(self.cache, self.places), self._mend)
        recall = Recall(ends, self.cache, lookup)
        self.cache.stats.ahead = lambda: source_files(topological_order(ends), self.places)
        with _no_collection():
            unchanged = None if dry or force or not sync else recall.glance()
            slots = [] if unchanged else self._plan(ends, sync)
            unchanged = unchanged or recall.settle(slots, force)
        if dry:
            self._slots = slots
        if unchanged:
            report = self._nothing_to_do(*unchanged, clock)
        else:
            with self._early_workers([] if dry else slots, lookup, jobs) as early:
                with _no_collection():
                    engine = self._prepare(slots, lookup, recall.good, jobs, keep_going, dry, force, early)
                report = self._execute(engine, recall)
        self.cache.stats.ahead = None
        if session is not None:
            session.reports.append(report)
        _write_report(report)
        leaving.note(ends)
        return report

    def _plan(self, ends: Sequence[AbstractTask], sync: bool) -> list[Slot]:
        slots = slots_of(ordered_graph(ends))
        for slot in slots:
            if sync or slot.task.state is not TaskState.COMPLETE or not self._knows(slot.task):
                slot.task._await()
        return slots

    @contextmanager
    def _early_workers(self, slots: Sequence[Slot], lookup: Lookup, jobs: int | None) -> Iterator[Early | None]:
        """Let workers come up while a run is prepared for which there is work for sure; yield them."""
        if self._executor or self._executor_kwargs or not self._has_new_work(slots, lookup):
            yield None
            return
        from dagger.core.cores import cores
        from dagger.core.spawning import Early, dismiss, spawn

        early = Early(most_workers(slots, jobs or cores()), time.monotonic(), [])
        try:
            with suppress(DaggerError, OSError):  # whoever has a task for them will meet it again
                early.workers.extend(spawn() for _ in range(early.most))
            yield early
        finally:
            dismiss(early.workers)

    def _has_new_work(self, slots: Sequence[Slot], lookup: Lookup) -> bool:
        """Tell whether a function must run for sure, by the first task that is not as it was: it waits for no other."""
        if self.cache.is_new:
            return any(runs_in_worker(slot.task) for slot in slots)
        first = next((slot.task for slot in slots if slot.known is None), None)
        if first is None or not runs_in_worker(first) or first._dependencies:
            return False
        try:
            return not self.cache.records(lookup.walker.walk(first).key)
        except Exception:  # whatever is wrong with it, its look-up tells
            return False

    def _prepare(
        self,
        slots: list[Slot],
        lookup: Lookup,
        fitting: Collection[AbstractTask],
        jobs: int | None,
        keep_going: bool,
        dry_run: bool,
        force: frozenset[str],
        early: Early | None,
    ) -> Engine:
        """Return what runs the workflow; refuse one that cannot run as it is."""
        # What it takes to run something is not loaded where nothing is to be run.
        from dagger.core.checks import check
        from dagger.core.engine import Engine, Options

        self._by_name = {slot.name: slot.task for slot in slots}
        self.waiting = set(self._by_name.values())
        check(
            [slot.task for slot in slots],
            self.places,
            self.resources,
            str(self.cache.directory),
            controlled=self._executor is None,
            undeclared=self._undeclared,
            fitting=fitting,
        )
        options = Options(
            jobs=jobs,
            supply=self.resources,
            keep_going=keep_going,
            dry_run=dry_run,
            force=force,
            undeclared=self._undeclared,
            executor=self._executor,
            executor_kwargs=self._executor_kwargs,
            early=early,
        )
        return Engine(slots, lookup, options, self._tell, self._skip)

    def _execute(self, engine: Engine, recall: Recall) -> RunReport:
        """Run what must run; what is up to date in the end, the next run need not look up."""
        from dagger.core.signals import Terminated, raise_asked, signals_heard, signals_raised

        self._engine = engine
        if engine.options.dry_run:
            return engine.run()
        recall.drop()
        try:
            with signals_raised(), signals_heard():
                report = engine.run()
                raise_asked()
                return report
        except (KeyboardInterrupt, Terminated) as stop:
            if sessions.current() is None and self._listeners is None:
                plain.show_stop("terminated" if isinstance(stop, Terminated) else "interrupted", engine.report)
            raise
        finally:
            if not engine.healed:
                with _no_collection():
                    recall.keep(engine.slots)
            engine.let_go()
            self._engine = None  # and with it what is known of each task beside its report

    def _nothing_to_do(self, tasks: Sequence[AbstractTask], keys: Sequence[str], clock: float) -> RunReport:
        self._tell(RunStarted(len(tasks)))
        names = [task.identifier for task in tasks]
        report = RunReport(names)
        self.cache.note_uses(keys)
        self._skip(tasks)
        for slot in self._slots:
            slot.report = TaskReport(slot.name, UP_TO_DATE)
        self.cache.flush()
        report.seconds = time.perf_counter() - clock
        for warning in self.cache.warnings:
            report.notes.append(warning)
            self._tell(Noted("", warning))
        self._tell(RunEnded(report))
        return report

    def _skip(self, tasks: Sequence[AbstractTask]) -> None:
        """Take tasks as they are: of a large workflow that is most, so they are not gone through one by one."""
        for task in tasks:
            task._skip()
        self.waiting.difference_update(tasks)
        self.complete.update(tasks)
        if self._hearing != [plain.show]:  # which does not speak of such tasks
            for task in tasks:
                self._hear(TaskEnded(TaskReport(task.identifier, UP_TO_DATE)))

    def _mend(self, datum: AbstractDatum) -> object:
        """Run the task again whose stored value is gone or damaged, and return the new value."""
        maker = next(task for task in topological_order(self.end_tasks) if datum in task.outputs.values())
        report = self._run([maker], force=frozenset({maker.identifier}))
        if report.failed:
            raise WorkflowError(report)
        return datum.pointer

    def _knows(self, task: AbstractTask) -> bool:
        return all(datum in self._made for datum in task.outputs.values())

    def _tell(self, event: Event) -> None:
        """Keep the sets that a manager shows, and pass the event on to whoever listens."""
        if isinstance(event, TaskEnded) and self._by_name:
            task = self._by_name[event.report.task]
            self.waiting.discard(task)
            if task in self.running:
                self.running.remove(task)
            if task.state is TaskState.COMPLETE:
                self.complete.add(task)
            elif task.state is TaskState.FAILED:
                self.failed.add(task)
        elif isinstance(event, TaskStarted):
            self.running.append(self._by_name[event.task])
        self._hear(event)

    def _hear(self, event: Event) -> None:
        for listener in self._hearing:
            listener(event)

    def _all_listeners(self) -> list[Listener]:
        session = sessions.current()
        listeners = [*(session.listeners if session else ()), *(self._listeners or ())]
        if self._listeners is None and session is None:
            listeners.append(plain.show)
        return listeners

    # The five steps of `AbstractManager`. The engine has its own, which wait on a queue; these serve whoever
    # drives a workflow by hand.

    def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
        from dagger.core.cores import cores

        supply = dict(self.resources)
        for task in self.running:
            decrement_resources(supply, task.resources)
        chosen: list[AbstractTask] = []
        for task in ready:
            if len(self.running) + len(chosen) >= (self._jobs or cores()):
                break
            if resources_available(supply, task.resources):
                decrement_resources(supply, task.resources)
                chosen.append(task)
        return chosen

    def _launch_task(self, task: AbstractTask) -> None:
        """Run a task to its end; its manager takes it in as soon as it looks."""
        sets = self.waiting, self.complete, self.failed
        lists = self.ready, self.running
        try:
            self._run([task], sync=False)
        finally:
            self.waiting, self.complete, self.failed = sets
            self.ready, self.running = lists

    def _get_running_task_state(self, task: AbstractTask) -> TaskState:
        return task.state

    def _wrapup_task(self, task: AbstractTask) -> None:
        """The engine has settled the task when it ends."""

    def _interrupt(self) -> None:
        if self._engine is not None:
            self._engine.interrupt()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let the collector of cycles rest while a plan is made: it would look at every task again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _supply(resources: object) -> dict[str, float]:
    if resources is None:
        return {}
    if not isinstance(resources, Mapping):
        raise DeclarationError(f"resources= is a {type(resources).__name__}, not a dict of kind to amount")
    check_amounts("resources: there is of", resources)
    return dict(resources)


def _root(given: object) -> str:
    if given is None:
        return os.getcwd()
    if not isinstance(given, (str, os.PathLike)):
        raise DeclarationError(f"root_dir= is a {type(given).__name__}, not a path")
    root = os.path.abspath(os.fspath(given))
    if not os.path.isdir(root):
        raise RefusedError(f"root_dir={os.fspath(given)!r}: there is no such directory")
    return root


def _at_once(name: str, given: object) -> int | None:
    if given is None:
        return None
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise RefusedError(f"{name}={given!r}: it is a whole number, and at least one task must be able to run")
    return given


def _executor_options(given: object) -> dict[str, Any]:
    if not given and given in (None, {}):
        return {}
    if not isinstance(given, Mapping):
        raise DeclarationError(f"executor_kwargs= is a {type(given).__name__}, not a dict")
    for name in given.keys() - _EXECUTOR_OPTIONS:
        raise unknown_option("executor_kwargs=", str(name), _EXECUTOR_OPTIONS)
    return dict(given)


def _checked_executor(given: Any) -> Executor | None:
    if given is not None and (isinstance(given, type) or not callable(getattr(given, "submit", None))):
        what = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise DeclarationError(f"executor= is {what}; give an executor, which has submit()")
    executor: Executor | None = given
    return executor


def _checked_cache(given: Any) -> str | os.PathLike[str] | Cache | bool | None:
    if given is not None and not isinstance(given, (str, os.PathLike, Cache, bool)):
        raise DeclarationError(f"cache= is a {type(given).__name__}; give a directory, a Cache, or False for none")
    checked: str | os.PathLike[str] | Cache | bool | None = given
    return checked


def _checked_listeners(given: Any) -> list[Listener]:
    listeners: list[Any] = list(given) if isinstance(given, Iterable) else [None]
    for listener in listeners:
        if not callable(listener):
            raise DeclarationError(f"listeners= takes a list of callables, not a {type(listener or given).__name__}")
    return listeners


def _write_report(report: RunReport) -> None:
    """Add the report to the file that ``$DAGGER_REPORT`` names, one JSON object a line."""
    path = os.environ.get("DAGGER_REPORT")
    if path:
        import json

        with open(path, "a", encoding="utf-8") as file:
            # Task by task, since all of it at once may be larger than all that the run needed.
            file.write(f'{{"seconds": {report.seconds}, "notes": {json.dumps(report.notes)}, "tasks": [')
            for index, task in enumerate(report.tasks):
                file.write(", " * (index > 0) + json.dumps(task.to_dict()))
            file.write("]}\n")
