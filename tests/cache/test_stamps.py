"""The stamps of many files at once are those that `os.stat` and `os.lstat` give of each, compiled and in Python."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from dagger.cache.stamps import ManyStamps, _ManyStamps, joined, packed, stamps_of

GONE = b"\xff" * 32
BOTH = list(dict.fromkeys([ManyStamps, _ManyStamps]))


@pytest.fixture
def root(tmp_path):
    """A folder in which a name is no text, one leads to another, and one leads nowhere."""
    (tmp_path / "empty").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below/large").write_bytes(b"x" * 100_000)
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", ns=(-1, -1_500_000_001))
    (tmp_path / "link").symlink_to("below/large")
    (tmp_path / "lost").symlink_to("nowhere")
    with open(os.fsencode(tmp_path) + b"/\xff", "wb"):
        pass
    return tmp_path


def paths_in(root):
    names = [
        "empty",
        "below",
        "below/large",
        "below/",
        "old",
        "link",
        "lost",
        "none",
        "none/below",
        "empty/x",
        "\udcff",
    ]
    return [*names, *(str(root / name) for name in names), "/", ".", "below/../empty", "x" * 300]


def told(look, path):
    try:
        return packed(stamps_of(look(path)))
    except OSError:
        return GONE


@pytest.mark.parametrize("many", BOTH)
def test_stamps_are_those_of_each_file(root, many, monkeypatch):
    """In their order, those where links are followed first, from whatever directory they are asked for."""
    paths = paths_in(root)
    monkeypatch.chdir("/")
    taken = many(os.fsencode(root), joined(paths), joined(paths[::-1])).taken()
    expected = [told(os.stat, root / path) for path in paths] + [told(os.lstat, root / path) for path in paths[::-1]]
    assert [taken[at : at + 32] for at in range(0, len(taken), 32)] == expected


@pytest.mark.parametrize("many", BOTH)
def test_a_change_is_seen_in_them(root, many):
    before, *after = [many(os.fsencode(root), b"old\0", b"").taken()], many(os.fsencode(root), b"old\0", b"").taken()
    assert before == after
    os.utime(root / "old", ns=(0, 1))
    assert many(os.fsencode(root), b"old\0", b"").taken() not in before


@pytest.mark.parametrize("many", BOTH)
def test_without_a_root_there_are_no_relative_files(root, many):
    taken = many(os.fsencode(root / "none"), joined(["empty", str(root / "empty")]), b"").taken()
    assert taken == GONE + told(os.stat, root / "empty")


@pytest.mark.parametrize("many", BOTH)
def test_nothing_is_asked_for(root, many):
    """Nor need anybody wait for what was asked for."""
    assert many(os.fsencode(root), b"", b"").taken() == b""
    many(os.fsencode(root), joined(paths_in(root) * 1000), b"")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_wait_for_its_parents_threads(root):
    many = [ManyStamps(os.fsencode(root), joined(paths_in(root) * 1000), b"") for _ in range(8)]
    child = os.fork()
    if not child:
        many.clear()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len({it.taken() for it in many}) == 1


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("cc"), reason="there is no compiler")
def test_it_is_compiled_here():
    """Where it can be: a mistake in the compiled part is not to pass for there being no compiler."""
    assert ManyStamps is not _ManyStamps
