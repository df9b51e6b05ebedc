"""Openers of pyarrow values: schema and elements, whatever the chunks, offsets and unused bytes.

Buffers are hashed where they lie. A dictionary counts with its entries in their order, unified over
the chunks; the metadata of schemas and fields counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from dagger.cache.digest_encoding import Branch, Encoded, by_names, by_nothing, tag
from dagger.cache.digest_instances import class_name
from dagger.cache.digest_streams import Streams
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]


def _table(value: Any, _code: Code) -> Branch:
    names = [".schema", *(f"[{name!r}]" for name in value.schema.names)]
    head = tag("arrow table", class_name(type(value)), str(value.num_rows))
    columns = [value.column(place) for place in range(value.num_columns)]
    return Branch(value, head, (value.schema, *columns), lambda _, position: names[position])


def _column(value: Any, _code: Code) -> Branch:
    streams = Streams()
    chunks = [value]
    if hasattr(value, "chunks"):
        chunks = value.chunks if value.num_chunks < 2 else value.unify_dictionaries().chunks
    for chunk in chunks:
        _feed(streams, chunk, "")
    head = tag("arrow column", "chunked" if hasattr(value, "chunks") else "array")
    parts = (value.type, Encoded(streams.encode()), *streams.objects)
    return Branch(value, head, parts, by_nothing)


def _feed(streams: Streams, chunk: Any, place: str) -> None:
    before = streams.count(place, len(chunk))
    compute = import_module("pyarrow.compute")
    types = sys.modules["pyarrow"].types
    kind = chunk.type
    if hasattr(kind, "storage_type"):
        _feed(streams, chunk.storage, f"{place}/storage")
        return
    if types.is_run_end_encoded(kind):
        _feed(streams, compute.run_end_decode(chunk), f"{place}/decoded")
        return
    chunk = _without_views(chunk)
    if chunk.null_count:
        nulls = compute.indices_nonzero(chunk.is_null()).cast("int64")
        _feed_fixed(streams, compute.add(nulls, before), place, "nulls")
        chunk = chunk.drop_null()
    if types.is_dictionary(kind):
        _feed_dictionary(streams, chunk, place)
    elif not len(chunk) or types.is_null(kind):
        return
    elif types.is_struct(kind):
        for number, field in enumerate(chunk.flatten()):
            _feed(streams, field, f"{place}/{number}")
    elif types.is_fixed_size_list(kind):
        _feed(streams, chunk.flatten(), f"{place}/")
    elif types.is_map(kind):
        offsets = chunk.offsets
        _feed_fixed(streams, compute.subtract(offsets[1:], offsets[:-1]).cast("int64"), place, "lengths")
        start, length = offsets[0].as_py(), offsets[-1].as_py() - offsets[0].as_py()
        _feed(streams, chunk.keys.slice(start, length), f"{place}/key")
        _feed(streams, chunk.items.slice(start, length), f"{place}/item")
    elif types.is_nested(kind) and not types.is_union(kind):
        _feed_fixed(streams, compute.list_value_length(chunk).cast("int64"), place, "lengths")
        _feed(streams, chunk.flatten(), f"{place}/")
    elif types.is_union(kind):
        streams.objects.extend(chunk.to_pylist())
    else:
        _feed_plain(streams, chunk, place)


def _without_views(chunk: Any) -> Any:
    """A chunk of views, which not all of pyarrow's functions take, as one of offsets."""
    arrow = sys.modules["pyarrow"]
    name = str(chunk.type).partition("<")[0]
    if name in ("string_view", "binary_view"):
        kind = getattr(arrow, f"large_{name.removesuffix('_view')}")()
    elif name in ("list_view", "large_list_view"):
        kind = arrow.large_list(chunk.type.value_field)
    else:
        return chunk
    try:
        return chunk.cast(kind)
    except arrow.ArrowNotImplementedError:
        return arrow.array(chunk.to_pylist(), kind)


def _feed_dictionary(streams: Streams, chunk: Any, place: str) -> None:
    entries = f"{place}/entries"
    if not streams.has(entries, "seen"):
        streams.feed(entries, "seen", b"1")
        _feed(streams, chunk.dictionary, entries)
    if len(chunk):
        _feed_fixed(streams, chunk.indices, place, "values")


def _feed_plain(streams: Streams, chunk: Any, place: str) -> None:
    types = sys.modules["pyarrow"].types
    kind = chunk.type
    if types.is_boolean(kind):
        _feed_fixed(streams, chunk.cast("uint8"), place, "values")
        return
    if str(kind) not in ("string", "binary", "large_string", "large_binary"):
        _feed_fixed(streams, chunk, place, "values")
        return
    lengths = import_module("pyarrow.compute").binary_length(chunk).cast("int64")
    _feed_fixed(streams, lengths, place, "lengths")
    _, offsets, data = chunk.buffers()
    ends = memoryview(offsets).cast("q" if str(kind).startswith("large_") else "i")
    start, end = ends[chunk.offset], ends[chunk.offset + len(chunk)]
    if end > start:
        streams.feed(place, "values", memoryview(data)[start:end])


def _feed_fixed(streams: Streams, chunk: Any, place: str, kind: str) -> None:
    """Numbers and other elements of one width, none of them null."""
    width = chunk.type.bit_width // 8
    data = chunk.buffers()[1]
    if len(chunk) and width:
        start = chunk.offset * width
        streams.feed(place, kind, memoryview(data)[start : start + len(chunk) * width])


def _data_type(value: Any, _code: Code) -> Branch:
    storage = getattr(value, "storage_type", None)
    head = tag("arrow type", str(value), str(storage or ""))
    parts = [value.field(place) for place in range(value.num_fields)] if not storage else []
    return Branch(value, head, parts, by_nothing)


def _field(value: Any, _code: Code) -> Branch:
    parts = (value.type, value.nullable, value.metadata)
    return Branch(value, tag("arrow field", value.name), parts, by_names(("type",)))


def _schema(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("arrow schema"), (*value, value.metadata), by_nothing)


def _scalar(value: Any, _code: Code) -> Branch:
    one = sys.modules["pyarrow"].repeat(value, 1)
    return Branch(value, tag("arrow scalar"), (one,), by_nothing)


def _buffer(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("arrow buffer"), (memoryview(value),), by_nothing)


OPENERS: dict[str, tuple[Opener, bool]] = {
    "pyarrow.Table": (_table, True),
    "pyarrow.RecordBatch": (_table, True),
    "pyarrow.ChunkedArray": (_column, True),
    "pyarrow.Array": (_column, True),
    "pyarrow.DataType": (_data_type, True),
    "pyarrow.Field": (_field, True),
    "pyarrow.Schema": (_schema, True),
    "pyarrow.Scalar": (_scalar, True),
    "pyarrow.Buffer": (_buffer, True),
}
