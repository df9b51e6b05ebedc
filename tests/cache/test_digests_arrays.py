"""Value digests of numpy and scipy: dtype, shape and elements, whatever the memory layout."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dagger.cache.digests import digest_text, digest_value
from dagger.errors import UndigestibleError

np = pytest.importorskip("numpy")
sparse = pytest.importorskip("scipy.sparse")
arrays = pytest.importorskip("hypothesis.extra.numpy")


def digest(value: object) -> str:
    return digest_value(value, code=lambda thing: digest_text(thing.__name__))  # type: ignore[attr-defined]


def _record(*, align: bool = False, fill: int = 0) -> Any:
    kind = np.dtype([("a", "i1"), ("b", "f8")], align=align)
    array = np.frombuffer(bytearray([fill]) * kind.itemsize * 2, kind)
    array["a"], array["b"] = [1, 2], [3, 4]
    return array


class Tagged(np.ndarray):  # type: ignore[misc,name-defined]
    pass


def _tagged(tag: str) -> Any:
    array = np.arange(3).view(Tagged)
    array.tag = tag
    return array


DIFFERENT: dict[str, Callable[[], list[object]]] = {
    "dtypes": lambda: [np.ones(2, kind) for kind in "?bBhHiIlLefdgFDGUSO"],
    "byte orders": lambda: [np.ones(2, kind) for kind in ("<i4", ">i4", "<f4", ">f4")],
    "times": lambda: [np.zeros(2, f"{kind}[{unit}]") for kind in ("M8", "m8") for unit in ("D", "s", "ns")],
    "shapes": lambda: [np.zeros(shape) for shape in ((), 1, (1, 1), 0, (0, 1), (1, 0), 6, (2, 3), (3, 2))],
    "scalars": lambda: [np.float64(1), 1.0, np.array(1.0), np.array([1.0]), np.float32(1), np.int64(1), 1, np.True_],
    "texts": lambda: [np.str_("a"), "a", np.array("a"), np.bytes_(b"a"), b"a", np.array(["a"], "U2"), np.array(["a"])],
    "orders": lambda: [np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2).T, np.arange(6)[::-1].reshape(2, 3)],
    "zeros": lambda: [np.array([0.0]), np.array([-0.0]), np.array([0])],
    "records": lambda: [_record(), _record(align=True), _record().view("u1"), _record()[::-1], _record()[["a"]]],
    "names": lambda: [np.zeros(1, [(name, "i4")]) for name in "ab"],
    "objects": lambda: [np.array(items, dtype=object) for items in ([1, 2], [1, 2.0], [1, [2]], [1, None], ["1", 2])],
    "subclasses": lambda: [_tagged("a"), _tagged("b"), np.arange(3), np.matrix([0, 1, 2]), np.rec.array([(1,)])],
    "masks": lambda: [np.ma.array([1, 2], mask=mask) for mask in ([0, 1], [1, 0], [0, 0])],
    "under masks": lambda: [np.ma.array([1, n], mask=[0, 1]) for n in (2, 3)],
    "fills": lambda: [np.ma.array([1], mask=[1], fill_value=n) for n in (2, 3)],
    "dtypes as values": lambda: [np.dtype(kind) for kind in ("i4", ">i4", "f4", "i4,f4", "O")],
    "metadata": lambda: [np.zeros(1, "i4")] + [np.zeros(1, np.dtype("i4", metadata={"a": n})) for n in (1, 2)],
    "classes": lambda: [np.int64, np.ndarray, np.float64],
    "functions": lambda: [np.add, np.multiply, np.sum, np.mean, np.random.normal, np.random.uniform],
    "generators": lambda: [np.random.default_rng(1), np.random.default_rng(2), np.random.RandomState(1)],
    "drawn": lambda: [_drawn(0), _drawn(1), _drawn(2)],
    # Numpy 1 loses the seed sequence in a pickle, so that no task could tell.
    "spawned": lambda: [_spawned(count) for count in range(2 if np.__version__ >= "2" else 1)],
    "sparse": lambda: [kind([[0, 1], [2, 0]]) for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array)],
    "sparse values": lambda: [sparse.coo_array([[0, n]], dtype=kind) for n in (1, 2) for kind in ("i4", "f8")],
    "sparse shapes": lambda: [sparse.dok_array((2, n)) for n in (2, 3)],
}


def _drawn(count: int) -> Any:
    generator = np.random.default_rng(1)
    generator.random(count)
    return generator


def _spawned(count: int) -> Any:
    generator = np.random.default_rng(1)
    generator.bit_generator.seed_seq.spawn(count)
    return generator


@pytest.mark.parametrize("make", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_different_meanings_differ(make: Callable[[], list[object]]) -> None:
    """What a function can tell apart differs; made again it is the same."""
    values = make()
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert [digest(value) for value in make()] == digests


@pytest.mark.parametrize("name", sorted(DIFFERENT.keys() - {"subclasses", "functions"}))
def test_unpickled_is_the_same(name: str) -> None:
    """What was pickled, as the store does it, has the digest of what it was made of.

    Numpy drops attributes of subclasses, and gives the methods of its global generator a copy of it.
    """
    for value in DIFFERENT[name]():
        assert digest(pickle.loads(pickle.dumps(value, 5))) == digest(value)


def test_text_dtypes() -> None:
    """Strings of variable width count by element and by what stands for a missing one."""
    kind = getattr(np.dtypes, "StringDType", None)
    if kind is None:
        pytest.skip("numpy 1 has no StringDType")
    made = [np.array(["a", "b"], kind()), np.array(["a", "c"], kind()), np.array(["a", "b"], kind(na_object=None))]
    assert len({digest(array) for array in made}) == 3
    assert digest(made[0]) == digest(np.array(["a", "b", "a"], kind())[:2])


@given(arrays.arrays(arrays.array_dtypes() | arrays.scalar_dtypes(), arrays.array_shapes(min_side=0)), st.data())
@settings(deadline=None)
def test_layout_makes_no_difference(array: Any, data: st.DataObject) -> None:
    """C or Fortran order, strides, reversed axes, read-only: the same digest."""
    expected = digest(array)
    axes = data.draw(st.permutations(range(array.ndim)))
    moved = array.transpose(axes).copy().transpose(np.argsort(axes))
    assert digest(moved) == expected
    assert digest(np.asfortranarray(array).reshape(array.shape)) == expected
    if array.ndim:
        assert digest(np.repeat(array, 2, axis=0)[::2]) == expected
        assert digest(array[::-1].copy()[::-1]) == expected
    array.setflags(write=False)
    assert digest(array) == expected


@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(max_side=3)), st.data())
@settings(deadline=None)
def test_any_other_element_shows(array: Any, data: st.DataObject) -> None:
    """An array with one element changed has another digest."""
    other = array.copy()
    index = tuple(data.draw(st.integers(0, side - 1)) for side in array.shape)
    other[index] = data.draw(arrays.from_dtype(array.dtype))
    assert (digest(array) == digest(other)) == (array.tobytes() == other.tobytes())


def test_large_strided_arrays() -> None:
    """What goes through the buffer in many rounds is what lies there in one piece."""
    array = np.random.default_rng(1).random((700, 500))
    for moved in (np.asfortranarray(array), np.repeat(array, 2, 1)[:, ::2], array[:, ::-1].copy()[:, ::-1]):
        assert not moved.flags.c_contiguous
        assert digest(moved) == digest(array)
    assert digest(array.T) == digest(array.T.copy()) != digest(array)


@pytest.mark.parametrize("kind", ["g", "G"])
def test_padding_of_long_doubles_is_nothing(kind: str) -> None:
    """Bytes of a long double that mean nothing do not count."""
    clean = np.array([1, 2], kind)
    raw = np.full(clean.nbytes, 255, np.uint8).view(kind)
    raw[:] = clean
    noisy = np.frombuffer(raw.tobytes(), kind).copy()
    assert digest(noisy) == digest(clean)
    assert digest(noisy[0]) == digest(clean[0])


def test_padding_of_records_is_nothing() -> None:
    """Bytes between the fields of a record do not count."""
    assert digest(_record(align=True, fill=7)) == digest(_record(align=True, fill=200))


def test_other_representations_of_the_same(tmp_path: Path) -> None:
    """A memmap is its array, no mask is an empty mask, and sparse entries have no order."""
    array = np.arange(5.0)
    array.tofile(tmp_path / "data")
    assert digest(np.memmap(tmp_path / "data", float)) == digest(array)
    assert digest(np.ma.array([1])) == digest(np.ma.array([1], mask=[False]))
    one = sparse.csr_array(([1, 2], [1, 0], [0, 2]), shape=(1, 2))
    assert digest(one) == digest(sparse.csr_array([[2, 1]]))
    coordinates = sparse.coo_array(([1, 2], ([1, 0], [0, 1])), shape=(2, 2))
    assert digest(coordinates) == digest(sparse.coo_array([[0, 2], [1, 0]]))
    first, second = sparse.dok_array((2, 2)), sparse.dok_array((2, 2))
    first[0, 0], first[1, 1] = 1, 2
    second[1, 1], second[0, 0] = 2, 1
    assert digest(first) == digest(second)
    wide = sparse.csr_array([[2, 1]])
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert digest(wide) == digest(one)


def test_a_large_array_is_not_copied() -> None:
    """Digesting takes no memory to speak of, contiguous or not."""
    array = np.random.default_rng(1).random((2000, 2000))
    for value in (array, array.T, array[::2], {"a": [array]}):
        tracemalloc.start()
        digest(value)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < array.nbytes / 20


def test_what_is_hidden_has_no_digest() -> None:
    """A ufunc of a Python function and an object in an array are refused by name and place."""
    with pytest.raises(UndigestibleError, match=r"^value: ufunc"):
        digest(np.frompyfunc(lambda x: x, 1, 1))
    bad = np.array([[1, 2], [3, iter([])]], dtype=object)
    with pytest.raises(UndigestibleError, match=r"^value\['a'\]\[1, 1\]: list_iterator"):
        digest({"a": bad})
    record = np.zeros(1, [("a", "i4"), ("b", "O")])
    record["b"][0] = iter([])
    with pytest.raises(UndigestibleError, match=r"^value.b\[0\]: list_iterator"):
        digest(record)
