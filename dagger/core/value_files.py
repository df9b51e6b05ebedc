"""Writing values: who pickles them, where the file goes, and what is said where one cannot be pickled."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dagger.cache.blob_files import put_whole
from dagger.errors import TaskError
from dagger.lean_typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from dagger.core.value_pickler import ValuePickler


CANNOT_WRITE = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
"""What a disk says while it is written: that is no fault of the value's."""


def value_pickler(
    file: BinaryIO, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None
) -> ValuePickler:
    """Make a pickler for values; its ``classes`` are the own classes and functions that it met."""
    from dagger.core.value_pickler import ValuePickler

    return ValuePickler(file, protocol, buffer_callback)


class Factory:
    """Makes picklers for one output.

    Attributes:
        classes: ``"module:qualname"`` of the own classes and functions that all of them met.
    """

    def __init__(self) -> None:
        self.classes: set[str] = set()
        self.made: list[ValuePickler] = []

    def __call__(
        self, file: BinaryIO, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None
    ) -> ValuePickler:
        """Make one; `dagger.cache.values.dump` takes this as its factory."""
        pickler = value_pickler(file, protocol, buffer_callback)
        pickler.classes = self.classes
        self.made.append(pickler)
        return pickler


@contextmanager
def pickling(name: str) -> Iterator[Factory]:
    """Pickle an output in here.

    Args:
        name: The output's name, or ``input 'x'``.

    Raises:
        TaskError: It cannot be pickled; the message says which part of it.
        OSError: It cannot be written.
    """
    factory = Factory()
    try:
        yield factory
    except Exception as error:
        failed = next((it for it in factory.made if it.failed), None)
        if failed is None or getattr(error, "errno", None) in CANNOT_WRITE:
            raise
        raise _fault(name, failed.value, error) from error


def dump_pickle(value: object, path: str | os.PathLike[str], *, name: str = "") -> frozenset[str]:
    """Write a value as a plain pickle, beside its place and renamed into it.

    Args:
        value: Any value that can be pickled.
        path: Where; its folder exists.
        name: The output's name, for the message; by default the path.

    Returns:
        ``"module:qualname"`` of the own classes and functions that the pickle needs.

    Raises:
        TaskError: It cannot be pickled; the message says which part of it.
        OSError: It cannot be written.
    """
    target = os.fspath(path)
    with put_whole(target) as unfinished, open(unfinished, "xb") as file, pickling(name or target) as factory:
        factory(file).dump(value)
    return frozenset(factory.classes)


def _fault(name: str, value: object, error: Exception) -> TaskError:
    from dagger.core.unpicklable import find_culprit

    subject = name if name.startswith("input ") else f"output {name!r}"
    culprit = find_culprit(value, "", lambda: value_pickler(io.BytesIO()))
    if culprit is None:
        return TaskError(f"{subject} cannot be pickled: {error}")
    where, kind = culprit
    return TaskError(f"{subject} cannot be pickled: {where or 'it'} is {kind}")
