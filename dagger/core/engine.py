"""One run: each task is looked up when all that it needs is settled; only a miss is launched.

The loop is one thread. Workers and script threads report to its queue; nothing else changes a slot. Whether a task
must run is `Lookup`'s to say, in what order `ReadyTasks`', how `Launcher`'s; what its result is worth `Inspector`'s.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from heapq import heappop, heappush

from dagger.abstract import AbstractTask, TaskState
from dagger.cache.records import Entry, Output, Read, Reason, Record, Row
from dagger.core import report as out
from dagger.core.datum import MemoryDatum
from dagger.core.events import Event, Noted, RunEnded, RunStarted, TaskEnded, TaskStarted
from dagger.core.graph import Slot, measure, most_workers, tie, untie
from dagger.core.holding import Holder
from dagger.core.inspection import Inspector
from dagger.core.jobs import Outcome, WorkerLost
from dagger.core.launching import Launcher, Work
from dagger.core.lookup import Lookup
from dagger.core.mailbox import Mailbox
from dagger.core.manifest import type_name
from dagger.core.pace import Pace
from dagger.core.pool import Done, Shells, Workers
from dagger.core.ready import ReadyTasks
from dagger.core.reasons import sentence
from dagger.core.recall import Known
from dagger.core.report import Failure, RunReport, TaskReport
from dagger.core.signals import hold_signals, raise_asked, signals_held
from dagger.core.task import runs_in_worker
from dagger.errors import CacheError, DaggerError, DamagedError
from dagger.lean_typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from dagger.core.spawning import Early

_PATIENCE = 0.05
_LOOK_FOR_SIGNALS = 1.0
_TO_KNOW_MORE = 0.1
"""Seconds in which tasks are looked up before the first is launched, so that it is the one that most waits for. Workers
take that long to come up, from when they were begun; of a large graph the rest is looked up while they run."""
_TOGETHER = 0.02
"""Seconds in which short scripts end that are taken note of at once: what that needs is then in the processor's caches,
which between two of them other processes use."""
_YOUNG = 10_000
"""Objects that are made in a run before the collector of cycles looks at them: most of them last as long as it."""
_MOST_AT_ONCE = 200
_LOG_ROOM = 4 << 20
_MOST_REASONS = 10
_FIRST_BACK_OFF = 0.1
_LONGEST_BACK_OFF = 60.0
_MOST_CULPRITS = 5
_MOST_FALSE_STARTS = 3

_GOOD = {out.RAN, out.RESTORED, out.UP_TO_DATE}
_FORESEEN = {out.WILL_RUN, out.MAY_RUN, out.WILL_RESTORE}
_UNCERTAIN = {out.WILL_RUN, out.MAY_RUN}


class Options(NamedTuple):
    """How a run goes about its work.

    Attributes:
        jobs: Tasks at once, scripts included; None for the number of cores.
        supply: Resource kind to amount.
        keep_going: After a failure, run what does not depend on it.
        dry_run: Say what would run, run nothing.
        force: Identifiers of tasks that run whatever is known of them.
        undeclared: ``track``, ``warn``, ``error`` or ``ignore``.
        executor: What functions run in, None for worker processes.
        executor_kwargs: Arguments of loky's executor, whose workers these then are.
        early: Workers that were started already, None where it was not known that any is needed.
    """

    jobs: int | None
    supply: Mapping[str, float]
    keep_going: bool
    dry_run: bool
    force: frozenset[str]
    undeclared: str
    executor: Executor | None
    executor_kwargs: Mapping[str, Any]
    early: Early | None


class Engine:
    """Runs slots to their end.

    Args:
        slots: In topological order. Those whose task is COMPLETE, or that are known, are taken as they are.
        lookup: Knows what is known; what this run makes is added to what it takes outputs to be worth.
        options: How.
        tell: Hears every event.
        skip: Takes tasks for which nothing is to be done, and tells of them.

    Attributes:
        healed: Whether a task was run again after others had used what it made.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        lookup: Lookup,
        options: Options,
        tell: Callable[[Event], None],
        skip: Callable[[Sequence[AbstractTask]], None],
    ) -> None:
        tie(slots)
        self.slots = slots
        self.cache = cache = lookup.cache
        self._knows_nothing = cache.is_new and not options.dry_run
        self.places = places = lookup.places
        self.options = options
        self.made = made = lookup.walker.made
        self.tell = tell
        self._skip = skip
        self.report = RunReport()
        self.healed = False
        self._lookup = lookup
        self._workspace = lookup.workspace
        self._workspace.tell = self._note
        walker = lookup.walker
        self._inspector = Inspector(slots, places, walker, made)
        self._presence = cache.presence()
        self._holder = Holder(cache.holdings(self._presence), places, lookup.workspace)
        most = partial(most_workers, slots)
        self._workers = Workers(
            options.jobs, options.executor, options.executor_kwargs, self._presence, most, options.early
        )
        self._shells = Shells(options.jobs, self._presence)
        self._launcher = Launcher(cache, places, walker, self._workers, self._shells, made, options.undeclared)
        self._to_look: deque[Slot] = deque()
        self._at_once = 1  # looked up; few at first, so that it is known early whether workers are needed
        self._pace = Pace()
        self._ready = ReadyTasks(options.jobs, options.supply, self._launcher.way, self._pace.company)
        self._later: list[tuple[float, int, Slot]] = []
        self._ended: Mailbox[tuple[Slot, Outcome | BaseException | None]] = Mailbox()
        self._log_room = _LOG_ROOM
        self._noted: set[str] = set()
        self._stopping = False
        self._measured = False
        self._false_starts = 0
        self._late: set[Slot] = set()

    # The loop

    def run(self) -> RunReport:
        """Settle every slot.

        Raises:
            KeyboardInterrupt: After what was running is ended and put back to WAITING.
        """
        clock = time.perf_counter()
        self.tell(RunStarted(len(self.slots)))
        with _graph_set_aside():
            try:
                self._settle_known()
                self._to_look.extend(slot for slot in self.slots if slot.known is None and not slot.waits)
                if self.options.early:
                    self._workers.begin()
                elif self._knows_nothing:
                    self._begin_workers(self._to_look)
                self._loop()
                hold_signals()  # from here on: there must be no moment in which one keeps the workers from being ended
            except BaseException:
                self.interrupt()
                raise
            finally:
                with signals_held():
                    self._workers.end()
                    self._shells.end()
                    self._launcher.end()
                    self._commit()
                    self._holder.close()
                    self._presence.end()
                    self._note_uses()
                    self.cache.flush()
                self.report.seconds = time.perf_counter() - clock
        self._skip_the_rest()
        for warning in self.cache.warnings:
            self._note(warning)
        self.tell(RunEnded(self.report))
        return self.report

    def let_go(self) -> None:
        """Undo all by which the run leads back to itself, so that it goes at once: else the collector must find it."""
        untie(self.slots)
        self._workspace.tell = print

    def _loop(self) -> None:
        early = self.options.early
        begun = early.begun if early else time.monotonic()
        while True:
            raise_asked()
            if self._to_look:
                self._look_up([self._to_look.popleft() for _ in range(min(self._at_once, len(self._to_look)))])
                self._at_once = min(2 * self._at_once, _MOST_AT_ONCE)
                if self._to_look and time.monotonic() - begun < _TO_KNOW_MORE:
                    continue
            self._launch()
            if self._ready.running or self._later:
                self._wait()
            elif not self._to_look:
                return

    def _wait(self) -> None:
        """Take what has ended, of short scripts a few at a time.

        With nothing to come before, it returns when a delayed task is due or one is to be looked up.
        """
        now = time.monotonic()
        dues = [now + _LOOK_FOR_SIGNALS, *(when for when, _, _ in self._later[:1])]
        if self._holder.due is not None:
            dues.append(self._holder.due)
        enough = self._ready.to_spare()
        if enough > 1:
            dues.append(now + _TOGETHER)
        self._ended.wait(0.0 if self._to_look else max(0.0, min(dues) - now), enough)
        while (ended := self._ended.take()) is not None:
            self._end(*ended)
        while self._later and self._later[0][0] <= time.monotonic():
            self._to_look.append(heappop(self._later)[2])
        if self._holder.due is not None and self._holder.due <= time.monotonic():
            self._commit()

    def _commit(self) -> None:
        """Publish the records that wait, and only then let go of what kept other managers from their tasks."""
        self.cache.commit()
        self._holder.release()

    def _note_uses(self) -> None:
        """Say which records this run has relied on, so that none of them counts as old."""
        if not self.options.dry_run:
            facts = (slot.known or slot.manifest for slot in self.slots if slot.report)
            self.cache.note_uses(fact.key for fact in facts if fact and fact.key)

    def _delay(self, slot: Slot, seconds: float) -> None:
        heappush(self._later, (time.monotonic() + seconds, slot.index, slot))

    # Looking up

    def _look_up(self, slots: Sequence[Slot]) -> None:
        """Settle slots from what is known, or make them ready to be launched."""
        walked = [slot for slot in slots if self._walk(slot)]
        keys = (slot.manifest.key for slot in walked if slot.manifest)
        with self.cache.reading_ahead(keys, self.places.root, (slot.name for slot in walked)):
            for slot in walked:
                self._find(slot)

    def _walk(self, slot: Slot) -> bool:
        """List what a slot's task is made of; False where it is settled without that."""
        if slot.task.state is TaskState.COMPLETE:
            self._settle(slot, out.UP_TO_DATE)
            return False
        if any(above.report and above.report.outcome in _UNCERTAIN for above in slot.upstream):
            self._settle(slot, out.MAY_RUN)
            return False
        try:
            slot.manifest = self._lookup.walker.walk(slot.task, self._dependency_rows(slot))
        except (OSError, CacheError) as error:
            self._fail(slot, Failure(type(error).__name__, str(error)))
            return False
        return True

    def _find(self, slot: Slot) -> None:
        assert slot.manifest is not None
        found = self._lookup.find(slot.task, slot.manifest, forced=slot.name in self.options.force)
        slot.seen, slot.reasons = found.seen, found.reasons
        if found.record is None:
            self._must_run(slot)
        elif self.options.dry_run:
            self._lookup.take(slot.task, found.record.outputs)
            self._settle(slot, out.WILL_RESTORE if found.missing else out.UP_TO_DATE)
        elif not found.missing:
            self._know(slot, found.record.outputs, found.record.reads)
            self._settle(slot, out.UP_TO_DATE)
        elif not self._holder.take([slot]):
            self._delay(slot, _PATIENCE)
        else:
            self._restore(slot, found.record)

    def _must_run(self, slot: Slot) -> None:
        assert slot.manifest is not None
        if slot.manifest.uncacheable:
            self._note_of(slot, f"cannot be cached: {slot.manifest.uncacheable}")
        if self.options.dry_run:
            self._settle(slot, out.WILL_RUN)
        elif not self._stopping:
            self._begin_workers([slot])
            self._push(slot)

    def _begin_workers(self, slots: Iterable[Slot]) -> None:
        """Let workers come up as soon as it is known that one of these needs them; that takes longer than all else."""
        if self._workers.controlled and any(runs_in_worker(slot.task) for slot in slots):
            self._workers.begin()

    def _restore(self, slot: Slot, record: Record) -> None:
        try:
            self._holder.mark([slot])
            self._lookup.restore(slot.task, record)
        except DamagedError:
            self._holder.let_go(slot)
            self._lookup.give_up(record)
            self._to_look.append(slot)
            return
        except (OSError, DaggerError) as error:
            self._fail(slot, Failure(type(error).__name__, f"its outputs cannot be put back: {error}"))
            return
        self._know(slot, record.outputs, record.reads)
        slot.seconds = record.seconds
        self._remember(slot, out.RESTORED)
        self._settle(slot, out.RESTORED)

    def _know(self, slot: Slot, outputs: Sequence[Output], reads: Sequence[Read]) -> None:
        """Take what a record says of a task: the next run need not look for it."""
        assert slot.manifest is not None
        self._lookup.take(slot.task, outputs)
        manifest = slot.manifest
        slot.known = Known(manifest.outline, manifest.key, tuple(outputs), tuple(reads), manifest.files)

    def _dependency_rows(self, slot: Slot) -> list[Row]:
        """An explicit dependency counts by what it made, or by its key where it made nothing."""
        if not slot.task._dependencies:
            return []
        facts = ((above.task, above.known or above.manifest) for above in slot.upstream)
        keys = {task: fact.key for task, fact in facts if fact}
        rows = []
        for task in slot.task.dependencies:
            worth = [self.made[datum] for datum in task.outputs.values() if datum in self.made]
            digests = " ".join(output.value or output.content for output in worth)
            rows.append(("dependency", task.identifier, digests or keys.get(task, "")))
        return rows

    def _push(self, slot: Slot) -> None:
        if not self._measured:
            self._measured = True
            # What is known, or has come out, has no part in it.
            slots = [it for it in self.slots if it.report is None and it.known is None]
            entries = self.cache.entries(self.places.root, (it.name for it in slots))
            measure(slots, {name: entry.seconds for name, entry in entries.items()})
        self._ready.add(slot)

    # Launching

    def _launch(self) -> None:
        while not self._stopping:
            slots = self._ready.take()
            if not slots:
                return
            self._launcher.launch(self._start(slots))

    def _hear(self, slot: Slot, result: Outcome | BaseException | None) -> None:
        """Take note of an end, in whatever thread."""
        self._ended.put((slot, result), urgent=not isinstance(result, Outcome) or result.failure is not None)

    def _start(self, slots: Sequence[Slot]) -> list[tuple[Work, Done]]:
        """Prepare slots to be launched, but for what another manager holds or has just filed."""
        held = self._holder.take(slots)
        for slot in slots:
            if slot.locks is None:
                self._delay(slot, _PATIENCE)
        works = {slot: work for slot in self._unpublished(held) if (work := self._prepare(slot)) is not None}
        for slot in slots:
            if slot not in works:
                self._ready.give_back(slot)
        # Behind the clearing: what lies under an output's name from here on is the task's.
        self._holder.mark(works)
        for slot in works:
            slot.attempt += 1
            slot.task.update_state(TaskState.RUNNING)
            self.tell(TaskStarted(slot.name, _sentences(slot.reasons), slot.attempt))
        return [(work, partial(self._hear, slot)) for slot, work in works.items()]

    def _unpublished(self, slots: Sequence[Slot]) -> list[Slot]:
        """Look the others up once more: another manager has filed their records since."""
        if self.cache.is_private:
            return list(slots)
        seen = {slot: slot.seen for slot in slots if not slot.attempt and slot.seen is not None}
        records = self.cache.records_many(slot.manifest.key for slot in seen if slot.manifest)
        left = []
        for slot in slots:
            assert slot.manifest is not None
            if slot in seen and any(it.started not in seen[slot] for it in records[slot.manifest.key]):
                self._holder.let_go(slot)
                self._to_look.append(slot)
            else:
                left.append(slot)
        return left

    def _prepare(self, slot: Slot) -> Work | None:
        try:
            for datum in slot.task.outputs.values():
                if type(datum) is not MemoryDatum:
                    self._workspace.clear(datum)
            return self._launcher.prepare(slot)
        except (OSError, DaggerError) as error:
            self._fail(slot, Failure(type(error).__name__, str(error)))
            return None

    # Ending

    def _end(self, slot: Slot, result: Outcome | BaseException | None) -> None:
        if isinstance(result, WorkerLost):
            self._lost(slot, result)
            return
        self._ready.give_back(slot)
        self._false_starts = 0
        if result is None:  # it went along with others that took longer than was thought
            self._requeue(slot)
            self._push(slot)
            return
        if isinstance(result, BaseException):
            result = Outcome(failure=Failure(type(result).__name__, str(result)))
        slot.suspect = False
        slot.seconds = result.seconds
        self._pace.note(slot)
        if result.failure is None:
            self._finish(slot, result)
        elif result.failure.kind != DamagedError.__name__ or not self._heal(slot):
            self._failed(slot, result, self._with_lost_inputs(slot, result.failure))

    def _finish(self, slot: Slot, outcome: Outcome) -> None:
        """A task ended well: take what it made, and file it unless nobody knows what it saw."""
        manifest = slot.manifest
        assert manifest is not None
        undeclared = self._inspector.undeclared(slot, outcome)
        fault = self._inspector.misplaced(slot, outcome)
        if undeclared and self.options.undeclared == "error":
            fault = fault or undeclared
        if fault:
            self._failed(slot, outcome, Failure("undeclared input", fault), final=True)
            return
        if undeclared:
            self._note_of(slot, undeclared, warn=self.options.undeclared == "warn")
        changed = self._inspector.changed(slot, outcome)
        if changed:
            self._note_of(slot, f"ran while {', '.join(changed)} changed; its result is kept but not cached")
        for datum, output in zip(slot.task.outputs.values(), outcome.outputs, strict=True):
            if type(datum) is not MemoryDatum:
                self._workspace.journal(datum, output)
        if manifest.key and slot.task.cache and not changed:
            self.cache.add(self._record(slot, outcome), manifest.code)
            self._know(slot, outcome.outputs, outcome.reads)
            if self._holder.keep(slot, len(outcome.log) + sum(len(it.inline or b"") for it in outcome.outputs)):
                self._commit()
        else:
            self._lookup.take(slot.task, outcome.outputs)
        self._remember(slot, out.RAN)
        self._settle(slot, out.RAN, outcome)

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
            reason="; ".join(_sentences(slot.reasons)),
        )

    # Losses

    def _lost(self, slot: Slot, lost: WorkerLost) -> None:
        """A worker died: find whose fault it was, requeue the others that went along without a charge."""
        victims = {slot: lost}
        while self._are_others_lost(victims, lost):
            self._ended.wait()
            if (ended := self._ended.take()) is None:
                continue
            other, result = ended
            if isinstance(result, WorkerLost):
                victims[other] = result
            else:
                self._end(other, result)
        if lost.hearers is None:
            self._workers.renew()
        culprits = [it for it in victims if self._launcher.may_have_died(it.task, victims.values())]
        self._false_starts = 0 if culprits else self._false_starts + 1
        for victim in victims:
            self._ready.give_back(victim)
            self._workspace.discard_unfinished(victim.task)
            victim.suspect = victim in culprits and len(culprits) > 1
            if culprits == [victim] or self._false_starts >= _MOST_FALSE_STARTS:
                failure = self._launcher.death(victim.task, lost)
                self._failed(victim, Outcome(failure=failure), failure)
            else:
                self._requeue(victim)
                self._push(victim)

    def _are_others_lost(self, victims: Collection[Slot], lost: WorkerLost) -> bool:
        if lost.hearers is not None:
            return len(victims) < lost.hearers
        return any(it not in victims and runs_in_worker(it.task) for it in self._ready.running)

    def _requeue(self, slot: Slot) -> None:
        """Let a task run again that did not fail by itself."""
        self._workspace.discard(slot.task)
        slot.attempt -= 1
        self._holder.let_go(slot)
        slot.task.update_state(TaskState.WAITING)

    def _heal(self, slot: Slot) -> bool:
        """A value that a task took was damaged: run what made it again, then the task."""
        broken = [above for above in slot.upstream if not self._is_intact(above)]
        if broken:
            self.healed = True
        elif self.healed and slot not in self._late:  # another has told of it before, and it is mended
            self._late.add(slot)
            self._to_look.append(slot)
        else:
            return False
        for above in broken:
            above.heals += (slot,)
            slot.waits += 1
            if above.report is not None:  # else another has sent it back to run
                self.report.tasks.remove(above.report)
                above.report = above.known = None
                above.task.update_state(TaskState.WAITING)
                self._to_look.append(above)
        self._requeue(slot)
        return True

    def _with_lost_inputs(self, slot: Slot, failure: Failure) -> Failure:
        """Say in a failure which tasks' outputs are no longer as they were made, by whatever other hand."""
        lost = [above.name for above in slot.upstream if not self._is_intact(above)][:_MOST_CULPRITS]
        if not lost:
            return failure
        return failure._replace(message=f"{failure.message} (what it takes of {', '.join(lost)} was changed meanwhile)")

    def _is_intact(self, slot: Slot) -> bool:
        return all(self._workspace.holds(datum, self.made[datum]) for datum in slot.task.outputs.values())

    def _failed(self, slot: Slot, outcome: Outcome, failure: Failure, *, final: bool = False) -> None:
        """A task ended badly: try again where it says so, else that was it."""
        self._workspace.discard(slot.task)
        if final or slot.attempt > slot.task.retries or self._stopping:
            self._remember(slot, out.FAILED, error=failure.message)
            self._fail(slot, failure, outcome)
            return
        pause = min(_FIRST_BACK_OFF * 2 ** (slot.attempt - 1), _LONGEST_BACK_OFF)
        self._note_of(slot, f"failed ({failure.message}); trying again in {pause:g} s")
        self._holder.let_go(slot)
        slot.task.fail()
        slot.task.update_state(TaskState.WAITING)
        self._delay(slot, pause)

    def _fail(self, slot: Slot, failure: Failure, outcome: Outcome | None = None) -> None:
        if slot.task.state is TaskState.RUNNING:
            slot.task.fail()
        else:  # it never began, so that there is nothing to clean up
            slot.task.update_state(TaskState.RUNNING)
            slot.task.update_state(TaskState.FAILED)
        self._settle(slot, out.FAILED, outcome, failure=failure)
        if not self.options.keep_going:
            self._stopping = True
            self._shells.hold_back()
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
        with signals_held():
            self._workers.end()
            self._shells.end()
        try:
            self._workers.wait()  # which a further Ctrl-C cuts short
        finally:
            self._put_back()

    def _put_back(self) -> None:
        for slot in sorted(self._ready.running, key=lambda it: it.index):
            self._workspace.discard_unfinished(slot.task)
            self._workspace.discard(slot.task)
            slot.task.interrupt()
            self._settle(slot, out.INTERRUPTED)
        self._ready.running.clear()

    # Settling and telling

    def _settle_known(self) -> None:
        """Settle what is as it was: of a large graph that is most, and nothing waits for it."""
        reports = self.report.tasks
        known = [slot for slot in self.slots if slot.known is not None]
        for slot in known:
            slot.report = TaskReport(slot.name, out.UP_TO_DATE)
            reports.append(slot.report)
        self._skip([slot.task for slot in known])

    def _settle(self, slot: Slot, outcome: str, of: Outcome | None = None, **details: Any) -> None:
        """A slot has come out: say so, and let what waits for it go on."""
        if of is not None:
            details = {"started": of.started, "seconds": of.seconds, "log": of.log, **details}
        reasons = () if outcome in (out.UP_TO_DATE, out.SKIPPED) else _sentences(slot.reasons)
        told = slot.report = TaskReport(slot.name, outcome, reasons, notes=slot.notes, **details)
        self._log_room -= len(told.log)
        if self._log_room < 0 and told.failure is None:
            slot.report = told._replace(log="")
        self.report.tasks.append(slot.report)
        self._holder.let_go(slot)
        if slot.known:  # which is all that anybody asks for from here on
            slot.manifest, slot.reasons, slot.seen = None, (), None
        if outcome in _GOOD:
            slot.task.update_state(TaskState.COMPLETE)
        if outcome in _GOOD or outcome in _FORESEEN:
            followers, slot.heals = slot.heals or slot.followers, ()
            for follower in followers:
                follower.waits -= 1
                if not follower.waits:
                    self._to_look.append(follower)
        self.tell(TaskEnded(told))

    def _remember(self, slot: Slot, outcome: str, error: str = "") -> None:
        """Keep what the task last did, for the reasons of its next run."""
        manifest = slot.manifest
        assert manifest is not None
        entry = Entry(
            key=manifest.key,
            rows=manifest.rows,
            fingerprint=manifest.code.digest if manifest.code else "",
            outcome=outcome,
            reasons=slot.reasons,
            when=time.time(),
            seconds=slot.seconds,
            error=error,
        )
        self.cache.set_entry(self.places.root, slot.name, entry)

    def _note_of(self, slot: Slot, message: str, *, warn: bool = False) -> None:
        slot.notes += (message,)
        self._note(f"task {slot.name!r} {message}", slot.name)
        if warn:
            import warnings

            warnings.warn(f"task {slot.name!r} {message}", stacklevel=2)

    def _note(self, message: str, task: str = "") -> None:
        if message not in self._noted:
            self._noted.add(message)
            self.report.notes.append(message)
            self.tell(Noted(task, message))


@contextmanager
def _graph_set_aside() -> Iterator[None]:
    """Keep the collector of cycles from what lives as long as the run: it would look at every task again and again.

    And have it look seldom at what is made meanwhile.
    """
    is_frozen = gc.get_freeze_count() > 0  # somebody has done so, and means it to last
    often, *seldom = gc.get_threshold()
    if not is_frozen:
        gc.freeze()
    gc.set_threshold(often and max(often, _YOUNG), *seldom)  # 0 is never
    try:
        yield
    finally:
        gc.set_threshold(often, *seldom)
        if not is_frozen:
            gc.unfreeze()


@lru_cache(maxsize=256)
def _sentences(reasons: tuple[Reason, ...]) -> tuple[str, ...]:
    told = tuple(map(sentence, reasons[:_MOST_REASONS]))
    return (*told, f"and {len(reasons) - _MOST_REASONS} more") if len(reasons) > _MOST_REASONS else told
