"""Value digests of pandas, polars and pyarrow: labels, dtypes and elements, whatever the chunks."""

from __future__ import annotations

import datetime
import decimal
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from dagger.cache.digests import digest_text, digest_value
from dagger.errors import UndigestibleError

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")


def digest(value: object) -> str:
    return digest_value(value, code=lambda thing: digest_text(thing.__name__))  # type: ignore[attr-defined]


Make = Callable[[], list[Any]]

PANDAS: dict[str, Make] = {
    "frames": lambda: [
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pd.DataFrame({"b": [3, 4], "a": [1, 2]}),
        pd.DataFrame({"a": [3, 4], "b": [1, 2]}),
        pd.DataFrame({"a": [1, 2], "c": [3, 4]}),
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}, index=[1, 0]),
        pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}),
        pd.DataFrame({"a": [1, 2]}),
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}).rename_axis("rows"),
        pd.DataFrame({"a": [1, 2], "b": [3, 4]}).rename_axis("columns", axis=1),
    ],
    "empty": lambda: [pd.DataFrame(), pd.DataFrame(index=[1]), pd.DataFrame(columns=["a"]), pd.Series([], dtype=int)],
    "same labels": lambda: [pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[2, 1]], columns=["a", "a"])],
    "attributes": lambda: [_with_attribute(n) for n in (0, 1)],
    "series": lambda: [
        pd.Series([1, 2]),
        pd.Series([1, 2], name="a"),
        pd.Series([1, 2], dtype="int8"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([1, 2], dtype="int64[pyarrow]"),
        pd.Series([1, 2], dtype=object),
        pd.Series([1, 2], dtype="category"),
        pd.Series([1, 2], dtype="Sparse[int64]"),
        pd.Series([1, 2], index=["a", "b"]),
    ],
    "texts": lambda: [
        pd.Series(["a", "b"], dtype=kind) for kind in ("string[python]", "string[pyarrow]", object, "category")
    ],
    "missing": lambda: [
        pd.Series([1, None], dtype="Int64"),
        pd.Series([1, 0], dtype="Int64"),
        pd.Series([1, None]),
        pd.Series([1, None], dtype=object),
        pd.Series([1, float("nan")], dtype=object),
        pd.Series([1, pd.NA], dtype=object),
        pd.Series([1, pd.NaT], dtype=object),
        pd.Series([True, None], dtype="boolean"),
    ],
    "categories": lambda: [
        pd.Categorical(["a", "b"]),
        pd.Categorical(["a", "b"], ordered=True),
        pd.Categorical(["a", "b"], categories=["b", "a"]),
        pd.Categorical(["a", "b"], categories=["a", "b", "c"]),
        pd.Categorical(["b", "a"]),
        pd.Categorical(["a", None]),
    ],
    "times": lambda: [
        pd.Series(pd.to_datetime(["2024-01-01"])).astype(kind) for kind in ("M8[ns]", "M8[s]", "M8[ms]", object)
    ],
    "zones": lambda: [
        pd.Series(pd.to_datetime(["2024-01-01"])).dt.tz_localize(zone) for zone in (None, "UTC", "Asia/Tokyo")
    ],
    "periods": lambda: [pd.Series(pd.period_range("2024", periods=1, freq=freq)) for freq in ("D", "s", "M")],
    "indexes": lambda: [
        pd.RangeIndex(2),
        pd.Index([0, 1]),
        pd.Index([0.0, 1.0]),
        pd.Index(["a", "b"]),
        pd.Index([0, 1], name="a"),
        pd.MultiIndex.from_tuples([(0, 1)]),
        pd.MultiIndex.from_tuples([(0, 1)], names=["a", "b"]),
        pd.MultiIndex.from_tuples([(0, 2)]),
        pd.date_range("2024", periods=2),
        pd.DatetimeIndex(["2024-01-01", "2024-01-02"]),
        pd.interval_range(0, 2),
        pd.interval_range(0, 2, closed="left"),
        pd.CategoricalIndex(["a"]),
        pd.period_range("2024", periods=2, freq="D"),
        pd.timedelta_range("1D", periods=2),
    ],
    "scalars": lambda: [
        pd.Timestamp("2024").as_unit("ns"),
        pd.Timestamp("2024", tz="UTC"),
        pd.Timestamp("2024").as_unit("s"),
        datetime.datetime(2024, 1, 1),
        np.datetime64("2024-01-01"),
        pd.Timedelta(1),
        pd.Timedelta(2),
        pd.NaT,
        pd.NA,
        None,
        pd.Period("2024", "D"),
        pd.Period("2024", "M"),
        pd.Interval(0, 1),
        pd.Interval(0, 1, closed="both"),
        pd.offsets.Day(1),
        pd.offsets.Day(2),
        pd.offsets.MonthEnd(1),
        pd.offsets.Week(weekday=1),
        pd.offsets.Week(weekday=2),
    ],
    "sparse": lambda: [pd.arrays.SparseArray(items, fill_value=n) for items in ([0, 1], [1, 0]) for n in (0, 1)],
    "dtypes": lambda: [
        pd.CategoricalDtype(["a"]),
        pd.CategoricalDtype(["b"]),
        pd.CategoricalDtype(["a"], ordered=True),
        pd.DatetimeTZDtype("ns", "UTC"),
        pd.DatetimeTZDtype("s", "UTC"),
        pd.StringDtype("python"),
        pd.StringDtype("pyarrow"),
        pd.Int64Dtype(),
        pd.ArrowDtype(pa.int64()),
    ],
    "nested": lambda: [pd.Series([{"a": n}, [n], {n}, (n,), pd.Series([n])]) for n in (1, 2)],
}


def _with_attribute(n: int) -> Any:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["n"] = n
    return frame


_WIDTHS = ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64"]

POLARS: dict[str, Make] = {
    "frames": lambda: [
        pl.DataFrame({"a": [1, 2], "b": [3, 4]}),
        pl.DataFrame({"b": [3, 4], "a": [1, 2]}),
        pl.DataFrame({"a": [1, 2], "c": [3, 4]}),
        pl.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}),
        pl.DataFrame({"a": [1, 2]}),
        pl.DataFrame(),
        pl.DataFrame({"a": []}),
    ],
    "numbers": lambda: [pl.Series([1, 2], dtype=getattr(pl, kind)) for kind in (*_WIDTHS, "Object")],
    "missing": lambda: [
        pl.Series(items, dtype=pl.Int64)
        for items in ([0, 1], [None, 1], [1, None], [1], [None], [None, None], [], [1, None, None])
    ],
    "names": lambda: [pl.Series("a", [1]), pl.Series("b", [1])],
    "booleans": lambda: [pl.Series(items, dtype=pl.Boolean) for items in ([True], [False], [None], [True, False])],
    "texts": lambda: [
        pl.Series(items, dtype=pl.String) for items in (["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None])
    ],
    "kinds of text": lambda: [
        pl.Series(["a"]),
        pl.Series([b"a"]),
        pl.Series(["a"], dtype=pl.Categorical),
        pl.Series(["a"], dtype=pl.Enum(["a"])),
        pl.Series(["a"], dtype=pl.Enum(["a", "b"])),
        pl.Series(["a"], dtype=pl.Object),
    ],
    "lists": lambda: [
        pl.Series(items, dtype=pl.List(pl.Int64))
        for items in ([[1], [2]], [[1, 2], []], [[], [1, 2]], [[1, 2], None], [[1, 2]], [[1, None], [2]], [[None], []])
    ],
    "deeper": lambda: [
        pl.Series(items, dtype=pl.List(pl.List(pl.String)))
        for items in ([[["a"], ["b"]]], [[["a", "b"]]], [[["a"]], [["b"]]], [[["ab"]]], [[None, ["a"]]])
    ],
    "arrays": lambda: [
        pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        pl.Series([[1, 2], [3, 5]], dtype=pl.Array(pl.Int8, 2)),
        pl.Series([[1, 2], None], dtype=pl.Array(pl.Int8, 2)),
        pl.Series([[1, 2], [3, 4]], dtype=pl.List(pl.Int8)),
    ],
    "structs": lambda: [
        pl.Series([{"a": 1, "b": "x"}, None]),
        pl.Series([{"a": 1, "b": "y"}, None]),
        pl.Series([{"a": 1, "b": "x"}, {"a": None, "b": "y"}]),
        pl.Series([{"a": 1, "c": "x"}, None]),
    ],
    "times": lambda: [
        pl.Series([0], dtype=kind)
        for kind in (pl.Date, pl.Time, pl.Datetime("us"), pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Duration)
    ],
    "decimals": lambda: [
        pl.Series([decimal.Decimal(text)], dtype=pl.Decimal(10, scale)) for text in ("1.0", "1.1") for scale in (1, 2)
    ],
    "dtypes": lambda: [pl.Int8(), pl.Datetime("us"), pl.Datetime("ms"), pl.List(pl.Int8), pl.Enum(["a"])],
}

ARROW: dict[str, Make] = {
    "tables": lambda: [
        pa.table({"a": [1, 2], "b": [3, 4]}),
        pa.table({"b": [3, 4], "a": [1, 2]}),
        pa.table({"a": [1, 2], "c": [3, 4]}),
        pa.table({"a": [1, 2], "b": [3.0, 4.0]}),
        pa.table({"a": [1, 2], "b": [3, 4]}, metadata={"a": "b"}),
        pa.table({"a": [1, 2]}),
        pa.record_batch({"a": [1, 2]}),
        pa.table({}),
    ],
    "kinds": lambda: [pa.array([1]), pa.chunked_array([[1]]), pa.scalar(1), 1, [1], pa.scalar(2), pa.py_buffer(b"a")],
    "missing": lambda: [
        pa.array(items, pa.int64()) for items in ([0, 1], [None, 1], [1, None], [1], [None], [None, None], [])
    ],
    "numbers": lambda: [
        pa.array([1], getattr(pa, kind)()) for kind in ("int8", "uint8", "int64", "float32", "float64")
    ],
    "texts": lambda: [
        pa.array(["ab", "c", None], getattr(pa, kind)())
        for kind in ("string", "large_string", "string_view", "binary", "large_binary")
    ],
    "boundaries": lambda: [pa.array(items) for items in (["ab", "c"], ["a", "bc"], ["abc", ""], ["abc", None])],
    "booleans": lambda: [pa.array(items, pa.bool_()) for items in ([True], [False], [None], [True, False])],
    "lists": lambda: [
        pa.array(items, pa.list_(pa.int64())) for items in ([[1], [2]], [[1, 2], []], [[], [1, 2]], [[1, 2], None])
    ],
    "kinds of list": lambda: [
        pa.array([[1, 2], [3, 4], None], kind)
        for kind in (pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.list_(pa.int8(), 2), pa.list_view(pa.int8()))
    ],
    "maps": lambda: [
        pa.array(items, pa.map_(pa.string(), pa.int8()))
        for items in ([[("a", 1)], [("b", 2)]], [[("a", 1), ("b", 2)], []], [[("a", 1)], None], [[("a", None)]])
    ],
    "structs": lambda: [
        pa.array(items)
        for items in ([{"a": 1, "b": "x"}, None], [{"a": 1, "b": "y"}, None], [{"a": 1, "c": "x"}, None])
    ],
    "dictionaries": lambda: [
        pa.DictionaryArray.from_arrays(pa.array(places), pa.array(entries))
        for places, entries in (
            ([0, 1], ["a", "b"]),
            ([1, 0], ["b", "a"]),
            ([0, 1], ["a", "b", "c"]),
            ([0, None], ["a"]),
        )
    ],
    "times": lambda: [
        pa.array([0], kind)
        for kind in (pa.date32(), pa.timestamp("us"), pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.time64("us"))
    ],
    "decimals": lambda: [pa.array([decimal.Decimal(text)], pa.decimal128(5, 2)) for text in ("1.0", "1.1")],
    "unions": lambda: [
        pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([n])]) for n in (1, 2)
    ],
    "runs": lambda: [pa.RunEndEncodedArray.from_arrays([2, n], [1, 2]) for n in (3, 4)],
    "types": lambda: [
        pa.int8(),
        pa.list_(pa.int8()),
        pa.list_(pa.field("item", pa.int8(), nullable=False)),
        pa.struct([("a", pa.int8())]),
        pa.struct([pa.field("a", pa.int8(), metadata={"a": "b"})]),
        pa.schema([("a", pa.int8())]),
        pa.field("a", pa.int8()),
    ],
}

ALL = {
    f"{library}: {name}": make
    for library, table in (("pandas", PANDAS), ("polars", POLARS), ("pyarrow", ARROW))
    for name, make in table.items()
}


@pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
def test_different_meanings_differ(make: Make) -> None:
    """Labels, order, dtypes, categories, missing values and boundaries count; made again is the same."""
    values = make()
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert [digest(value) for value in make()] == digests


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"polars: kinds of text", "polars: numbers", "pyarrow: unions"}))
def test_unpickled_is_the_same(name: str) -> None:
    """What was pickled has the digest of what it was made of. (Objects in polars do not pickle.)"""
    for value in ALL[name]():
        assert digest(pickle.loads(pickle.dumps(value, 5))) == digest(value)


def test_blocks_of_a_frame_make_no_difference() -> None:
    """Columns made one by one, from one array or by selection are the same frame."""
    table = np.arange(12.0).reshape(4, 3)
    frame = pd.DataFrame(table, columns=list("abc"))
    assert digest(frame) == digest(pd.DataFrame({name: table[:, place].copy() for place, name in enumerate("abc")}))
    assert digest(frame) == digest(pd.DataFrame(np.asfortranarray(table), columns=list("abc")))
    wide = pd.DataFrame(np.repeat(table, 2, axis=1), columns=list("aabbcc"))
    assert digest(frame) == digest(wide.iloc[:, ::2])


def test_unused_levels_and_masked_values_make_no_difference() -> None:
    """What nobody sees does not count: unused levels of a MultiIndex, values beneath a mask."""
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]])
    assert digest(index[:2]) == digest(index[:2].remove_unused_levels())
    masks = [np.array([False, True]), np.array([False, True])]
    one, other = (pd.arrays.IntegerArray(np.array([1, n]), mask) for n, mask in zip((5, 6), masks, strict=True))
    assert digest(one) == digest(other)
    texts = [
        pd.array(pa.chunked_array([["a"], ["b"]]), dtype="string[pyarrow]"),
        pd.array(["a", "b"], "string[pyarrow]"),
    ]
    assert digest(texts[0]) == digest(texts[1])


def test_a_subclass_of_a_frame() -> None:
    """A subclass counts by its class and by what it lists as its own."""

    class Frame(pd.DataFrame):  # type: ignore[misc,name-defined]
        _metadata = ["unit"]  # noqa: RUF012 - as pandas asks for it

    one, other = Frame({"a": [1]}), Frame({"a": [1]})
    one.unit, other.unit = "m", "s"
    assert len({digest(one), digest(other), digest(pd.DataFrame({"a": [1]}))}) == 3


def test_chunks_make_no_difference_in_polars() -> None:
    """Frames that are equal in meaning agree, whatever chunks they were made of."""
    frame = pl.DataFrame(
        {
            "number": [1, None, 3, 4],
            "text": ["a", None, "", "dd"],
            "list": [[1, 2], [], None, [3, None]],
            "struct": [{"a": 1, "b": ["y", None]}, None, {"a": None, "b": []}, {"a": 2, "b": ["x"]}],
            "flag": [True, None, False, True],
            "bytes": [b"a", b"", None, b"b"],
        }
    ).with_columns(category=pl.Series(["u", "v", None, "u"], dtype=pl.Categorical))
    pieces = pl.concat([frame[:1], frame[1:3], frame[:0], frame[3:]], rechunk=False)
    assert pieces.n_chunks() > 1
    assert digest(pieces) == digest(frame) == digest(frame.reverse().reverse())
    assert digest(pl.concat([frame, frame])[4:]) == digest(frame)


def test_chunks_and_offsets_make_no_difference_in_arrow() -> None:
    """Tables that are equal in meaning agree, whatever chunks, offsets and bytes beneath nulls."""
    table = pa.table(
        {
            "number": [1, None, 3, 4],
            "text": ["a", None, "", "dd"],
            "view": pa.array(["a", None, "", "dd"], pa.string_view()),
            "list": [[1, 2], [], None, [3, None]],
            "fixed": pa.array([[1, 2], None, [3, None], [4, 5]], pa.list_(pa.int8(), 2)),
            "struct": [{"a": 1, "b": ["y", None]}, None, {"a": None, "b": []}, {"a": 2, "b": ["x"]}],
            "flag": [True, None, False, True],
            "map": pa.array([[("a", 1)], None, [], [("b", None), ("c", 3)]], pa.map_(pa.string(), pa.int8())),
            "dictionary": pa.array(["u", "v", None, "u"]).dictionary_encode(),
            "none": pa.nulls(4),
        }
    )
    pieces = pa.concat_tables([table[:1], table[1:3], table[:0], table[3:]])
    assert pieces.column(0).num_chunks > 1
    assert digest(pieces) == digest(table)
    assert digest(pa.concat_tables([table, table])[4:]) == digest(table)
    assert digest(pieces.combine_chunks()) == digest(table)
    apart = pa.chunked_array([pa.array(part).dictionary_encode() for part in (["a", "b"], ["b", "c"])])
    assert digest(apart) == digest(pa.chunked_array([apart.combine_chunks()]))
    hidden = pa.Array.from_buffers(pa.int8(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(b"\x05\x06")])
    assert digest(hidden) == digest(pa.array([5, None], pa.int8()))


_ITEMS = st.one_of(
    st.lists(st.none() | st.integers(-9, 9), max_size=6),
    st.lists(st.none() | st.text("aβ", max_size=3), max_size=6),
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 3), max_size=3), max_size=5),
    st.lists(st.none() | st.fixed_dictionaries({"a": st.none() | st.text("a", max_size=2)}), max_size=5),
)


@given(_ITEMS, _ITEMS, st.integers(0, 6))
@settings(deadline=None)
def test_columns_agree_just_when_they_are_equal(one: list[Any], other: list[Any], cut: int) -> None:
    """Arrow and polars columns: in pieces the same, and different as soon as the elements are."""
    for make, glue in (
        (pa.array, lambda parts: pa.chunked_array(parts)),
        (pl.Series, lambda parts: pl.concat(parts, rechunk=False)),
    ):
        column = make(one)
        whole = glue([column])
        assert digest(glue([column[:cut], column[cut:]])) == digest(whole)
        second = glue([make(other)])
        same = one == other and whole.dtype == second.dtype if make is pl.Series else one == other
        if make is pl.Series or whole.type == second.type:
            assert (digest(whole) == digest(second)) == same


def test_plans_are_refused() -> None:
    """A lazy frame may scan files that it does not hold."""
    with pytest.raises(UndigestibleError, match=r"^value\['a'\]: LazyFrame"):
        digest({"a": pl.LazyFrame({"a": [1]})})


def test_the_path_leads_into_columns() -> None:
    """An element without a digest is named by column and row."""
    with pytest.raises(UndigestibleError, match=r"^value\['b'\]\[1\]: list_iterator"):
        digest(pd.DataFrame({"a": [1, 2], "b": [3, iter([])]}))
    with pytest.raises(UndigestibleError, match=r"^value\['b'\]\[1\]: list_iterator"):
        digest(pl.DataFrame({"a": [1, 2], "b": pl.Series([3, iter([])], dtype=pl.Object)}))


_OTHER_PROCESS = """
import json, pickle, sys
sys.path[:0] = json.loads(sys.argv[1])
from dagger.cache.digests import digest_value
print(json.dumps([digest_value(value) for value in pickle.load(sys.stdin.buffer)]))
"""


def test_processes_agree() -> None:
    """A fresh process under another hash seed, with other categories in its cache, agrees."""
    names = ALL.keys() - {"polars: kinds of text", "polars: numbers", "pyarrow: unions"}
    values = [value for name in sorted(names) for value in ALL[name]()]
    values.append(pl.Series(["z", "y"], dtype=pl.Categorical))
    command = [sys.executable, "-c", _OTHER_PROCESS, json.dumps(sys.path)]
    made = subprocess.run(
        command,
        input=pickle.dumps(values, 5),
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        check=True,
    )
    assert json.loads(made.stdout) == [digest(value) for value in values]


def test_nothing_is_imported_for_plain_values() -> None:
    """Digesting lists and dicts imports no library of arrays."""
    script = (
        "import sys; from dagger.cache.digests import digest_value; digest_value([{'a': {1.0}}, (None,)]);"
        "print([name for name in ('numpy', 'pandas', 'pyarrow', 'decimal', 'datetime') if name in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
