"""What becomes of a graph at the end of its program.

Before it ends, Python looks for cycles among all objects that there are, several times, and takes apart those that it
finds. Data lead to the tasks that make them and these to their outputs, so a whole graph is such cycles: to take one
apart in this way takes longer than to see that nothing is to be done about it. So the graph is hidden from that search,
and what makes cycles of it is undone: data let go of their tasks, and tasks of their functions, which would lead to all
that a program has. It then goes as anything does that nobody needs.

That is for graphs of plain things alone. Where one leads to anything else of a person's own, all is left to Python. And
it is done at the last moment, when handlers of the end have been called and threads no longer run; what comes later and
could see it is a `__del__` that looks at tasks.
"""

from __future__ import annotations

import atexit
import gc
import sys
import weakref
from collections.abc import Iterable

from dagger.abstract import AbstractTask, DatumList, DatumState, TaskState
from dagger.abstract.datum import Nothing
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.task import FunctionTask, PklTask, ScriptTask

try:
    from dagger.core._leaving import untie_plain
except ImportError:
    untie_plain = None

_FUNCTIONS = (FunctionTask, PklTask)
_DATA = (FileDatum, MemoryDatum, DatumList, FileGlob)
_KINDS = (_FUNCTIONS, _DATA, (ScriptTask,), (DatumState, TaskState, Nothing))

_ends: list[weakref.ref[AbstractTask]] = []


def note(ends: Iterable[AbstractTask]) -> None:
    """Remember the end tasks of the graph that was run last."""
    _ends[:] = map(weakref.ref, ends)


@atexit.register
def _leave() -> None:
    """Wait for the first search after all handlers; Python is at its end then."""
    if untie_plain is not None:
        gc.callbacks.append(_untie)


def _untie(phase: str, _: object) -> None:
    if phase == "start" and sys.is_finalizing():
        ends = [task for end in _ends if (task := end()) is not None]
        _ends.clear()
        untie_plain(ends, *_KINDS)
