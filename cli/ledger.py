"""What came out of the runs of one command, as far as they got: for `--json`, and for an interruption's one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagger.core import report as out
from dagger.core.events import Noted, RunEnded, RunStarted, TaskEnded

if TYPE_CHECKING:
    from dagger.core.events import Event


class Ledger:
    """A listener that keeps the reports, also of a run that does not come to its end."""

    def __init__(self) -> None:
        self.runs: list[out.RunReport] = []

    def __call__(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, RunStarted):
            self.runs.append(out.RunReport())
        elif isinstance(event, TaskEnded):
            self.runs[-1].tasks.append(event.report)
        elif isinstance(event, Noted):
            self.runs[-1].notes.append(event.message)
        elif isinstance(event, RunEnded):
            self.runs[-1] = event.report

    def kept(self) -> str:
        """Return what is kept at an interruption and what was ended, as a clause."""
        return out.kept(self.runs)

    def to_dict(self, exit_code: int) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"exit_code": exit_code, "runs": [run.to_dict() for run in self.runs if run.tasks]}
