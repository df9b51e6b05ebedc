"""A task on its way to a worker and back: a small job without the graph, and what became of it.

A worker takes a job's code and data, runs it in isolation (`rounds`), files what it made, and sends back digests and
small values. What goes wrong travels in the outcome.
"""

from __future__ import annotations

import _pickle as pickle
import os
import time
from collections.abc import Callable, Mapping, Sequence
from threading import current_thread, main_thread

from dagger.cache.records import Output, Read
from dagger.core.parcels import Parcel
from dagger.core.report import Failure
from dagger.errors import DaggerError
from dagger.lean_typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dagger.abstract import AbstractDatum

LOG_TAIL = 8192
LONGEST_ROUND = 0.1
"""Seconds after which a worker begins no further job of those that it was sent together."""


class Packed(bytes):
    """A pickle of nothing but dagger's own data, which a worker loads as it is."""


class Job(NamedTuple):
    """One task, as bytes that a worker can run.

    Attributes:
        body: The shipped `Body`; tasks of one function share it.
        data: The inputs and outputs, bare of the graph, and converters of a person's own: `Packed` or shipped; a plain
            task's as a `Parcel`.
        root: The project's folder, in which it runs.
        blobs: The blob store's directory.
        log: Where what it prints goes.
        pickles: Whether dagger pickles its ``.pkl`` outputs.
        secret: Keys the digests of environment variables that it reads; empty where nothing is tracked.
        cache: The cache directory, whose files are never discovered reads.
        timeout: Seconds, or None.
    """

    task: str
    body: bytes
    data: Parcel | bytes
    root: str
    blobs: str
    log: str
    pickles: bool
    secret: bytes
    cache: str
    timeout: float | None = None


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        failure: Why it failed, or None.
        outputs: What it made, filed.
        reads: What it was seen to read without declaring it.
        unstable: Names among them that changed while it ran.
        seconds: How long the task's own code took.
        log: The last of what it printed.
    """

    failure: Failure | None = None
    outputs: tuple[Output, ...] = ()
    reads: tuple[Read, ...] = ()
    unstable: tuple[str, ...] = ()
    started: float = 0.0
    seconds: float = 0.0
    log: str = ""
    notes: tuple[str, ...] = ()


class WorkerLost(DaggerError):  # noqa: N818  (an event that the engine hears of, not a fault of its caller)
    """A worker died: killed, out of memory, or a crash in native code.

    Attributes:
        jobs: The logs of the jobs that the dead were at; None where that is not known.
        peak: The most memory that it had, in bytes; None where that is not known.
        hearers: How many jobs hear this; None for all, whose pool ends with it.
    """

    def __init__(
        self,
        message: str,
        jobs: frozenset[str] | None = None,
        peak: int | None = None,
        hearers: int | None = None,
    ) -> None:
        super().__init__(message)
        self.jobs = jobs
        self.peak = peak
        self.hearers = hearers


CUT_OFF = "cut off"
"""The message of a worker's loss that was ended since it could not be heard any more."""

Heard = Callable[["bytes | list[Outcome | None] | BaseException"], None]
"""Called with what became of jobs that were sent together, packed or not, or with what kept them from being run."""


def run_jobs(packed: bytes) -> bytes:
    """Run jobs in this process, one after the other, isolated from each other and from those before and after.

    Args:
        packed: The jobs, as `pack` made them: an executor's own pickler would take three times as long.

    Returns:
        What `Round.run_all` returns.
    """
    from dagger.core.rounds import Round

    with Round() as here:
        return here.run_all(packed)


def pack(jobs: Sequence[Job] | Sequence[Outcome | None]) -> bytes:
    """Pickle what holds dagger's own types alone."""
    return pickle.dumps(jobs, protocol=5)


def run_here(
    body: object,
    inputs: Mapping[str, AbstractDatum],
    outputs: Mapping[str, AbstractDatum],
    job: Job,
) -> Outcome:
    """Run a job's body in the manager's own process, for an executor of threads: not isolated, not tracked."""
    from dagger.cache.blobs import BlobStore
    from dagger.core.places import Places
    from dagger.core.storing import Storer

    assert callable(body)
    started = time.time()
    clock = time.perf_counter()
    try:
        returned = body(inputs, outputs)
        storer = Storer(BlobStore(job.blobs), Places(job.root), pickles=job.pickles)
        stored = storer.store(outputs, returned)
    except BaseException as error:
        is_ours = isinstance(error, KeyboardInterrupt) or type(error).__module__.startswith("dagger.")
        if is_ours and not isinstance(error, Exception) and current_thread() is main_thread():
            raise  # an interrupt or a termination of the whole run, which a signal brought
        return Outcome(failure=failure_of(error), started=started)
    return Outcome(outputs=stored, started=started, seconds=time.perf_counter() - clock)


def failure_of(error: BaseException) -> Failure:
    """Return what a person should see of an exception: its traceback from the user's frame on."""
    from traceback import TracebackException

    from dagger import cache, errors
    from dagger.core.time_limit import TimeLimitReached
    from dagger.errors import DaggerError

    if isinstance(error, TimeLimitReached):
        return Failure("timeout", str(error))
    if isinstance(error, DaggerError):
        return Failure(type(error).__name__, str(error))
    told = TracebackException.from_exception(error)
    # Two places in an editable install, where the cache stands beside the package.
    ours = tuple(os.path.dirname(os.path.abspath(path)) + os.sep for path in (errors.__file__, cache.__file__))
    link: TracebackException | None = told
    while link is not None:
        _drop_frames(link, ours)
        link = link.__cause__ or link.__context__
    text = "".join(told.format())
    message = "".join(told.format_exception_only()).strip().splitlines()
    if isinstance(error, SystemExit):
        return Failure("SystemExit", f"the task called sys.exit({error.code!r})", text)
    return Failure(type(error).__name__, message[-1] if message else type(error).__name__, text)


def full_disks(root: str, log: str) -> list[str]:
    """Return which places that a task writes to are full: asked at once, since the next moment another may make room.

    Args:
        root: The project's folder.
        log: The task's log.
    """
    full = [place for place in (root, os.path.dirname(log)) if _is_full(place)]
    from tempfile import gettempdir  # behind the others, since it takes some ms to load

    return [*full, gettempdir()] if _is_full(gettempdir()) else full


def with_room(failure: Failure, full: Sequence[str]) -> Failure:
    """Add to a failure which disks were full, if any: neither a script nor an exception need name them."""
    if not full:
        return failure
    return failure._replace(message=f"{failure.message}; no room is left on the disk of {' and '.join(full)}")


def _is_full(place: str) -> bool:
    try:
        room = os.statvfs(place)
    except OSError:
        return False
    return room.f_bavail == 0 or bool(room.f_files and room.f_favail == 0)


def _drop_frames(told: object, ours: tuple[str, ...]) -> None:
    from traceback import StackSummary, TracebackException

    assert isinstance(told, TracebackException)
    frames = list(told.stack)
    foreign = [index for index, frame in enumerate(frames) if not frame.filename.startswith(ours)]
    kept = frames[foreign[0] :] if foreign else []
    told.stack = StackSummary.from_list(kept)


def read_tail(path: str) -> str:
    """Return the last lines of a log, at most `LOG_TAIL` bytes; empty where there is none."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
