"""The interfaces of data, tasks and managers, and their state machines. Knows no concrete type."""

from __future__ import annotations

from dagger.abstract.communicator import AbstractCommunicator, DefaultCommunicator
from dagger.abstract.datum import NOTHING, AbstractDatum
from dagger.abstract.input_converters import (
    Converter,
    ConverterRegistry,
    InputForm,
    converter_registry,
)
from dagger.abstract.list_datum import DatumList
from dagger.abstract.states import (
    DATUM_TRANSITIONS,
    TASK_TRANSITIONS,
    DatumState,
    TaskState,
)
from dagger.abstract.task import AbstractTask, on_create
from dagger.abstract.workflow_manager import AbstractManager

__all__ = [
    "DATUM_TRANSITIONS",
    "NOTHING",
    "TASK_TRANSITIONS",
    "AbstractCommunicator",
    "AbstractDatum",
    "AbstractManager",
    "AbstractTask",
    "Converter",
    "ConverterRegistry",
    "DatumList",
    "DatumState",
    "DefaultCommunicator",
    "InputForm",
    "TaskState",
    "converter_registry",
    "on_create",
]
