"""What the command line says to every manager in a script, and what it hears of them.

`dagger run` sets the current session before it runs a script. A manager looks at it when it is made and when it runs;
without one (plain ``python pipeline.py``) the manager's own arguments hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.abstract import AbstractTask
    from dagger.core.events import Listener
    from dagger.core.report import RunReport
    from dagger.core.workflow_manager import WorkflowManager


class Session:
    """Options that win over a manager's arguments, and the tasks, managers and reports that a script made.

    Attributes:
        jobs: Tasks at once, or None for the manager's own.
        keep_going: After a failure, run what does not depend on it.
        dry_run: Say what would run, run nothing.
        force: Identifiers of tasks that run whatever is known of them.
        targets: Identifiers or output paths; only what they need is run. Empty means everything.
        quiet: Managers add no listener of their own.
        listeners: Hear every event of every manager.
    """

    def __init__(
        self,
        jobs: int | None = None,
        keep_going: bool = False,
        dry_run: bool = False,
        force: frozenset[str] = frozenset(),
        targets: tuple[str, ...] = (),
        quiet: bool = False,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.jobs = jobs
        self.keep_going = keep_going
        self.dry_run = dry_run
        self.force = force
        self.targets = targets
        self.quiet = quiet
        self.listeners = list(listeners)
        self.tasks: list[AbstractTask] = []
        self.managers: list[WorkflowManager] = []
        self.reports: list[RunReport] = []

    @property
    def partial(self) -> bool:
        """Whether some values are left uncomputed on purpose."""
        return self.dry_run or bool(self.targets)


class NotComputed(BaseException):
    """A script used a value that a dry run or a target left uncomputed."""


_current: Session | None = None


def current() -> Session | None:
    """Return the session that `dagger run` opened, or None."""
    return _current


@contextmanager
def opened(session: Session) -> Iterator[Session]:
    """Make a session the current one, and note each task that is made meanwhile."""
    from dagger.abstract import task as tasks

    global _current
    former, _current = _current, session
    note: Callable[[AbstractTask], None] = session.tasks.append
    tasks.on_create.append(note)
    try:
        yield session
    finally:
        _current = former
        tasks.on_create.remove(note)
