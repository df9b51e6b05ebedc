"""The cache as the engine sees it: what was added is found, what is needed stays, what is the user's is kept."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagger.cache.blob_files import scratch_of
from dagger.cache.cache import Cache
from dagger.cache.records import Entry, Member, Output, Read, Record
from dagger.errors import CacheError

KEY = "k" * 32


def record(key: str = KEY, *, root: str = "/r", task: str = "t", **more: Any) -> Record:
    filled: dict[str, Any] = {
        "rows": (("input", "x", "d"),),
        "fingerprint": "",
        "reads": (),
        "outputs": (),
        "started": time.time(),
        "seconds": 0.0,
    }
    return Record(key=key, root=root, task=task, kind="FunctionTask", **filled | more)


def read(digest: str) -> tuple[Read, ...]:
    return (Read("file", "table.csv", digest),)


@pytest.fixture(params=["disk", "memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cache]:
    if request.param == "disk":
        made = Cache.open(tmp_path / ".dagger", root=tmp_path)
    else:
        made = Cache.in_memory(root=tmp_path)
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Cache]:
    made = Cache.open(tmp_path / ".dagger", root=tmp_path)
    yield made
    made.close()


def reopened(cache: Cache) -> Cache:
    cache.close()
    return Cache.open(cache.directory, root=cache.root)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    """A cache that was only asked leaves no directory behind, as after a dry run."""
    (tmp_path / "source").write_text("x")
    os.utime(tmp_path / "source", (1, 1))
    cache = Cache.open(tmp_path / ".dagger", root=tmp_path)
    assert cache.records(KEY) == []
    assert cache.entry("/r", "t") is None
    assert cache.journal("/r") == {}
    assert list(cache.all_records()) == []
    assert not cache.blobs.has("0" * 32)
    cache.stats.digest_file(str(tmp_path / "source"))
    cache.flush()
    cache.close()
    assert os.listdir(tmp_path) == ["source"]


def test_lean_reading(tmp_path: Path) -> None:
    """Opening and reading a cache imports neither diskcache nor anything heavy."""
    cache = Cache.open(tmp_path / ".dagger")
    cache.add(record())
    cache.close()
    code = (
        "import sys; from dagger.cache import Cache; c = Cache.open(sys.argv[1]);"
        f"assert len(c.records('{KEY}')) == 1; c.close();"
        "print([m for m in ('diskcache', 'numpy', 'asyncio', 'logging', 'loky') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / ".dagger")], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_private_directory(disk: Cache) -> None:
    """A new cache is its owner's alone, and git does not see it."""
    disk.add(record())
    disk.flush()
    outer = Path(disk.directory)
    assert stat.S_IMODE(outer.stat().st_mode) == 0o700
    assert stat.S_IMODE((outer / "v2").stat().st_mode) == 0o700
    assert (outer / ".gitignore").read_text() == "*\n"
    assert len(disk.secret) == 32
    assert stat.S_IMODE((outer / "v2" / "secret").stat().st_mode) == 0o600


@pytest.mark.parametrize("place", ["", "v2"])
def test_others_can_write(disk: Cache, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that others can write is refused, with the command that mends it, unless that is wanted."""
    disk.add(record())
    disk.close()
    path = Path(disk.directory, place)
    path.chmod(0o770)
    with pytest.raises(CacheError, match="chmod go-w"):
        Cache.open(disk.directory)
    Cache.open(disk.directory, allow_shared=True).close()
    monkeypatch.setenv("DAGGER_ALLOW_SHARED_CACHE", "1")
    Cache.open(disk.directory).close()
    monkeypatch.delenv("DAGGER_ALLOW_SHARED_CACHE")
    path.chmod(0o750)
    Cache.open(disk.directory).close()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    """A file where the cache belongs is said to be one."""
    (tmp_path / ".dagger").write_text("")
    with pytest.raises(CacheError, match="not a directory"):
        Cache.open(tmp_path / ".dagger")


def test_newer_format_is_left_alone(disk: Cache) -> None:
    """What another version of the format keeps beside ours is not touched, by gc either."""
    other = Path(disk.directory, "v2", "blobs")
    other.mkdir(parents=True, mode=0o700)
    (other / "x").write_text("x")
    os.utime(other / "x", (1, 1))
    disk.add(record())
    disk.gc(max_age=0, max_bytes=0)
    disk.verify()
    assert (other / "x").read_text() == "x"


def test_newest_first(cache: Cache) -> None:
    """A key has several records by what was read, newest first; one of the same reads replaces the former."""
    for seconds, digest in enumerate(["A", "B", "A"]):
        cache.add(record(reads=read(digest), seconds=float(seconds)))
        cache.flush()
    assert [(it.reads[0].digest, it.seconds) for it in cache.records(KEY)] == [("A", 2.0), ("B", 1.0)]


def test_added_is_seen_at_once(cache: Cache) -> None:
    """What waits to be written is found, together with what was written."""
    cache.add(record(reads=read("A")))
    cache.flush()
    cache.add(record(reads=read("B")))
    cache.add(record("other"))
    found = cache.records_many([KEY, "other", "none"])
    assert [len(found[key]) for key in (KEY, "other", "none")] == [2, 1, 0]
    assert len(list(cache.all_records())) == 3


def test_written_in_half_a_second(disk: Cache) -> None:
    """A record is on disk soon after it was added, without anybody calling flush."""
    disk.add(record())
    other = Cache.open(disk.directory)
    deadline = time.monotonic() + 10
    while not other.records(KEY) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert other.records(KEY) == [disk.records(KEY)[0]]


def test_written_at_exit(tmp_path: Path) -> None:
    """A process that ends without closing its cache has lost nothing."""
    code = (
        "import sys; from dagger.cache import Cache, Entry; c = Cache.open(sys.argv[1]);"
        "c.set_entry('/r', 't', Entry('k', (), '', 'ran')); raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "c")])
    assert done.returncode == 3
    entry = Cache.open(tmp_path / "c").entry("/r", "t")
    assert entry is not None
    assert entry.outcome == "ran"


def test_entries(cache: Cache) -> None:
    """What a task last did is kept per root and task, whatever their names."""
    for root, task in [("/r", "a"), ("/r", "b:\0\udcff"), ("/r2", "a")]:
        cache.set_entry(root, task, Entry(root + task, (), "", "ran"))
    cache.set_entry("/r", "a", Entry("new", (), "", "failed", error="why"))
    entry = cache.entry("/r", "a")
    assert entry is not None
    assert (entry.key, entry.error) == ("new", "why")
    assert cache.entry("/r", "none") is None
    assert {task: it.key for task, it in cache.entries("/r").items()} == {
        "a": "new",
        "b:\0\udcff": "/rb:\0\udcff",
    }


def test_parts(cache: Cache) -> None:
    """What a fingerprint was made of is kept, shared parts once."""
    shared = SimpleNamespace(name="m.helper", kind="function", digest="d0", source="def helper(): ...")
    for name in ("one", "two"):
        own = SimpleNamespace(name=f"m.{name}", kind="function", digest=name, source=f"def {name}(): ...")
        code: Any = SimpleNamespace(digest=name, parts=(shared, own), distributions=(("numpy", "2"),))
        cache.add(record(name, task=name, fingerprint=name), code)
    found = cache.parts("two")
    assert found is not None
    assert [part.name for part in found.parts] == ["m.helper", "m.two"]
    assert found.distributions == (("numpy", "2"),)
    assert cache.parts("none") is None
    assert len(cache._pending.keys("part:")) == 3
    cache.gc()
    assert cache.parts("one") is not None
    cache.forget("/r", ["one"])
    cache.gc()
    assert cache.parts("one") is None
    assert cache.parts("two") == found


def test_forget(cache: Cache) -> None:
    """Only the named tasks of the root are forgotten; a dry run forgets nothing."""
    for root, task in [("/r", "a"), ("/r", "b"), ("/other", "a")]:
        cache.add(record("shared", root=root, task=task, reads=read(root + task)))
        cache.set_entry(root, task, Entry("k", (), "", "ran"))
    assert [it.task for it in cache.forget("/r", ["a"], dry_run=True)] == ["a"]
    assert len(cache.records("shared")) == 3
    assert [it.task for it in cache.forget("/r", ["a"])] == ["a"]
    assert {(it.root, it.task) for it in cache.all_records()} == {("/r", "b"), ("/other", "a")}
    assert cache.entry("/r", "a") is None
    assert cache.entry("/other", "a") is not None
    assert len(cache.forget("/r", None)) == 1
    assert cache.entries("/r") == {}
    assert [it.root for it in cache.all_records()] == ["/other"]


def test_journal(cache: Cache) -> None:
    """All that tasks made at a path is known, and what they made last is told, per root."""
    for digest in ("A", "B", "A", "C"):
        cache.journal_add("/r", "out/\udcff.csv", digest)
    cache.journal_add("/other", "x", "D")
    assert cache.journal("/r") == {"out/\udcff.csv": "C"}
    assert all(cache.known_digest("/r", "out/\udcff.csv", digest) for digest in "ABC")
    assert not cache.known_digest("/r", "out/\udcff.csv", "D")
    assert not cache.known_digest("/other", "out/\udcff.csv", "A")
    cache.forget("/r", None)
    assert cache.journal("/r") != {}
    cache.journal_drop("/r", ["out/\udcff.csv", "none"])
    assert cache.journal("/r") == {}


def test_secret(disk: Cache) -> None:
    """Every process has one secret; one that was lost is replaced, which costs reruns only."""
    secret = disk.secret
    assert Cache.open(disk.directory).secret == secret
    Path(disk.directory, "v2", "secret").write_bytes(b"cut")
    assert len(reopened(disk).secret) == 32


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_has_the_secrets_place_goes(disk: Cache, tmp_path: Path, kind: str) -> None:
    """A folder with all that is in it; of a link, what it leads to is somebody's own and stays."""
    place, precious = Path(disk.directory, "v2", "secret"), tmp_path / "precious"
    for folder in (precious, place):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "file").write_text("x")
    (place / "link").symlink_to(precious)
    if kind == "link":
        place.rename(tmp_path / "aside")
        place.symlink_to(precious)
    assert len(disk.secret) == 32
    assert place.is_file()
    assert not place.is_symlink()
    assert (precious / "inner" / "file").read_text() == "x"


WHERE = """
import os, sys
if sys.argv[1:] == ["full"]:
    real = os.write
    def full(descriptor, data):
        os.write = real
        raise OSError(28, "No space left on device")
    os.write = full
from dagger.cache import Cache
print(os.path.dirname(Cache.in_memory().directory), "tempfile" in sys.modules)
"""


def test_temporary_files_go_where_there_is_room(tmp_path: Path) -> None:
    """Where they are wanted, or where `tempfile` finds a place; it is loaded where it must be."""

    def place(wanted: object, *how: str) -> list[str]:
        env = {**os.environ, "TMPDIR": str(wanted)}
        return subprocess.check_output([sys.executable, "-c", WHERE, *how], env=env, text=True, cwd=tmp_path).split()

    (tmp_path / "inner").mkdir()
    assert place(tmp_path) == [str(tmp_path), "False"]
    assert place("inner") == [str(tmp_path / "inner"), "False"]
    assert place(tmp_path, "full") == [str(tmp_path), "True"]  # it was once, and is not any more
    for wrong in (tmp_path / "nowhere", "/proc"):
        where, loads_tempfile = place(wrong)
        assert os.path.isdir(where)
        assert (where, loads_tempfile) != (str(wrong), "False")
        assert loads_tempfile == "True"


def test_stats_are_kept(disk: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next process knows the digests of files that did not change."""
    monkeypatch.setattr("dagger.cache.filesystems._RACY", -(10**12))
    (tmp_path / "a").write_text("x")
    digest = disk.stats.digest_file(str(tmp_path / "a"))
    disk.add(record())
    again = reopened(disk)
    monkeypatch.setattr("dagger.cache.files.hash_descriptor", None)
    assert again.stats.digest_file(str(tmp_path / "a")) == digest


def test_save(cache: Cache, tmp_path: Path) -> None:
    """A file of the user's own is moved whole, twice too, with its path, never overwriting another."""
    (tmp_path / "sub").mkdir()
    kept = []
    for text in ("one", "two"):
        (tmp_path / "sub" / "mine").write_text(text)
        kept.append(cache.save(str(tmp_path / "sub" / "mine"), str(tmp_path)))
        assert not (tmp_path / "sub" / "mine").exists()
    assert [Path(it).read_text() for it in kept] == ["one", "two"]
    (tmp_path / "link").symlink_to("sub")
    assert os.readlink(cache.save(str(tmp_path / "link"), str(tmp_path))) == "sub"
    saved = cache.save(str(tmp_path / "sub"), str(tmp_path))
    assert os.path.isdir(saved)


def test_save_from_outside_the_root(disk: Cache, tmp_path: Path) -> None:
    """A file outside of the root is saved below ``saved/`` as well."""
    (tmp_path / "mine").write_text("x")
    kept = disk.save(str(tmp_path / "mine"), str(tmp_path / "project"))
    assert kept.startswith(os.path.join(disk.directory, "saved"))
    assert Path(kept).read_text() == "x"


def test_saved_outlives_a_temporary_cache(tmp_path: Path) -> None:
    """Without a cache, what is saved stays beside its place when the run is over."""
    cache = Cache.in_memory(root=tmp_path)
    (tmp_path / "mine").write_text("x")
    kept = cache.save(str(tmp_path / "mine"), str(tmp_path))
    directory = Path(cache.blobs.directory).parent.parent
    assert directory.is_dir()
    cache.close()
    assert Path(kept).read_text() == "x"
    assert not directory.exists()


def blob(cache: Cache, data: bytes, age: float = 0.0) -> Output:
    digest = cache.blobs.put_bytes(data)
    os.utime(cache.blobs.path(digest), (time.time() - age,) * 2)
    return Output("o", "file", digest, digest, len(data), members=(Member("", digest, len(data)),))


def test_gc_keeps_what_is_needed(cache: Cache, tmp_path: Path) -> None:
    """gc drops old blobs that no record names, and nothing else: not young ones, not saved files."""
    day = 86_400.0
    tree = Output("t", "tree", "x", "x", 3, members=blob(cache, b"in a tree", day).members)
    nested = Output("l", "list", "x", "x", 0, items=(blob(cache, b"in a list", day),))
    value = Output("v", "value", blob(cache, b"a value", day).content, "x", 7)
    log = blob(cache, b"a log", day).content
    cache.add(record(outputs=(tree, nested, value), log_blob=log))
    young = blob(cache, b"young")
    old = blob(cache, b"old", day)
    (tmp_path / "mine").write_text("x")
    kept = cache.save(str(tmp_path / "mine"), str(tmp_path))
    os.utime(kept, (1, 1))
    would = cache.gc(dry_run=True)
    assert cache.blobs.has(old.content)
    assert cache.gc() == would
    assert (would.records, would.blobs, would.bytes) == (0, 1, 3)
    assert not cache.blobs.has(old.content)
    assert cache.blobs.has(young.content)
    for data in (b"in a tree", b"in a list", b"a value", b"a log"):
        assert any(cache.blobs.read(digest) == data for digest, _, _ in cache.blobs.iter())
    assert Path(kept).read_text() == "x"
    assert cache.size().records == 1


def test_gc_by_age(cache: Cache) -> None:
    """Records that no run has used for long go, with their blobs; a use makes young."""
    old, used = blob(cache, b"old", 5000), blob(cache, b"used", 5000)
    long_ago = time.time() - 5000
    cache.add(record("old", outputs=(old,), started=long_ago))
    cache.add(record("used", outputs=(used,), started=long_ago))
    cache.add(record("new"))
    cache.set_entry("/r", "t", Entry("used", (), "", "up to date", when=time.time() - 1000))
    assert cache.gc(max_age=3000).records == 1
    assert {it.key for it in cache.all_records()} == {"used", "new"}
    assert not cache.blobs.has(old.content)
    assert cache.blobs.has(used.content)


def test_gc_by_bytes(cache: Cache) -> None:
    """What was not used for longest goes until the rest fits; shared blobs count once."""
    outputs = [blob(cache, b"%d" % number * 1000, 5000) for number in range(3)]
    for number, output in enumerate(outputs):
        cache.add(record(f"k{number}", outputs=(output,), started=time.time() - 5000 + number))
    cache.add(record("k3", outputs=(outputs[2],), started=time.time() - 4000))
    assert cache.gc(max_bytes=2000).bytes == 1000
    assert {it.key for it in cache.all_records()} == {"k1", "k2", "k3"}
    assert not cache.blobs.has(outputs[0].content)


def test_verify(cache: Cache) -> None:
    """Damage is found and told; a repair drops it, and what is whole stays."""
    whole, damaged = blob(cache, b"whole"), blob(cache, b"damaged")
    cache.add(record("whole", outputs=(whole,)))
    cache.add(record("damaged", outputs=(damaged,)))
    cache.journal_add("/r", "x", "d")
    assert cache.verify() == []
    path = cache.blobs.path(damaged.content)
    os.chmod(path, 0o600)
    Path(path).write_bytes(b"dAmaged")
    row = cache._pending.get("record:damaged")
    assert row is not None
    (journal,) = cache._pending.keys("journal:")
    cache._pending.index.set_many({"record:damaged": row[:-3] + b"xyz", journal: b""})
    found = cache.verify()
    assert sorted((it.kind, it.name) for it in found) == [
        ("blob", damaged.content),
        ("row", journal),
        ("row", "record:damaged"),
    ]
    assert cache.verify(repair=True) == found
    assert cache.verify() == []
    assert [it.key for it in cache.all_records()] == ["whole"]
    assert cache.blobs.read(whole.content) == b"whole"


def test_record_of_another_key(cache: Cache) -> None:
    """A row that was filed under a wrong name is not believed."""
    cache.add(record("one"))
    cache.flush()
    row = cache._pending.get("record:one")
    assert row is not None
    cache._pending.index.set_many({"record:two": row})
    assert cache.records("two") == []
    assert len(cache.verify()) == 1


def _delete(directory: Path) -> None:
    shutil.rmtree(directory)


def _delete_index(directory: Path) -> None:
    shutil.rmtree(directory / "v2" / "index")


def _spoil_index(directory: Path) -> None:
    (directory / "v2" / "index" / "cache.db").write_bytes(b"spoilt" * 5000)


def _delete_blobs(directory: Path) -> None:
    shutil.rmtree(directory / "v2" / "blobs")


def _delete_locks(directory: Path) -> None:
    shutil.rmtree(directory / "v2" / "locks")


def _spoil_everything(directory: Path) -> None:
    for path in list(directory.rglob("*")):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(b"?" * path.stat().st_size)


def _files_for_folders(directory: Path) -> None:
    for name in ("index", "blobs", "locks"):
        shutil.rmtree(directory / "v2" / name, ignore_errors=True)
        (directory / "v2" / name).write_text("")


DAMAGES = [
    _delete,
    _delete_index,
    _spoil_index,
    _delete_blobs,
    _delete_locks,
    _spoil_everything,
    _files_for_folders,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_damage(tmp_path: Path, damage: Callable[[Path], None], is_open: bool) -> None:
    """Whatever is damaged or deleted, a run goes on: it finds what was there or nothing, and adds its own."""
    cache = Cache.open(tmp_path / ".dagger", root=tmp_path)
    output = blob(cache, b"data")
    first = record(outputs=(output,))
    cache.add(first)
    cache.set_entry("/r", "t", Entry("k", (), "", "ran"))
    cache.journal_add("/r", "x", "d")
    assert len(cache.secret) == 32
    cache.flush()
    if not is_open:
        cache.close()
    damage(tmp_path / ".dagger")
    if not is_open:
        cache = Cache.open(tmp_path / ".dagger", root=tmp_path)
    assert cache.records(KEY) in ([], [first])
    cache.entry("/r", "t")
    cache.journal("/r")
    assert len(cache.secret) == 32
    with contextlib.suppress(CacheError):
        assert cache.blobs.read(output.content) == b"data"
    digest = cache.blobs.put_bytes(b"more")
    assert cache.blobs.read(digest) == b"more"
    cache.add(record("new"))
    cache.flush()
    assert len(cache.records("new")) == 1
    presence = cache.presence()
    assert cache.holdings(presence).take([["x"]]) != [None]
    presence.end()
    cache.gc()
    cache.verify(repair=True)
    cache.close()
    assert len(cache.warnings) <= 2


def test_read_only() -> None:
    """A cache that cannot be written is read, and work goes on with one warning."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        directory = os.path.join(folder, "c")
        cache = Cache.open(directory)
        digest = cache.blobs.put_bytes(b"data")
        cache.add(record())
        cache.close()
        _chmod_all(directory, 0o555, 0o444)

        def work() -> bool:
            cache = Cache.open(directory, allow_shared=True)
            assert len(cache.records(KEY)) == 1
            assert cache.blobs.read(digest) == b"data"
            more = cache.blobs.put_bytes(b"more")
            assert cache.blobs.read(more) == b"more"
            cache.add(record("new"))
            cache.add(record(reads=read("B")))
            cache.flush()
            assert len(cache.records("new")) == 1
            assert len(cache.records(KEY)) == 2
            assert len(cache.secret) == 32
            assert cache.holdings(cache.presence()).take([["x"]]) == [[]]
            cache.gc(max_bytes=0)
            cache.close()
            assert not os.path.exists(cache.blobs.overflow)
            return len(cache.warnings) == 1

        assert _as_nobody(work)
        _chmod_all(directory, 0o755, 0o644)


def test_no_room_for_a_blob(disk: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record is found by this process and never written: whatever ends the run, none on disk wants a blob."""
    kept = record(outputs=(blob(disk, b"kept"),))
    disk.add(kept)
    disk = reopened(disk)

    def full(path: str) -> str:
        if path == disk.blobs.directory:
            raise OSError(errno.ENOSPC, "No space left on device")
        return scratch_of(path)

    monkeypatch.setattr("dagger.cache.blobs.scratch_of", full)
    spilled = [record("spilled", reads=read(name), outputs=(blob(disk, b"spilled"),)) for name in "ab"]
    for each in (*spilled, replacing := record(outputs=(blob(disk, b"spilled"),))):
        disk.add(each)
    assert disk.records("spilled") == disk.records_many(["spilled"])["spilled"] == spilled[::-1]
    assert disk.records(KEY) == [replacing]
    assert list(disk.all_records()) == [*spilled[::-1], replacing]
    assert list(disk.all_records(newest_first=True)) == [replacing, *spilled[::-1]]
    disk.flush()
    other = Cache.open(disk.directory, root=disk.root)
    assert list(other.all_records()) == []
    assert other.verify() == []
    other.close()

    monkeypatch.undo()
    again = record("spilled", reads=read("a"), outputs=(blob(disk, b"room"),))
    disk.add(again)
    assert disk.records("spilled") == [spilled[1], again]
    assert disk.forget("/r", ["t"]) == [again, spilled[1], replacing]
    assert disk.records("spilled") == disk.records(KEY) == []
    disk.add(again)
    assert list(reopened(disk).all_records()) == [again]


def test_place_that_cannot_be_made() -> None:
    """A cache whose directory cannot be made is one in memory, with one warning; saving still loses nothing."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)

        def work() -> bool:
            cache = Cache.open(os.path.join(folder, "deep", "c"))
            cache.add(record())
            cache.flush()
            assert len(cache.records(KEY)) == 1
            assert len(cache.secret) == 32
            with tempfile.TemporaryDirectory() as mine:
                Path(mine, "x").write_text("x")
                assert Path(cache.save(os.path.join(mine, "x"), mine)).read_text() == "x"
            return len(cache.warnings) == 1

        assert _as_nobody(work)


def _chmod_all(directory: str, folders: int, files: int) -> None:
    for path, _, names in os.walk(directory, topdown=False):
        for name in names:
            os.chmod(os.path.join(path, name), files)
        os.chmod(path, folders)


def _as_nobody(work: Callable[[], bool]) -> bool:
    """Do something in a child that may not write everything, as root may."""
    child = os.fork()
    if not child:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            status = 0 if work() else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def test_threads(cache: Cache) -> None:
    """Script threads add records at once, and none is lost."""

    def work(name: int) -> None:
        for number in range(50):
            cache.add(record(reads=read(f"{name}:{number}")))
            cache.journal_add("/r", "x", f"{name}:{number}")
            cache.records(KEY)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache.flush()
    assert len(cache.records(KEY)) == 200


ADD = """
import sys
from dagger.cache import Cache, Entry, Read, Record
cache = Cache.open(sys.argv[1], root="/r")
for number in range(40):
    name = f"{sys.argv[2]}:{number}"
    reads = (Read("file", "x", name),)
    cache.blobs.put_bytes(b"shared" + bytes([number]))
    cache.add(Record("shared", "/r", name, "F", (), "", reads, (), 0.0, 0.0))
    cache.add(Record(name, "/r", name, "F", (), "", (), (), 0.0, 0.0))
    cache.set_entry("/r", name, Entry(name, (), "", "ran"))
    cache.journal_add("/r", "one", name)
    assert cache.records(name)
    if number % 10 == 0:
        cache.flush()
assert not cache.warnings, cache.warnings
cache.close()
"""


def test_processes(tmp_path: Path) -> None:
    """Four managers on one new cache, writing to one key and one path: nothing is lost, nothing is locked."""
    started = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path / "c"), str(name)]) for name in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    cache = Cache.open(tmp_path / "c")
    assert len(cache.records("shared")) == 160
    assert len(list(cache.all_records())) == 320
    assert len(cache.entries("/r")) == 160
    assert cache.size().blobs == 40
    assert cache.verify() == []
    # Of a file's history the last hundred contents are known.
    assert sum(cache.known_digest("/r", "one", f"{a}:{b}") for a in range(4) for b in range(40)) == 100


def test_child_of_a_fork(disk: Cache) -> None:
    """A forked child neither writes what its parent has waiting nor closes what is its parent's."""
    disk.add(record())
    child = os.fork()
    if not child:
        disk.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert len(disk.records(KEY)) == 1
    disk.flush()
    assert len(reopened(disk).records(KEY)) == 1


def test_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network, where SQLite is not safe, the index is kept locally, or the person is told."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("dagger.cache.layout.is_network", lambda path: "share" in path)
    cache = Cache.open(tmp_path / "share" / ".dagger")
    cache.add(record())
    again = reopened(cache)
    assert len(again.records(KEY)) == 1
    assert not list((tmp_path / "share").rglob("cache.db"))
    assert len(list((tmp_path / "home").rglob("cache.db"))) == 1
    assert again.warnings == []
    monkeypatch.setattr("dagger.cache.layout.is_network", lambda _: True)
    lost = reopened(cache)
    assert len(lost.records(KEY)) == 0
    assert "DAGGER_CACHE_DIR" in lost.warnings[0]


def test_idle_cache_holds_no_thread(disk: Cache) -> None:
    """The thread that writes ends when all is written."""
    disk.add(record())
    disk.close()
    disk.add(record("more"))
    deadline = time.monotonic() + 10
    while any(it.name == "dagger-index" for it in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(it.name == "dagger-index" for it in threading.enumerate())
    assert len(Cache.open(disk.directory).records("more")) == 1
