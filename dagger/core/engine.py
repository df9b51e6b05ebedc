"""One run: each ready task is looked up first; only a miss is launched, the one with the longest way to the end first.

The loop is one thread. Workers and script threads report to its queue; nothing else changes a slot.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from dagger.abstract import AbstractDatum, TaskState
from dagger.abstract.helpers import (
    decrement_resources,
    increment_resources,
    resources_available,
)
from dagger.cache import Cache
from dagger.cache.records import Entry, Output, Read, Reason, Record
from dagger.core import reasons as why
from dagger.core import report as out
from dagger.core.events import Event, Noted, RunEnded, RunStarted, TaskEnded, TaskStarted
from dagger.core.graph import Slot, measure
from dagger.core.jobs import Outcome
from dagger.core.launching import Launcher
from dagger.core.lookup import Lookup, Mend
from dagger.core.manifest import Walker, members, type_name
from dagger.core.places import Places
from dagger.core.pool import Shells, WorkerLost, Workers
from dagger.core.report import Failure, RunReport, TaskReport
from dagger.core.workspace import Workspace, leaves
from dagger.errors import DaggerError, DamagedError

if TYPE_CHECKING:
    from concurrent.futures import Executor

_PATIENCE = 0.05
_LARGEST_BACK_OFF = 60.0
_MOST_CULPRITS = 5


@dataclass(frozen=True)
class Options:
    """How a run goes about its work.

    Attributes:
        jobs: Tasks at once, scripts included.
        supply: Resource kind to amount.
        keep_going: After a failure, run what does not depend on it.
        dry_run: Say what would run, run nothing.
        force: Identifiers of tasks that run whatever is known of them.
        undeclared: ``track``, ``warn``, ``error`` or ``ignore``.
    """

    jobs: int
    supply: Mapping[str, float] = field(default_factory=dict)
    keep_going: bool = False
    dry_run: bool = False
    force: frozenset[str] = frozenset()
    undeclared: str = "track"
    executor: Executor | None = None
    executor_kwargs: Mapping[str, Any] = field(default_factory=dict)


class Engine:
    """Runs slots to their end.

    Args:
        slots: In topological order, nothing of them settled.
        cache: The store.
        places: Where paths lead.
        options: How.
        tell: Hears every event.
        mend: Makes the value of a datum again whose blob is gone.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        cache: Cache,
        places: Places,
        options: Options,
        tell: Callable[[Event], None],
        mend: Mend,
    ) -> None:
        self.slots = slots
        self.cache = cache
        self.places = places
        self.options = options
        self.tell = tell
        self.report = RunReport()
        self.made: dict[AbstractDatum, Output] = {}
        self.running: set[Slot] = set()
        self._supply = dict(options.supply)
        self._walker = Walker(cache, places, self.made)
        self._workspace = Workspace(cache, places, self._note)
        self._lookup = Lookup(cache, places, self._walker, self._workspace, mend)
        self._workers = Workers(options.jobs, options.executor, options.executor_kwargs)
        self._shells = Shells(options.jobs)
        self._launcher = Launcher(
            cache, places, self._walker, self._workers, self._shells, self.made, options.undeclared
        )
        self._to_look: deque[Slot] = deque()
        self._ready: dict[tuple[tuple[str, float], ...], list[Slot]] = {}
        self._later: list[tuple[float, int, Slot]] = []
        self._ended: queue.SimpleQueue[tuple[Slot, Outcome | BaseException]] = queue.SimpleQueue()
        self._stopping = False
        self._measured = False
        self._makers: dict[str, Slot] | None = None

    # The loop

    def run(self) -> RunReport:
        """Settle every slot.

        Raises:
            KeyboardInterrupt: After what was running is ended and put back to WAITING.
        """
        clock = time.perf_counter()
        self.tell(RunStarted(len(self.slots)))
        self._to_look.extend(slot for slot in self.slots if not slot.waits)
        try:
            self._loop()
        except BaseException:
            self.interrupt()
            raise
        finally:
            self._workers.end()
            self._shells.end()
            self.cache.flush()
            self.report.seconds = time.perf_counter() - clock
        self._skip_the_rest()
        self.tell(RunEnded(self.report))
        return self.report

    def _loop(self) -> None:
        while True:
            while self._to_look:
                self._look_up(self._to_look.popleft())
            self._launch()
            if self._to_look:
                continue
            if not self.running and not self._later:
                return
            self._wait()

    def _wait(self) -> None:
        """Take what has ended; with nothing to come before, until a delayed task is due."""
        patience: float | None = None
        if self._later:
            patience = max(0.0, self._later[0][0] - time.monotonic())
        try:
            slot, result = self._ended.get(timeout=patience)
        except queue.Empty:
            self._revive()
            return
        self._end(slot, result)
        while not self._ended.empty():
            self._end(*self._ended.get())
        self._revive()

    def _revive(self) -> None:
        while self._later and self._later[0][0] <= time.monotonic():
            self._to_look.append(heappop(self._later)[2])

    def _delay(self, slot: Slot, seconds: float) -> None:
        heappush(self._later, (time.monotonic() + seconds, slot.index, slot))

    # Looking up

    def _look_up(self, slot: Slot) -> None:
        """Settle a slot from what is known, or make it ready to be launched."""
        if any(above.report and above.report.outcome in _UNCERTAIN for above in slot.upstream):
            self._settle(slot, out.MAY_RUN)
            return
        try:
            slot.manifest = self._walker.walk(slot.task, self._dependency_rows(slot))
        except OSError as error:
            self._fail(slot, Failure(type(error).__name__, str(error)))
            return
        forced = slot.name in self.options.force
        found = self._lookup.find(slot.task, slot.manifest, forced=forced)
        slot.seen = found.seen
        if found.record is None:
            slot.reasons = found.reasons
            if slot.manifest.uncacheable:
                self._note_of(slot, f"cannot be cached: {slot.manifest.uncacheable}")
            if self.options.dry_run:
                self._settle(slot, out.WILL_RUN)
            elif not self._stopping:
                self._push(slot)
            return
        if found.missing and self.options.dry_run:
            self._take(slot, found.record.outputs)
            self._settle(slot, out.WILL_RESTORE, reasons=found.reasons)
            return
        if found.missing:
            if not self._lock(slot):
                self._delay(slot, _PATIENCE)
                return
            self._lookup.restore(slot.task, found.record)
        self._take(slot, found.record.outputs)
        slot.seconds = found.record.seconds
        if found.missing:
            self._remember(slot, out.RESTORED, found.reasons)
        self._settle(slot, out.RESTORED if found.missing else out.UP_TO_DATE, reasons=found.reasons)

    def _dependency_rows(self, slot: Slot) -> list[tuple[str, str, str]]:
        rows = []
        for task in slot.task.dependencies:
            digests = [
                self.made[datum].value or self.made[datum].content
                for datum in task.outputs.values()
                if datum in self.made
            ]
            above = next(it for it in slot.upstream if it.task is task)
            key = above.manifest.key if above.manifest else ""
            rows.append(("dependency", task.identifier, " ".join(digests) or key))
        return rows

    def _push(self, slot: Slot) -> None:
        if not self._measured:
            self._measured = True
            entries = self.cache.entries(self.places.root)
            measure(self.slots, {name: entry.seconds for name, entry in entries.items()})
        heappush(self._ready.setdefault(slot.demand, []), slot)

    # Launching

    def _launch(self) -> None:
        while len(self.running) < self.options.jobs and not self._stopping:
            if any(slot.suspect for slot in self.running):
                return  # a suspect runs alone, so that who dies is known
            fitting = [
                heap
                for demand, heap in self._ready.items()
                if heap and resources_available(self._supply, dict(demand))
            ]
            if not fitting:
                return
            heap = min(fitting, key=lambda it: it[0])
            if heap[0].suspect and self.running:
                return
            self._start(heappop(heap))

    def _start(self, slot: Slot) -> None:
        """Launch a slot, unless another manager holds it or has just filed its result."""
        assert slot.manifest is not None
        if not self._lock(slot):
            self._delay(slot, _PATIENCE)
            return
        if not slot.attempt and self._lookup.published(slot.manifest, slot.seen):
            self._unlock(slot)
            self._to_look.append(slot)
            return
        try:
            for datum in slot.task.outputs.values():
                self._workspace.clear(datum)
            work = self._launcher.prepare(slot)
        except (OSError, DaggerError) as error:
            self._fail(slot, Failure(type(error).__name__, str(error)))
            return
        slot.attempt += 1
        slot.task.update_state(TaskState.RUNNING)
        decrement_resources(self._supply, slot.task.resources)
        self.running.add(slot)
        self.tell(TaskStarted(slot.name, self._sentences(slot.reasons), slot.attempt))
        work(lambda result: self._ended.put((slot, result)))

    def _lock(self, slot: Slot) -> bool:
        """Hold the slot's key and output paths; False where another manager has one of them."""
        assert slot.manifest is not None
        if slot.locks is None:
            slot.locks = self._lookup.lock(slot.task, slot.manifest)
        return slot.locks is not None

    def _unlock(self, slot: Slot) -> None:
        for lock in slot.locks or ():
            lock.release()
        slot.locks = None

    # Ending

    def _end(self, slot: Slot, result: Outcome | BaseException) -> None:
        if isinstance(result, WorkerLost):
            self._lost(slot, result)
            return
        self._release(slot)
        if isinstance(result, BaseException):
            result = Outcome(failure=Failure(type(result).__name__, str(result)))
        slot.suspect = False
        slot.seconds = result.seconds
        if result.failure is None:
            self._finish(slot, result)
        elif result.failure.kind == DamagedError.__name__ and self._heal(slot):
            return
        else:
            self._failed(slot, result, result.failure)

    def _release(self, slot: Slot) -> None:
        self.running.discard(slot)
        increment_resources(self._supply, slot.task.resources)

    def _lost(self, slot: Slot, lost: WorkerLost) -> None:
        """A worker died, and loky's pool with it: find who it was, requeue the others without a charge."""
        victims = [slot]
        while any(it not in victims and self._launcher.in_worker(it.task) for it in self.running):
            other, result = self._ended.get()
            if isinstance(result, WorkerLost):
                victims.append(other)
            else:
                self._end(other, result)
        self._workers.renew()
        begun = [victim for victim in victims if self._launcher.has_begun(victim.task)]
        for victim in victims:
            self._release(victim)
            victim.suspect = victim in begun
            if begun == [victim]:
                victim.suspect = False
                failure = self._launcher.death(victim.task, lost)
                self._failed(victim, Outcome(failure=failure), failure)
                continue
            victim.attempt -= 1
            self._unlock(victim)
            victim.task.update_state(TaskState.WAITING)
            self._push(victim)

    def _finish(self, slot: Slot, outcome: Outcome) -> None:
        manifest = slot.manifest
        assert manifest is not None
        fault = self._forbidden_read(slot, outcome)
        if fault:
            failure = Failure("UndeclaredInput", fault)
            self._failed(slot, outcome, failure, final=True)
            return
        changed = [*self._changed_inputs(slot), *outcome.unstable]
        if changed:
            self._note_of(
                slot,
                f"{', '.join(changed)} changed while it ran; its result is kept but not cached",
            )
        self._take(slot, outcome.outputs)
        for datum, output in zip(slot.task.outputs.values(), outcome.outputs, strict=True):
            self._workspace.journal(datum, output)
        if manifest.key and slot.task.cache and not changed:
            self.cache.add(self._record(slot, outcome), manifest.code)
        self._remember(slot, out.RAN, slot.reasons)
        self._settle(
            slot,
            out.RAN,
            reasons=slot.reasons,
            started=outcome.started,
            seconds=outcome.seconds,
            log=outcome.log,
        )

    def _record(self, slot: Slot, outcome: Outcome) -> Record:
        manifest = slot.manifest
        assert manifest is not None
        return Record(
            key=manifest.key,
            root=self.places.root,
            task=slot.name,
            kind=type_name(slot.task),
            rows=manifest.rows,
            fingerprint=manifest.code.digest if manifest.code else "",
            reads=outcome.reads,
            outputs=outcome.outputs,
            started=outcome.started,
            seconds=outcome.seconds,
            log=outcome.log,
            reason="; ".join(self._sentences(slot.reasons)),
        )

    def _take(self, slot: Slot, outputs: Sequence[Output]) -> None:
        """Give the task's data what they are worth and what they hold."""
        for datum, output in zip(slot.task.outputs.values(), outputs, strict=True):
            self._lookup.adopt(datum, output)
            self.made[datum] = output
            for leaf, kept in leaves(datum, output) or ():
                self.made[leaf] = kept

    def _changed_inputs(self, slot: Slot) -> list[str]:
        """Look at the sources again: nobody knows what a task saw of one that changed meanwhile."""
        assert slot.manifest is not None
        before = {name: digest for kind, name, digest in slot.manifest.rows if kind == "input"}
        changed = []
        for name, given in slot.task.inputs.items():
            for place, datum in members(name, given):
                if (
                    datum not in self.made
                    and place in before
                    and not self._still(place, datum, before[place])
                ):
                    changed.append(f"input {place!r}")
        return changed

    def _still(self, place: str, datum: AbstractDatum, digest: str) -> bool:
        from dagger.core.datum import FileDatum

        if not isinstance(datum, FileDatum):
            return True
        try:
            return self._walker.source(place, datum)[0] == digest
        except OSError:
            return False

    def _forbidden_read(self, slot: Slot, outcome: Outcome) -> str:
        """Note what the task read undeclared; a read that may not be is told."""
        told = []
        for read in outcome.reads:
            maker = self._maker(read)
            if maker is not None and maker is not slot and not self._is_upstream(maker, slot):
                return (
                    f"task {slot.name!r} read {read.name}, which task {maker.name!r} makes, "
                    f"but does not depend on it; make it an input"
                )
            if maker is None or maker is slot:
                told.append(read.name)
        if not told:
            return ""
        listed = ", ".join(told[:5]) + (f" and {len(told) - 5} more" if len(told) > 5 else "")
        message = f"read {listed}, which {'is' if len(told) == 1 else 'are'} not among its inputs"
        if self.options.undeclared == "error":
            return f"task {slot.name!r} {message}"
        self._note_of(slot, message)
        if self.options.undeclared == "warn":
            import warnings

            warnings.warn(f"task {slot.name!r} {message}", stacklevel=2)
        return ""

    def _maker(self, read: Read) -> Slot | None:
        if read.kind == "env":
            return None
        if self._makers is None:
            from dagger.core.workspace import declared_paths

            self._makers = {
                self.places.shown(self.places.absolute(path)): slot
                for slot in self.slots
                for datum in slot.task.outputs.values()
                for path in declared_paths(datum)
            }
        return self._makers.get(read.name)

    def _is_upstream(self, maker: Slot, slot: Slot) -> bool:
        from dagger.core.graph import needed_for

        return maker in needed_for(self.slots[: slot.index], slot.upstream)

    # Failing

    def _heal(self, slot: Slot) -> bool:
        """A value that a task took was damaged: run what made it again, then the task."""
        broken = [above for above in slot.upstream if not self._is_intact(above)]
        for above in broken:
            assert above.report is not None
            self.report.tasks.remove(above.report)
            above.report = None
            above.heals.append(slot)
            above.task.update_state(TaskState.WAITING)
            slot.waits += 1
            self._to_look.append(above)
        if broken:
            slot.attempt -= 1
            self._unlock(slot)
            slot.task.update_state(TaskState.WAITING)
        return bool(broken)

    def _is_intact(self, slot: Slot) -> bool:
        return all(
            self._workspace.holds(datum, self.made[datum]) for datum in slot.task.outputs.values()
        )

    def _failed(
        self, slot: Slot, outcome: Outcome, failure: Failure, *, final: bool = False
    ) -> None:
        for datum in slot.task.outputs.values():
            self._workspace.discard(datum)
        if not final and slot.attempt <= slot.task.retries and not self._stopping:
            pause = min(0.1 * 2 ** (slot.attempt - 1), _LARGEST_BACK_OFF)
            self._note_of(slot, f"failed ({failure.message}); trying again in {pause:g} s")
            slot.task.fail()
            slot.task.update_state(TaskState.WAITING)
            self._delay(slot, pause)
            return
        self._remember(slot, out.FAILED, slot.reasons, error=failure.message)
        self._fail(slot, failure, outcome)

    def _fail(self, slot: Slot, failure: Failure, outcome: Outcome | None = None) -> None:
        outcome = outcome or Outcome()
        if slot.task.state is TaskState.WAITING:
            slot.task.update_state(TaskState.RUNNING)
        slot.task.fail()
        self._settle(
            slot,
            out.FAILED,
            reasons=slot.reasons,
            started=outcome.started,
            seconds=outcome.seconds,
            failure=failure,
            log=outcome.log,
        )
        if not self.options.keep_going:
            self._stopping = True
            self._later.clear()

    def _skip_the_rest(self) -> None:
        """Say of each task that could not run which failures kept it, a few of them where there are many."""
        culprits: dict[Slot, tuple[str, ...]] = {}
        for slot in self.slots:
            if slot.report is None:
                above = (name for it in slot.upstream for name in culprits.get(it, ()))
                culprits[slot] = tuple(dict.fromkeys(above))[:_MOST_CULPRITS]
                self._settle(slot, out.SKIPPED, because=culprits[slot])
            elif slot.report.outcome == out.FAILED:
                culprits[slot] = (slot.name,)

    def interrupt(self) -> None:
        """End what is running; its tasks go back to WAITING, what was finished stays finished."""
        self._workers.end()
        self._shells.end()
        for slot in sorted(self.running, key=lambda it: it.index):
            for datum in slot.task.outputs.values():
                self._workspace.discard(datum)
            slot.task.interrupt()
            self._settle(slot, out.CANCELLED)
            self._unlock(slot)
        self.running.clear()

    # Settling and telling

    def _settle(
        self,
        slot: Slot,
        outcome: str,
        *,
        reasons: Sequence[Reason] | None = None,
        **details: Any,
    ) -> None:
        """A slot has come out: say so, and let what waits for it go on."""
        told = self._sentences(slot.reasons if reasons is None else reasons)
        slot.report = TaskReport(slot.name, outcome, told, notes=tuple(slot.notes), **details)
        self.report.tasks.append(slot.report)
        self._unlock(slot)
        if outcome in _GOOD:
            slot.task.update_state(TaskState.COMPLETE)
        if outcome in _GOOD or outcome in _FORESEEN:
            followers, slot.heals = slot.heals or slot.followers, []
            for follower in followers:
                follower.waits -= 1
                if not follower.waits:
                    self._to_look.append(follower)
        self.tell(TaskEnded(slot.report))

    def _remember(
        self, slot: Slot, outcome: str, reasons: Sequence[Reason], error: str = ""
    ) -> None:
        """Keep what the task last did, for the reasons of its next run."""
        manifest = slot.manifest
        if manifest is None:
            return
        entry = Entry(
            key=manifest.key,
            rows=manifest.rows,
            fingerprint=manifest.code.digest if manifest.code else "",
            outcome=outcome,
            reasons=tuple(reasons),
            when=time.time(),
            seconds=slot.seconds,
            error=error,
        )
        self.cache.set_entry(self.places.root, slot.name, entry)

    def _sentences(self, reasons: Sequence[Reason]) -> tuple[str, ...]:
        return tuple(why.sentence(reason) for reason in reasons)

    def _note_of(self, slot: Slot, message: str) -> None:
        slot.notes.append(message)
        self._note(f"task {slot.name!r} {message}", slot.name)

    def _note(self, message: str, task: str = "") -> None:
        if message not in self.report.notes:
            self.report.notes.append(message)
            self.tell(Noted(task, message))


_GOOD = {out.RAN, out.RESTORED, out.UP_TO_DATE}
_FORESEEN = {out.WILL_RUN, out.MAY_RUN, out.WILL_RESTORE}
_UNCERTAIN = {out.WILL_RUN, out.MAY_RUN}
