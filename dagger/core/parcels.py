"""A plain task's data on their way to a worker: what it takes to make them anew, in Python's own types.

Most tasks are functions of values and files. Their data travel as a few texts and bytes, which are made and read in a
tenth of the time that it takes to copy and pickle the data themselves. Lists, data with anything of a person's own, and
tasks that see more of their data than what these convert to, are pickled whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dagger.abstract import AbstractDatum, DatumState
from dagger.core.datum import FileDatum, MemoryDatum, StoredValue

Content = tuple[str, bytes | None]
"""The digest of a stored value, and its bytes where they are small."""


class Parcel(NamedTuple):
    """The data of one job.

    Attributes:
        inputs: Name to where a file is, or to the stored value.
        outputs: Name to where a file goes, None for a value.
    """

    inputs: tuple[tuple[str, str | Content], ...]
    outputs: tuple[tuple[str, str | None], ...]

    def unpack(self, blobs: str) -> tuple[dict[str, AbstractDatum], dict[str, AbstractDatum]]:
        """Make inputs and outputs, bare of any graph.

        Args:
            blobs: The blob store's directory.
        """
        inputs = {name: _input(given, blobs) for name, given in self.inputs}
        return inputs, {name: MemoryDatum() if path is None else _file(path) for name, path in self.outputs}


def _input(given: str | Content, blobs: str) -> AbstractDatum:
    datum: AbstractDatum
    if isinstance(given, str):
        datum = _file(given)
    else:
        datum = MemoryDatum()
        datum._pointer = StoredValue(blobs, *given)
    datum._state = DatumState.AVAILABLE
    return datum


def _file(path: str) -> FileDatum:
    datum = FileDatum()
    datum._pointer = path
    datum._state = DatumState.POPULATED
    return datum


def is_parcelled(*data: Mapping[str, AbstractDatum]) -> bool:
    """Tell whether all data are plain: nothing of them is a person's own."""
    return all(
        type(datum) in _PLAIN and not datum.__dict__.keys() - {"root"} for each in data for datum in each.values()
    )


_PLAIN: frozenset[type] = frozenset((FileDatum, MemoryDatum))
