"""Who runs the jobs: worker processes for functions, threads with shells for scripts.

The engine submits and hears of the end through a callback; that a worker died it hears as `WorkerLost`.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dagger.core.jobs import Job, Outcome, pack, run_here, run_jobs
from dagger.core.process_groups import kill_tree, stop_tree
from dagger.errors import DaggerError, TaskError

if TYPE_CHECKING:
    from dagger.cache.presence import Presence
    from dagger.core.isolation import ManagerLife
    from dagger.core.scripts import ScriptRunner

_LATER = 10
"""How far the trackers stand back: their own start must not keep the workers', and is over when these end."""

Done = Callable[["Outcome | BaseException | None"], None]


@lru_cache(maxsize=1)
def cores() -> int:
    """Return the cores that loky counts: what this process may use, not what the machine has."""
    from loky import cpu_count

    return int(cpu_count())


class WorkerLost(DaggerError):  # noqa: N818  (an event that the engine hears of, not a fault of its caller)
    """A worker died: killed, out of memory, or a crash in native code; all jobs of its pool end with it.

    Attributes:
        jobs: The logs of the jobs that the dead were at; None where that is not known.
    """

    def __init__(self, message: str, jobs: frozenset[str] | None = None) -> None:
        super().__init__(message)
        self.jobs = jobs


class Workers:
    """Runs functions, in loky's worker processes or in an executor that a person gave.

    Args:
        jobs: Workers at most.
        executor: Any PEP 3148 executor, or None for loky.
        options: Further arguments of loky's executor.
        presence: What the workers are part of.
        wanted: Tells how many there can be work for at once, when the first is needed.
    """

    def __init__(
        self,
        jobs: int | None,
        executor: Executor | None,
        options: Mapping[str, Any],
        presence: Presence,
        wanted: Callable[[], int],
    ) -> None:
        self.jobs = jobs
        self._wanted = wanted
        self._presence = presence
        self._given = executor
        self._options = options
        self._executor: Executor | None = executor
        self._life: ManagerLife | None = None
        self._dying = threading.Lock()
        self._dead: frozenset[str] | None = None
        self._here: bool | None = None if executor is not None else False
        self._futures: set[Future[Any]] = set()

    @property
    def controlled(self) -> bool:
        """Whether the processes are dagger's own, so that they can be watched, timed and ended."""
        return self._given is None

    @property
    def here(self) -> bool:
        """Whether the jobs run in the manager's own process."""
        if self._here is None:
            assert self._given is not None
            try:
                self._here = self._given.submit(os.getpid).result() == os.getpid()
            except Exception as error:
                raise _unfit(error) from error
        return self._here

    def submit(self, jobs: Sequence[tuple[Job, Done]]) -> None:
        """Run jobs in a worker, one after the other; each `done` is called from another thread.

        It gets None where the jobs before it took so long that it was not begun.
        """
        hearers = [done for _, done in jobs]
        try:
            executor = self._started()
            with _interrupts_held():
                future = executor.submit(run_jobs, pack([job for job, _ in jobs]))
        except BrokenExecutor as error:
            _tell(hearers, WorkerLost(str(error), self._jobs_of_dead()))
            return
        except Exception as error:
            if self._given is None:
                raise
            _tell(hearers, _unfit(error))
            return
        self._follow(future, hearers)

    def _jobs_of_dead(self) -> frozenset[str] | None:
        """Return what the workers were at that died by themselves; loky ends the others once it has told of this."""
        with self._dying:
            if self._dead is None and self._life is not None:
                self._dead = self._life.jobs_of_dead()
            return self._dead

    def submit_here(self, job: Job, body: object, inputs: Any, outputs: Any, done: Done) -> None:
        """Run a job in a thread of this process."""
        try:
            future = self._started().submit(_here, body, inputs, outputs, job)
        except Exception as error:
            done(_unfit(error))
            return
        self._follow(future, [done])

    def _follow(self, future: Future[Any], hearers: Sequence[Done]) -> None:
        if self._given is not None:
            self._futures.add(future)

        def end(ended: Future[Any]) -> None:
            self._futures.discard(ended)
            _tell(hearers, _result(ended, self._jobs_of_dead))

        future.add_done_callback(end)

    def wait(self) -> None:
        """Wait for what runs in an executor of the person's own; what has not begun does not begin any more.

        It cannot be ended, and must not write to an output when somebody else has the output's lock.
        """
        running = [future for future in list(self._futures) if not future.cancel()]
        for future in running:
            future.exception()

    def begin(self) -> None:
        """Let the workers come up beside what the manager does before it has jobs for them.

        To start them from a thread takes longer: it shares the interpreter with what the manager does meanwhile, and
        they are what all wait for.
        """
        if self._executor is None:
            with suppress(Exception):  # whoever has a job for them will meet it again
                executor = self._started()
                with _interrupts_held():
                    executor.submit(abs, 0)

    def _started(self) -> Executor:
        if self._executor is None:
            self._executor = self._make(self._presence.path)
        return self._executor

    def _make(self, presence: str) -> Executor:
        from loky.process_executor import ProcessPoolExecutor

        from dagger.core.isolation import ManagerLife, prepare_worker

        _start_trackers()
        if self._life is None:
            self._life = ManagerLife()
        count = min(self.jobs or cores(), self._wanted())
        options = {"max_workers": count, "timeout": None, **self._options}
        given = (self._life.path, presence)
        made: Executor = ProcessPoolExecutor(initializer=prepare_worker, initargs=given, **options)
        return made

    def renew(self) -> None:
        """Let go of an executor that a lost worker broke; the next job gets a fresh one."""
        if self._given is None:
            self.end()

    def end(self) -> None:
        """End the workers and whatever they run."""
        executor, self._executor = self._executor, self._given
        life, self._life = self._life, None
        self._dead = None
        if executor is not None and self._given is None:
            _end_workers(executor)
        if life is not None:
            life.close()


def _start_trackers() -> None:
    """Start the processes that track semaphores before signals are held: their start lets go of what is held.

    They have to do when all else has ended, so that they leave the cores to the workers, which start at the same time.
    And they end by themselves with this process, which forgets who they are: else it would wait for them at its exit.
    """
    from multiprocessing import resource_tracker

    from loky.backend import resource_tracker as of_loky

    for module in (resource_tracker, of_loky):
        tracker: Any = module._resource_tracker
        was_running = tracker._fd is not None
        module.ensure_running()
        if not was_running and hasattr(os, "setpriority"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, tracker._pid, _LATER)
            tracker._pid = None


def _end_workers(executor: Any) -> None:
    """End loky's workers and all that they run.

    loky would start a command for each of them, which lists its children: on Linux that is known without. They are
    stopped before their queues go, of which one that is still starting would complain.
    """
    processes = {}
    if sys.platform.startswith("linux"):
        processes = dict(executor._processes)
        for pid in processes:
            stop_tree(pid)
        executor._processes.clear()
    executor.shutdown(wait=True, kill_workers=True)
    for pid, process in processes.items():
        kill_tree(pid)
        process.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what asks for an end wait while workers may be started.

    A worker inherits this until it has its own way with the terminal's Ctrl-C, which would else end it with a
    traceback while it is still importing. The thread in which loky ends its workers inherits it too, and hands it on
    to the commands that it does so with, so that a signal to the whole group does not keep it from that.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _unfit(error: Exception) -> TaskError:
    return TaskError(f"the executor that was given takes no tasks: {type(error).__name__}: {error}")


def _result(future: Future[Any], jobs_of_dead: Callable[[], frozenset[str] | None] = lambda: None) -> Any:
    """Return what a future came to, or the exception that stands for it."""
    if future.cancelled():
        return WorkerLost("the job was cancelled")
    error = future.exception()
    if isinstance(error, BrokenExecutor):
        return WorkerLost(str(error), jobs_of_dead())
    if error is not None:
        return error
    result = future.result()
    return pickle.loads(result) if isinstance(result, bytes) else result


def _tell(hearers: Sequence[Done], result: list[Outcome | None] | BaseException) -> None:
    for index, done in enumerate(hearers):
        done(result if isinstance(result, BaseException) else result[index])


def _here(*arguments: Any) -> list[Outcome | None]:
    return [run_here(*arguments)]


class Shells:
    """Runs scripts, each from a thread, in a process group of its own.

    Args:
        jobs: Scripts at once, at most.
        presence: What the scripts are part of.

    """

    def __init__(self, jobs: int | None, presence: Presence) -> None:
        self._jobs = jobs
        self._presence = presence
        self._threads: ThreadPoolExecutor | None = None
        self._runner: ScriptRunner | None = None
        self._holds_back = False

    def submit(self, work: Callable[[ScriptRunner], Outcome], done: Done, latest: float = math.inf) -> None:
        """Call `work` with the script runner, in a thread; `done` hears what it returns.

        It hears None where that was not begun: its turn did not come before `latest`, by the monotonic clock, or not
        before `hold_back`.
        """
        if self._threads is None or self._runner is None:
            from dagger.core.scripts import ScriptRunner

            self._runner = ScriptRunner(held=self._presence.fileno())
            # More threads than scripts at once: one runs while what the last one made is stored.
            self._threads = ThreadPoolExecutor(2 * (self._jobs or cores()), thread_name_prefix="dagger-script")
        runner = self._runner
        future = self._threads.submit(lambda: None if self._holds_back or time.monotonic() > latest else work(runner))
        future.add_done_callback(lambda ended: done(_result(ended)))

    def hold_back(self) -> None:
        """Begin no more of what has been submitted."""
        self._holds_back = True

    def end(self) -> None:
        """End the scripts with everything that they started."""
        if self._runner is not None:
            self._runner.end_all()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        if self._runner is not None:
            self._runner.close()
        self._runner = self._threads = None
