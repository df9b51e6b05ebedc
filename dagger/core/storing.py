"""From what a task made to what is remembered of it: each output is digested and filed where it was made.

Runs in the worker (or the thread) that ran the task; of the store it needs the blobs alone.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Mapping

from dagger.abstract import AbstractDatum, DatumList
from dagger.cache.blobs import BlobStore
from dagger.cache.digests import digest_bytes, digest_text, digest_value
from dagger.cache.records import Member, Output
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.places import Places
from dagger.core.task import is_pickle, matches
from dagger.errors import TaskError, UndigestibleError

INLINE = 4096


class Storer:
    """Files the outputs of one task.

    Args:
        blobs: Where.
        places: Where paths lead.
        pickles: Whether ``.pkl`` files were pickled by dagger, so that they count by their value.
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
        if isinstance(datum, FileGlob):
            return self._glob(name, datum)
        if isinstance(datum, FileDatum):
            return self._file(name, datum, str(pointer) if given else str(datum.pointer), pointer)
        if given:
            datum.populate(pointer)
        if isinstance(datum, DatumList):
            items = tuple(
                self._store(f"{name}[{index}]", member, None, False) for index, member in enumerate(datum.datums)
            )
            digest = digest_text(" ".join(item.content for item in items))
            meaning = digest_text(" ".join(item.value or item.content for item in items))
            return Output(name, "list", digest, meaning, 0, items=items)
        if not datum.verify_available():
            raise TaskError(f"output {name!r} is not there after the task ended well")
        if isinstance(datum, MemoryDatum):
            return self.value(name, datum.pointer)
        return self._handle(name, datum)

    def value(self, name: str, value: object) -> Output:
        """File a value as a blob of its own, small ones inside the record."""
        from dagger.cache import values
        from dagger.core.shipping import pickling

        with (
            pickling(name) as factory,
            tempfile.SpooledTemporaryFile(max_size=1 << 16, dir=self.blobs.scratch) as file,
        ):
            values.dump(value, factory, file)
            size = file.tell()
            file.seek(0)
            inline = file.read() if size <= INLINE else None
            if inline is not None:
                content = digest_bytes(inline)
            else:
                content, size = self.blobs.put_stream(file)
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

    def _file(self, name: str, datum: FileDatum, path: str, value: object) -> Output:
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
        value_digest: str | None = _file_meaning(member)
        classes: tuple[str, ...] = ()
        if self.pickles and is_pickle(datum):
            value_digest, classes = self._pickled(full)
        return Output(
            name,
            "file",
            _file_meaning(member),
            value_digest,
            member.size,
            members=(member,),
            classes=classes,
        )

    def _pickled(self, path: str) -> tuple[str | None, tuple[str, ...]]:
        from dagger.core.shipping import load_pickle, pickling

        value = load_pickle(path)
        with pickling(path) as factory:
            factory(io.BytesIO()).dump(value)
            return meaning(value), tuple(sorted(factory.classes))

    def _glob(self, name: str, datum: FileGlob) -> Output:
        found = matches(datum.pattern, self.places.root)
        if not found:
            raise TaskError(f"output {name!r}: the task ended well but no file matches {datum.pattern}")
        members = []
        for path in found:
            full = self.places.absolute(path)
            members.append(self._member(path, full, os.stat(full)))
        digest = digest_text("\n".join(f"{it.path}\0{_file_meaning(it)}" for it in members))
        size = sum(member.size for member in members)
        return Output(name, "glob", digest, digest, size, members=tuple(members))

    def _member(self, path: str, full: str, status: os.stat_result) -> Member:
        digest, size = self.blobs.put_file(full)
        return Member(path, digest, size, bool(status.st_mode & stat.S_IXUSR))


def _file_meaning(member: Member) -> str:
    return member.digest


def meaning(value: object) -> str | None:
    """Return a value's digest, or None where it has none (then it counts by its content)."""
    try:
        return digest_value(value)
    except UndigestibleError:
        return None
