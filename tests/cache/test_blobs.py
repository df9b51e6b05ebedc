"""Blobs: what is taken out is what its digest says, or nothing; files given back are the user's own."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings, strategies as st

from dagger.cache import streams
from dagger.cache.blob_files import scratch_of
from dagger.cache.blobs import BlobStore
from dagger.cache.files import StatIndex
from dagger.cache.records import Member
from dagger.errors import DamagedError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    store = BlobStore(tmp_path / "blobs")
    yield store
    store.remove_overflow()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was read to check it."""
    sizes: list[int] = []

    def counting(descriptor: int) -> tuple[str, int]:
        found = streams.hash_descriptor(descriptor)
        sizes.append(found[1])
        return found

    monkeypatch.setattr("dagger.cache.blobs.hash_descriptor", counting)
    return sizes


@given(st.binary(max_size=3 * streams.CHUNK // 1000))
def test_round_trip(data: bytes) -> None:
    """Bytes come back, however they were put, under the xxh3_128 of them."""
    with tempfile.TemporaryDirectory() as folder:
        store = BlobStore(folder)
        digest = store.put_bytes(data)
        assert digest == xxhash.xxh3_128_hexdigest(data)
        assert store.read(digest) == data
        assert store.has(digest, len(data))
        assert not store.has(digest, len(data) + 1)
        Path(folder, "file").write_bytes(data)
        assert store.put_file(os.path.join(folder, "file")) == (digest, len(data))
        stream = io.BytesIO(b"head" + data)
        stream.seek(4)
        assert store.put_stream(stream) == (digest, len(data))
        assert [it[:2] for it in store.iter()] == [(digest, len(data))]


def test_files_of_many_chunks(store: BlobStore, tmp_path: Path) -> None:
    """A file of several chunks is kept and restored whole."""
    data = os.urandom(2 * streams.CHUNK + 17)
    (tmp_path / "big").write_bytes(data)
    digest, size = store.put_file(str(tmp_path / "big"))
    assert size == len(data)
    store.restore(digest, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == data


LARGE = streams._LARGE + streams.CHUNK + 17


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the system is asked to copy, on a file system that does not clone."""
    monkeypatch.setattr("dagger.cache.blobs.clone", lambda *_: False)
    (tmp_path / "large").write_bytes(os.urandom(LARGE))
    return tmp_path / "large"


def _some(real: Any, source: int, destination: int, count: int) -> int:
    return int(real(source, destination, count // 3 + 1))


def _none(*_: Any) -> int:
    return 0


def _not_offered(*_: Any) -> int:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


def _once(real: Any, source: int, destination: int, count: int) -> int:
    if os.lseek(source, 0, os.SEEK_CUR):
        raise OSError(errno.EINVAL, "Invalid argument")
    return int(real(source, destination, count))


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="the system does not copy")
@pytest.mark.parametrize("copied", [None, _some, _none, _not_offered, _once])
def test_system_copies_large_files(
    store: BlobStore, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: Callable[..., int] | None
) -> None:
    """However much of a large file the system copies by itself, all of it is kept and restored under its digest."""
    if copied is not None:
        real = os.copy_file_range
        monkeypatch.setattr(os, "copy_file_range", lambda *given: copied(real, *given))
    data = large.read_bytes()
    assert store.put_file(str(large)) == (xxhash.xxh3_128_hexdigest(data), LARGE)
    store.restore(xxhash.xxh3_128_hexdigest(data), str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == data


def test_large_copy_without_a_thread(store: BlobStore, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be no more threads, a large file is copied all the same."""

    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert store.put_file(str(large)) == (xxhash.xxh3_128_hexdigest(large.read_bytes()), LARGE)


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="the system does not copy")
def test_large_copy_whose_digest_fails(
    store: BlobStore, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes wrong in the thread is raised: a digest of a part is none, and no blob is dropped for it."""
    digest, _ = store.put_file(str(large))

    def no_memory(*_: object) -> int:
        raise MemoryError

    monkeypatch.setattr(os, "preadv", no_memory)
    with pytest.raises(MemoryError):
        store.restore(digest, str(tmp_path / "out"))
    assert store.has(digest, LARGE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "large"]


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason="the system does not copy")
def test_large_copy_that_fails(store: BlobStore, large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle of a copy, and a copy that is not what its blob is, leave nothing behind."""
    digest, _ = store.put_file(str(large))
    real = os.copy_file_range

    def full(source: int, destination: int, count: int) -> int:
        if os.lseek(source, 0, os.SEEK_CUR):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, destination, count)

    def wrong(source: int, destination: int, count: int) -> int:
        copied = real(source, destination, count)
        os.pwrite(destination, b"wrong", 0)
        return copied

    monkeypatch.setattr(os, "copy_file_range", full)
    with pytest.raises(OSError, match="No space"):
        store.restore(digest, str(tmp_path / "out"))
    assert store.has(digest, LARGE)
    monkeypatch.setattr(os, "copy_file_range", wrong)
    with pytest.raises(DamagedError):
        store.restore(digest, str(tmp_path / "out"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "large"]


def test_unflushed_stream(store: BlobStore, tmp_path: Path) -> None:
    """A file that was just written to, not flushed, is kept with all that was written."""
    with open(tmp_path / "f", "w+b") as file:
        file.write(b"x" * 100)
        file.seek(0)
        assert store.put_stream(file)[1] == 100


def test_nothing_half_written(store: BlobStore) -> None:
    """What fails while it is written leaves no blob and no rest."""

    def fail(file: io.BufferedIOBase) -> None:
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.put_with(fail)  # type: ignore[arg-type]
    assert list(store.iter()) == []
    assert os.listdir(store.scratch) == []


def _flip(path: str) -> None:
    data = bytearray(Path(path).read_bytes())
    data[0] ^= 1
    _overwrite(path, bytes(data))


def _cut(path: str) -> None:
    os.chmod(path, 0o600)
    os.truncate(path, 3)


def _empty(path: str) -> None:
    os.chmod(path, 0o600)
    os.truncate(path, 0)


def _directory(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


def _overwrite(path: str, data: bytes) -> None:
    os.chmod(path, 0o600)
    Path(path).write_bytes(data)


def _take(store: BlobStore, digest: str, take: str, out: Path) -> None:
    """Use a blob in one of the ways in which it is checked."""
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: store.read(digest),
        "open_checked": lambda: store.open_checked(digest),
        "restore": lambda: store.restore(digest, str(out)),
        "restore_tree": lambda: store.restore_tree([Member("a", digest, 8)], str(out)),
    }
    calls[take]()


@pytest.mark.parametrize("damage", [_flip, _cut, _empty, _directory, os.unlink])
@pytest.mark.parametrize("take", ["read", "open_checked", "restore", "restore_tree"])
def test_damage(store: BlobStore, tmp_path: Path, damage: Callable[[str], None], take: str) -> None:
    """A damaged blob is never given out: it is dropped, the destination stays, and it can be put again."""
    digest = store.put_bytes(b"precious")
    out = tmp_path / "out"
    out.write_text("before")
    damage(store.path(digest))
    with pytest.raises(DamagedError, match=digest):
        _take(store, digest, take, out)
    assert not os.path.lexists(store.path(digest))
    assert out.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["blobs", "out"]
    assert store.put_bytes(b"precious") == digest
    assert store.read(digest) == b"precious"


@pytest.mark.parametrize("take", ["read", "open_checked", "restore"])
def test_who_finds_damage_late_leaves_the_blob_that_was_put_anew(
    store: BlobStore, tmp_path: Path, take: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another has dropped it meanwhile, and its task has made it again."""
    digest = store.put_bytes(b"precious")
    path = store.path(digest)
    _flip(path)
    dropped = store._dropped

    def dropped_late(*given: Any) -> DamagedError:
        kept = os.open(path, os.O_RDONLY)  # so that what is put anew is another file for sure
        os.unlink(path)
        store.put_bytes(b"precious")
        os.close(kept)
        return dropped(*given)

    monkeypatch.setattr(store, "_dropped", dropped_late)
    with pytest.raises(DamagedError, match=digest):
        _take(store, digest, take, tmp_path / "out")
    assert store.read(digest) == b"precious"


@pytest.mark.parametrize("take", ["read", "open_checked", "restore"])
def test_a_blob_that_was_gone_is_told_so_though_it_is_put_anew(
    store: BlobStore, tmp_path: Path, take: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its absence is no fault of whoever asked for it."""
    digest = store.put_bytes(b"precious")
    os.unlink(store.path(digest))
    exists = os.path.exists

    def put_anew(place: str) -> bool:
        if place == path:
            monkeypatch.setattr(os.path, "exists", exists)
            store.put_bytes(b"precious")
        return exists(place)

    path = store.path(digest)
    monkeypatch.setattr(store, "path", lambda _: path)  # which looks as well
    monkeypatch.setattr(os.path, "exists", put_anew)
    with pytest.raises(DamagedError, match=digest):
        _take(store, digest, take, tmp_path / "out")


def test_damage_after_a_check(store: BlobStore) -> None:
    """A check holds only while the blob's stat stays as it was."""
    digest = store.put_bytes(b"precious")
    path = store.open_checked(digest)
    _flip(path)
    with pytest.raises(DamagedError):
        store.open_checked(digest)


def test_check_is_remembered(store: BlobStore, hashed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A blob that is not young is read once in a process, also through another store object."""
    digest = store.put_bytes(b"precious")
    hashed.clear()
    store.open_checked(digest)
    store.open_checked(digest)
    assert hashed == [8, 8]
    monkeypatch.setattr("dagger.cache.filesystems._RACY", -(10**12))
    store.open_checked(digest)
    pickle.loads(pickle.dumps(store)).open_checked(digest)
    assert hashed == [8, 8, 8]


def test_restored_is_the_users_own(store: BlobStore, tmp_path: Path) -> None:
    """Editing a restored file does not edit the cache: it is neither a hard link nor read-only."""
    digest = store.put_bytes(b"precious")
    out = tmp_path / "new" / "folder" / "out"
    store.restore(digest, str(out))
    with open(out, "r+b") as file:
        file.write(b"XX")
    assert os.stat(out).st_nlink == 1
    assert store.read(digest) == b"precious"


@pytest.mark.parametrize("executable", [False, True])
def test_mode(store: BlobStore, tmp_path: Path, executable: bool) -> None:
    """A restored file has the mode that a new file has here, and its executable bit."""
    before = os.umask(0o027)
    try:
        store.restore(store.put_bytes(b"x"), str(tmp_path / "out"), executable=executable)
    finally:
        os.umask(before)
    mode = stat.S_IMODE(os.stat(tmp_path / "out").st_mode)
    assert mode == (0o750 if executable else 0o640)


def test_link_at_the_destination(store: BlobStore, tmp_path: Path) -> None:
    """A link at the destination is replaced; what it leads to is not touched."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").symlink_to("mine")
    (tmp_path / "mydir").mkdir()
    (tmp_path / "tree").symlink_to("mydir")
    digest = store.put_bytes(b"x")
    store.restore(digest, str(tmp_path / "out"))
    store.restore_tree([Member("a", digest, 1)], str(tmp_path / "tree"))
    assert (tmp_path / "mine").read_text() == "mine"
    assert os.listdir(tmp_path / "mydir") == []
    assert not (tmp_path / "out").is_symlink()
    assert not (tmp_path / "tree").is_symlink()
    assert (tmp_path / "tree" / "a").read_text() == "x"


def test_linked_parent(store: BlobStore, tmp_path: Path) -> None:
    """A folder that is a link, as people have them to big disks, is written through."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "results").symlink_to("disk")
    store.restore(store.put_bytes(b"x"), str(tmp_path / "results" / "out"))
    assert (tmp_path / "disk" / "out").read_text() == "x"


def test_directory_in_the_way(store: BlobStore, tmp_path: Path) -> None:
    """A directory where a file belongs is not deleted by us."""
    (tmp_path / "out" / "sub").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        store.restore(store.put_bytes(b"x"), str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == ["blobs", "out"]


def test_tree_round_trip(store: BlobStore, tmp_path: Path) -> None:
    """A tree comes back the same: contents, executable bits, links, empty directories, odd names."""
    tree = tmp_path / "t"
    (tree / "a b" / "empty").mkdir(parents=True)
    (tree / "a b" / "ü\n").write_text("1")
    (tree / "run").write_text("2")
    (tree / "run").chmod(0o755)
    (tree / "link").symlink_to("a b/ü\n")
    (tree / "up").symlink_to(".")
    (tree / "dangling").symlink_to("/no/where")
    digest, members = store.put_tree(str(tree))
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "stale").write_text("")
    store.restore_tree(members, str(tmp_path / "back"))
    index = StatIndex(str(tmp_path))
    assert index.digest_path(str(tmp_path / "back")) == digest == index.digest_path(str(tree))
    assert not (tmp_path / "back" / "stale").exists()
    assert os.readlink(tmp_path / "back" / "link") == "a b/ü\n"
    assert (tmp_path / "back" / "a b" / "empty").is_dir()
    assert os.access(tmp_path / "back" / "run", os.X_OK)
    assert sorted(os.listdir(tmp_path)) == ["back", "blobs", "t"]


def test_tree_stands_on_its_own(store: BlobStore, tmp_path: Path) -> None:
    """What a link out of the tree leads to is kept as content, and the digest is that of the tree on disk."""
    (tmp_path / "outside").write_text("x")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "link").symlink_to(tmp_path / "outside")
    digest, members = store.put_tree(str(tmp_path / "t"))
    (tmp_path / "outside").unlink()
    store.restore_tree(members, str(tmp_path / "back"))
    assert (tmp_path / "back" / "link").read_text() == "x"
    assert StatIndex(str(tmp_path)).digest_path(str(tmp_path / "back")) == digest


parts = st.sampled_from(["a", "b", "c"])
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(paths, st.sampled_from(["file", "link", "dir"]), max_size=6).map(
        lambda it: {path: kind for path, kind in it.items() if not _is_below(path, it)}
    )
)
def test_any_tree(shape: dict[str, str]) -> None:
    """Any tree of files, links and empty directories comes back with its digest."""
    with tempfile.TemporaryDirectory() as folder:
        store = BlobStore(os.path.join(folder, "blobs"))
        tree = Path(folder, "t")
        tree.mkdir()
        for path, kind in shape.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                (tree / path).write_text(path)
            elif kind == "link":
                (tree / path).symlink_to("../a")
            else:
                (tree / path).mkdir(exist_ok=True)
        digest, members = store.put_tree(str(tree))
        shutil.rmtree(tree)
        store.restore_tree(members, str(tree))
        assert StatIndex(folder).digest_path(str(tree)) == digest
        assert store.put_tree(str(tree)) == (digest, members)


def _is_below(path: str, shape: dict[str, str]) -> bool:
    folders = path.split("/")
    return any("/".join(folders[:end]) in shape for end in range(1, len(folders)))


@pytest.mark.parametrize(
    "members",
    [
        [Member("../evil", "", 0, link="x")],
        [Member("/tmp/evil", "", 0, link="x")],
        [Member("a/../../evil", "", 0, link="x")],
        [Member("", "", 0, link="x")],
        [Member("a//b", "", 0, link="x")],
        [Member("../", "", 0)],
        [Member("d", "", 0, link=".."), Member("d/evil", "", 0, link="x")],
        [Member("d", "", 0, link=".."), Member("d/evil/", "", 0)],
    ],
)
def test_members_that_lead_out(store: BlobStore, tmp_path: Path, members: list[Member]) -> None:
    """No record, however it was damaged or made, writes outside of the directory that the task declares."""
    (tmp_path / "work").mkdir()
    with pytest.raises(DamagedError):
        store.restore_tree(members, str(tmp_path / "work" / "t"))
    assert os.listdir(tmp_path / "work") == []
    assert not list(tmp_path.rglob("evil"))


def test_full_store(store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store's disk is full, blobs go elsewhere, where every process finds them."""
    kept = store.put_bytes(b"kept")

    def full(path: str) -> str:
        if path == store.directory:
            raise OSError(errno.ENOSPC, "No space left on device")
        return scratch_of(path)

    monkeypatch.setattr("dagger.cache.blobs.scratch_of", full)
    digest = store.put_bytes(b"spilled")
    again = BlobStore(store.directory)
    assert again.read(digest) == b"spilled"
    assert again.read(kept) == b"kept"
    assert again.has(digest, 7)
    assert not again.has(digest, 8)
    assert not again.path(digest).startswith(store.directory)
    again.restore(digest, str(tmp_path / "out"))
    store.remove_overflow()
    assert not store.has(digest)


def test_overflow_of_somebody_else(store: BlobStore) -> None:
    """A directory in the temporary folder that others can enter is not used."""
    os.mkdir(store.overflow, 0o755)
    digest = xxhash.xxh3_128_hexdigest(b"planted")
    planted = Path(store.overflow, digest[:2], digest[2:])
    planted.parent.mkdir()
    planted.write_bytes(b"planted")
    assert not store.has(digest)
    with pytest.raises(DamagedError):
        store.read(digest)
    shutil.rmtree(store.overflow)


def test_store_deleted_under_our_hands(store: BlobStore) -> None:
    """Whoever deletes the store while a run goes on costs that run nothing but time."""
    store.put_bytes(b"1")
    shutil.rmtree(store.directory)
    digest = store.put_bytes(b"2")
    assert store.read(digest) == b"2"


WRITE = """
import os, sys
from dagger.cache.blobs import BlobStore
store = BlobStore(sys.argv[1])
for number in range(60):
    data = bytes([number % 7]) * 50_000
    digest = store.put_bytes(data)
    assert store.read(digest) == data
    store.restore(digest, sys.argv[2])
    assert len(open(sys.argv[2], "rb").read()) == 50_000
"""


def test_many_writers(tmp_path: Path) -> None:
    """Processes that put and restore the same blobs to the same place never meet half a file."""
    started = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path / "s"), str(tmp_path / "out")]) for _ in range(4)
    ]
    assert [process.wait() for process in started] == [0] * 4
    assert len(list(BlobStore(tmp_path / "s").iter())) == 7
    assert sorted(os.listdir(tmp_path)) == ["out", "s"]


def test_private(store: BlobStore) -> None:
    """Blobs are for their owner, and not to be written to."""
    path = store.path(store.put_bytes(b"x"))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(store.directory).st_mode) == 0o700


def test_put_again_makes_young(store: BlobStore) -> None:
    """A blob that is put again counts as young, so that gc in another process spares it."""
    digest = store.put_bytes(b"x")
    os.utime(store.path(digest), (1, 1))
    store.put_bytes(b"x")
    ((_, _, time),) = store.iter()
    assert time > 1000
