"""Who runs the jobs: worker processes for functions, threads with shells for scripts.

The engine submits and hears of the end through a callback; that a worker died it hears as `WorkerLost`.
"""

from __future__ import annotations

import _pickle as pickle
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from dagger.core.cores import cores
from dagger.core.jobs import Heard, Job, Outcome, WorkerLost, pack, run_here, run_jobs
from dagger.errors import DaggerError, TaskError
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future, ThreadPoolExecutor

    from dagger.cache.presence import Presence
    from dagger.core.loky_pool import LokyPool
    from dagger.core.scripts import ScriptRunner
    from dagger.core.spawning import Early
    from dagger.core.worker_pool import WorkerPool

Done = Callable[["Outcome | BaseException | None"], None]


class Workers:
    """Runs functions: in worker processes, which are dagger's own or loky's, or in an executor that a person gave.

    Args:
        jobs: Workers at most.
        executor: Any PEP 3148 executor, or None.
        options: Arguments of loky's executor: whoever gives any has its workers.
        presence: What the workers are part of.
        wanted: Tells how many there can be work for at once, so many at most, when the first is needed.
        early: Workers that were started already, if any were.
    """

    def __init__(
        self,
        jobs: int | None,
        executor: Executor | None,
        options: Mapping[str, Any],
        presence: Presence,
        wanted: Callable[[int], int],
        early: Early | None,
    ) -> None:
        self.jobs = jobs
        self._early = early
        self._wanted = wanted
        self._presence = presence
        self._given = executor
        self._options = options
        self._pool: WorkerPool | LokyPool | None = None
        self._here: bool | None = None if executor is not None else False
        self._futures: set[Future[Any]] = set()

    @property
    def controlled(self) -> bool:
        """Whether the processes are dagger's to watch, time and end."""
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
        packed = pack([job for job, _ in jobs])
        heard = partial(_tell, [done for _, done in jobs])
        if self._given is not None:
            self._submit_to(self._given, heard, run_jobs, packed)
            return
        pool = self._started()
        try:
            with _interrupts_held():
                pool.submit(packed, len(jobs), heard)
        except DaggerError as error:
            heard(error)

    def submit_here(self, job: Job, body: object, inputs: Any, outputs: Any, done: Done) -> None:
        """Run a job in a thread of this process."""
        assert self._given is not None
        self._submit_to(self._given, partial(_tell, [done]), _here, body, inputs, outputs, job)

    def _submit_to(self, executor: Executor, heard: Heard, work: Callable[..., Any], *arguments: Any) -> None:
        from concurrent.futures import BrokenExecutor

        try:
            future = executor.submit(work, *arguments)
        except BrokenExecutor as error:
            heard(WorkerLost(str(error)))
            return
        except Exception as error:
            heard(_unfit(error))
            return
        self._futures.add(future)

        def end(ended: Future[Any]) -> None:
            self._futures.discard(ended)
            heard(_result(ended))

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
        if self._pool is None:
            with suppress(Exception):  # whoever has a job for them will meet it again
                pool = self._started()
                with _interrupts_held():
                    pool.begin()

    def _started(self) -> WorkerPool | LokyPool:
        if self._pool is None:
            early = self._early
            most = early.most if early else self._wanted(self.jobs or cores())
            if self._options:
                from dagger.core.loky_pool import LokyPool

                self._pool = LokyPool(most, self._options, self._presence.path)
            else:
                from dagger.core.worker_pool import WorkerPool

                self._pool = WorkerPool(most, self._presence.path, early.workers if early else [])
        return self._pool

    def renew(self) -> None:
        """Let go of a pool that a lost worker broke; the next job gets a fresh one."""
        if self._given is None:
            self.end()

    def end(self) -> None:
        """End the workers and whatever they run."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.end()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what asks for an end wait while workers may be started.

    Neither half a job may be sent, nor a worker be started that nobody knows of. What loky starts inherits this until
    it has its own way with the terminal's Ctrl-C, which would else end it with a traceback while it is still
    importing; and the threads of either pool, which are not for signals.
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


def _result(future: Future[Any]) -> Any:
    """Return what a future came to, or the exception that stands for it."""
    from concurrent.futures import BrokenExecutor

    if future.cancelled():
        return WorkerLost("the job was cancelled")
    error = future.exception()
    if isinstance(error, BrokenExecutor):
        return WorkerLost(str(error))
    return future.result() if error is None else error


def _tell(hearers: Sequence[Done], said: bytes | list[Outcome | None] | BaseException) -> None:
    try:
        result = pickle.loads(said) if isinstance(said, bytes) else said
    except Exception as error:
        result = TaskError(f"what came of the task cannot be read: {type(error).__name__}: {error}")
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
            from concurrent.futures import ThreadPoolExecutor

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
