"""dagger's own worker processes: each has its rounds of jobs, and none is tied to another.

A worker is a Python of its own, never a fork of the manager, of whose threads a fork would have the locks alone. One
thread hears all of them, each on a socket. So a worker that dies takes with it the round that it was at and nothing
else, and another one takes its place.

A round goes to a worker that is free. One more is sent to each that still has one, so that it need not wait for this
process; if another is free sooner, that one gets it (`offers`). Where it could not be taken back, only what is short is
sent ahead.
"""

from __future__ import annotations

import _pickle as pickle
import math
import mmap
import os
import resource
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from dagger.core.capture import leave_log
from dagger.core.isolation import LONGEST_NOTE, noted
from dagger.core.jobs import CUT_OFF, Heard, WorkerLost
from dagger.core.offers import CAN_TAKE_BACK, SLOTS, Offers
from dagger.core.process_groups import GRACE, is_child, kill_group, kill_tree, peak_memory, stop_tree
from dagger.core.sockets import send_descriptor, waiting_pair
from dagger.core.spawning import NUMBER, SIZE, Spawned, framed, setup, spawn
from dagger.errors import DaggerError
from dagger.lean_typing import NamedTuple

_AT_ONCE = 1 << 16
_LONGEST = 1 << 40
_MOST_FALSE_STARTS = 3
_LOOK = 0.2  # seconds; where the system does not tell of a process's end by itself
_OTHER_FILES = 64
"""Descriptors that are left to all else in this process."""


class _Round(NamedTuple):
    number: int  # in the order in which they came
    packed: bytes
    tasks: int
    heard: Heard


_Told = tuple[Heard, "bytes | Exception"]


class _Worker:
    """A process, and what it was sent and has not answered.

    Args:
        spawned: It.
        number: Its number among all of the pool.
        offers: Its rounds.

    Attributes:
        end: A descriptor that can be read once the process is gone, -1 where the system has none.
        is_up: Whether it listens.
        rounds: What it was sent and has not answered, one or two, by the number of what it was sent before.
        since: When it came to the first, by the monotonic clock.
        cut: When the connection came to its end, by the monotonic clock; long ago where it says what no worker says.
        is_cut_off: Whether it is ended for that.
    """

    def __init__(self, spawned: Spawned, number: int, offers: Offers) -> None:
        self.pid, self.connection = spawned
        self.connection.setblocking(False)
        self.number = number
        self.end = _end_of(self.pid)
        self.is_up = False
        self.rounds: dict[int, _Round] = {}
        self.since = 0.0
        self.cut = math.inf
        self.is_cut_off = False
        self._offers = offers
        self._sent = 0
        self._was_robbed = False
        self._received = bytearray()
        self._unsent = bytearray()

    def takes_ahead(self, round_: _Round) -> bool:
        """Whether it may be sent a round before it is free; not while it has still to find that one was taken back."""
        return len(self.rounds) == 1 and not self._was_robbed and (CAN_TAKE_BACK or round_.tasks > 1)

    def give(self, round_: _Round) -> bytes:
        """Let it have a round, and return what is to be sent for that."""
        if not self.rounds:
            self.since = time.monotonic()
        self.rounds[self._sent] = round_
        self._offers.make(self._sent)
        self._sent += 1
        return framed(round_.packed)

    def take_back(self) -> _Round | None:
        """Return what it was given last, if that is not begun; it will not begin it then."""
        last = next(reversed(self.rounds), None)
        if last is None or not CAN_TAKE_BACK or not self._offers.take(last):
            return None
        self._was_robbed = True
        return self.rounds.pop(last)

    def answered(self, number: int) -> _Round | None:
        """Return the round that it was at, which has come to its end; None where it was at another one."""
        if next(iter(self.rounds), None) != number:
            return None
        self._was_robbed = False
        self.since = time.monotonic()
        return self.rounds.pop(number)

    def send(self, data: bytes) -> bool:
        """Send what can be, and return whether that is all: nobody waits for a worker that does not listen."""
        self._unsent += data
        while self._unsent:
            try:
                sent = self.connection.send(self._unsent)
            except BlockingIOError:
                return False
            except OSError:  # it is gone, which will be heard of
                sent = len(self._unsent)
            del self._unsent[:sent]
        return True

    def receive(self, *, to_end: bool = False) -> list[bytes]:
        """Return what has come whole.

        Args:
            to_end: Take all that there is; else there may be more, which the system tells of again.
        """
        while True:
            try:
                data = self.connection.recv(_AT_ONCE)
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
            if end > _LONGEST:
                self.cut = -math.inf
            if len(self._received) < end:
                break
            whole.append(bytes(self._received[SIZE.size : end]))
            del self._received[:end]
        return whole

    def close(self) -> None:
        """Let go of the descriptors."""
        self._offers.close()
        self.connection.close()
        if self.end >= 0:
            os.close(self.end)


class _Notes:
    """A file without a name that all workers of a pool write to, each at a place of its own: what it is at.

    Behind that stand its `offers`.
    """

    _ROOM = -(-(LONGEST_NOTE + SLOTS) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY

    def __init__(self) -> None:
        try:
            self.descriptor = os.memfd_create("dagger-notes")
        except (AttributeError, OSError):
            from tempfile import TemporaryFile

            with TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())

    def place(self, number: int) -> int:
        """Make room for a worker, and return where it is."""
        os.ftruncate(self.descriptor, (number + 1) * self._ROOM)
        return number * self._ROOM

    def offers(self, number: int) -> Offers:
        """Return those of a worker for which room was made."""
        return Offers(mmap.mmap(self.descriptor, LONGEST_NOTE + SLOTS, offset=number * self._ROOM), LONGEST_NOTE)

    def read(self, number: int) -> str:
        """Return the log of the job that a worker was at last; empty where it has begun none."""
        return noted(os.pread(self.descriptor, LONGEST_NOTE, number * self._ROOM))


class WorkerPool:
    """Runs rounds in worker processes, which start with the first of them.

    Args:
        most: Workers at once.
        presence: `Presence.path`.
        early: Workers that were started already; those that are taken are taken out.
    """

    def __init__(self, most: int, presence: str, early: list[Spawned]) -> None:
        self._most = min(most, _room())
        self._early = early
        self._presence = presence
        self._notes = _Notes()
        self._count = 0
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._waiting: deque[_Round] = deque()
        self._submitted = 0
        self._poll = select.poll()
        self._by_descriptor: dict[int, _Worker] = {}
        self._wake, self._woken = waiting_pair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)
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
            self._waiting.append(_Round(self._submitted, packed, tasks, heard))
            self._submitted += 1
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
        for worker in workers:  # which the system takes apart side by side
            with suppress(ChildProcessError):
                os.waitpid(worker.pid, 0)
        self._wake.close()
        if self._thread.is_alive():
            self._thread.join()
        self._woken.close()
        for worker in workers:
            self._jobs_of(worker)
            worker.close()
        os.close(self._notes.descriptor)

    def _may_start(self) -> bool:
        """Whether to try another: where some have not come up, there may be room for those alone that have."""
        return not self._workers or self._false_starts < _MOST_FALSE_STARTS

    def _start(self) -> None:
        told = framed(pickle.dumps(setup(self._presence, self._notes.place(self._count))))
        offers = self._notes.offers(self._count)
        worker = _Worker(self._early.pop() if self._early else spawn(), self._count, offers)
        self._count += 1
        self._workers.append(worker)
        for descriptor in (worker.connection.fileno(), worker.end):
            if descriptor >= 0:
                self._by_descriptor[descriptor] = worker
                self._poll.register(descriptor, select.POLLIN)
        with suppress(OSError):  # it is gone already, which will be heard of
            send_descriptor(worker.connection, told[: SIZE.size], self._notes.descriptor)
        self._send(worker, told[SIZE.size :])
        self._tell_listener()

    def _tell_listener(self) -> None:
        with suppress(BlockingIOError):  # it has been told often enough
            self._wake.send(b"+")

    def _send(self, worker: _Worker, data: bytes) -> None:
        if not worker.send(data) and worker.connection.fileno() in self._by_descriptor:
            self._poll.modify(worker.connection, select.POLLIN | select.POLLOUT)
            self._tell_listener()

    def _hand_out(self) -> None:
        """Let who is free have what came first of all that is not begun, and who is not know what comes next."""
        listening = [it for it in self._workers if it.is_up and it.cut == math.inf]
        for worker in listening:
            if not worker.rounds and (round_ := self._next()):
                self._give(worker, round_)
        for worker in sorted(listening, key=lambda it: it.since):  # who has been at it for longest may be free first
            if self._waiting and worker.takes_ahead(self._waiting[0]):
                self._give(worker, self._waiting.popleft())

    def _next(self) -> _Round | None:
        for round_, worker in self._ahead():
            if self._waiting and self._waiting[0].number < round_.number:
                break
            if worker.take_back():
                return round_
        return self._waiting.popleft() if self._waiting else None

    def _ahead(self) -> list[tuple[_Round, _Worker]]:
        """Return what was sent to workers that were at another round, in the order in which it came."""
        found = [([*it.rounds.values()][1], it) for it in self._workers if len(it.rounds) > 1]
        return sorted(found, key=lambda it: it[0].number)

    def _give(self, worker: _Worker, round_: _Round) -> None:
        self._send(worker, worker.give(round_))

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
            can_wait = all(worker.end >= 0 and worker.cut == math.inf for worker in self._workers)
            found = dict(self._poll.poll(None if can_wait else _LOOK * 1000))
            with self._lock:
                if self._is_ending:
                    return
                if self._woken.fileno() in found:
                    self._woken.recv(_AT_ONCE)
                # All before any is closed: its number may be another worker's the next moment.
                workers = dict.fromkeys(self._by_descriptor[it] for it in found if it in self._by_descriptor)
                gone = [it for it in self._workers if (it.end in found if it.end >= 0 else not is_child(it.pid))]
                for worker in workers:
                    if found.get(worker.connection.fileno(), 0) & select.POLLOUT and worker.send(b""):
                        self._poll.modify(worker.connection, select.POLLIN)
                told = [answer for worker in workers for answer in self._take(worker)]
                told += [loss for worker in gone for loss in self._lose(worker)]
                self._cut_off()
                self._hand_out()
            for heard, said in told:
                heard(said)

    def _take(self, worker: _Worker, *, to_end: bool = False) -> Iterator[_Told]:
        for said in worker.receive(to_end=to_end):
            if not worker.is_up:
                worker.is_up, self._false_starts = True, 0
            elif len(said) > NUMBER.size and (round_ := worker.answered(*NUMBER.unpack_from(said))):
                yield round_.heard, said[NUMBER.size :]
            else:
                worker.cut = -math.inf
        if worker.cut < math.inf:
            self._forget(worker.connection.fileno())

    def _cut_off(self) -> None:
        """End those that can't be heard any more and live on: their tasks have closed, or used, the connection."""
        for worker in self._workers:
            if time.monotonic() - worker.cut > GRACE and not worker.is_cut_off:
                worker.is_cut_off = True
                kill_tree(worker.pid)

    def _forget(self, descriptor: int) -> None:
        if self._by_descriptor.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def _lose(self, worker: _Worker) -> Iterator[_Told]:
        """A worker is gone: whoever waits for its round, or for it to start, hears of that; the next takes the rest."""
        yield from self._take(worker, to_end=True)  # it may have answered just before
        kill_group(worker.pid)  # what its task has started must not outlive it
        try:
            _, status, usage = os.wait4(worker.pid, 0)
            message = CUT_OFF if worker.is_cut_off else _named(os.waitstatus_to_exitcode(status))
            peak = peak_memory(usage)
        except ChildProcessError:
            message, peak = "", None  # the manager's program has waited for all of its children
        while round_ := worker.take_back():
            self._waiting.append(round_)
        jobs = self._jobs_of(worker)
        self._workers.remove(worker)
        for descriptor in (worker.connection.fileno(), worker.end):
            self._forget(descriptor)
        worker.close()
        lost = deque(worker.rounds.values())
        if not worker.is_up:  # so that it had none
            self._false_starts += 1
            if not self._workers:
                lost, self._waiting = self._waiting, lost
        if lost:
            round_ = lost.popleft()
            yield round_.heard, WorkerLost(message, jobs, peak, round_.tasks)
        self._waiting = deque(sorted([*lost, *self._waiting], key=lambda it: it.number))
        if self._waiting or self._ahead():
            try:
                self.begin()
            except Exception as error:
                yield from self._tell_all(error)

    def _tell_all(self, error: Exception) -> Iterator[_Told]:
        """Nothing can be run any more."""
        for worker in self._workers:
            self._waiting.extend(worker.rounds.values())
            worker.rounds.clear()
        yield from ((round_.heard, error) for round_ in self._waiting)
        self._waiting.clear()

    def _jobs_of(self, worker: _Worker) -> frozenset[str]:
        """Return the log of what a worker was at that is gone, with what it had printed."""
        log = self._notes.read(worker.number)
        if not log:
            return frozenset()
        leave_log(log, worker.pid, was_running=bool(worker.rounds))
        return frozenset((log,))


def _room() -> int:
    """Return how many workers there can be for want of descriptors, of which each takes three."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (limit - _OTHER_FILES) // 3) if limit != resource.RLIM_INFINITY else 2**31


def _end_of(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _named(code: int) -> str:
    """Name an exit status or a signal, as loky does."""
    if code >= 0:
        return f"EXIT({code})"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"SIG{-code}"
