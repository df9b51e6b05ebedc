"""What people use: data, tasks and the manager that runs them."""

import gc

_collects = gc.isenabled()
gc.disable()  # a tenth of the time would go into looking for garbage, of which imports make none
try:
    from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
    from dagger.core.report import Failure, RunReport, TaskReport, WorkflowError
    from dagger.core.task import FunctionTask, PklTask, ScriptTask
    from dagger.core.workflow_manager import WorkflowManager
finally:
    if _collects:
        gc.enable()

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
