"""What a run did, task by task, with reasons and times; and the error that a failed run raises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from dagger.errors import DaggerError
from dagger.lean_typing import Any, NamedTuple
from dagger.printable import printable

RAN = "ran"
RESTORED = "restored"
UP_TO_DATE = "up to date"
FAILED = "failed"
SKIPPED = "skipped"
WILL_RUN = "will run"
MAY_RUN = "may run"
WILL_RESTORE = "will be restored"
INTERRUPTED = "interrupted"

OUTCOMES = (RAN, RESTORED, UP_TO_DATE, FAILED, SKIPPED, WILL_RUN, MAY_RUN, WILL_RESTORE, INTERRUPTED)


class Failure(NamedTuple):
    """Why a task failed.

    Attributes:
        kind: The exception's type, or ``exit status``, ``signal``, ``timeout``.
        message: One line.
        traceback: From the user's frame on; empty for a script.
        log: The last lines that the task printed.
        log_path: Where all of it is kept, or empty.
    """

    kind: str
    message: str
    traceback: str = ""
    log: str = ""
    log_path: str = ""


class TaskReport(NamedTuple):
    """How one task came out.

    Attributes:
        outcome: One of `OUTCOMES`.
        reasons: Why, as sentences that a person reads.
        seconds: How long it ran, 0 where it did not.
        log: The last lines that it printed; where all tasks printed more than a report should hold, those of the first,
            and of tasks that failed. The cache has them all.
        because: For a skipped task, the tasks whose failure kept it from running.
    """

    task: str
    outcome: str
    reasons: tuple[str, ...] = ()
    started: float = 0.0
    seconds: float = 0.0
    failure: Failure | None = None
    because: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    log: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return its fields by name, and those of the failure."""
        return self._asdict() | {"failure": self.failure and self.failure._asdict()}


class RunReport:
    """What one `WorkflowManager.run` did.

    Args:
        up_to_date: The tasks for which nothing had to be done, where that is all there is to say of them.

    Attributes:
        seconds: The whole run's wall time.
        notes: Sentences that a person should know.
    """

    __slots__ = ("_tasks", "_up_to_date", "notes", "seconds")

    def __init__(self, up_to_date: Sequence[str] = ()) -> None:
        self._up_to_date = up_to_date
        self._tasks: list[TaskReport] = []
        self.seconds = 0.0
        self.notes: list[str] = []

    @property
    def tasks(self) -> list[TaskReport]:
        """One report a task, in the order in which they were settled."""
        if self._up_to_date:
            self._tasks[:0] = [TaskReport(name, UP_TO_DATE) for name in self._up_to_date]
            self._up_to_date = ()
        return self._tasks

    def of(self, outcome: str) -> list[str]:
        """Return the identifiers of the tasks that came out so."""
        names = [*self._up_to_date] if outcome == UP_TO_DATE else []
        return names + [task.task for task in self._tasks if task.outcome == outcome]

    @property
    def ran(self) -> list[str]:
        """The tasks that were executed and ended well."""
        return self.of(RAN)

    @property
    def restored(self) -> list[str]:
        """The tasks whose output files were put back from the cache."""
        return self.of(RESTORED)

    @property
    def up_to_date(self) -> list[str]:
        """The tasks for which nothing had to be done."""
        return self.of(UP_TO_DATE)

    @property
    def failed(self) -> list[str]:
        """The tasks that failed."""
        return self.of(FAILED)

    def __str__(self) -> str:
        counts = dict.fromkeys(OUTCOMES, 0)
        counts[UP_TO_DATE] = len(self._up_to_date)
        for task in self._tasks:
            counts[task.outcome] += 1
        found = [f"{count} {outcome}" for outcome, count in counts.items() if count]
        if found == [f"{counts[UP_TO_DATE]} {UP_TO_DATE}"] or not found:
            found = [f"nothing to do: {_tasks(counts[UP_TO_DATE])} up to date"]
        return f"{', '.join(found)} in {duration(self.seconds)}"

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "seconds": self.seconds,
            "notes": self.notes,
            "tasks": [task.to_dict() for task in self.tasks],
        }


def kept(runs: Iterable[RunReport]) -> str:
    """Return what is kept of interrupted runs, and what was ended, as a clause."""
    runs = list(runs)
    finished = sum(len(run.ran) + len(run.restored) for run in runs)
    ended = [name for run in runs for name in run.of(INTERRUPTED)]
    told = f"{finished} finished task{'s' if finished > 1 else ''} kept" if finished else "no task had finished"
    if not ended:
        return f"{told}, none was running"
    more = ", ..." if len(ended) > _MOST_ENDED else ""
    return f"{told}, {len(ended)} ended ({', '.join(ended[:_MOST_ENDED])}{more})"


class WorkflowError(DaggerError):
    """One or more tasks failed.

    Attributes:
        report: The whole run's report.
        failures: Identifier to `Failure`, each with its own traceback.
    """

    exit_code = 1

    def __init__(self, report: RunReport) -> None:
        super().__init__(report)
        self.report = report
        self.failures = {task.task: task.failure for task in report.tasks if task.failure}

    def __str__(self) -> str:
        skipped = [task for task in self.report.tasks if task.outcome == SKIPPED]
        lines = [f"{_tasks(len(self.failures))} failed"]
        for name, failure in islice(self.failures.items(), _MOST_NAMED):
            lines += ["", f"task {name!r}: {failure.message}"]
            lines += [line for line in (failure.traceback.rstrip(), _tail(failure)) if line]
        if len(self.failures) > _MOST_NAMED:
            lines += ["", f"and {len(self.failures) - _MOST_NAMED} more failed; --json and the report name each"]
        if skipped:
            lines += ["", "not run:"]
        for task in skipped[:_MOST_NAMED]:
            why = f" (needs {', '.join(task.because)})" if task.because else ""
            lines.append(f"  {task.task}{why}")
        if len(skipped) > _MOST_NAMED:
            lines.append(f"  and {len(skipped) - _MOST_NAMED} more")
        return printable("\n".join(lines))


_MOST_NAMED = 20
_MOST_ENDED = 5


def _tail(failure: Failure) -> str:
    parts = []
    if failure.log:
        parts.append("last lines of its output:\n" + _indented(failure.log))
    if failure.log_path:
        parts.append(f"whole output: {failure.log_path}")
    return "\n".join(parts)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines()[-_MOST_NAMED:])


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def duration(seconds: float) -> str:
    """Return a time as a person says it, as in ``0.05 s`` or ``3 min 20 s``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
