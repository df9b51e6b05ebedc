"""How a run looks: lines for a file or a pipe, and on a terminal one more, at the bottom, that moves.

Both are listeners. They never steer: what cannot be written is let go.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from dagger.cli.text import count
from dagger.core import plain, report as out
from dagger.core.events import RunEnded, RunStarted, TaskEnded, TaskStarted
from dagger.core.report import duration
from dagger.printable import one_line

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from dagger.core.events import Event

_STYLES = {
    out.RAN: "green",
    out.RESTORED: "cyan",
    out.FAILED: "bold red",
    out.UP_TO_DATE: "dim",
    "note": "yellow",
}


def lines_of(event: Event, *, verbose: bool) -> Iterator[str]:
    """Return the lines that an event comes to.

    Args:
        event: The event.
        verbose: Also tasks that were up to date, and what tasks printed.
    """
    if isinstance(event, RunEnded) and not event.report.tasks:
        return  # a manager none of whose tasks is a target
    if isinstance(event, TaskEnded) and event.report.outcome == out.INTERRUPTED:
        return  # one line at the end says what was ended
    line = plain.line_of(event)
    if line is not None:
        yield line
    if verbose and isinstance(event, TaskEnded):
        if line is None and event.report.outcome == out.UP_TO_DATE:
            yield f"{event.report.outcome}  {event.report.task}"
        if event.report.failure is None:  # a failure's output is shown with it, at the end
            yield from (f"  | {printed}" for printed in event.report.log.splitlines())


class Lines:
    """Prints lines as they come.

    Args:
        stream: Where to.
        verbose: As in `lines_of`.
    """

    def __init__(self, stream: IO[str], *, verbose: bool) -> None:
        self.stream = stream
        self.verbose = verbose

    def __call__(self, event: Event) -> None:
        """Print an event."""
        with contextlib.suppress(OSError, ValueError):
            for line in lines_of(event, verbose=self.verbose):
                print(one_line(line), file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing moves, so nothing is left."""


class Terminal(Lines):
    """Prints lines above one that moves: how many tasks are done, which are running, for how long.

    The moving line, and with it rich, comes in when the first task starts; a run without work needs neither.
    """

    def __init__(self, stream: IO[str], *, verbose: bool) -> None:
        super().__init__(stream, verbose=verbose)
        self.total = 0
        self.done = 0
        self.started = 0.0
        self.running: dict[str, float] = {}
        self._live: Live | None = None

    def __call__(self, event: Event) -> None:
        """Print an event, and let the moving line follow."""
        if isinstance(event, RunStarted):
            self.total, self.done, self.started = event.total, 0, time.monotonic()
            self.running.clear()
        elif isinstance(event, TaskStarted):
            self.running[event.task] = time.monotonic()
            self._show()
        elif isinstance(event, TaskEnded):
            self.done += 1
            self.running.pop(event.report.task, None)
        elif isinstance(event, RunEnded):
            self.close()
        if self._live is None:
            super().__call__(event)
            return
        with contextlib.suppress(OSError, ValueError):
            for line in lines_of(event, verbose=self.verbose):
                self._live.console.print(_styled(one_line(line)), soft_wrap=True)

    def close(self) -> None:
        """Take the moving line away."""
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError, ValueError):
                live.stop()

    def _show(self) -> None:
        if self._live is not None:
            return
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(file=self.stream),
            get_renderable=self._line,
            refresh_per_second=8,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _line(self) -> Text:
        from rich.text import Text

        # Taken at once: the line is drawn by a thread of rich's own.
        running = sorted(self.running.copy().items(), key=lambda pair: pair[1])
        names = ", ".join(name for name, _ in running[:_MOST_NAMED])
        more = f" and {len(running) - _MOST_NAMED} more" if len(running) > _MOST_NAMED else ""
        seconds = int(time.monotonic() - self.started)
        elapsed = f"{seconds} s" if seconds < 60 else duration(seconds)
        told = f"[{self.done}/{self.total}] {count(len(running), 'task')} running: {names}{more}"
        line = Text(one_line(told), no_wrap=True, overflow="ellipsis")
        return Text(f"{elapsed:>8}  ", style="dim", no_wrap=True).append(line)


_MOST_NAMED = 4


def _styled(line: str) -> Text:
    from rich.text import Text

    text = Text(line)
    for word, style in _STYLES.items():
        if line.startswith(word):
            text.stylize(style, 0, len(word))
    return text


def listener(stream: IO[str], *, verbose: bool) -> Lines:
    """Return what suits a stream: a moving line for a terminal that can move, plain lines for all else."""
    can_move = stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return (Terminal if can_move else Lines)(stream, verbose=verbose)
