"""The index: both kinds behave alike, and the one on disk survives what disks and processes do."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dagger.cache.disk_index import DiskIndex
from dagger.cache.index import Index, MemoryIndex, OverlayIndex, UnavailableError

keys = st.sampled_from(["a", "a:1", "a:2", "ab", "b", "ä", "\U0010fffe", "a" * 300])


@pytest.fixture(params=["memory", "disk", "overlay"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    made: Index = MemoryIndex() if request.param != "disk" else DiskIndex(str(tmp_path / "index"))
    made = OverlayIndex(made) if request.param == "overlay" else made
    yield made
    made.close()


def test_empty(index: Index, tmp_path: Path) -> None:
    """An index that does not exist has nothing in it, and asking does not make it."""
    assert index.get("x") is None
    assert index.get_many(["x", "y"]) == {}
    assert index.keys() == []
    index.delete(["x"])
    assert not (tmp_path / "index").exists()


def test_many(index: Index) -> None:
    """Thousands of rows go in and come out in one call each."""
    rows = {f"k{number}": b"%d" % number for number in range(2345)}
    index.set_many(rows)
    assert index.get_many([*rows, "other"]) == rows
    assert set(index.keys("k")) == set(rows)


def test_pages(index: Index) -> None:
    """All rows come one page after the other, in the order in which they were made, also while rows go."""
    rows = {f"k{number * 7919 % 2345}": bytes(10_000 if number % 100 else 1_000_000) for number in range(2345)}
    index.set_many(rows)
    index.set_many({"other": b"", "k7": b"anew"})
    assert [key for key, _ in index.items("k")] == list(rows)
    assert [key for key, _ in index.items("k", newest_first=True)] == list(rows)[::-1]
    assert dict(index.items()) == {**rows, "other": b"", "k7": b"anew"}
    seen = []
    for key, _ in index.items("k"):
        seen.append(key)
        index.delete([key])
    assert seen == list(rows)
    assert index.keys() == ["other"]


def test_pages_of_what_lies_below() -> None:
    """Over an index that cannot be written, rows are those below, without what went, and those made since."""
    below = MemoryIndex()
    below.set_many({"a": b"1", "b": b"2", "c": b"3"})
    over = OverlayIndex(below)
    over.set_many({"d": b"4", "b": b"5"})
    over.delete(["c"])
    assert list(over.items()) == [("a", b"1"), ("d", b"4"), ("b", b"5")]
    assert list(over.items(newest_first=True)) == [("b", b"5"), ("d", b"4"), ("a", b"1")]


def test_big_rows_stay_rows(index: Index, tmp_path: Path) -> None:
    """A row of megabytes comes back whole, and is no file of its own."""
    big = os.urandom(3 << 20)
    index.set_many({"big": big})
    assert index.get("big") == big
    assert not list(tmp_path.rglob("*.val"))


def test_values_are_bytes_only(tmp_path: Path) -> None:
    """Nothing is ever pickled into the index."""
    index = DiskIndex(str(tmp_path))
    with pytest.raises(TypeError):
        index.set_many({"x": [1]})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        index.set_many({1: b""})  # type: ignore[dict-item]
    assert index.keys() == []


def test_nothing_is_evicted(tmp_path: Path) -> None:
    """diskcache's limits are off, also in a database that was made with its defaults."""
    import diskcache

    diskcache.Cache(str(tmp_path), size_limit=1000).close()
    index = DiskIndex(str(tmp_path))
    for number in range(30):
        index.set_many({f"k{number}": bytes(1000)})
    assert len(index.keys()) == 30


def test_what_is_written_is_a_diskcache(tmp_path: Path) -> None:
    """Whoever opens it as one finds the rows, and as many as it counts; to write them takes none."""
    DiskIndex(str(tmp_path)).set_many({"x": b"1", "y": b"2", "z": b"3"})
    code = (
        "import sys\n"
        "from dagger.cache.disk_index import DiskIndex\n"
        f"index = DiskIndex({str(tmp_path)!r})\n"
        "index.set_many({'x': b'4', 'v': b'5'})\n"
        "index.delete(['y'])\n"
        "assert 'diskcache' not in sys.modules\n"
        "index.close()\n"
        "import diskcache\n"
        f"with diskcache.Cache({str(tmp_path)!r}) as cache:\n"
        "    assert {key: cache[key] for key in cache} == {'x': b'4', 'v': b'5', 'z': b'3'}\n"
        "    assert len(cache) == 3\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Twins(RuleBasedStateMachine):
    """The index on disk and the one in memory give the same answers to the same calls."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.disk = DiskIndex(os.path.join(self.folder.name, "index"))
        self.memory = MemoryIndex()

    @rule(rows=st.dictionaries(keys, st.binary(max_size=5), max_size=3))
    def set_many(self, rows: dict[str, bytes]) -> None:
        self.disk.set_many(rows)
        self.memory.set_many(rows)

    @rule(some=st.lists(keys, max_size=3))
    def delete(self, some: list[str]) -> None:
        self.disk.delete(some)
        self.memory.delete(some)

    @rule()
    def reopen(self) -> None:
        self.disk.close()

    @rule(rows=st.dictionaries(keys, st.binary(max_size=5), min_size=1, max_size=2))
    def fail_in_a_transaction(self, rows: dict[str, bytes]) -> None:
        with contextlib.suppress(ZeroDivisionError), self.disk.transact():
            self.disk.set_many(rows)
            raise ZeroDivisionError

    @rule(prefix=st.sampled_from(["", "a", "a:", "ab", "ä", "zz"]))
    def compare_keys(self, prefix: str) -> None:
        assert self.disk.keys(prefix) == self.memory.keys(prefix)

    @rule(prefix=st.sampled_from(["", "a", "ab"]), newest_first=st.booleans())
    def compare_items(self, prefix: str, newest_first: bool) -> None:
        found = list(self.disk.items(prefix, newest_first=newest_first))
        assert found == list(self.memory.items(prefix, newest_first=newest_first))

    @invariant()
    def agree(self) -> None:
        names = ["a", "a:1", "a:2", "ab", "b", "ä", "\U0010fffe", "a" * 300]
        assert self.disk.get_many(names) == self.memory.get_many(names)

    def teardown(self) -> None:
        self.disk.close()
        self.folder.cleanup()


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)


def _garbage(database: Path) -> None:
    database.write_bytes(b"no database" * 1000)


def _zeros(database: Path) -> None:
    database.write_bytes(bytes(database.stat().st_size))


def _half(database: Path) -> None:
    os.truncate(database, database.stat().st_size // 2)


def _nothing(database: Path) -> None:
    os.truncate(database, 0)


def _gone(database: Path) -> None:
    database.unlink()


def _folder_gone(database: Path) -> None:
    import shutil

    shutil.rmtree(database.parent)


def _other_tables(database: Path) -> None:
    database.unlink()
    with contextlib.closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE Cache (wrong)")
        other.execute("CREATE TABLE Settings (wrong)")
        other.commit()


def _noise(database: Path) -> None:
    data = bytearray(database.read_bytes())
    for at in range(0, len(data), 97):
        data[at] ^= 0x55
    database.write_bytes(data)


DAMAGES = [_garbage, _zeros, _half, _nothing, _gone, _folder_gone, _other_tables, _noise]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_damage(tmp_path: Path, damage: Callable[[Path], None], is_open: bool) -> None:
    """However its file is damaged, the index answers with what was written or with nothing, and can be written."""
    told: list[str] = []
    index = DiskIndex(str(tmp_path / "index"), tell=told.append)
    rows = {f"k{number}": bytes(200) for number in range(500)}
    index.set_many(rows)
    index.close()
    if is_open:
        assert index.get("k1") == bytes(200)
    damage(tmp_path / "index" / "cache.db")
    found = index.get_many(rows)
    assert found.items() <= rows.items()
    index.set_many({"new": b"1"})
    assert index.get("new") == b"1"
    faults: list[str] = []
    assert dict(index.examine(faults)).keys() >= {"new"}
    assert faults == []
    index.close()
    assert index.get("new") == b"1"


def test_damaged_file_is_kept_aside(tmp_path: Path) -> None:
    """A database that cannot be read is moved, not deleted, and the person is told where."""
    told: list[str] = []
    index = DiskIndex(str(tmp_path), tell=told.append)
    (tmp_path / "cache.db").write_bytes(b"precious?" * 999)
    assert index.get("x") is None
    (aside,) = tmp_path.glob("damaged-*/cache.db")
    assert aside.read_bytes() == b"precious?" * 999
    assert str(aside.parent) in told[0]


def test_directory_with_a_dollar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory whose name looks like a variable is used as it is named."""
    monkeypatch.setenv("HERE", "elsewhere")
    index = DiskIndex(str(tmp_path / "$HERE" / "~"))
    index.set_many({"x": b"1"})
    index.close()
    assert (tmp_path / "$HERE" / "~" / "cache.db").exists()
    assert not (tmp_path / "elsewhere").exists()
    assert DiskIndex(str(tmp_path / "$HERE" / "~")).get("x") == b"1"


def test_unwritable_is_said_at_once(tmp_path: Path) -> None:
    """An index that cannot be written raises at once; diskcache's own retry would spin forever."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError):
        DiskIndex(str(tmp_path / "file" / "index")).set_many({"x": b"1"})


def test_full_disk(tmp_path: Path) -> None:
    """A disk that fills up raises, and what was there stays."""
    index = DiskIndex(str(tmp_path))
    index.set_many({"x": b"1"})
    index._writer._connection.execute("PRAGMA max_page_count = 20")  # how SQLite itself tests a full disk
    with pytest.raises(UnavailableError):
        index.set_many({f"k{number}": bytes(5000) for number in range(100)})
    assert index.get("x") == b"1"
    assert index.keys() == ["x"]


def test_a_database_that_was_only_begun(tmp_path: Path) -> None:
    """On a full disk, or by a kill, its making may end after any statement: no damage, and the next write goes on."""
    DiskIndex(str(tmp_path / "whole")).set_many({"x": b"1"})
    with contextlib.closing(sqlite3.connect(tmp_path / "whole" / "cache.db")) as whole:
        made = whole.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
    assert [made[0][0], made[1][0]] == ["Settings", "Cache"]
    for count in range(len(made)):
        folder = tmp_path / str(count)
        folder.mkdir()
        with contextlib.closing(sqlite3.connect(folder / "cache.db")) as begun:
            for _, statement in made[:count]:
                begun.execute(statement)
        told: list[str] = []
        index = DiskIndex(str(folder), tell=told.append)
        faults: list[str] = []
        assert index.get("x") is None
        assert not list(index.examine(faults))
        index.set_many({"x": b"1"})
        assert index.get("x") == b"1"
        assert list(index.examine(faults)) == [("x", b"1")]
        assert faults == told == []


def test_an_import_that_was_interrupted(tmp_path: Path) -> None:
    """A signal that comes while diskcache is imported takes the package away again, but not its parts."""
    code = """if True:
        import sys
        class Interrupts:
            def find_spec(self, name, path=None, target=None):
                if name == "diskcache.fanout" and self in sys.meta_path:
                    sys.meta_path.remove(self)
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, Interrupts())
        from dagger.cache.disk_index import DiskIndex
        index = DiskIndex(sys.argv[1])
        try:
            index.set_many({"x": b"1"})
        except KeyboardInterrupt:
            index.set_many({"x": b"2"})
        print(index.get("x"))
    """
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "b'2'\n", done.stderr


def test_reading_a_read_only_directory() -> None:
    """An index in a directory that cannot be written is read all the same, and says that it cannot be written."""
    with tempfile.TemporaryDirectory() as folder:
        index = DiskIndex(folder)
        index.set_many({"x": b"1"})
        index.close()
        os.chmod(os.path.join(folder, "cache.db"), 0o444)
        os.chmod(folder, 0o555)

        def read_and_write() -> bool:
            index = DiskIndex(folder)
            assert index.get("x") == b"1"
            with pytest.raises(UnavailableError):
                index.set_many({"y": b""})
            return index.keys() == ["x"]

        assert _as_nobody(read_and_write)
        os.chmod(folder, 0o700)


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


def test_threads(tmp_path: Path) -> None:
    """Threads that write and read at once lose nothing and see no error."""
    index = DiskIndex(str(tmp_path))
    errors: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for number in range(20):
                index.set_many({f"{name}:{number}": b"x"})
                assert index.get(f"{name}:{number}") == b"x"
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(index.keys()) == 80


CREATE = """
import sys
from dagger.cache.disk_index import DiskIndex
index = DiskIndex(sys.argv[1])
for number in range(30):
    with index.transact():
        count = int(index.get("count") or b"0")
        index.set_many({"count": b"%d" % (count + 1), f"{sys.argv[2]}:{number}": b"x"})
"""


def test_processes(tmp_path: Path) -> None:
    """Four processes that create one index at once and count in it lose no step and meet no lock."""
    started = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path / "index"), str(name)]) for name in range(4)
    ]
    assert [process.wait() for process in started] == [0] * 4
    index = DiskIndex(str(tmp_path / "index"))
    assert index.get("count") == b"120"
    assert len(index.keys()) == 121
