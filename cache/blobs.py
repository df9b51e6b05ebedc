"""The bytes of outputs, as plain files named by their digest.

Workers write here without the index: a blob is written beside and renamed into place, so that a
reader sees all of it or nothing, and any number of processes may publish the same one. The name is
a claim that is checked whenever bytes are taken out; a crash or a bad disk costs a rerun.

Layout: ``ab/cdef...`` by digest, ``tmp/`` for what is being written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import count
from threading import get_ident

import xxhash

from dagger.cache.blob_files import (
    PREFIX,
    UNWRITABLE,
    Signature,
    beside,
    damage_of,
    is_private,
    list_folder,
    list_places,
    make_scratch,
    place_of,
    put_whole,
    remove_whatever,
    scratch_of,
    signature_of,
)
from dagger.cache.filesystems import FileClock, temporary_place
from dagger.cache.layout import make_private, remove_tree
from dagger.cache.records import Member
from dagger.cache.streams import CHUNK, clone, copy_hashed, hash_descriptor, write_all
from dagger.cache.trees import build_tree, collect_members, digest_members, exchange
from dagger.errors import CacheError, DamagedError
from dagger.lean_typing import BinaryIO

# Blobs whose digest this process has checked, by path. Stores are made anew for each job, the
# knowledge stays.
_checked: dict[str, Signature] = {}
_clocks: dict[str, FileClock] = {}

Content = tuple[str, int]
"""Digest and size."""

_SMALL = 1 << 16
"""Up to this size a file is read whole, so that what is digested need not be read a second time."""
_numbers = count()


class BlobStore:
    """A directory of blobs, made at the first write.

    While it cannot be written (full, read-only), blobs go to a private directory in the system's
    temporary folder, which every process finds by the store's name; the cache removes it when it is
    closed.

    Args:
        directory: Where the blobs are.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.path.abspath(directory)

    @cached_property
    def overflow(self) -> str:
        """The directory, in this session's own temporary one, that stands in where this one cannot be written."""
        named = xxhash.xxh3_64_hexdigest(os.fsencode(self.directory))
        return os.path.join(temporary_place(), f"dagger-{os.getuid()}-{named}")

    def __reduce__(self) -> tuple[type[BlobStore], tuple[str]]:
        return BlobStore, (self.directory,)

    @property
    def scratch(self) -> str:
        """A directory, made when missing, for what is not a blob yet, on the same file system."""
        try:
            return make_scratch(self.directory)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            return self._overflow_scratch()

    def path(self, digest: str) -> str:
        """Where the blob is, or would be."""
        home = place_of(self.directory, digest)
        return home if os.path.exists(home) else self._spare(digest) or home

    def has(self, digest: str, size: int | None = None) -> bool:
        """Whether a blob of this size is there; its content is not looked at."""
        try:
            status = os.stat(place_of(self.directory, digest))
        except OSError:
            spare = self._spare(digest)
            if spare is None:
                return False
            status = os.stat(spare)
        return stat.S_ISREG(status.st_mode) and size in (None, status.st_size)

    def put_bytes(self, data: bytes | memoryview) -> str:
        """Keep some bytes; return their digest."""
        digest = str(xxhash.xxh3_128_hexdigest(data))
        if not self.refresh(digest, len(data)):

            def write(descriptor: int) -> Content:
                write_all(descriptor, data)
                return digest, len(data)

            self._put(write)
        return digest

    def put_file(self, path: str) -> tuple[str, int]:
        """Keep a copy of a file (a clone where the file system can); return its digest and size.

        What is digested is the copy, so that a file that changes meanwhile cannot be filed wrongly.
        """
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(source).st_size <= _SMALL:
                data = os.read(source, _SMALL + 1)
                if len(data) <= _SMALL:
                    return self.put_bytes(data), len(data)
                os.lseek(source, 0, os.SEEK_SET)
            # Reading twice is cheaper than writing once what is there already.
            found = hash_descriptor(source)
            return found if self.refresh(*found) else self._put(lambda blob: _copy(source, blob))
        finally:
            os.close(source)

    def put_stream(self, file: BinaryIO) -> tuple[str, int]:
        """Keep what a file holds from its present position on; return its digest and size."""
        import shutil

        start = file.tell()

        def fill(blob: BinaryIO) -> None:

            file.seek(start)
            shutil.copyfileobj(file, blob, CHUNK)

        return self.put_with(fill)

    def put_with(self, fill: Callable[[BinaryIO], object], known: Content | None = None) -> Content:
        """Keep what ``fill`` writes to the file that it is given; return the digest and the size.

        Args:
            fill: May be called a second time, when the first place that it wrote to was full.
            known: The digest and the size, where who fills knows them; else what was written is read.
        """

        def write(descriptor: int) -> Content | None:
            with open(descriptor, "w+b", closefd=False) as file:
                fill(file)
            return known

        return self._put(write)

    def put_tree(self, directory: str) -> tuple[str, tuple[Member, ...]]:
        """Keep every file below a directory; return the digest of the whole and its members."""
        members = collect_members(directory, self.put_file)
        return digest_members(members), members

    def read(self, digest: str) -> bytes:
        """Return a blob's bytes.

        Raises:
            DamagedError: It is gone, or it is not what its digest says; then it has been dropped.
        """
        path = self.path(digest)
        with self._reporting(digest), open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read()
        if xxhash.xxh3_128_hexdigest(data) != digest:
            raise self._dropped(digest, path, status)
        return data

    def open_checked(self, digest: str) -> str:
        """Return the path of a blob that was checked, now or earlier with the same stat since.

        Raises:
            DamagedError: As for ``read``.
        """
        path = self.path(digest)
        with self._reporting(digest), open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            if _checked.get(path) == signature_of(before):
                return path
            trusted_before = self._clock().racy_since(path, before.st_dev)
            found, _ = hash_descriptor(file.fileno())
        if found != digest:
            raise self._dropped(digest, path, before)
        if max(before.st_mtime_ns, before.st_ctime_ns) < trusted_before:
            _checked[path] = signature_of(before)
        return path

    def restore(self, digest: str, destination: str, *, executable: bool = False) -> None:
        """Put a blob's content at ``destination``, which is replaced at once and whole.

        The content is checked; the file is the user's own (no link to the blob), even where the
        destination was a symbolic link, which is replaced and not followed.

        Raises:
            DamagedError: As for ``read``; the destination is as it was.
            IsADirectoryError: A directory is in the way.
        """
        folder = os.path.dirname(os.path.abspath(destination))
        os.makedirs(folder, exist_ok=True)
        with put_whole(destination) as unfinished:
            self._copy_out(digest, unfinished, 0o777 if executable else 0o666)

    def restore_tree(self, members: Sequence[Member], destination: str) -> None:
        """Put a directory at ``destination``, in place of what is there; no link is followed.

        Raises:
            DamagedError: As for ``read``, or a member leads out of the directory; nothing was
                replaced.
        """
        import shutil

        destination = os.path.abspath(destination)
        os.makedirs(os.path.dirname(destination), exist_ok=True)
        unfinished = beside(destination)
        os.mkdir(unfinished, 0o700)
        try:
            built = os.path.join(unfinished, "new")
            build_tree(members, built, self._restore_member)
            exchange(built, destination, os.path.join(unfinished, "old"))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def iter(self) -> Iterator[tuple[str, int, float]]:
        """Return digest, size and time of the last writing of each blob."""
        for place in (self.directory, self.overflow):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for folder in sorted(os.listdir(place)):
                    if len(folder) == PREFIX:
                        yield from list_folder(os.path.join(place, folder), folder)

    def is_spare(self, digest: str) -> bool:
        """Whether a blob found no room in the store, and goes with the rest of the overflow."""
        return not os.path.exists(place_of(self.directory, digest)) and self._spare(digest) is not None

    def damaged(self) -> Iterator[tuple[str, str]]:
        """Read every blob; return the digest of each that is damaged, and what is wrong with it. Nothing is changed."""
        for digest, path in list_places(self.directory):
            if what := damage_of(digest, path):
                yield digest, what

    def drop(self, digest: str) -> None:
        """Delete a damaged blob, whatever stands in its place."""
        path = place_of(self.directory, digest).rstrip("/")
        _checked.pop(path, None)
        remove_whatever(path)

    def remove(self, digest: str) -> None:
        """Delete a blob; one that is gone already is fine."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(digest))

    def remove_overflow(self) -> None:
        """Delete what went to the temporary folder while the store could not be written."""
        if is_private(self.overflow):
            remove_tree(self.overflow)

    def _spare(self, digest: str) -> str | None:
        spare = place_of(self.overflow, digest)
        return spare if os.path.exists(spare) and is_private(self.overflow) else None

    def _overflow_scratch(self) -> str:
        scratch = make_scratch(self.overflow)
        if not is_private(self.overflow):
            raise CacheError(f"{self.overflow} belongs to somebody else; set TMPDIR to a place of your own")
        return scratch

    def _put(self, write: Callable[[int], Content | None]) -> Content:
        """Keep what ``write`` writes to a descriptor; it returns what that was, or None to have it read again."""
        try:
            try:
                return self._publish(self.directory, scratch_of(self.directory), write)
            except FileNotFoundError:  # the first blob, or somebody has deleted the store
                return self._publish(self.directory, make_scratch(self.directory), write)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
        return self._publish(self.overflow, self._overflow_scratch(), write)

    def _publish(self, place: str, scratch: str, write: Callable[[int], Content | None]) -> Content:
        unfinished = f"{scratch}/{os.getpid()}-{get_ident()}-{next(_numbers)}"
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        is_put = False
        try:
            try:
                known = write(descriptor)
                if known is None:
                    os.lseek(descriptor, 0, os.SEEK_SET)
                content = known or hash_descriptor(descriptor)
                os.fchmod(descriptor, 0o444)
            finally:
                os.close(descriptor)
            if known or not self.refresh(*content):
                _put_in_place(unfinished, place_of(place, content[0]))
                is_put = True
        finally:
            if not is_put:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished)
        return content

    def refresh(self, digest: str, size: int) -> bool:
        """Whether the blob is there; it is made young, so that gc spares it for a while."""
        path = place_of(self.directory, digest)
        try:
            if os.stat(path).st_size != size:
                return False
            os.utime(path)
        except OSError:
            spare = self._spare(digest)
            return spare is not None and os.stat(spare).st_size == size
        return True

    def _restore_member(self, member: Member, destination: str) -> None:
        self._copy_out(member.digest, destination, 0o777 if member.executable else 0o666)

    def _copy_out(self, digest: str, destination: str, mode: int) -> None:
        path = self.path(digest)
        with self._reporting(digest):
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                status = os.fstat(source)
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                descriptor = os.open(destination, flags, mode)
                try:
                    if status.st_size <= _SMALL:  # sooner copied than it is asked whether it can be cloned
                        data = os.read(source, status.st_size + 1)
                        write_all(descriptor, data)
                        found = str(xxhash.xxh3_128_hexdigest(data))
                    elif clone(source, descriptor):
                        found, _ = hash_descriptor(descriptor)
                    else:
                        found, _ = copy_hashed(source, descriptor)
                finally:
                    os.close(descriptor)
            finally:
                os.close(source)
        if found != digest:
            raise self._dropped(digest, path, status)

    def _dropped(self, digest: str, path: str, status: os.stat_result | None = None) -> DamagedError:
        """Remove a damaged blob: with a ``status`` only the file of it, not one that was put in its place meanwhile."""
        _checked.pop(path, None)
        with contextlib.suppress(OSError):
            if status is None or signature_of(status) == signature_of(os.lstat(path)):
                remove_whatever(path)
        return DamagedError(f"the blob {digest} was damaged and has been dropped; its task must run again")

    @contextlib.contextmanager
    def _reporting(self, digest: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = self.path(digest)
            if error.errno == errno.EIO or os.path.isdir(path):
                raise self._dropped(digest, path) from error
            # One that was gone a moment ago may be put anew already.
            if os.path.exists(path) and not (isinstance(error, FileNotFoundError) and error.filename == path):
                raise
            raise DamagedError(f"the blob {digest} is gone; its task must run again") from error

    def _clock(self) -> FileClock:
        if self.directory not in _clocks:
            _clocks[self.directory] = FileClock(self.directory)
        return _clocks[self.directory]


def _copy(source: int, blob: int) -> Content | None:
    """Fill a blob with what a file holds; return that, or None where the file system did it."""
    os.lseek(source, 0, os.SEEK_SET)
    return None if clone(source, blob) else copy_hashed(source, blob)


def _put_in_place(beside: str, path: str) -> None:
    """Rename a file to a blob's place; what else than a blob stands in the way there is damage, and goes."""
    try:
        os.replace(beside, path)
    except IsADirectoryError:
        remove_whatever(path)
        os.replace(beside, path)
    except (FileNotFoundError, NotADirectoryError):
        folder = os.path.dirname(path)
        if os.path.lexists(folder) and not os.path.isdir(folder):
            remove_whatever(folder)
        make_private(folder)
        os.replace(beside, path)
