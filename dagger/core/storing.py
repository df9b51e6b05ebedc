"""From what a task made to what is remembered of it: each output is digested and filed where it was made.

Runs in the worker (or the thread) that ran the task; of the store it needs the blobs alone.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping

from dagger.abstract import AbstractDatum, DatumList
from dagger.cache.blobs import BlobStore
from dagger.cache.digests import digest_bytes, digest_text, digest_value
from dagger.cache.files import with_bit
from dagger.cache.records import INLINE_LIMIT, Member, Output
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.places import Places
from dagger.core.task import is_pickle, matches
from dagger.errors import TaskError, UndigestibleError
from dagger.lean_typing import Any


class Storer:
    """Files the outputs of one task.

    Args:
        blobs: Where.
        places: Where paths lead.
        pickles: Whether what is returned for a ``.pkl`` file is the value to pickle, not the path of a pickle.
    """

    def __init__(self, blobs: BlobStore, places: Places, *, pickles: bool) -> None:
        self.blobs = blobs
        self.places = places
        self.pickles = pickles

    def store(self, outputs: Mapping[str, AbstractDatum], returned: Mapping[str, object] | None) -> tuple[Output, ...]:
        """File every output.

        Args:
            outputs: Name to datum, as declared.
            returned: Name to pointer, or None where the task populated the data itself.

        Raises:
            TaskError: An output is missing, or cannot be pickled; the message names it.
        """
        returned = returned or {}
        if unknown := set(returned) - set(outputs):
            raise TaskError(f"the task returned {sorted(unknown)}, which no output is named")
        return tuple(self._store(name, datum, returned.get(name), name in returned) for name, datum in outputs.items())

    def _store(self, name: str, datum: AbstractDatum, pointer: object, given: bool) -> Output:
        try:
            return self._stored(name, datum, pointer, given)
        except OSError as error:
            path = f"{datum.pointer} " if isinstance(datum, FileDatum) else ""
            raise TaskError(f"output {name!r}: {path}cannot be stored: {error}") from error

    def _stored(self, name: str, datum: AbstractDatum, pointer: object, given: bool) -> Output:
        plain = type(datum) is MemoryDatum  # looked up: `isinstance` of an abstract class takes five times as long
        if not plain and isinstance(datum, FileGlob):
            return self._glob(name, datum)
        if not plain and isinstance(datum, FileDatum):
            if given and self.pickles and is_pickle(datum):
                return self._pickle(name, datum, pointer)
            return self._file(name, str(pointer if given else datum.pointer))
        if given:
            datum.populate(pointer)
        if not plain and isinstance(datum, DatumList):
            items = tuple(
                self._store(f"{name}[{index}]", member, None, False) for index, member in enumerate(datum.datums)
            )
            digest = digest_text(" ".join(item.content for item in items))
            meaning = digest_text(" ".join(item.value or item.content for item in items))
            return Output(name, "list", digest, meaning, 0, items=items)
        if not datum.verify_available():
            raise TaskError(f"output {name!r} is not there after the task ended well")
        if plain or isinstance(datum, MemoryDatum):
            return self.value(name, datum.pointer)
        return self._handle(name, datum)

    def value(self, name: str, value: object) -> Output:
        """File a value as a blob of its own, small ones inside the record."""
        inline = plain_bytes(value)
        if inline is not None:
            return Output(name, "value", digest_bytes(inline), meaning(value), len(inline), inline=inline)
        from dagger.cache import values
        from dagger.core.value_files import pickling

        with pickling(name) as factory:
            small = _Small()
            try:
                values.dump(value, factory, small)
                inline = small.getvalue()
                content, size = digest_bytes(inline), len(inline)
            except _TooLarge:
                content, size = self.blobs.put_with(lambda file: values.dump(value, factory, file))
        classes = tuple(sorted(factory.classes))
        return Output(name, "value", content, meaning(value), size, inline=inline, classes=classes)

    def _handle(self, name: str, datum: AbstractDatum) -> Output:
        """A person's own datum: its pointer is kept, and its quickhash tells whether it still leads to the same."""
        kept = self.value(name, datum.pointer)
        return Output(
            name,
            "handle",
            kept.content,
            digest_value(datum.quickhash, path=name),
            kept.size,
            inline=kept.inline,
            classes=kept.classes,
        )

    def _file(self, name: str, path: str) -> Output:
        full = self.places.absolute(path)
        try:
            status = os.stat(full)
        except OSError:
            raise TaskError(f"output {name!r}: the task ended well but left no {path}") from None
        if stat.S_ISDIR(status.st_mode):
            digest, tree = self.blobs.put_tree(full)
            return Output(name, "tree", digest, digest, sum(it.size for it in tree), members=tree)
        if path.endswith("/"):
            raise TaskError(f"output {name!r}: {path} is declared as a directory but is a file")
        member = self._member("", full, status)
        counts = with_bit(member.digest, member.executable)
        return Output(name, "file", member.digest, counts, member.size, members=(member,))

    def _pickle(self, name: str, datum: FileDatum, value: object) -> Output:
        """Write a value as the pickle that a task declares; it counts by its meaning."""
        from dagger.core.value_files import dump_pickle

        path = str(datum.pointer)
        classes = dump_pickle(value, self.places.absolute(path), name=name)
        kept = self._file(name, path)
        return kept._replace(value=meaning(value), classes=tuple(sorted(classes)))

    def _glob(self, name: str, datum: FileGlob) -> Output:
        found = matches(datum.pattern, self.places.root)
        if not found:
            raise TaskError(f"output {name!r}: the task ended well but no file matches {datum.pattern}")
        members = []
        for path in found:
            full = self.places.absolute(path)
            members.append(self._member(path, full, os.stat(full)))
        digest = digest_text("\n".join(f"{it.path}\0{with_bit(it.digest, it.executable)}" for it in members))
        size = sum(member.size for member in members)
        return Output(name, "glob", digest, digest, size, members=tuple(members))

    def _member(self, path: str, full: str, status: os.stat_result) -> Member:
        digest, size = self.blobs.put_file(full)
        return Member(path, digest, size, bool(status.st_mode & stat.S_IXUSR))


def meaning(value: object) -> str | None:
    """Return a value's digest, or None where it has none (then it counts by its content)."""
    try:
        return digest_value(value)
    except UndigestibleError:
        return None


def plain_bytes(value: object) -> bytes | None:
    """Return a value's container where it is small and made of Python's own kinds, as most are."""
    from dagger.cache.values import dump_plain

    try:
        return dump_plain(value, INLINE_LIMIT)
    except Exception:  # what the general way is to say of it
        return None


class _TooLarge(Exception):  # noqa: N818  (never leaves this module)
    """A value does not fit inside its record."""


class _Small(io.BytesIO):
    """Takes what may live inside a record, and no more."""

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > INLINE_LIMIT:
            raise _TooLarge
        return super().write(data)
