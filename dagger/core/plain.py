"""What a run says on a plain stream: a line for each task that did something, and one for the whole."""

from __future__ import annotations

import sys

from dagger.core import report as out
from dagger.core.events import Event, Noted, RunEnded, TaskEnded
from dagger.core.report import RunReport, duration, kept
from dagger.printable import one_line


def line_of(event: Event) -> str | None:
    """Return what an event comes to in one line, or None where it is not worth one."""
    if isinstance(event, TaskEnded):
        report = event.report
        if report.outcome in _SILENT:
            return None
        took = f" in {duration(report.seconds)}" if report.outcome == out.RAN else ""
        reasons = f" ({'; '.join(report.reasons)})" if report.reasons else ""
        return f"{report.outcome:<9} {report.task}{reasons}{took}"
    if isinstance(event, Noted):
        return f"{'note':<9} {event.message}"
    if isinstance(event, RunEnded):
        return f"dagger: {event.report}"
    return None


_SILENT = {out.UP_TO_DATE, out.SKIPPED}


def show(event: Event) -> None:
    """Print an event's line to standard error."""
    line = line_of(event)
    if line is not None and sys.stderr is not None:
        sys.stderr.write(f"{one_line(line)}\n")  # at once, as `print` does not where nothing is buffered
        sys.stderr.flush()


def show_stop(word: str, report: RunReport) -> None:
    """Print what is kept of a run that was stopped."""
    print(f"dagger: {word}; {one_line(kept([report]))}", file=sys.stderr, flush=True)
