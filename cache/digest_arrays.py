"""Openers of numpy and scipy.sparse values: dtype, shape and elements, whatever the memory layout.

A contiguous array is hashed where it lies; any other goes through a small buffer in C order. The
dtype counts with its byte order, a function can tell; padding between fields does not. A memmap is
the array that it maps. A NaN in an array counts by its bits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from xxhash import xxh3_128, xxh3_128_digest

from dagger.cache.digest_encoding import Branch, Encoded, by_names, by_nothing, flat, seal, tag
from dagger.cache.digest_instances import by_global_name, class_name
from dagger.errors import UndigestibleError
from dagger.lean_typing import Any

Code = Callable[[object], str]
Opener = Callable[[Any, Code], "bytes | Branch"]

_BUFFER = 1 << 18


def _numpy() -> Any:
    return sys.modules["numpy"]


def _array(value: Any, _code: Code) -> bytes | Branch:
    return _elements(value, _numpy().asarray(value), "array")


def _scalar(value: Any, _code: Code) -> bytes | Branch:
    return _elements(value, _numpy().asarray(value), "scalar")


def _elements(value: object, array: Any, kind: str) -> bytes | Branch:
    dtype = array.dtype
    extras: list[object] = []
    head = tag(kind, *map(str, array.shape)) + _describe(dtype, extras)
    if dtype.names is not None and not _is_packed(dtype):
        parts = [*extras, *(array[name] for name in dtype.names)]
        return Branch(value, head, parts, by_names((*("",) * len(extras), *dtype.names)))
    if dtype.hasobject or dtype.kind == "T":
        elements = array.ravel().tolist()
        body = flat(elements)
        if body is not None and not extras:
            return seal(head + b"%d:" % len(elements) + body)
        parts = [*extras, *elements]
        return Branch(value, head, parts, _by_index(array.shape, len(extras)))
    data = b"0:" if array.nbytes == 0 else b"#" + _digest_of(array)
    if extras:
        return Branch(value, head, [*extras, Encoded(data)], by_nothing)
    return seal(head + data)


def _by_index(shape: tuple[int, ...], extras: int) -> Callable[[Branch, int], str]:
    def label(_branch: Branch, position: int) -> str:
        if position < extras:
            return ".dtype"
        index = _numpy().unravel_index(position - extras, shape)
        return "[" + ", ".join(map(str, index)) + "]"

    return label


def _describe(dtype: Any, extras: list[object]) -> bytes:
    """A dtype as bytes; values that belong to it, such as metadata, go to `extras`."""
    if dtype.metadata:
        extras.append(dict(dtype.metadata))
    if dtype.kind == "T":
        extras.append(getattr(dtype, "na_object", NotImplemented))
        return tag("text dtype", str(getattr(dtype, "coerce", True)))
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return tag("sub dtype", *map(str, shape)) + _describe(base, extras)
    if dtype.names is None:
        # What others add to numpy, bfloat16 for one, looks like raw bytes but for its type.
        return tag("dtype", dtype.str, dtype.type.__name__ if dtype.kind == "V" else "")
    head = tag("record dtype", dtype.type.__name__, str(dtype.itemsize), str(dtype.isalignedstruct))
    head += b"%d:" % len(dtype.names)
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        head += tag("field", name, str(offset), *map(str, title)) + _describe(field, extras)
    return head


def _is_packed(dtype: Any) -> bool:
    """Whether every byte of an element has a meaning."""
    if dtype.subdtype is not None:
        return _is_packed(dtype.subdtype[0])
    if dtype.names is None:
        return not dtype.hasobject and dtype.kind != "T" and not _padding(dtype)
    fields = [dtype.fields[name] for name in dtype.names]
    ends = [0, *(offset + field.itemsize for field, offset, *_ in fields)]
    starts = [*(offset for _, offset, *_ in fields), dtype.itemsize]
    return ends == starts and all(_is_packed(field) for field, *_ in fields)


def _padding(dtype: Any) -> int:
    """How many bytes of a number are meaningless, as in the x86 long double of 80 bits."""
    part = dtype.itemsize // (2 if dtype.kind == "c" else 1)
    if dtype.kind not in "fc" or part <= 8 or _numpy().finfo(dtype).nmant != 63:
        return 0
    return int(part) - 10


def _digest_of(array: Any) -> bytes:
    numpy = _numpy()
    padding = _padding(array.dtype)
    if array.flags.c_contiguous and not padding:
        return xxh3_128_digest(array.reshape(-1).view(numpy.uint8))
    hasher = xxh3_128()
    itemsize = array.dtype.itemsize
    raw = array.view(numpy.ndarray).view(f"V{itemsize}")
    chunks = numpy.nditer(
        raw,
        flags=["external_loop", "buffered"],
        order="C",
        buffersize=max(1, _BUFFER // itemsize),
    )
    for chunk in chunks:
        data = numpy.ascontiguousarray(chunk).view(numpy.uint8)
        if padding:
            data = data.reshape(-1, padding + 10).copy()
            data[:, 10:] = 0
        hasher.update(data.reshape(-1))
    return hasher.digest()


def _dtype(value: Any, _code: Code) -> bytes | Branch:
    extras: list[object] = []
    head = tag("dtype value") + _describe(value, extras)
    return Branch(value, head, extras, by_names(("metadata",)))


def _masked(value: Any, _code: Code) -> Branch:
    # A mask of nothing and no mask are the same, as they are to pickle; what is masked counts.
    names = ("data", "mask", "fill_value", "hardmask")
    numpy = _numpy()
    data, mask = numpy.asarray(value.data), numpy.asarray(numpy.ma.getmaskarray(value))
    fill = numpy.asarray(value.fill_value)
    head = tag("masked array", class_name(type(value)))
    return Branch(value, head, (data, mask, fill, bool(value.hardmask)), by_names(names))


def _ufunc(value: Any, _code: Code) -> bytes:
    name = str(value.__name__)
    for module in ("numpy", "numpy.strings", "numpy._core.umath", "scipy.special"):
        if getattr(sys.modules.get(module), name, None) is value:
            return seal(tag("ufunc", module, name))
    # One of numpy.frompyfunc hides the function that it calls.
    raise UndigestibleError("", "ufunc")


def _generator(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("generator"), (value.bit_generator,), by_names(("bit_generator",)))


def _bit_generator(value: Any, _code: Code) -> Branch:
    # The seed sequence decides what spawned children will draw. Numpy 1 does not pickle it, so no task sees it there.
    seed = value.seed_seq if isinstance(value.__reduce__()[2], tuple) else None
    head = tag("bit generator", class_name(type(value)))
    return Branch(value, head, (value.state, seed), by_names(("state", "seed_seq")))


def _seed_sequence(value: Any, _code: Code) -> Branch:
    return Branch(value, tag("seed sequence"), (value.state,), by_names(("state",)))


def _random_state(value: Any, _code: Code) -> Branch:
    state = value.get_state(legacy=False)
    return Branch(value, tag("random state"), (state,), by_names(("state",)))


def _sparse(value: Any, _code: Code) -> Branch:
    # Entries in the order of their place; the width of the indices is no meaning.
    numpy = _numpy()
    if value.format in ("csr", "csc", "bsr"):
        if not value.has_sorted_indices:
            value = value.copy()
            value.sort_indices()
        indices = [value.indices, value.indptr]
        data = value.data
    elif value.format == "dia":
        indices, data = [value.offsets], value.data
    else:
        entries = value.tocoo()
        coordinates = getattr(entries, "coords", None) or (entries.row, entries.col)
        order = numpy.lexsort(coordinates[::-1])
        indices, data = [part[order] for part in coordinates], entries.data[order]
    parts = (data, *(part.astype(numpy.int64, copy=False) for part in indices))
    head = tag("sparse", class_name(type(value)), *map(str, value.shape))
    return Branch(value, head, parts, by_nothing)


def _named_function(value: Any, code: Code) -> bytes | Branch:
    return by_global_name(value, code)


_PART = False
_WHOLE = True

OPENERS: dict[str, tuple[Opener, bool]] = {
    "numpy.ndarray": (_array, _PART),
    "numpy.memmap": (_array, _WHOLE),
    "numpy.generic": (_scalar, _WHOLE),
    "numpy.str_": (_scalar, _WHOLE),
    "numpy.bytes_": (_scalar, _WHOLE),
    "numpy.dtype": (_dtype, _WHOLE),
    "numpy.MaskedArray": (_masked, _WHOLE),
    "numpy.ufunc": (_ufunc, _WHOLE),
    "numpy._ArrayFunctionDispatcher": (_named_function, _WHOLE),
    "numpy.Generator": (_generator, _WHOLE),
    "numpy.BitGenerator": (_bit_generator, _WHOLE),
    "numpy.SeedSequence": (_seed_sequence, _WHOLE),
    "numpy.RandomState": (_random_state, _WHOLE),
    "scipy.spmatrix": (_sparse, _WHOLE),
    "scipy._spbase": (_sparse, _WHOLE),
}
