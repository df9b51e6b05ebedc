"""make for Python pipelines, content-addressed.

Importing this loads nothing that is not asked for: each public name comes from its room on first use.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as a type checker knows it; the front loads no module of ours
if TYPE_CHECKING:
    from dagger.abstract import (
        AbstractCommunicator as AbstractCommunicator,
        AbstractDatum as AbstractDatum,
        AbstractManager as AbstractManager,
        AbstractTask as AbstractTask,
        DatumList as DatumList,
        DatumState as DatumState,
        InputForm as InputForm,
        TaskState as TaskState,
        converter_registry as converter_registry,
    )
    from dagger.cache import Cache as Cache, register_digest as register_digest
    from dagger.core import (
        FileDatum as FileDatum,
        FunctionTask as FunctionTask,
        MemoryDatum as MemoryDatum,
        PklTask as PklTask,
        ScriptTask as ScriptTask,
        WorkflowError as WorkflowError,
        WorkflowManager as WorkflowManager,
    )
    from dagger.errors import DaggerError as DaggerError

__version__ = "0.1.0"

_ROOMS = {
    "dagger.abstract": (
        "AbstractCommunicator",
        "AbstractDatum",
        "AbstractManager",
        "AbstractTask",
        "DatumList",
        "DatumState",
        "InputForm",
        "TaskState",
        "converter_registry",
    ),
    "dagger.cache": ("Cache", "register_digest"),
    "dagger.core": (
        "FileDatum",
        "FunctionTask",
        "MemoryDatum",
        "PklTask",
        "ScriptTask",
        "WorkflowError",
        "WorkflowManager",
    ),
    "dagger.errors": ("DaggerError",),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'dagger' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
