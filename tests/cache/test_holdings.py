"""Holdings: a name has one holder, groups are held whole or not at all, and nobody who is gone holds anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from dagger.cache import Cache
from dagger.cache.holdings import Holdings
from dagger.cache.presence import Presence, orphaned

HOLD = """
import sys
from dagger.cache import Cache
cache = Cache.open(sys.argv[1])
presence = cache.presence()
holdings = cache.holdings(presence)
[locks] = holdings.take([sys.argv[2:]])
print(locks is not None, flush=True)
if input() == "mark":
    holdings.mark(locks)
print(flush=True)
input()
"""


def _run(folder: Path) -> tuple[Presence, Holdings]:
    presence = Cache.open(folder).presence()
    return presence, Cache.open(folder).holdings(presence)


def _names(groups: list[list[object] | None]) -> list[bool]:
    return [group is not None for group in groups]


def test_one_holder_of_a_name_and_groups_as_a_whole(tmp_path: Path) -> None:
    """A second run gets nothing of a group of which one name is held, until the first lets go of it."""
    _, one = _run(tmp_path)
    _, other = _run(tmp_path)
    first, second = one.take([["a", "b"], ["c"]])
    assert first is not None
    assert second is not None
    assert _names(other.take([["b", "d"], ["c"], ["d"]])) == [False, False, True]
    one.release(second)
    assert _names(other.take([["a"], ["c"]])) == [False, True]
    one.release(first)
    assert _names(other.take([["a"], ["b"]])) == [True, True]
    assert _names(one.take([["a"], ["e"], ["e"]])) == [False, True, False]


def test_places_are_used_again(tmp_path: Path) -> None:
    """The file is no longer than what was held at once, however much was held in all."""
    _, one = _run(tmp_path)
    _, other = _run(tmp_path)
    for turn in range(50):
        mine = one.take([[f"{turn} {n}"] for n in range(20)])
        others = other.take([[f"other {turn} {n}"] for n in range(15)])
        assert all(_names([*mine, *others]))
        one.mark([lock for group in mine for lock in group or ()])
        for number, group in enumerate(mine):
            if number % 3:
                one.release(group or [])
        other.release([lock for group in others for lock in group or ()])
        for number, group in enumerate(mine):
            if not number % 3:
                one.release(group or [])
    path = tmp_path / "v2" / "locks" / "held"
    assert not path.read_bytes().strip(b"\0")
    assert path.stat().st_size < 100 * 32


def test_a_killed_holder_holds_nothing_and_leaves_word_of_what_it_launched(tmp_path: Path) -> None:
    """Only what was launched may lie half written, and that is known until the next holder launches something."""
    for word, left in (("", False), ("mark", True)):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), "x", "y"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        holder.stdin.write(f"{word}\n")
        holder.stdin.flush()
        holder.stdout.readline()
        _, mine = _run(tmp_path)
        assert mine.take([["y"]]) == [None]
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
        for _ in range(2):
            [locks] = mine.take([["y"]])
            assert locks is not None
            assert (orphaned(locks[0]) is not None) is left
            mine.release(locks)
        [locks] = mine.take([["y"]])
        assert locks is not None
        mine.mark(locks)
        mine.release(locks)
        [again] = mine.take([["y"]])
        assert again is not None
        assert orphaned(again[0]) is None
        mine.release(again)


def test_an_orphan_keeps_what_its_run_held(tmp_path: Path) -> None:
    """Whatever the run had started is part of it, and holds on after the manager is gone."""
    presence, one = _run(tmp_path)
    _, other = _run(tmp_path)
    one.take([["x"]])
    part = presence.fileno()
    assert part is not None
    orphan = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(part,))
    os.close(part)
    assert other.take([["x"]]) == [None]
    orphan.communicate()
    assert _names(other.take([["x"]])) == [True]


def test_a_run_that_has_ended_holds_nothing(tmp_path: Path) -> None:
    """What it did not let go of itself is cleared by the next one that comes."""
    presence, one = _run(tmp_path)
    one.take([["x"], ["y"]])
    presence.end()
    _, other = _run(tmp_path)
    assert _names(other.take([["x"]])) == [True]
    assert (tmp_path / "v2" / "locks" / "held").read_bytes().count(b"\0" * 32) >= 1


def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    """Whoever comes later agrees on the new one, and what was held in the old one clears nothing in it."""
    _, one = _run(tmp_path)
    _, other = _run(tmp_path)
    [former] = one.take([["x"]])
    (tmp_path / "v2" / "locks" / "held").unlink()
    assert _names(other.take([["y"]])) == [True]
    assert one.take([["y"]]) == [None]
    one.release(former or [])
    assert one.take([["y"]]) == [None]
