"""What people use: data, tasks and the manager that runs them."""

from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.report import Failure, RunReport, TaskReport, WorkflowError
from dagger.core.task import FunctionTask, PklTask, ScriptTask
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
