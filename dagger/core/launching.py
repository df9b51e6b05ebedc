"""From a task to a job: its code and data, bare of the graph, in the form that a worker or a shell takes."""

from __future__ import annotations

import _pickle as pickle
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from dagger.abstract import (
    NOTHING,
    AbstractDatum,
    AbstractTask,
    Converter,
    DatumList,
    DatumState,
    InputForm,
    converter_registry,
)
from dagger.cache import Cache
from dagger.cache.digests import digest_bytes, digest_text
from dagger.cache.layout import make_private, make_temporary
from dagger.cache.records import Output
from dagger.core.capture import remove_shared_logs
from dagger.core.cores import cores
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum, StoredValue, unseen_file
from dagger.core.graph import Slot
from dagger.core.jobs import (
    CUT_OFF,
    LONGEST_ROUND,
    Job,
    Outcome,
    Packed,
    WorkerLost,
    failure_of,
    full_disks,
    read_tail,
    with_room,
)
from dagger.core.manifest import Walker, code_of, members, merge
from dagger.core.parcels import Item, Parcel, are_plain, can_be_parcelled
from dagger.core.places import Places
from dagger.core.pool import Done, Shells, Workers
from dagger.core.process_groups import peak_memory
from dagger.core.report import Failure
from dagger.core.script_logs import ScriptLogs
from dagger.core.storing import Storer, plain_bytes
from dagger.core.task import FunctionTask, ScriptTask, bare_datum, bare_task, body_of, is_plain, runs_in_worker
from dagger.core.time_limit import was_reached
from dagger.errors import UndigestibleError
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.core.scripts import ScriptRunner

Work = Callable[[Done, float], None] | Job
"""A job for a worker, or what launches a task in another way, if its turn comes before a monotonic time."""


_GLANCE = 0.2
"""Seconds after which it is looked again whether logs can be written."""


class Launcher:
    """Prepares the jobs of one run."""

    def __init__(
        self,
        cache: Cache,
        places: Places,
        walker: Walker,
        workers: Workers,
        shells: Shells,
        made: dict[AbstractDatum, Output],
        undeclared: str,
    ) -> None:
        self.cache = cache
        self.places = places
        self.walker = walker
        self.workers = workers
        self.shells = shells
        self.made = made
        self._undeclared = undeclared
        self._bodies: dict[object, bytes] = {}
        self._plain_bodies: dict[object, bytes] = {}
        self._sources: dict[AbstractDatum, Output] = {}
        self._logs_elsewhere: set[AbstractTask] = set()
        self._script_logs = ScriptLogs()
        self._prepared: set[AbstractTask] = set()
        self._has_room = True
        self._looked_at = -math.inf

    def prepare(self, slot: Slot) -> Work:
        """Return what launches a slot's task.

        Raises:
            TaskError: Its code or an input cannot be sent to a worker.
        """
        task = slot.task
        log = self.log_of(task)
        if self._clear_log(task, log):
            self._logs_elsewhere.add(task)
            log = self.log_of(task)
        if self._is_plain(task):
            parcel = self._parcel(task)  # which tells what classes the code must bring along
            return self._job(task, self._plain_body(task), parcel, log)
        paths_do = type(task) is ScriptTask
        inputs = {name: self._bare(name, datum, paths_do) for name, datum in task.inputs.items()}
        outputs = {name: self._bare_output(datum, paths_do) for name, datum in task.outputs.items()}
        if isinstance(task, ScriptTask):
            return self._script(task, inputs, outputs, log)
        return self._function(task, inputs, outputs, log)

    def launch(self, works: Sequence[tuple[Work, Done]]) -> None:
        """Launch what was prepared; jobs that are launched together go to one worker, one after the other."""
        jobs = [(work, done) for work, done in works if isinstance(work, Job)]
        if jobs:
            self.workers.submit(jobs)
        latest = math.inf
        for work, done in works:
            if not isinstance(work, Job):
                work(done, latest)
                latest = time.monotonic() + LONGEST_ROUND  # for those that go along, as in a worker

    def end(self) -> None:
        """Tidy up, once nothing runs any more."""
        self._script_logs.end()

    def way(self, slot: Slot) -> str:
        """Tell which way a task goes, empty where it must not be sent while all workers are busy."""
        if slot.demand:
            return ""
        if not runs_in_worker(slot.task):
            return "shell"
        return "worker" if self.workers.controlled else ""

    def log_of(self, task: AbstractTask) -> str:
        """Return where what a task prints is kept while it runs, and after a failure."""
        name = digest_text(f"{self.places.root}\0{task.identifier}")
        return os.path.join(self._spare_logs if task in self._logs_elsewhere else self._logs, f"{name}.log")

    def _clear_log(self, task: AbstractTask, log: str) -> bool:
        """Take a former log away; tell whether the new one cannot be written."""
        try:
            if task in self._prepared or os.path.basename(log) in self._former_logs:
                _forget(log)
            self._prepared.add(task)
            now = time.monotonic()
            if now - self._looked_at > _GLANCE:
                self._has_room = os.access(self._logs, os.W_OK) and bool(os.statvfs(self._logs).f_bavail)
                self._looked_at = now
        except OSError:
            return True
        return not self._has_room

    @cached_property
    def _secret(self) -> bytes:
        """What keys the digests of variables that tasks read; empty where nothing is tracked."""
        return b"" if self._undeclared == "ignore" or not self.workers.controlled else self.cache.secret

    @cached_property
    def _former_logs(self) -> frozenset[str]:
        """What lay among the logs before this run: for most tasks there is none to take away."""
        names = frozenset(os.listdir(self._logs))
        remove_shared_logs(self._logs, names)
        return names

    @cached_property
    def _logs(self) -> str:
        """Where logs go: beside the blobs, or a temporary folder where the cache cannot be written."""
        folder = os.path.join(os.path.dirname(self.cache.blobs.directory), "logs")
        try:
            make_private(folder)
        except OSError:
            return self._spare_logs
        return folder

    @cached_property
    def _spare_logs(self) -> str:
        return make_temporary("dagger-logs-")

    def _is_plain(self, task: AbstractTask) -> bool:
        """Tell whether a task is a function of plain data, which most are: these take a shorter way."""
        return (
            type(task) is FunctionTask
            and not self._converters
            and not self.workers.here
            and can_be_parcelled(task.inputs, task.outputs)
        )

    @cached_property
    def _converters(self) -> list[tuple[type, InputForm, Converter]]:
        """What people registered; the worker has only dagger's own."""
        return converter_registry.custom()

    def _parcel(self, task: AbstractTask) -> Parcel:
        shown = self.places.shown
        inputs: list[tuple[str, Item | list[Item]]] = []
        for name, datum in task.inputs.items():
            if isinstance(datum, DatumList):
                items = [self._item(f"{name}[{index}]", member) for index, member in enumerate(datum.datums)]
                inputs.append((name, items))
            else:
                inputs.append((name, self._item(name, datum)))
        outputs = [(name, shown(it.pointer) if type(it) is FileDatum else None) for name, it in task.outputs.items()]
        return Parcel(tuple(inputs), tuple(outputs))

    def _item(self, name: str, datum: AbstractDatum) -> Item:
        if type(datum) is FileDatum:
            return self.places.shown(datum.pointer)
        kept = self.made.get(datum)
        if kept is None:
            plain = plain_bytes(datum.pointer)
            if plain is not None:
                return digest_bytes(plain), plain
            kept = self._source(name, datum)
        return kept.content, kept.inline

    def _plain_body(self, task: AbstractTask) -> bytes:
        assert isinstance(task, FunctionTask)
        classes = self._all_classes(task)
        memo = id(task.function), classes
        body = self._plain_bodies.get(memo)
        if body is None:
            body = self._plain_bodies[memo] = self._body(task, classes)
        return body

    def _all_classes(self, task: AbstractTask) -> tuple[str, ...]:
        """Return the own classes that the values of a task's inputs need."""
        found = [name for datum in task.inputs.values() for name in self._classes(datum)]
        return tuple(sorted(set(found))) if found else ()

    def _function(
        self,
        task: AbstractTask,
        inputs: dict[str, AbstractDatum],
        outputs: dict[str, AbstractDatum],
        log: str,
    ) -> Work:
        if not self.workers.here:
            return self._job(task, self._body(task, self._all_classes(task)), self._packed(inputs, outputs), log)
        if self.places.root != os.getcwd():
            for datum in (*inputs.values(), *outputs.values()):
                self._make_absolute(datum)
        job = self._job(task, b"", b"", log)
        return lambda done, _: self.workers.submit_here(job, body_of(task), inputs, outputs, done)

    def _job(self, task: AbstractTask, body: bytes, data: Parcel | bytes, log: str) -> Job:
        return Job(
            task.identifier,
            body,
            data,
            self.places.root,
            self._blobs,
            log,
            is_plain(task),
            self._secret,
            self._cache_directory,
            task.timeout,
        )

    @cached_property
    def _blobs(self) -> str:
        return str(self.cache.blobs.directory)

    @cached_property
    def _cache_directory(self) -> str:
        return str(self.cache.directory)

    def _packed(self, inputs: Mapping[str, AbstractDatum], outputs: Mapping[str, AbstractDatum]) -> Packed | bytes:
        """Return a job's data as the worker gets them; shipping is for what may hold something of a person's own."""
        converters = self._converters_of(inputs)
        if not converters and are_plain(inputs, outputs):
            return Packed(pickle.dumps((inputs, outputs, converters), protocol=5))
        from dagger.core.shipping import ship

        return ship((inputs, outputs, converters), {})

    def _converters_of(self, inputs: Mapping[str, AbstractDatum]) -> list[tuple[type, InputForm, Converter]]:
        if not self._converters:
            return []
        types = {type(datum) for name, given in inputs.items() for _, datum in members(name, given)}
        return [it for it in self._converters if any(issubclass(cls, it[0]) for cls in types)]

    def _body(self, task: AbstractTask, classes: tuple[str, ...]) -> bytes:
        """Return a task's shipped body; tasks of one function share it."""
        from dagger.core.by_name import find_class
        from dagger.core.shipping import ship

        sources = code_of(task)
        memo = (tuple(map(id, sources)), classes) if isinstance(task, FunctionTask) else None
        if memo is None or memo not in self._bodies:
            found = []
            for source in (*sources, *map(find_class, classes)):
                try:
                    found.append(self.walker.fingerprinter.of(source))
                except UndigestibleError:
                    continue  # it ships whatever can be shipped
            shipped = ship(body_of(task), merge(found).reached if found else {}, classes)
            if memo is None:
                return shipped
            self._bodies[memo] = shipped
        return self._bodies[memo]

    def _script(
        self, task: ScriptTask, inputs: dict[str, AbstractDatum], outputs: dict[str, AbstractDatum], log: str
    ) -> Work:
        bare = bare_task(task)
        assert isinstance(bare, ScriptTask)
        bare.inputs, bare.outputs = inputs, outputs
        text = bare.command(bare._collect_inputs())

        def run(runner: ScriptRunner) -> Outcome:
            from dagger.core.scripts import shell_argv

            started = time.time()
            printed = self._script_logs.take(log)
            try:
                end = runner.run(
                    shell_argv(text),
                    cwd=self.places.root,
                    env=os.environ,
                    log_path=printed,
                    timeout=task.timeout,
                    token=task.identifier,
                    at_once=self.workers.jobs or cores(),
                )
                has_printed = _holds_something(printed)
                said = read_tail(printed) if has_printed else ""
                if end.exit_code == 0:
                    stored = self._storer.store(outputs, None)
                    self._script_logs.give_back(printed, used=has_printed)
                    return Outcome(outputs=stored, started=started, seconds=end.seconds, log=said)
                failure = Failure("script", f"the script {end.describe()}", log=said, log_path=log)
                outcome = Outcome(failure=failure, seconds=end.seconds, log=said)
            except Exception as error:
                outcome = Outcome(failure=failure_of(error))
            full = full_disks(self.places.root, log)
            self._script_logs.keep(printed, log)
            assert outcome.failure is not None
            return outcome._replace(failure=with_room(outcome.failure, full), started=started)

        return lambda done, latest: self.shells.submit(run, done, latest)

    def _bare(self, name: str, datum: AbstractDatum, paths_do: bool) -> AbstractDatum:
        """Return an input as a worker gets it: values stay in the store until they are asked for.

        Args:
            name: Its name, for messages.
            datum: The input.
            paths_do: Whether nobody asks for more of a file than its path: a copy takes longer.
        """
        if paths_do and type(datum) is FileDatum:
            return unseen_file(self.places.shown(datum.pointer))
        from copy import copy

        bare = copy(datum)
        bare.parents, bare._declared = [], NOTHING
        if isinstance(bare, DatumList):
            members = enumerate(bare.datums)
            bare.datums = [self._bare(f"{name}[{index}]", member, paths_do) for index, member in members]
        elif isinstance(bare, MemoryDatum):
            output = self.made.get(datum) or self._source(name, datum)
            bare._pointer = StoredValue(self._blobs, output.content, output.inline)
        elif isinstance(bare, FileDatum):
            bare._pointer, bare.root = self.places.shown(datum.pointer), None
        return bare

    def _bare_output(self, datum: AbstractDatum, paths_do: bool) -> AbstractDatum:
        if paths_do and type(datum) is FileDatum:
            return unseen_file(self.places.shown(datum.pointer))
        bare = bare_datum(datum)
        if isinstance(bare, MemoryDatum) and bare.state is not DatumState.EMPTY:
            bare.state = DatumState.EMPTY  # what it held after a former run stays here
        elif isinstance(bare, FileDatum) and bare.pointer is not None:
            bare._pointer, bare.root = self.places.shown(bare.pointer), None
        elif isinstance(bare, DatumList) and not isinstance(bare, FileGlob):
            bare.datums = [self._bare_output(member, paths_do) for member in bare.datums]
        return bare

    def _make_absolute(self, datum: AbstractDatum) -> None:
        """Let a path count from the root where a task cannot run in it: the working directory is all threads'."""
        if isinstance(datum, DatumList):
            for member in datum.datums:
                self._make_absolute(member)
        elif isinstance(datum, FileDatum) and datum.pointer is not None:
            datum._pointer = os.path.join(self.places.root, datum.pointer)

    def _source(self, name: str, datum: AbstractDatum) -> Output:
        kept = self._sources.get(datum)
        # No record names it, so that a `gc` beside a long run takes it once it is old.
        if kept is None or (kept.inline is None and not self.cache.blobs.refresh(kept.content, kept.size)):
            kept = self._storer.value(f"input {name!r}", datum.pointer)
            if kept.inline is None or kept.classes:  # a small one is made anew sooner than it is looked up
                self._sources[datum] = kept
        return kept

    @cached_property
    def _storer(self) -> Storer:
        return Storer(self.cache.blobs, self.places, pickles=False)

    def _classes(self, datum: AbstractDatum) -> tuple[str, ...]:
        if isinstance(datum, DatumList):
            return tuple(name for member in datum.datums for name in self._classes(member))
        output = self.made.get(datum) or self._sources.get(datum)
        return output.classes if output else ()

    def may_have_died(self, task: AbstractTask, losses: Iterable[WorkerLost]) -> bool:
        """Tell whether it was a task's own worker that died; where that is not known, any that had begun may be it."""
        log = self.log_of(task)
        return any(log in lost.jobs if lost.jobs is not None else os.path.exists(log) for lost in losses)

    def death(self, task: AbstractTask, lost: WorkerLost) -> Failure:
        """Return why a task failed whose worker died."""
        import re

        log = self.log_of(task)
        signals = ", ".join(dict.fromkeys(re.findall(r"SIG[A-Z0-9]+", str(lost))))
        status = re.search(r"EXIT\((-?\d+)\)", str(lost))
        if was_reached(read_tail(log)):
            told = f"ran longer than its time limit of {task.timeout:g} s"
        elif str(lost) == CUT_OFF:
            told = "its worker process was ended: the task had closed, or used, what connects that to the manager"
        elif signals:
            told = f"its worker process was ended by {signals}, at a peak memory of {_memory(lost.peak)}"
        elif status:
            told = f"its worker process exited with status {status[1]}"
        else:
            told = "its worker process died, or could not start: see what it printed"
        return Failure("signal" if signals else "exit", told, log=read_tail(log), log_path=log)


def _memory(peak: int | None) -> str:
    """Say how much memory a dead worker had; where that is not known, the system tells the most of all."""
    if peak is not None:
        return f"{peak / 2**20:.0f} MiB"
    from resource import RUSAGE_CHILDREN, getrusage

    return f"at most {peak_memory(getrusage(RUSAGE_CHILDREN)) / 2**20:.0f} MiB"


def _holds_something(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def _forget(path: str) -> None:
    with suppress(FileNotFoundError):
        os.remove(path)
