"""What people use: data, tasks and the manager that runs them."""

from __future__ import annotations

from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.report import Failure, RunReport, TaskReport, WorkflowError
from dagger.core.task import FunctionTask, PklTask, ScriptTask
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.core.workflow_manager import WorkflowManager

__all__ = [
    "Failure",
    "FileDatum",
    "FileGlob",
    "FunctionTask",
    "MemoryDatum",
    "PklTask",
    "RunReport",
    "ScriptTask",
    "TaskReport",
    "WorkflowError",
    "WorkflowManager",
]


def __getattr__(name: str) -> object:
    """Load the manager when it is asked for: a worker has no use for it, and all wait for the workers."""
    if name != "WorkflowManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dagger.core.workflow_manager import WorkflowManager

    globals()[name] = WorkflowManager
    return WorkflowManager
