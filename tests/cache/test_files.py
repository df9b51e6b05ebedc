"""Digests of files: always those of the content, whatever people and clocks do; read only when they must be."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import xxhash
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dagger.cache import streams
from dagger.cache.files import StatIndex, directory_listing_digest, with_bit
from dagger.cache.filesystems import SECOND, FileClock, is_network
from dagger.errors import CacheError


class Clock(FileClock):
    """A file system's clock that a test can set."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0

    def racy_since(self, path: str, device: int) -> int:
        return super().racy_since(path, device) + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were really read."""
    sizes: list[int] = []

    def counting(descriptor: int) -> tuple[str, int]:
        found = streams.hash_descriptor(descriptor)
        sizes.append(found[1])
        return found

    monkeypatch.setattr("dagger.cache.files.hash_descriptor", counting)
    return sizes


def truth(path: str | Path) -> str:
    return xxhash.xxh3_128_hexdigest(Path(path).read_bytes())


def test_old_file_is_read_once(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    """A file whose stamps are old is read once; then a stat is enough, also in the next process."""
    (tmp_path / "a").write_text("hello")
    clock.ahead = 10 * SECOND
    index = StatIndex(clock=clock)
    assert index.digest_file(str(tmp_path / "a")) == truth(tmp_path / "a")
    assert index.digest_file(str(tmp_path / "a")) == truth(tmp_path / "a")
    later = StatIndex(clock=clock, former=index.dump)
    assert later.digest_file(str(tmp_path / "a")) == truth(tmp_path / "a")
    assert hashed == [5]
    assert not later.changed


def test_young_file_is_read_again(tmp_path: Path, hashed: list[int]) -> None:
    """A file that was changed less than two seconds ago is read each time."""
    (tmp_path / "a").write_text("hello")
    index = StatIndex(str(tmp_path))
    index.digest_file(str(tmp_path / "a"))
    index.digest_file(str(tmp_path / "a"))
    assert hashed == [5, 5]


def test_same_stat_other_content(tmp_path: Path) -> None:
    """A change within one tick that leaves size and mtime as they were is seen."""
    file = tmp_path / "a"
    index = StatIndex(str(tmp_path))
    for number in range(50):
        file.write_text(f"{number:05}")
        os.utime(file, ns=(SECOND, SECOND))
        assert index.digest_file(str(file)) == truth(file)


@pytest.mark.parametrize("ahead", [5, 10**9])
def test_future_mtime_is_a_hint(tmp_path: Path, hashed: list[int], ahead: int) -> None:
    """A file from the future is read each time: its stamp says nothing about when it changed."""
    (tmp_path / "a").write_text("hello")
    stamp = time.time_ns() + ahead * SECOND
    os.utime(tmp_path / "a", ns=(stamp, stamp))
    index = StatIndex(str(tmp_path))
    index.digest_file(str(tmp_path / "a"))
    index.digest_file(str(tmp_path / "a"))
    assert hashed == [5, 5]


def test_clock_set_back(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    """An entry that was old is not relied on once the clock was set back to its stamps."""
    (tmp_path / "a").write_text("hello")
    clock.ahead = 10 * SECOND
    index = StatIndex(clock=clock)
    index.digest_file(str(tmp_path / "a"))
    clock.ahead = 0
    later = StatIndex(clock=clock, former=index.dump)
    later.digest_file(str(tmp_path / "a"))
    assert hashed == [5, 5]


def test_file_that_changes_while_it_is_read(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A digest of a file that was written to meanwhile is not kept."""
    file = tmp_path / "a"
    file.write_text("before")
    clock.ahead = 10 * SECOND

    def disturbed(descriptor: int) -> tuple[str, int]:
        found = streams.hash_descriptor(descriptor)
        file.write_text("after!")
        return found

    index = StatIndex(clock=clock)
    with monkeypatch.context() as patch:
        patch.setattr("dagger.cache.files.hash_descriptor", disturbed)
        index.digest_file(str(file))
    assert index.digest_file(str(file)) == truth(file)


def test_note(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    """A digest that somebody else found is learnt with the stat from before it was read, not without."""
    file = tmp_path / "a"
    file.write_text("hello")
    clock.ahead = 10 * SECOND
    index = StatIndex(clock=clock)
    index.note(str(file), "wrong")
    assert index.digest_file(str(file)) == truth(file)
    other = StatIndex(clock=clock)
    other.note(str(file), truth(file), os.stat(file))
    assert other.digest_file(str(file)) == truth(file)
    assert hashed == [5]


def test_damaged_dump(tmp_path: Path) -> None:
    """A dump that was damaged is passed over."""
    (tmp_path / "a").write_text("hello")
    for damaged in (b"\x01garbage", None):
        index = StatIndex(str(tmp_path), former=lambda damaged=damaged: damaged)
        assert index.digest_file(str(tmp_path / "a")) == truth(tmp_path / "a")


def test_what_is_no_file(tmp_path: Path) -> None:
    """A missing file, a directory and a pipe are each said to be what they are; nothing blocks."""
    index = StatIndex(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        index.digest_file(str(tmp_path / "missing"))
    with pytest.raises(IsADirectoryError):
        index.digest_file(str(tmp_path))
    with pytest.raises(CacheError, match="pipe"):
        index.digest_file(str(tmp_path / "pipe"))
    with pytest.raises(CacheError, match="pipe"):
        index.digest_path(str(tmp_path))


class Edits(RuleBasedStateMachine):
    """Whatever is done to a file, its digest is that of its content."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.paths = [os.path.join(self.folder.name, name) for name in "ab"]
        self.clock = Clock()
        self.index = StatIndex(clock=self.clock)
        for path in self.paths:
            Path(path).write_text("0")

    @rule(which=st.integers(0, 1), text=st.sampled_from(["0", "1", "22"]))
    def edit(self, which: int, text: str) -> None:
        Path(self.paths[which]).write_text(text)

    @rule(which=st.integers(0, 1), text=st.sampled_from(["0", "1", "22"]))
    def edit_and_restore_mtime(self, which: int, text: str) -> None:
        before = os.stat(self.paths[which])
        Path(self.paths[which]).write_text(text)
        os.utime(self.paths[which], ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(which=st.integers(0, 1), ago=st.sampled_from([0, 1, 3, 3600, -3600]))
    def touch(self, which: int, ago: int) -> None:
        stamp = time.time_ns() - ago * SECOND
        os.utime(self.paths[which], ns=(stamp, stamp))

    @rule()
    def swap(self) -> None:
        one, other = self.paths
        os.rename(one, one + ".tmp")
        os.rename(other, one)
        os.rename(one + ".tmp", other)

    @rule(which=st.integers(0, 1), text=st.sampled_from(["0", "1"]))
    def replace(self, which: int, text: str) -> None:
        Path(self.paths[which] + ".new").write_text(text)
        os.replace(self.paths[which] + ".new", self.paths[which])

    @rule()
    def next_run(self) -> None:
        self.index = StatIndex(clock=self.clock, former=self.index.dump)

    @rule()
    def grow_old(self) -> None:
        # Not two real seconds: the margin shrinks to 20 ms, still above a tick of this kernel's clock.
        self.clock.ahead = 2 * SECOND - SECOND // 50
        time.sleep(0.03)

    @rule()
    def look(self) -> None:
        for path in self.paths:
            assert self.index.digest_file(path) == truth(path)

    @invariant()
    def listing_knows_names_only(self) -> None:
        assert directory_listing_digest(self.folder.name) == directory_listing_digest(self.folder.name)

    def teardown(self) -> None:
        self.look()
        self.folder.cleanup()


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_executable_file(tmp_path: Path) -> None:
    """A file that can be executed is another than one that cannot, though its content is the same."""
    index = StatIndex(str(tmp_path))
    file = tmp_path / "a"
    file.write_text("x")
    assert index.digest_path(str(file)) == truth(file)
    file.chmod(0o755)
    assert index.digest_path(str(file)) == with_bit(truth(file), True) != truth(file)
    assert index.digest_file(str(file)) == truth(file)


def make_tree(folder: Path) -> Path:
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / "file").write_text("x")
    (folder / "run.sh").write_text("y")
    (folder / "link").symlink_to("sub/file")
    return folder


def test_tree_changes(tmp_path: Path) -> None:
    """A directory's digest changes with a name, a content, an executable bit, a link or an empty directory."""
    index = StatIndex(str(tmp_path))
    tree = make_tree(tmp_path / "t")
    seen = [index.digest_path(str(tree))]

    def changed() -> bool:
        seen.append(index.digest_path(str(tree)))
        return seen[-1] not in seen[:-1]

    (tree / "sub" / "file").write_text("z")
    assert changed()
    (tree / "run.sh").chmod(0o755)
    assert changed()
    (tree / "sub" / "empty").rmdir()
    assert changed()
    (tree / "run.sh").rename(tree / "go.sh")
    assert changed()
    (tree / "link").unlink()
    (tree / "link").symlink_to("go.sh")
    assert changed()


def test_tree_sameness(tmp_path: Path) -> None:
    """Where a directory is, when and in what order it was made, and who may read it, do not count."""
    index = StatIndex(str(tmp_path))
    one = make_tree(tmp_path / "one")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    other = tmp_path / "deep" / "er" / "two"
    other.mkdir()
    (other / "link").symlink_to("sub/file")
    (other / "run.sh").write_text("y")
    (other / "sub").mkdir()
    (other / "sub" / "file").write_text("x")
    (other / "sub" / "empty").mkdir(mode=0o700)
    (other / "run.sh").chmod(0o600)
    assert index.digest_path(str(one)) == index.digest_path(str(other))


def test_link_out_of_the_tree(tmp_path: Path) -> None:
    """A link that leads out counts by what it leads to: a change there is a change here."""
    index = StatIndex(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("1")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "data").symlink_to(tmp_path / "data")
    before = index.digest_path(str(tmp_path / "t"))
    (tmp_path / "data" / "x").write_text("2")
    assert index.digest_path(str(tmp_path / "t")) != before


def test_circle(tmp_path: Path) -> None:
    """Links that lead in a circle are an error that names one, not an endless walk."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    with pytest.raises(CacheError, match="to_a"):
        StatIndex(str(tmp_path)).digest_path(str(tmp_path / "a"))


def test_link_to_itself_inside(tmp_path: Path) -> None:
    """A link to a directory above it within the tree counts by what it says."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "self").symlink_to(".")
    (tmp_path / "t" / "dangling").symlink_to("nowhere")
    StatIndex(str(tmp_path)).digest_path(str(tmp_path / "t"))


def test_listing(tmp_path: Path) -> None:
    """A listing's digest goes by names alone."""
    (tmp_path / "a").write_text("1")
    before = directory_listing_digest(str(tmp_path))
    (tmp_path / "a").write_text("2")
    assert directory_listing_digest(str(tmp_path)) == before
    (tmp_path / "b").write_text("")
    assert directory_listing_digest(str(tmp_path)) != before


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 is digested, and remembered."""
    clock = Clock()
    clock.ahead = 10 * SECOND
    name = os.path.join(os.fsencode(tmp_path), b"\xff\xfe")
    Path(os.fsdecode(name)).write_text("hello")
    index = StatIndex(clock=clock)
    index.digest_file(os.fsdecode(name))
    again = StatIndex(clock=clock, former=index.dump)
    assert again.digest_path(str(tmp_path)) == index.digest_path(str(tmp_path))


def test_network_is_told_apart() -> None:
    """Nothing local is taken for a network's."""
    assert not is_network("/proc")
    assert not is_network("/no/such/place")


def _large(folder: Path, clock: Clock, count: int) -> list[str]:
    clock.ahead = 10 * SECOND
    for number in range(count):
        (folder / f"large-{number}").write_bytes(bytes([number]) * (5 << 20))
    return [str(folder / f"large-{number}") for number in range(count)]


def test_large_files_are_read_side_by_side(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first large file that must be read, those are read that will be asked for: at once, and once."""
    paths = _large(tmp_path, clock, 3)
    (tmp_path / "small").write_text("x")
    both = threading.Barrier(2)
    read: list[str] = []

    def together(descriptor: int) -> tuple[str, int]:
        if not both.broken:
            both.wait(20)
            read.append(threading.current_thread().name)
        return streams.hash_descriptor(descriptor)

    monkeypatch.setattr("dagger.cache.files.hash_descriptor", together)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    index = StatIndex(clock=clock)
    monkeypatch.setattr(index, "_digest", _only_large(index._digest))
    index.ahead = lambda: [*paths[:2], str(tmp_path / "small"), str(tmp_path / "gone"), str(tmp_path), paths[0]]
    assert [index.digest_file(path) for path in paths[:2]] == list(map(truth, paths[:2]))
    assert len(read) == 2
    assert threading.main_thread().name not in read
    assert index.ahead is None


def _only_large(digest: Callable[[str], str]) -> Callable[[str], str]:
    def checked(path: str) -> str:
        assert "large" in path
        return digest(path)

    return checked


def test_what_is_young_or_known_is_not_read_ahead(tmp_path: Path, clock: Clock, hashed: list[int]) -> None:
    """What would not be believed is not read before it is asked for, nor is what is known."""
    paths = _large(tmp_path, clock, 4)
    index = StatIndex(clock=clock)
    index.digest_file(paths[1])
    index.ahead = lambda: paths
    index.digest_file(paths[0])
    assert len(hashed) == 4
    clock.ahead = 0
    young = StatIndex(clock=clock)
    young.ahead = lambda: paths
    young.digest_file(paths[0])
    assert len(hashed) == 5
