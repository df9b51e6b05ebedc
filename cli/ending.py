"""How a command ends: each way becomes one exit code and at most one message.

0; 1 a task failed or a check found damage; 2 wrong usage, or refused before anything ran; 130 and 143 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import TracebackType

import click

from dagger.errors import DaggerError

OK = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
TERMINATED = 143

_CLI = os.path.dirname(os.path.abspath(__file__)) + os.sep


def finish(command: Callable[[], object]) -> int:
    """Run a command to its end and return the exit code; what it was told to print is printed.

    Args:
        command: Returns its exit code, or anything else for success.
    """
    try:
        result = command()
        code = result if isinstance(result, int) else OK
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        message("interrupted")
        code = INTERRUPTED
    except DaggerError as error:
        message(str(error))
        code = error.exit_code
    return code if _flush() else code or FAILED


def message(text: str) -> None:
    """Tell the person at the terminal something about the command as a whole."""
    from dagger.printable import printable

    click.echo(f"dagger: {printable(text)}", err=True)


def show_traceback(error: BaseException) -> None:
    """Print an exception as Python would, from the first frame that is not the command line's own."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    # With no frame left it is a bug of ours, or code that would not compile, which says by itself where.
    if trace is not None or isinstance(error, SyntaxError):
        error = error.with_traceback(trace)
    sys.excepthook(type(error), error, error.__traceback__)


def _is_ours(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_filename.startswith(_CLI)


def is_stdout_closed() -> bool:
    """Tell whether whoever read our standard output has gone away."""
    import select

    try:
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        return any(found & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, found in poll.poll(0))
    except (OSError, AttributeError):
        return False


def _flush() -> bool:
    """Write what waits; what nobody reads any more goes nowhere, so that Python does not complain at its exit."""
    done = True
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            done = False
            with open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), number)
    return done
