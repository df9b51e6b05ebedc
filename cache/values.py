"""The container of a pickled value: arrays stand outside the pickle, aligned for mapping.

Layout: magic (8 bytes), the pickle stream, each buffer at a multiple of 64, a table of (offset,
length) pairs, and a tail of (start of the table, number of buffers, magic). The table stands last
so that a value of any size is written in one pass. Anything that does not begin with the magic is
read as a plain pickle.

Loading runs code: whoever calls ``load`` has checked the digest of what it loads.
"""

from __future__ import annotations

import _pickle as pickle
import io
import mmap
import os
import struct
from _pickle import PickleBuffer
from collections.abc import Callable, Iterable

from dagger.errors import DamagedError
from dagger.lean_typing import BinaryIO, NoReturn, Protocol, cast

MAGIC = b"\x00dagger1"
SMALLEST_BUFFER = 4096
_ALIGNMENT = 64
_PAIR = struct.Struct("<QQ")
_TAIL = struct.Struct("<QQ8s")


class Pickler(Protocol):
    """What a pickler factory returns."""

    def dump(self, value: object, /) -> None:
        """Write the value to the factory's file."""


class Unpickler(Protocol):
    """What an unpickler factory returns."""

    def load(self) -> object:
        """Read a value from the factory's file."""


PicklerFactory = Callable[..., Pickler]
"""Called as ``factory(file, protocol=5, buffer_callback=...)``, as ``pickle.Pickler`` is."""

UnpicklerFactory = Callable[..., Unpickler]
"""Called as ``factory(file, buffers=...)``, as ``pickle.Unpickler`` is."""


class _NotPlain(Exception):  # noqa: N818  (never leaves this module)
    """A value has a part that is none of Python's own kinds, or is too large."""


class _PlainPickler(pickle.Pickler):
    """Pickles what C code knows how to pickle; it asks here about all else."""

    def reducer_override(self, obj: object) -> NoReturn:  # noqa: ARG002
        raise _NotPlain


def dump_plain(value: object, most: int) -> bytes | None:
    """Return what ``dump`` would write, if it is small and made of numbers, text and Python's own collections alone.

    Args:
        value: Any value.
        most: How many bytes it may come to; None is returned for what would be more.
    """
    if type(value) in _ATOMS or (isinstance(value, (str, bytes)) and type(value) in _TEXTS and len(value) < most):
        body = pickle.dumps(value, 5)
    elif type(value) in _COLLECTIONS:
        file = _Small(most)
        try:
            _PlainPickler(file, 5).dump(value)
        except _NotPlain:
            return None
        body = file.getvalue()
    else:
        return None
    end = len(MAGIC) + len(body)
    return MAGIC + body + _TAIL.pack(end, 0, MAGIC) if end + _TAIL.size <= most else None


_ATOMS = frozenset((int, float, bool, type(None)))
_TEXTS = frozenset((str, bytes))
_COLLECTIONS = frozenset((list, tuple, dict, set, frozenset))


class _Small(io.BytesIO):
    """Takes so many bytes, and no more."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: object) -> int:
        if self.tell() + memoryview(cast(bytes, data)).nbytes > self._most:
            raise _NotPlain
        return super().write(cast(bytes, data))


def dump(value: object, pickler_factory: PicklerFactory, file: BinaryIO) -> None:
    """Write a value to a file that stands at its start."""
    buffers: list[memoryview] = []
    file.write(MAGIC)
    pickler_factory(file, protocol=5, buffer_callback=lambda buffer: _keep_inside(buffer, buffers)).dump(value)
    end = file.tell()
    table = []
    for buffer in buffers:
        padding = -end % _ALIGNMENT
        file.write(bytes(padding))
        file.write(buffer)
        table.append((end + padding, buffer.nbytes))
        end += padding + buffer.nbytes
    for pair in table:
        file.write(_PAIR.pack(*pair))
    file.write(_TAIL.pack(end, len(table), MAGIC))


def _keep_inside(buffer: PickleBuffer, buffers: list[memoryview]) -> bool:
    """Set a buffer aside, or say that it stays in the stream: if small, or not of one piece."""
    try:
        raw = buffer.raw()
    except BufferError:
        return True
    if raw.nbytes < SMALLEST_BUFFER:
        return True
    buffers.append(raw)
    return False


def load(source: bytes | str | os.PathLike[str], unpickler_factory: UnpicklerFactory) -> object:
    """Read a value from bytes, or from a file, whose arrays are then mapped copy on write.

    Args:
        source: The container itself, or the path of one; its digest must have been checked.
        unpickler_factory: Makes the unpickler.

    Raises:
        DamagedError: The container is cut off or has an unknown form.
    """
    if isinstance(source, bytes):
        end = len(source) - _TAIL.size
        # The common case: it has no buffers.
        if end > 0 and source.startswith(MAGIC) and source[end:] == _TAIL.pack(end, 0, MAGIC):
            return unpickler_factory(io.BytesIO(source[len(MAGIC) : end])).load()
        data = memoryview(source)
        return _load(data, unpickler_factory, lambda start, end: memoryview(bytearray(data[start:end])))
    with open(source, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            file.seek(0)
            return unpickler_factory(file).load()
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    return _load(mapped, unpickler_factory, lambda start, end: mapped[start:end])


def _load(data: memoryview, unpickler_factory: UnpicklerFactory, cut: Callable[[int, int], memoryview]) -> object:
    if data[: len(MAGIC)] != MAGIC:
        return unpickler_factory(io.BytesIO(data)).load()
    pairs = _read_table(data)
    end_of_pickle = pairs[0][0] if pairs else len(data) - _TAIL.size
    stream = cast(BinaryIO, _Reader(data[len(MAGIC) : end_of_pickle]))
    buffers: Iterable[memoryview] = [cut(start, start + length) for start, length in pairs]
    return unpickler_factory(stream, buffers=buffers).load()


def _read_table(data: memoryview) -> list[tuple[int, int]]:
    if len(data) < len(MAGIC) + _TAIL.size:
        raise DamagedError("a pickled value is cut off")
    start, count, magic = _TAIL.unpack_from(data, len(data) - _TAIL.size)
    if magic != MAGIC or start + count * _PAIR.size + _TAIL.size != len(data):
        raise DamagedError("a pickled value is cut off")
    pairs = [_PAIR.unpack_from(data, start + index * _PAIR.size) for index in range(count)]
    if any(offset + length > start for offset, length in pairs):
        raise DamagedError("a pickled value has a table that leads out of it")
    return cast("list[tuple[int, int]]", pairs)


class _Reader(io.RawIOBase):
    """Reads a view without copying all of it first, as ``io.BytesIO`` would."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: object) -> int:
        view = memoryview(cast(bytearray, target)).cast("B")
        piece = self._data[self._at : self._at + len(view)]
        view[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def readline(self, size: int | None = -1) -> bytes:  # noqa: ARG002
        raise io.UnsupportedOperation("protocol 5 has no lines")

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._at + size
        piece = bytes(self._data[self._at : end])
        self._at += len(piece)
        return piece
