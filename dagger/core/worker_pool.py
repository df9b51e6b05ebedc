"""dagger's own worker processes: each has its rounds of jobs, and none is tied to another.

A worker is a Python of its own, never a fork of the manager, of whose threads a fork would have the locks alone. One
thread hears all of them, each on a socket. So a worker that dies takes with it the round that it was at and nothing
else, and another one takes its place.

A round goes to a worker that is free. Where rounds are short, one more is sent to a worker that still has one, so that
it need not wait for this process: so little is lost if another is free sooner.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from dagger.core.capture import leave_log
from dagger.core.isolation import ManagerLife, is_child
from dagger.core.jobs import Heard, WorkerLost
from dagger.core.process_groups import SIGKILL, kill_tree, send_group, stop_tree
from dagger.core.spawning import SIZE, Spawned, framed, setup, spawn
from dagger.errors import DaggerError

_AHEAD = 1 << 15
"""Bytes that may be sent to a worker that does not listen yet: they wait in the socket, and nobody waits for them."""
_AT_ONCE = 1 << 16
_MOST_FALSE_STARTS = 3
_LONGEST_END = 1.0
"""Seconds between a process's last descriptor and its end."""
_LOOK = 0.2  # seconds; where the system does not tell of a process's end by itself


class _Round(NamedTuple):
    packed: bytes
    tasks: int
    heard: Heard


_Told = tuple[Heard, "bytes | Exception"]


class _Worker:
    """A process, and what it was sent and has not answered.

    Attributes:
        end: A descriptor that can be read once the process is gone, -1 where the system has none.
        is_up: Whether it listens.
        cut: When the connection came to its end, by the monotonic clock.
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.connection = connection
        self.end = _end_of(pid)
        self.rounds: deque[_Round] = deque()
        self.is_up = False
        self.cut = math.inf
        self._received = bytearray()

    def receive(self, *, to_end: bool = False) -> list[bytes]:
        """Return what has come whole.

        Args:
            to_end: Take all that there is; else there may be more, which the system tells of again.
        """
        while True:
            try:
                data = self.connection.recv(_AT_ONCE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.cut = min(self.cut, time.monotonic())
                break
            self._received += data
            if not to_end and len(data) < _AT_ONCE:
                break
        whole = []
        while len(self._received) >= SIZE.size:
            end = SIZE.size + SIZE.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            whole.append(bytes(self._received[SIZE.size : end]))
            del self._received[:end]
        return whole

    def close(self) -> None:
        """Let go of the descriptors."""
        self.connection.close()
        if self.end >= 0:
            os.close(self.end)


class WorkerPool:
    """Runs rounds in worker processes, which start with the first of them.

    Args:
        most: Workers at once.
        presence: `Presence.path`.
        life: The workers' manager, which knows what each was at last.
        early: Workers that were started already; those that are taken are taken out.
    """

    def __init__(self, most: int, presence: str, life: ManagerLife, early: list[Spawned]) -> None:
        self._most = most
        self._early = early
        self._presence = presence
        self._life = life
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._waiting: deque[_Round] = deque()
        self._poll = select.poll()
        self._by_descriptor: dict[int, _Worker] = {}
        self._wake, self._woken = socket.socketpair()
        self._poll.register(self._woken, select.POLLIN)
        self._thread = threading.Thread(target=self._hear, name="dagger-workers", daemon=True)
        self._false_starts = 0
        self._is_ending = False

    def begin(self) -> None:
        """Start the workers that there are to be, or as many of them as can be.

        Raises:
            DaggerError: None can be started.
        """
        with self._lock:
            while len(self._workers) < self._most and not self._is_ending and self._may_start():
                try:
                    self._start()
                except OSError as error:
                    if not self._workers:
                        raise DaggerError(f"no worker process can be started: {error}") from error
                    self._false_starts = _MOST_FALSE_STARTS
            if not self._thread.is_alive():
                self._thread.start()

    def submit(self, packed: bytes, tasks: int, heard: Heard) -> None:
        """Run a round.

        Args:
            packed: Jobs, as `jobs.pack` makes them.
            tasks: How many; several are short ones.
            heard: Called from another thread with what `run_jobs` returns, or with what kept it from that.

        Raises:
            DaggerError: No worker can be started.
        """
        with self._lock:
            self.begin()
            self._waiting.append(_Round(packed, tasks, heard))
            self._hand_out()

    def end(self) -> None:
        """End the workers and whatever they run; nobody hears of what they were at."""
        with self._lock:
            self._is_ending = True
            workers, self._workers = self._workers, []
        # First none of them does anything more, such as to start others.
        for worker in workers:
            stop_tree(worker.pid)
        for worker in workers:
            kill_tree(worker.pid)
            with suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
        self._wake.close()
        if self._thread.is_alive():
            self._thread.join()
        self._woken.close()
        for worker in workers:
            self._jobs_of(worker)
            worker.close()

    def _may_start(self) -> bool:
        """Whether to try another: where some have not come up, there may be room for those alone that have."""
        return not self._workers or self._false_starts < _MOST_FALSE_STARTS

    def _start(self) -> None:
        pid, connection = self._early.pop() if self._early else spawn()
        worker = _Worker(pid, connection)
        self._workers.append(worker)
        for descriptor in (connection.fileno(), worker.end):
            if descriptor >= 0:
                self._by_descriptor[descriptor] = worker
                self._poll.register(descriptor, select.POLLIN)
        with suppress(OSError):  # it is gone already, which will be heard of
            connection.sendall(framed(pickle.dumps(setup(self._life.path, self._presence))))
        self._wake.send(b"+")

    def _hand_out(self) -> None:
        while self._waiting and (worker := self._free_for(self._waiting[0])):
            round_ = self._waiting.popleft()
            worker.rounds.append(round_)
            with suppress(OSError):  # it is gone, which will be heard of
                worker.connection.sendall(framed(round_.packed))

    def _free_for(self, round_: _Round) -> _Worker | None:
        least = min((it for it in self._workers if it.is_up), key=lambda it: len(it.rounds), default=None)
        if least is None or not least.rounds:
            return least
        is_short = round_.tasks > 1 and len(round_.packed) < _AHEAD
        return least if is_short and len(least.rounds) == 1 else None

    def _hear(self) -> None:
        try:
            self._listen()
        except Exception as error:
            with self._lock:
                told = list(self._tell_all(error))
            for heard, said in told:
                heard(said)
            raise

    def _listen(self) -> None:
        while True:
            can_tell = all(worker.end >= 0 for worker in self._workers)
            found = {descriptor for descriptor, _ in self._poll.poll(None if can_tell else _LOOK * 1000)}
            with self._lock:
                if self._is_ending:
                    return
                if self._woken.fileno() in found:
                    self._woken.recv(_AT_ONCE)
                # All before any is closed: its number may be another worker's the next moment.
                workers = dict.fromkeys(self._by_descriptor[it] for it in found if it in self._by_descriptor)
                gone = [it for it in self._workers if (it.end in found if it.end >= 0 else not is_child(it.pid))]
                told = [answer for worker in workers for answer in self._take(worker)]
                told += [loss for worker in gone for loss in self._lose(worker)]
                self._hand_out()
            for heard, said in told:
                heard(said)

    def _take(self, worker: _Worker, *, to_end: bool = False) -> Iterator[_Told]:
        for said in worker.receive(to_end=to_end):
            if worker.is_up:
                yield worker.rounds.popleft().heard, said
            else:
                worker.is_up, self._false_starts = True, 0
        if worker.cut < math.inf:
            self._forget(worker.connection.fileno())

    def _forget(self, descriptor: int) -> None:
        if self._by_descriptor.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def _lose(self, worker: _Worker) -> Iterator[_Told]:
        """A worker is gone: whoever waits for its round, or for it to start, hears of that; the next takes the rest."""
        yield from self._take(worker, to_end=True)  # it may have answered just before
        send_group(worker.pid, SIGKILL)  # what its task has started must not outlive it
        try:
            _, status, usage = os.wait4(worker.pid, 0)
            # A task that has closed all that was open, and lives on, is ended by `ManagerLife`.
            is_ours = time.monotonic() - worker.cut > _LONGEST_END
            message = "" if is_ours else _told(os.waitstatus_to_exitcode(status))
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        except ChildProcessError:
            message, peak = "", None  # the manager's program has waited for all of its children
        jobs = self._jobs_of(worker)
        self._workers.remove(worker)
        for descriptor in (worker.connection.fileno(), worker.end):
            self._forget(descriptor)
        worker.close()
        lost = worker.rounds
        if not worker.is_up:
            self._false_starts += 1
            if not self._workers:
                lost = self._waiting
        if lost:
            round_ = lost.popleft()
            yield round_.heard, WorkerLost(message, jobs, peak, round_.tasks)
        self._waiting.extendleft(reversed(worker.rounds))
        if self._waiting:
            try:
                self.begin()
            except Exception as error:
                yield from self._tell_all(error)

    def _tell_all(self, error: Exception) -> Iterator[_Told]:
        """Nothing can be run any more."""
        for rounds in (*(worker.rounds for worker in self._workers), self._waiting):
            yield from ((round_.heard, error) for round_ in rounds)
            rounds.clear()

    def _jobs_of(self, worker: _Worker) -> frozenset[str] | None:
        """Return the log of what a worker was at that is gone, with what it had printed."""
        jobs = self._life.jobs_of(worker.pid)
        for log in jobs or ():
            leave_log(log, worker.pid, is_running=bool(worker.rounds))
        return jobs


def _end_of(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _told(code: int) -> str:
    if code >= 0:
        return f"EXIT({code})"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"SIG{-code}"
