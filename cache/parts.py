"""What a fingerprint is made of: parts with their source, for keys, records and reasons."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dagger.lean_typing import NamedTuple

Digest = str


class Part:
    """One function, class, value, module or extension of own code that a function reaches.

    Two parts are equal when name, kind and digest are: the source only explains.

    Attributes:
        name: Module and qualified name, as in ``pipeline.clean`` or ``helpers.TABLE``.
        kind: "function", "class", "value", "module" or "extension".
        digest: Digest of this part alone, without what it uses.
    """

    __slots__ = ("_source", "digest", "kind", "name")

    def __init__(self, name: str, kind: str, digest: Digest, source: str | Callable[[], str] = "") -> None:
        self.name = name
        self.kind = kind
        self.digest = digest
        self._source = source

    @property
    def source(self) -> str:
        """Dedented source text, or a value's repr; read when first asked for, empty if unknown."""
        if not isinstance(self._source, str):
            self._source = self._source()
        return self._source

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Part):
            return NotImplemented
        return (self.name, self.kind, self.digest) == (other.name, other.kind, other.digest)

    def __hash__(self) -> int:
        return hash((self.name, self.kind, self.digest))

    def __repr__(self) -> str:
        return f"Part({self.name!r}, {self.kind!r}, {self.digest!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return Part, (self.name, self.kind, self.digest, self.source)


class Fingerprint(NamedTuple):
    """The meaning of a function: its code and, transitively, the code and values it uses.

    Attributes:
        digest: Digest of all of it, installed versions included.
        parts: What it is made of, sorted by name.
        distributions: Name and version of the installed distributions it uses, and of those that
            they require.
        reached: Own module, as in `sys.modules`, to the names in it that are read; None stands for
            all of it.
    """

    digest: Digest
    parts: tuple[Part, ...]
    distributions: tuple[tuple[str, str], ...]
    reached: Mapping[str, frozenset[str] | None]
