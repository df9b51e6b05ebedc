"""A column's elements as a few running digests, so that chunks make no difference.

A nested column has places: itself, its items, its fields. Each place has a stream for the positions
of its nulls, one for the lengths of what varies, and one for the bytes of what is not null.
"""

from __future__ import annotations

from xxhash import xxh3_128

from dagger.cache.digest_encoding import seal, tag
from dagger.lean_typing import Any


class Streams:
    """Running digests of one column, by place and kind."""

    def __init__(self) -> None:
        self._hashers: dict[tuple[str, str], Any] = {}
        self._lengths: dict[str, int] = {}
        self.objects: list[object] = []

    def count(self, place: str, length: int) -> int:
        """Note that so many more elements come at a place; how many there were before."""
        before = self._lengths.get(place, 0)
        self._lengths[place] = before + length
        return before

    def feed(self, place: str, kind: str, data: Any) -> None:
        """Take in a contiguous buffer of what comes next in a stream."""
        hasher = self._hashers.get((place, kind))
        if hasher is None:
            hasher = self._hashers[place, kind] = xxh3_128()
        hasher.update(data)

    def has(self, place: str, kind: str) -> bool:
        """Whether anything was fed there."""
        return (place, kind) in self._hashers

    def encode(self) -> bytes:
        """All of it: whatever the chunks, the same elements give the same bytes."""
        nothing = xxh3_128().digest()
        encoding = b""
        for place in sorted(self._lengths):
            encoding += tag("place", place, str(self._lengths[place]))
        for (place, kind), hasher in sorted(self._hashers.items()):
            if hasher.digest() != nothing:
                encoding += tag("stream", place, kind) + hasher.digest()
        return seal(b"%d:" % len(encoding) + encoding)
