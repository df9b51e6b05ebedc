"""A pipeline's script, run as Python itself would run it, and what is left to run once it ended."""

from __future__ import annotations

import builtins
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING

import click

from dagger.cli.ending import (
    FAILED,
    INTERRUPTED,
    OK,
    TERMINATED,
    is_stdout_closed,
    message,
    show_traceback,
)
from dagger.errors import DaggerError, UsageError

if TYPE_CHECKING:
    from dagger.abstract import AbstractTask
    from dagger.cli.ledger import Ledger
    from dagger.core import WorkflowManager
    from dagger.core.session import Session


def check_script(script: str) -> None:
    """Refuse a script that is not there, before anything is opened for it.

    Raises:
        UsageError: There is no such file.
    """
    if os.path.isfile(script):
        return
    if os.path.isdir(script):
        raise click.UsageError(f"{script!r} is a directory; name the script in it")
    from difflib import get_close_matches

    folder = os.path.dirname(script)
    there = [os.path.join(folder, name) for name in _names_in(folder or ".") if name.endswith(".py")]
    close = get_close_matches(script, there, n=1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    raise click.UsageError(f"there is no script {script!r} in {os.getcwd()}{meant}")


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def execute(
    script: str,
    arguments: Sequence[str],
    session: Session,
    ledger: Ledger,
    *,
    quiet: bool = False,
    at_end: Callable[[], None] = lambda: None,
) -> int:
    """Run a script and what it left to run; print how it ended, if it did not end well.

    Args:
        script: Its path.
        arguments: Its own, for ``sys.argv``.
        session: The options for every manager in it.
        ledger: Hears every event, to say at an interruption what is kept.
        quiet: Say nothing about a script that ended early for want of a value.
        at_end: Called before anything is said of how it ended.

    Returns:
        The exit code.
    """
    from dagger.core.session import opened
    from dagger.core.signals import Terminated, signals_raised

    try:
        with opened(session), signals_raised():
            try:
                _run_script(script, arguments, session, quiet=quiet)
                _check_names(session)
                _run_rest(session, script, quiet=quiet)
            finally:
                at_end()
    except Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        message(f"terminated; {ledger.kept()}")
        return TERMINATED
    except SystemExit as ended:
        return _code_of(ended)
    except KeyboardInterrupt:
        # The workers have had the same key pressed; a second one must not cut this message short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        message(f"interrupted; {ledger.kept()}")
        return INTERRUPTED
    except DaggerError as error:
        message(str(error))
        return error.exit_code
    except BaseException as error:
        if not (isinstance(error, BrokenPipeError) and is_stdout_closed()):
            show_traceback(error)
        return FAILED
    return OK


def _run_script(script: str, arguments: Sequence[str], session: Session, *, quiet: bool) -> None:
    """Run the script; an end that is none of its faults is passed over."""
    from dagger.core.session import NotComputed

    try:
        run_as_main(script, arguments)
    except SystemExit as ended:
        if _is_failure(ended):
            raise
    except NotComputed as stop:
        if not quiet:
            message(f"the script ended{_line_of(stop, script)}, which uses a value that was not computed")
    except FileNotFoundError as error:
        if not _is_uncomputed(error, session):
            raise
        if not quiet:
            message(f"the script ended{_line_of(error, script)}, which uses {error.filename}: not computed")


def run_as_main(script: str, arguments: Sequence[str]) -> None:
    """Run a script in a fresh ``__main__``, which stays there after its end, as do ``sys.argv`` and ``sys.path``."""
    full = os.path.abspath(script)
    module = ModuleType("__main__")
    module.__dict__.update(
        __builtins__=builtins,
        __cached__=None,
        __file__=full,
        __loader__=SourceFileLoader("__main__", full),
    )
    sys.modules["__main__"] = module
    sys.argv = [script, *arguments]
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(full))
    with open(full, "rb") as file:
        source = file.read()
    exec(compile(source, full, "exec", dont_inherit=True), module.__dict__)


def _check_names(session: Session) -> None:
    """Refuse a target or a forced task that the script does not have.

    Raises:
        UsageError: Naming what was meant, maybe, and what there is.
    """
    if not session.targets and not session.force:
        return
    from dagger.cli.text import close_to

    managers, tasks = _graphs(session)
    identifiers = {task.identifier for task in tasks}
    for name in sorted(session.force - identifiers):
        raise UsageError(f"no task is named {name!r}; {close_to(name, identifiers)}")
    for target in session.targets:
        if not any(manager.is_target(task, [target]) for manager in managers for task in tasks):
            raise UsageError(f"no task or output is named {target!r}; {close_to(target, _targets(tasks))}")


def _graphs(session: Session) -> tuple[list[WorkflowManager], list[AbstractTask]]:
    """Return the script's managers, or the one that its end tasks will get, and every task of theirs."""
    from dagger.abstract.helpers import topological_order

    managers = session.managers or _made_managers(session)
    return managers, list(dict.fromkeys(task for manager in managers for task in topological_order(manager.end_tasks)))


def _targets(tasks: Iterable[AbstractTask]) -> list[str]:
    from dagger.core.datum import declared_paths

    paths = [path for task in tasks for datum in task.outputs.values() for path in declared_paths(datum)]
    return [*(task.identifier for task in tasks), *paths]


def _run_rest(session: Session, script: str, *, quiet: bool) -> None:
    """Run what a script made without running anything: its managers, or else its end tasks under one."""
    from dagger.abstract import TaskState

    if session.reports or any(task.state is not TaskState.WAITING for task in session.tasks):
        return  # the script ran what it wants run, by a manager or by hand
    managers = session.managers or _made_managers(session)
    if not managers and not quiet:
        message(f"{script} made no tasks")
    for manager in managers:
        manager.run()


def _made_managers(session: Session) -> list[WorkflowManager]:
    """Make a manager for the tasks that no other task needs; it joins the session by itself."""
    needed = {task for made in session.tasks for task in made.upstream}
    ends = [task for task in session.tasks if task not in needed]
    if not ends:
        return []
    from dagger.core import WorkflowManager

    return [WorkflowManager(ends)]


def _is_uncomputed(error: FileNotFoundError, session: Session) -> bool:
    """Tell whether a file is missing because the task that makes it was left aside."""
    if not session.partial or not isinstance(error.filename, str):
        return False
    managers, tasks = _graphs(session)
    return any(manager.is_target(task, [error.filename]) for manager in managers for task in tasks)


def _line_of(error: BaseException, script: str) -> str:
    """Return where in the script an exception came from, as in `` at line 12``."""
    full = os.path.abspath(script)
    number = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == full:
            number = trace.tb_lineno
        trace = trace.tb_next
    return f" at line {number}" if number else ""


def _is_failure(ended: SystemExit) -> bool:
    return ended.code not in (None, 0)


def _code_of(ended: SystemExit) -> int:
    """Return the exit code that Python would end with; a text is printed, as Python does."""
    if ended.code is None:
        return OK
    if isinstance(ended.code, int):
        return ended.code
    click.echo(ended.code, err=True)
    return FAILED
