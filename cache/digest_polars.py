"""Openers of polars values: names, dtypes and elements, whatever the chunks.

Only polars' public operations on series are used, so that pyarrow need not be there, and nothing
that lies beneath a null is seen. Categoricals count by their strings: their codes differ from one
process to the next.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from dagger.cache.digest_encoding import Branch, Encoded, by_nothing, tag
from dagger.cache.digest_instances import class_name
from dagger.cache.digest_streams import Streams
from dagger.errors import UndigestibleError
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]

_ROWS = 1 << 16


def _frame(value: Any, _code: Code) -> Branch:
    columns = value.get_columns()
    head = tag("polars frame", class_name(type(value)), str(value.height))
    names = [f"[{column.name!r}]" for column in columns]
    return Branch(value, head, columns, lambda _branch, position: names[position])


def _series(value: Any, _code: Code) -> Branch:
    streams = Streams()
    # Early versions panic on the chunks of objects.
    chunks = [value] if value.n_chunks() == 1 or value.dtype.base_type().__name__ == "Object" else value.get_chunks()
    for chunk in chunks:
        _feed(streams, chunk, "")
    head = tag("polars series", class_name(type(value)), value.name, repr(value.dtype))
    parts = [Encoded(streams.encode()), *streams.objects]
    return Branch(value, head, parts, lambda _branch, position: f"[{position - 1}]")


def _feed(streams: Streams, series: Any, place: str) -> None:
    before = streams.count(place, len(series))
    if series.null_count():
        nulls = series.is_null().arg_true().cast(sys.modules["polars"].Int64) + before
        streams.feed(place, "nulls", _buffer(nulls))
        series = series.drop_nulls()
    if not len(series):
        return
    kind = series.dtype.base_type().__name__
    if kind == "List":
        lengths = series.list.len()
        _feed_lengths(streams, lengths, place)
        # An empty list would explode into a null.
        filled = series.filter(lengths > 0)
        if len(filled):
            _feed(streams, filled.explode(), f"{place}/")
    elif kind == "Array":
        _feed(streams, series.arr.to_list(), f"{place}/list")
    elif kind == "Struct":
        for number, field in enumerate(series.struct.unnest().get_columns()):
            _feed(streams, field, f"{place}/{number}")
    elif kind == "Object":
        streams.objects.extend(series.to_list())
    else:
        _feed_plain(streams, series, place, kind)


def _feed_plain(streams: Streams, series: Any, place: str, kind: str) -> None:
    polars = sys.modules["polars"]
    if kind in ("String", "Binary"):
        _feed_strings(streams, series, place, kind)
    elif kind in ("Date", "Datetime", "Duration", "Time"):
        streams.feed(place, "values", _buffer(series.to_physical()))
    elif kind == "Boolean" or (series.dtype.is_numeric() and kind in _NUMBERS):
        streams.feed(place, "values", _buffer(series))
    elif kind in ("Categorical", "Enum", "Decimal") or series.dtype.is_numeric():
        _feed_strings(streams, series.cast(polars.String), place, "String")
    else:
        raise UndigestibleError("", f"polars {kind}")


_NUMBERS = {
    *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *("Float32", "Float64"),
}


def _feed_strings(streams: Streams, series: Any, place: str, kind: str) -> None:
    for start in range(0, len(series), _ROWS):
        rows = series.slice(start, _ROWS)
        if kind == "String":
            lengths = rows.str.len_bytes()
            data = rows.str.join("").item().encode()
        else:
            items = rows.to_list()
            lengths = sys.modules["polars"].Series(list(map(len, items)))
            data = b"".join(items)
        _feed_lengths(streams, lengths, place)
        streams.feed(place, "values", data)


def _feed_lengths(streams: Streams, lengths: Any, place: str) -> None:
    streams.feed(place, "lengths", _buffer(lengths.cast(sys.modules["polars"].Int64)))


def _buffer(series: Any) -> Any:
    """A series of numbers without nulls as bytes; a view where it can be."""
    from numpy import ascontiguousarray, uint8

    return ascontiguousarray(series.to_numpy()).view(uint8)


def _dtype(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("polars dtype", repr(value)), (), by_nothing)


def _refuse_lazy(_value: Any, _code: Code) -> bytes:
    # A plan may scan files, whose content it does not hold.
    raise UndigestibleError("", "LazyFrame (collect it first)")


OPENERS: dict[str, tuple[Opener, bool]] = {
    "polars.DataFrame": (_frame, True),
    "polars.Series": (_series, True),
    "polars.DataType": (_dtype, True),
    "polars.LazyFrame": (_refuse_lazy, True),
}
