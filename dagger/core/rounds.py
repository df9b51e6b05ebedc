"""The worker's part: jobs that were sent together, run one after the other, each apart from the others.

What the process is like is looked at once for all of them and put back after each, and what they have in common is made
once; no job finds anything of another.
"""

from __future__ import annotations

import _pickle as pickle
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from threading import Lock
from types import TracebackType

from dagger.abstract import converter_registry
from dagger.cache.blobs import BlobStore
from dagger.cache.records import Read
from dagger.core.capture import Capture
from dagger.core.isolation import end_leftovers, no_fork_returns, note
from dagger.core.jobs import LONGEST_ROUND, Job, Outcome, Packed, failure_of, full_disks, pack, with_room
from dagger.core.landing import Ground, Landing
from dagger.core.parcels import Parcel
from dagger.core.places import Places
from dagger.core.project_paths import surroundings
from dagger.core.storing import Storer
from dagger.core.time_limit import time_limit
from dagger.core.tracking import Tracker
from dagger.lean_typing import Any

_alone = Lock()
"""Held by the round that runs here: an executor of a person's own may run several in the threads of one process."""


class Round:
    """Jobs run while it is entered; in between the process stays as they left it.

    Args:
        shared_log: The name of the file of jobs that print nothing; empty where each has one of its own.
        is_heard: Tells whether what comes of a job can still be said, which a job may prevent.
    """

    def __init__(self, shared_log: str = "", is_heard: Callable[[], bool] = lambda: True) -> None:
        self._shared_log = shared_log
        self._is_heard = is_heard

    def __enter__(self) -> Round:
        _alone.acquire()
        self._ground = Ground()
        self._capture = Capture(self._shared_log).__enter__()
        return self

    def run_all(self, packed: bytes | bytearray) -> bytes:
        """Run jobs that were sent together, one after the other.

        Args:
            packed: The jobs, as `pack` made them.

        Returns:
            Packed, what became of each; None for those that were not begun, since the ones before took longer than was
            thought, or left what cannot be undone.
        """
        clock = time.perf_counter()
        surroundings.cache_clear()
        outcomes: list[Outcome | None] = []
        for job in pickle.loads(packed):
            outcomes.append(self.run(job) if not outcomes or self._goes_on(clock) else None)
        return pack(outcomes)

    def _goes_on(self, clock: float) -> bool:
        in_time = time.perf_counter() - clock < LONGEST_ROUND
        # Where nobody is told, the one that saw to that is to be the last of which it is known that it was begun.
        return in_time and not self.is_spoilt and self._is_heard()

    @property
    def is_spoilt(self) -> bool:
        """Whether what a job did could not be undone, so that any other would fail here."""
        return Landing.current is not None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._capture.__exit__(kind, error, traceback)
        _alone.release()

    def run(self, job: Job) -> Outcome:
        """Run a job; what went wrong is in what it returns."""
        started = time.time()
        clock = time.perf_counter()
        outcome: Outcome
        note(job.log)
        try:
            self._capture.begin(job.log)
            with Landing(self._ground) as landing, time_limit(job.timeout):
                os.chdir(job.root)
                outcome = _run(job, landing.load)
        except BaseException as error:
            full = full_disks(job.root, job.log)
            outcome = Outcome(failure=with_room(failure_of(error), full))
        finally:
            end_leftovers()
        seconds = time.perf_counter() - clock
        said = self._capture.end()
        failure = outcome.failure
        if failure is not None and said:
            failure = failure._replace(log_path=job.log)
        return Outcome(failure, outcome.outputs, outcome.reads, outcome.unstable, started, seconds, said)


def _run(job: Job, load: Callable[[bytes], Any]) -> Outcome:
    body = load(job.body)
    inputs, outputs, converters = _data(job, load)
    tracker = Tracker.of_job(job, inputs, outputs) if job.secret else None
    with converter_registry.also(converters), tracker or nullcontext(), no_fork_returns():
        returned = body(inputs, outputs)
    stored = _storer(job.blobs, job.root, job.pickles).store(outputs, returned)
    if tracker is None:
        return Outcome(outputs=stored)
    reads = tuple([Read(*read) for read in tracker.reads])
    return Outcome(outputs=stored, reads=reads, unstable=tuple(tracker.unstable))


def _data(job: Job, load: Callable[[bytes], Any]) -> Any:
    if isinstance(job.data, Parcel):
        return *job.data.unpack(job.blobs), ()
    return pickle.loads(job.data) if isinstance(job.data, Packed) else load(job.data)


@lru_cache(maxsize=2)
def _storer(blobs: str, root: str, pickles: bool) -> Storer:
    return Storer(BlobStore(blobs), Places(root), pickles=pickles)
