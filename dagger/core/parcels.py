"""A plain task's data on their way to a worker: what it takes to make them anew, in Python's own types.

Most tasks are functions of values, files and lists of them. Their data travel as a few texts and bytes, which are made
and read in a tenth of the time that it takes to copy and pickle the data themselves. Data with anything of a person's
own, lists that are made, and what tasks get that see more of their data than these convert to, are pickled whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from dagger.abstract import AbstractDatum, DatumList, DatumState
from dagger.core.datum import FileDatum, MemoryDatum, StoredValue, unseen_file
from dagger.lean_typing import NamedTuple, TypeAlias

Item: TypeAlias = str | tuple[str, bytes | None]
"""Where a file is; or the digest of a stored value, and its bytes where they are small."""


class Parcel(NamedTuple):
    """The data of one job.

    Attributes:
        inputs: Name to an item, or to the items of a list.
        outputs: Name to where a file goes, None for a value.
    """

    inputs: tuple[tuple[str, Item | list[Item]], ...]
    outputs: tuple[tuple[str, str | None], ...]

    def unpack(self, blobs: str) -> tuple[dict[str, AbstractDatum], dict[str, AbstractDatum]]:
        """Make inputs and outputs, bare of any graph.

        Args:
            blobs: The blob store's directory.
        """
        inputs = {name: _input(given, blobs) for name, given in self.inputs}
        return inputs, {name: MemoryDatum() if path is None else unseen_file(path) for name, path in self.outputs}


def _input(given: Item | list[Item], blobs: str) -> AbstractDatum:
    datum: AbstractDatum
    if isinstance(given, list):
        members = [_input(item, blobs) for item in given]
        return DatumList(type(members[0]) if members else MemoryDatum, members)
    if isinstance(given, str):
        datum = unseen_file(given)
    else:
        datum = MemoryDatum()
        datum._pointer = StoredValue(blobs, *given)
    datum._state = DatumState.AVAILABLE
    return datum


def are_plain(*data: Mapping[str, AbstractDatum]) -> bool:
    """Tell whether all are single data of which nothing is a person's own: neither the type nor an attribute."""
    return all(_is_plain(datum) for each in data for datum in each.values())


def can_be_parcelled(inputs: Mapping[str, AbstractDatum], outputs: Mapping[str, AbstractDatum]) -> bool:
    """Tell whether a task's data are plain, or inputs that are lists of plain ones."""
    return all(_is_plain(it) or _is_plain_list(it) for it in inputs.values()) and are_plain(outputs)


def _is_plain(datum: AbstractDatum) -> bool:
    return type(datum) in _PLAIN and not datum.__dict__.keys() - {"root"}


def _is_plain_list(datum: AbstractDatum) -> bool:
    return (
        type(datum) is DatumList
        and datum._are_known
        and not datum.__dict__.keys() - _OF_LISTS
        and all(type(it) is datum.datum_type and _is_plain(it) for it in datum.datums)
    )


_PLAIN: frozenset[type] = frozenset((FileDatum, MemoryDatum))
_OF_LISTS = frozenset(("datum_type", "datums", "_are_given", "_are_known"))
