"""A cache grown old: what looks through all of it holds little of it, and what is newest is found first."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dagger.cache.cache import Cache
from dagger.cache.collect import Summary
from dagger.cache.index import MemoryIndex, UnavailableError
from dagger.cache.records import Entry, Output, Read, Record
from dagger.cache.tally import Tally
from dagger.cache.uses import keep_uses, last_uses, note_uses

MANY = 4_000
LONG_AGO = time.time() - 100_000


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    made = Cache.open(tmp_path / ".dagger", root=tmp_path)
    yield made
    made.close()


def record(key: str, **more: Any) -> Record:
    filled: dict[str, Any] = {"rows": (), "fingerprint": "", "reads": (), "outputs": (), "started": LONG_AGO}
    return Record(key=key, root="/r", task="t", kind="FunctionTask", seconds=0.0, **filled | more)


def blob(cache: Cache, data: bytes) -> Output:
    digest = cache.blobs.put_bytes(data)
    os.utime(cache.blobs.path(digest), (LONG_AGO, LONG_AGO))
    return Output("o", "value", digest, digest, len(data))


@pytest.fixture
def aged(cache: Cache) -> Cache:
    """A cache of 4,000 records of 8 kB and more each, in the index and once they are read."""
    shared = blob(cache, b"shared")
    for number in range(MANY):
        cache.add(record(f"k{number}", log=f"{number}" * 2000, fingerprint=f"f{number}", outputs=(shared,)))
    cache.commit()
    return cache


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LOOKS: dict[str, Callable[[Cache], object]] = {
    "gc": lambda cache: cache.gc(dry_run=True),
    "gc by age": lambda cache: cache.gc(max_age=1.0),
    "gc by bytes": lambda cache: cache.gc(max_bytes=1),
    "size": Cache.size,
    "verify": Cache.verify,
    "list": lambda cache: sum(1 for _ in cache.all_records(newest_first=True)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_long_history_is_not_held(aged: Cache, look: Callable[[Cache], object]) -> None:
    """What reads all records holds a few pages of them: a tenth of a history that is short yet."""
    aged.gc(dry_run=True)  # imports
    whole = peak(lambda: list(aged.all_records()))
    assert peak(lambda: look(aged)) < 10_000_000 < whole / 3


def test_the_newest_is_found_first(cache: Cache) -> None:
    """Records come as they were filed, also one whose key had records before."""
    for key in ("a", "b", "c"):
        cache.add(record(key))
        cache.commit()
    cache.add(record("a", reads=(Read("file", "table", "new"),)))
    found = [(it.key, len(it.reads)) for it in cache.all_records(newest_first=True)]
    assert found == [("a", 1), ("a", 0), ("c", 0), ("b", 0)]
    assert [it.key for it in cache.all_records()] == ["b", "c", "a", "a"]


def test_gc_makes_nothing_newer(cache: Cache) -> None:
    """A key of which gc leaves one record of two stays where it was among the others."""
    cache.add(record("a", started=LONG_AGO - 1000, reads=(Read("file", "table", "old"),)))
    cache.add(record("a", started=time.time() - 1000))
    cache.commit()
    cache.add(record("b", started=time.time() - 1000))
    assert cache.gc(max_age=5000).records == 1
    assert [it.key for it in cache.all_records()] == ["a", "b"]


def test_gc_by_bytes_splits_what_one_run_used(cache: Cache) -> None:
    """Records that were last used at the same moment go one by one, until the rest fits."""
    for number in range(10):
        cache.add(record(f"k{number}", outputs=(blob(cache, b"%d" % number * 100),)))
        cache.set_entry("/r", f"t{number}", Entry(f"k{number}", (), "", "up to date", when=LONG_AGO + 1000))
    assert cache.gc(max_bytes=550) == Summary(5, 5, 500)
    assert cache.size().bytes == 500


def test_gc_by_bytes_keeps_what_fits(cache: Cache) -> None:
    """A record is not dropped for want of a time when there is room."""
    for number in range(10):
        cache.add(record(f"k{number}", started=0.0, outputs=(blob(cache, b"x"),)))
    assert cache.gc(max_bytes=1).records == 0


def test_a_record_that_comes_in_while_gc_reads_keeps_its_blobs(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another manager files a result, of which gc has passed the place: its blobs are young, and stay."""
    cache.add(record("before"))
    blob(cache, b"made again")
    other = Cache.open(cache.directory, root=cache.root)
    found: list[Output] = []
    scan = cache.blobs.iter

    def late() -> Iterator[tuple[str, int, float]]:
        for data in (b"made again", b"made"):
            digest = other.blobs.put_bytes(data)
            found.append(Output("o", "value", digest, digest, len(data)))
        other.add(record("meanwhile", outputs=tuple(found)))
        other.close()
        return scan()

    monkeypatch.setattr(cache.blobs, "iter", late)
    assert cache.gc().blobs == 0
    assert all(cache.blobs.has(output.content) for output in found)


def test_gc_stops_where_records_cannot_be_dropped(cache: Cache) -> None:
    """No record is left without its blobs: while the index cannot be written, they stay."""
    output = blob(cache, b"x")
    cache.add(record("k", outputs=(output,)))
    cache.commit()

    class Stuck(MemoryIndex):
        def transact(self) -> Any:
            raise UnavailableError("stuck")

    stuck = Stuck()
    stuck.set_many(dict(cache._pending.index.items()))
    cache._pending.index = stuck
    cache._pending._recover = lambda _: MemoryIndex()
    with pytest.raises(UnavailableError):
        cache.gc(max_age=1.0)
    assert cache.blobs.has(output.content)


def test_tally() -> None:
    """The latest time of a name counts, whichever comes first; any thread may ask, and any size will do."""
    tally = Tally()
    tally.note("a", (2.0, 5), 10)
    tally.note("a", (1.0, 9), 10)
    tally.note("b", (2.0, 4), 2**70)
    assert (tally.last("a"), tally.last("c")) == (2.0, 0.0)
    assert "a" in tally
    assert "c" not in tally
    assert tally.first_beyond(9) == (2.0, 5)
    assert tally.first_beyond(10) == (2.0, 4)
    asked = threading.Thread(target=lambda: tally.note("c\udcff"))
    asked.start()
    asked.join()
    assert "c\udcff" in tally


def note(folder: Path, keys: list[str], when: float) -> None:
    note_uses(str(folder), "r", keys)
    (last,) = folder.glob("r-*")
    os.utime(last, (when, when))


def uses(folder: Path) -> dict[str, float]:
    latest: dict[str, float] = {}
    for key, when in last_uses(str(folder)):
        latest[key] = max(when, latest.get(key, 0.0))
    latest.pop("", None)
    return latest


def test_uses_of_a_long_history(tmp_path: Path) -> None:
    """A run with one change writes what that changes, however many keys were used before; none is forgotten."""
    for run in range(20):
        note(tmp_path, [f"{run}/{number}" for number in range(100)], 1000.0 + run)
    before = {it.name for it in tmp_path.iterdir()}
    note(tmp_path, ["new", *(f"19/{number}" for number in range(1, 100))], 2000.0)
    written = [it for it in tmp_path.iterdir() if it.name not in before]
    assert sum(it.stat().st_size for it in written) < 1000
    found = uses(tmp_path)
    assert (found["3/7"], found["19/0"], found["19/1"], found["new"]) == (1003.0, 1019.0, 2000.0, 2000.0)
    assert len(found) == 2001


def test_uses_of_two_states_that_alternate(tmp_path: Path) -> None:
    """A, B, A, B... leaves two files of former uses; what was used last counts by that."""
    for run in range(10):
        note(tmp_path, ["both", "ab"[run % 2]], 1000.0 + run)
    assert len(list(tmp_path.iterdir())) == 3
    assert uses(tmp_path) == {"both": 1009.0, "a": 1008.0, "b": 1009.0}


def test_gc_puts_uses_together(tmp_path: Path) -> None:
    """Of former uses those of the kept keys stay, in one file a root, also where two ended in one second."""
    for run in range(10):
        note(tmp_path, [f"k{run}"], 1000.0 + run // 2)
    for _ in range(2):
        keep_uses(str(tmp_path), {"k2", "k3", "k7"})
        assert len(list(tmp_path.iterdir())) == 2
        assert uses(tmp_path) == {"k2": 1001.0, "k3": 1001.0, "k7": 1003.0, "k9": 1004.0}
    keep_uses(str(tmp_path), ())
    assert uses(tmp_path) == {"k9": 1004.0}
    assert len(list(tmp_path.iterdir())) == 1


def test_gc_by_age_knows_former_uses(cache: Cache) -> None:
    """What some run used not long ago stays, though a later one has no use for it."""
    cache.add(record("long unused"))
    cache.add(record("used"))
    for keys in (["used"], ["other"]):
        cache.note_uses(keys)
    assert cache.gc(max_age=1000).records == 1
    assert [it.key for it in cache.all_records()] == ["used"]
