"""What the core data convert to: a function gets objects, a script gets paths."""

from __future__ import annotations

from dagger.abstract import AbstractDatum, InputForm, converter_registry
from dagger.core.datum import FileDatum, MemoryDatum
from dagger.errors import TaskError


def _value(datum: AbstractDatum) -> object:
    return datum.pointer


def _content(datum: AbstractDatum) -> object:
    """Return a ``.pkl`` file's value; any other file is its path.

    Raises:
        TaskError: The file holds no pickle, or a part of one.
    """
    path = str(datum.pointer)
    if not path.endswith(".pkl"):
        return path
    from _pickle import UnpicklingError

    from dagger.core.by_name import load_pickle

    try:
        return load_pickle(datum.location if isinstance(datum, FileDatum) else path)
    except (UnpicklingError, EOFError) as error:
        raise TaskError(f"{path} cannot be unpickled: {error}") from error


converter_registry.register(MemoryDatum, InputForm.OBJECT, _value)
converter_registry.register(FileDatum, InputForm.OBJECT, _content)
converter_registry.register(FileDatum, InputForm.FILEPATH, _value)
