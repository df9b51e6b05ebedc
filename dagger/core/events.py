"""What happens in a run, as frozen values for whoever listens: progress, log, report, JSON. Listeners never steer."""

from __future__ import annotations

from collections.abc import Callable

from dagger.core.report import RunReport, TaskReport
from dagger.lean_typing import NamedTuple, TypeAlias


class RunStarted(NamedTuple):
    """A manager began. `total` is the number of tasks that it will look at."""

    total: int


class TaskStarted(NamedTuple):
    """A task was launched; `reasons` say why, as sentences."""

    task: str
    reasons: tuple[str, ...]
    attempt: int


class TaskEnded(NamedTuple):
    """A task was settled: it ran, was restored, was up to date, failed, or could not run."""

    report: TaskReport


class Noted(NamedTuple):
    """Something that a person should know, said once: an undeclared read, a task that cannot be cached."""

    task: str
    message: str


class RunEnded(NamedTuple):
    """A manager came to its end."""

    report: RunReport


Event: TypeAlias = RunStarted | TaskStarted | TaskEnded | Noted | RunEnded
Listener = Callable[[Event], None]
