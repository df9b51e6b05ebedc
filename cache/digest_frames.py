"""Openers of pandas values: labels, dtypes and elements, whatever the blocks they lie in.

Only what pandas 2 and 3 both offer is used. A DataFrame is its columns in order, each with its
dtype, and its two indexes. A MultiIndex counts by its values, not by the levels it keeps; a
categorical by its codes and all its categories in their order; what lies beneath a mask not at all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from dagger.cache.digest_encoding import Branch, by_names, by_nothing, seal, tag
from dagger.cache.digest_instances import class_name
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]


def _numpy() -> Any:
    return sys.modules["numpy"]


def _frame(value: Any, _code: Code) -> Branch:
    columns = [(name, _values(column)) for name, column in value.items()]
    head = tag("frame", class_name(type(value)))
    names = [f"[{name!r}]" for name, _ in columns]

    def label(_branch: Branch, position: int) -> str:
        return [".columns", ".index", "", *names][position]

    parts = [value.columns, value.index, _flags(value), *(array for _, array in columns)]
    return Branch(value, head, parts, label)


def _series(value: Any, _code: Code) -> Branch:
    names = ("name", "index", "", "values")
    parts = (value.name, value.index, _flags(value), _values(value))
    return Branch(value, tag("series", class_name(type(value))), parts, by_names(names))


def _flags(value: Any) -> tuple[object, ...]:
    # A subclass lists in _metadata what belongs to its values.
    own = [name for name in value._metadata if name not in ("_name", "name")]
    attributes = [(name, getattr(value, name, None)) for name in own]
    return value.attrs or None, value.flags.allows_duplicate_labels, attributes or None


def _values(column: Any) -> Any:
    """What a series or an index holds: a view on a numpy array, or an extension array."""
    return column.to_numpy() if type(column.dtype).__module__.startswith("numpy") else column.array


def _index(value: Any, _code: Code) -> Branch:
    head = tag("index", class_name(type(value)))
    names = list(value.names)
    if hasattr(value, "levels"):
        parts = [value.get_level_values(place) for place in range(value.nlevels)]
        return Branch(value, head, (names, *parts), by_nothing)
    return Branch(value, head, (names, getattr(value, "freqstr", None), _values(value)), by_nothing)


def _range_index(value: Any, _code: Code) -> Branch:
    parts = (list(value.names), value.start, value.stop, value.step)
    return Branch(value, tag("index", class_name(type(value))), parts, by_nothing)


def _categorical(value: Any, _code: Code) -> Branch:
    # Codes are as wide as the number of categories asks for.
    parts = (value.codes, value.categories, value.ordered)
    return Branch(value, tag("categorical"), parts, by_names(("codes", "categories", "ordered")))


def _moments(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("moments"), (value.asi8, value.dtype), by_names(("", "dtype")))


def _intervals(value: Any, _code: Code) -> Branch:
    parts = (value.left, value.right, value.closed)
    return Branch(value, tag("intervals"), parts, by_names(("left", "right")))


def _masked(value: Any, _code: Code) -> Branch:
    data, mask = value._data, value._mask
    if mask.any():
        data = data.copy()
        data[mask] = 0
    return Branch(value, tag("masked"), (data, mask, value.dtype), by_names(("", "", "dtype")))


def _arrow(value: Any, _code: Code) -> Branch:
    column = value.__arrow_array__()
    if value.dtype.name in ("string", "str"):
        # Their offsets are 32 or 64 bits wide, depending on who made them.
        column = column.cast("large_string")
    return Branch(value, tag("arrow"), (column, value.dtype), by_names(("", "dtype")))


def _objects(value: Any, _code: Code) -> Branch:
    elements = _numpy().asarray(value, dtype=object)
    head = tag("extension array", class_name(type(value)))
    return Branch(value, head, (elements, value.dtype), by_names(("", "dtype")))


def _plain(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("numpy array"), (value.to_numpy(),), by_nothing)


def _sparse(value: Any, _code: Code) -> Branch:
    places = value.sp_index.to_int_index().indices
    parts = (value.sp_values, places, value.fill_value, len(value), value.kind, value.dtype)
    return Branch(value, tag("sparse array"), parts, by_nothing)


def _dtype(value: Any, _code: Code) -> bytes | Branch:
    names = [
        name
        for name in ("categories", "ordered", "tz", "storage", "na_value", "subtype", "fill_value")
        if hasattr(value, name)
    ]
    # The name of a categorical dtype says nothing, that of others with parts says them all.
    head = tag("extension dtype", class_name(type(value)), str(value), *names)
    parts = [getattr(value, name) for name in names]
    return Branch(value, head, parts, by_names(names))


def _missing(value: Any, _code: Code) -> bytes:
    return seal(tag("missing", type(value).__name__))


def _timestamp(value: Any, _code: Code) -> Branch:
    parts = (value.to_datetime64(), value.tzinfo, value.fold)
    return Branch(value, tag("timestamp"), parts, by_names(("", "tzinfo")))


def _timedelta(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("pandas timedelta"), (value.to_timedelta64(),), by_nothing)


def _offset(value: Any, _code: Code) -> Branch:
    head = tag("offset", class_name(type(value)))
    parts = (value.n, value.normalize, sorted(value.kwds.items()))
    return Branch(value, head, parts, by_names(("n", "normalize", "kwds")))


# All of them are opened whole: subclasses say their class, and hold only what pandas keeps.
OPENERS: dict[str, tuple[Opener, bool]] = {
    f"pandas.{name}": (opener, True)
    for name, opener in {
        "DataFrame": _frame,
        "Series": _series,
        "RangeIndex": _range_index,
        "Index": _index,
        "Categorical": _categorical,
        "DatetimeArray": _moments,
        "TimedeltaArray": _moments,
        "PeriodArray": _moments,
        "IntervalArray": _intervals,
        "BaseMaskedArray": _masked,
        "ArrowExtensionArray": _arrow,
        "SparseArray": _sparse,
        "StringArray": _objects,
        "NumpyExtensionArray": _plain,
        "PandasArray": _plain,
        "ExtensionArray": _objects,
        "ExtensionDtype": _dtype,
        "NAType": _missing,
        "NaTType": _missing,
        "Timestamp": _timestamp,
        "Timedelta": _timedelta,
        "BaseOffset": _offset,
    }.items()
}
