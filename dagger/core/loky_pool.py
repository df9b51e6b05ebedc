"""loky's worker processes: for whoever gives loky's own options.

All are tied to each other: one that dies ends them all, and what each was at is lost.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress

from dagger.core.isolation import prepare_worker
from dagger.core.jobs import Heard, WorkerLost, run_jobs
from dagger.core.manager_life import ManagerLife
from dagger.core.process_groups import kill_tree, stop_tree
from dagger.lean_typing import Any

_LATER = 10
"""How far the trackers stand back: their own start must not keep the workers', and is over when these end."""


class LokyPool:
    """Runs rounds in loky's executor, which is made anew after a loss.

    Args:
        most: Workers at once.
        options: Further arguments of loky's executor.
        presence: `Presence.path`.
    """

    def __init__(self, most: int, options: Mapping[str, Any], presence: str) -> None:
        from loky.process_executor import ProcessPoolExecutor

        _start_trackers()
        self._life = ManagerLife()
        self._dying = threading.Lock()
        self._is_broken = False
        self._dead: frozenset[str] | None = None
        options = {"max_workers": most, "timeout": None, **options}
        given = (self._life.path, presence)
        self._executor: Any = ProcessPoolExecutor(initializer=prepare_worker, initargs=given, **options)

    def begin(self) -> None:
        """Start the workers."""
        self._executor.submit(abs, 0)

    def submit(self, packed: bytes, tasks: int, heard: Heard) -> None:  # noqa: ARG002  (it matters to others)
        """Run a round; ``heard`` is called with what `run_jobs` returns, or with what kept it from that."""

        def end(ended: Future[bytes]) -> None:
            error = ended.exception()
            if isinstance(error, BrokenExecutor):
                error = self._lost(error)
            heard(error if isinstance(error, Exception) else ended.result())

        try:
            self._executor.submit(run_jobs, packed).add_done_callback(end)
        except BrokenExecutor as error:
            heard(self._lost(error))

    def end(self) -> None:
        """End the workers and all that they run.

        loky would start a command for each of them, which lists its children: on Linux that is known without. They are
        stopped before their queues go, of which one that is still starting would complain.
        """
        processes = {}
        if sys.platform.startswith("linux"):
            processes = dict(self._executor._processes)
            for pid in processes:
                stop_tree(pid)
            self._executor._processes.clear()
        self._executor.shutdown(wait=True, kill_workers=True)
        for pid, process in processes.items():
            kill_tree(pid)
            process.join()
        self._life.close()

    def _lost(self, error: Exception) -> WorkerLost:
        """Say what the workers were at that died by themselves; loky ends the others once it has told of this."""
        with self._dying:
            if not self._is_broken:
                self._is_broken = True
                self._dead = self._life.jobs_of_dead()
        return WorkerLost(str(error), self._dead)


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
