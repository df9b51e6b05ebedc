"""The container of values: what was kept comes back, arrays without being read until touched."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dagger.cache import values
from dagger.errors import DamagedError

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def dumped(value: object) -> bytes:
    file = io.BytesIO()
    values.dump(value, pickle.Pickler, file)
    return file.getvalue()


@given(plain)
def test_round_trip(value: object) -> None:
    """Any picklable value comes back from its bytes."""
    assert values.load(dumped(value), pickle.Unpickler) == value


@given(st.lists(st.integers(0, 3000), max_size=5), st.booleans())
def test_arrays_round_trip(lengths: list[int], mapped: bool) -> None:
    """Arrays of any size come back equal and writable, mapped or not."""
    import tempfile

    value = [np.arange(length, dtype=np.float64) for length in lengths]
    data = dumped(value)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(data)
        found: Any = values.load(file.name if mapped else data, pickle.Unpickler)
    assert len(found) == len(value)
    for one, other in zip(found, value, strict=True):
        assert (one == other).all()
        one += 1


def test_mapped_is_private(tmp_path: Path) -> None:
    """Writing to a mapped array changes neither the file nor what another reader gets."""
    path = tmp_path / "blob"
    path.write_bytes(before := dumped({"x": np.zeros(100_000)}))
    first: Any = values.load(path, pickle.Unpickler)
    first["x"][:] = 7
    second: Any = values.load(path, pickle.Unpickler)
    assert path.read_bytes() == before
    assert second["x"].sum() == 0
    assert first["x"].sum() == 700_000


def test_mapped_is_aligned(tmp_path: Path) -> None:
    """A mapped array starts at a multiple of 64, so that numeric code takes its fast path."""
    path = tmp_path / "blob"
    path.write_bytes(dumped([b"x" * 5, np.ones(5001, dtype="u1"), np.zeros(5000)]))
    found: Any = values.load(path, pickle.Unpickler)
    assert found[2].ctypes.data % 64 == 0
    assert found[2].flags.aligned


def test_mapped_is_lazy(tmp_path: Path) -> None:
    """A mapped array outlives its file's name: it is the file, not a copy of it."""
    path = tmp_path / "blob"
    path.write_bytes(dumped(np.arange(50_000)))
    found: Any = values.load(path, pickle.Unpickler)
    path.unlink()
    assert not found.flags.owndata
    assert found.sum() == sum(range(50_000))


def test_fortran_and_strided() -> None:
    """Arrays in column order and with strides come back equal."""
    value = [np.asfortranarray(np.arange(10_000.0).reshape(100, 100)), np.arange(20_000)[::2]]
    found: Any = values.load(dumped(value), pickle.Unpickler)
    assert all((one == other).all() for one, other in zip(found, value, strict=True))


def test_readonly_stays_so() -> None:
    """An array that could not be written cannot be written when it comes back."""
    value = np.arange(10_000)
    value.flags.writeable = False
    found: Any = values.load(dumped(value), pickle.Unpickler)
    assert not found.flags.writeable


def test_plain_pickle(tmp_path: Path) -> None:
    """A pickle that somebody else wrote is read as such."""
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    assert values.load(path, pickle.Unpickler) == [1, 2]
    assert values.load(path.read_bytes(), pickle.Unpickler) == [1, 2]


def test_cut_off(tmp_path: Path) -> None:
    """A container that was cut off is refused before anything is unpickled."""
    data = dumped(np.arange(10_000))
    for length in (8, 20, 4000, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(DamagedError):
            values.load(tmp_path / "cut", _forbidden)
        with pytest.raises(DamagedError):
            values.load(data[:length], _forbidden)


def _forbidden(*_: object, **__: object) -> values.Unpickler:
    raise AssertionError("unpickled")
