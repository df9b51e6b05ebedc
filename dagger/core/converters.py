"""What the core data convert to: a function gets objects, a script gets paths."""

from __future__ import annotations

from dagger.abstract import AbstractDatum, InputForm, converter_registry
from dagger.core.datum import FileDatum, MemoryDatum


def _value(datum: AbstractDatum) -> object:
    return datum.pointer


def _content(datum: AbstractDatum) -> object:
    """A ``.pkl`` file's value; any other file is its path."""
    path = str(datum.pointer)
    if not path.endswith(".pkl"):
        return path
    from dagger.core.shipping import load_pickle

    return load_pickle(datum.location if isinstance(datum, FileDatum) else path)


converter_registry.register(MemoryDatum, InputForm.OBJECT, _value)
converter_registry.register(FileDatum, InputForm.OBJECT, _content)
converter_registry.register(FileDatum, InputForm.FILEPATH, _value)
