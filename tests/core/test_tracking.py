"""What a task reads without declaring it is seen, with what it then was; nothing else is."""

from __future__ import annotations

import hashlib
import importlib
import linecache
import mmap
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dagger.cache.files import StatIndex, directory_listing_digest
from dagger.core.tracking import Tracker

OLD = time.time() - 100


def touch(path: Any, mode: str = "r") -> None:
    with open(path, mode):
        pass


def digest(text: str | None) -> str:
    return "absent" if text is None else hashlib.md5(text.encode()).hexdigest()


def tracker(root: Path, *ignore: str) -> Tracker:
    return Tracker(
        str(root),
        ignore=[str(root / path) for path in ignore],
        cache_dir=str(root / ".dagger"),
        digest_file=StatIndex().digest_file,
        digest_listing=directory_listing_digest,
        digest_value=digest,
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with some files that are a while old, as the working directory."""
    project = tmp_path / "project"
    for name in ("a.txt", "b.txt", "data/one.csv", "data/two.csv", ".dagger/v2/blob", ".git/HEAD", "in.txt"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x,y\n1,2\n")
        os.utime(path, (OLD, OLD))
    monkeypatch.chdir(project)
    return project


def names(tracked: Tracker, kind: str = "file") -> list[str]:
    return [name for each, name, _ in tracked.reads if each == kind]


def test_each_way_to_open_a_file_is_seen(root: Path) -> None:
    """A file counts however it is opened: by any path type, below any directory, by any library on Python's open."""
    np.save(root / "array.npy", np.zeros(3))
    (root / "mapped").write_bytes(b"12345")
    sqlite3.connect(root / "base.db").execute("create table t (x)").connection.commit()
    ways = {
        "a.txt": lambda: touch("a.txt"),
        "b.txt": lambda: touch(os.fsencode(root / "b.txt"), "rb"),
        "data/one.csv": lambda: pd.read_csv(pathlib.Path("data") / "one.csv"),
        "data/two.csv": lambda: os.close(os.open("data/../data/./two.csv", os.O_RDONLY)),
        "array.npy": lambda: np.load("array.npy"),
        "mapped": lambda: mmap.mmap(os.open("mapped", os.O_RDONLY), 0, access=mmap.ACCESS_READ),
        "base.db": lambda: sqlite3.connect("file:base.db?mode=ro", uri=True).execute("select * from t").fetchall(),
        "in.txt": lambda: pathlib.Path("in.txt").read_text(),
    }
    for name, way in ways.items():
        with tracker(root) as tracked:
            way()
        assert names(tracked) == [name]
        assert tracked.reads == [("file", name, StatIndex().digest_file(name))]
        assert tracked.unstable == []


def test_paths_are_told_from_the_directory_that_they_count_from(root: Path) -> None:
    """A changed working directory and a directory's descriptor lead to the same name."""
    with tracker(root) as tracked:
        os.chdir("data")
        touch("one.csv")
        os.chdir("..")
        folder = os.open("data", os.O_RDONLY)
        os.close(os.open("two.csv", os.O_RDONLY, dir_fd=folder))
        os.close(folder)
    assert names(tracked) == ["data/one.csv", "data/two.csv"]
    assert names(tracked, "absent") == []


def test_the_project_may_be_reached_through_a_link(root: Path) -> None:
    """Names are relative to the root, though the working directory is told by its real name."""
    link = root.parent / "link"
    link.symlink_to(root)
    with tracker(link) as tracked:
        touch("a.txt")
        touch(link / "b.txt")
    assert names(tracked) == ["a.txt", "b.txt"]


def test_what_is_declared_or_not_the_projects_does_not_count(root: Path, tmp_path: Path) -> None:
    """Inputs, outputs, the cache, version control and what lies elsewhere are no discovered reads."""
    (tmp_path / "elsewhere").write_text("")
    (root / "linked").symlink_to("in.txt")
    with tracker(root, "in.txt", "data", "out.txt") as tracked:
        for path in ("in.txt", "linked", "data/one.csv", ".dagger/v2/blob", ".git/HEAD", tmp_path / "elsewhere"):
            touch(path)
        os.listdir("data")
        with pytest.raises(FileNotFoundError):
            touch("out.txt")
        subprocess.run(["cat", "b.txt"], check=True, stdout=subprocess.DEVNULL)
    assert tracked.reads == []


def test_a_failed_open_counts(root: Path) -> None:
    """A file that was looked for and not found is a read: its coming must be noticed."""
    with tracker(root) as tracked:
        for name in ("missing.txt", "no/folder/x"):
            with pytest.raises(FileNotFoundError):
                touch(name)
        with pytest.raises(FileNotFoundError):
            os.listdir("nowhere")
    assert [read for read in tracked.reads if read[0] == "absent"] == [
        ("absent", "missing.txt", "absent"),
        ("absent", "no/folder/x", "absent"),
        ("absent", "nowhere", "absent"),
    ]
    assert tracked.unstable == []


def test_a_listing_counts(root: Path) -> None:
    """Names in a directory are read by listing it, by any of the ways to do so."""
    for way in (
        lambda: os.listdir("data"),
        lambda: list(os.scandir("data")),
        lambda: list(pathlib.Path("data").glob("*.csv")),
        lambda: os.listdir(os.open("data", os.O_RDONLY)),
    ):
        with tracker(root) as tracked:
            way()
        assert tracked.reads == [("listing", "data", directory_listing_digest("data"))]
    with tracker(root) as tracked:
        os.listdir()
    assert names(tracked, "listing") == ["."]


def test_a_listing_is_that_with_the_tasks_own_outputs(root: Path) -> None:
    """A task that lists the directory it writes into is found again; what others put there makes it uncertain."""
    with tracker(root, "data/out.csv") as tracked:
        os.listdir("data")
        touch("data/out.csv", "w")
        touch("data/scratch", "w")
        os.remove("data/one.csv")
    assert tracked.unstable == []
    assert tracked.reads[-1] == ("listing", "data", directory_listing_digest("data"))
    with tracker(root) as tracked:
        os.listdir("data")
        subprocess.run(["touch", "data/foreign"], check=True)
    assert tracked.unstable == ["data"]


def test_what_the_task_made_itself_does_not_count(root: Path) -> None:
    """Scratch files and directories that the task wrote and reads again are its own."""
    with tracker(root) as tracked:
        for mode in ("w", "w+", "x"):
            touch(f"made-{mode}", mode)
            touch(f"made-{mode}")
        os.mkdir("folder")
        subprocess.run(["touch", "folder/child"], check=True)
        touch("folder/child")
        os.listdir("folder")
        os.rename("made-w", "moved")
        touch("moved")
        os.symlink("moved", "link")
        touch("link")
        sqlite3.connect("new.db").close()
        touch("new.db")
        with tempfile.TemporaryDirectory(dir=root) as scratch:
            touch(os.path.join(scratch, "x"), "w")
            touch(os.path.join(scratch, "x"))
        shutil.rmtree("folder")
    assert tracked.reads == []


def test_a_childs_scratch_file_does_not_count(root: Path) -> None:
    """What a child process wrote, and the task read and took away, is no read of the project."""
    with tracker(root) as tracked:
        subprocess.run("echo > scratch", shell=True, check=True)
        touch("scratch")
        os.remove("scratch")
    assert tracked.reads == []
    assert tracked.unstable == []


def test_appending_is_no_read_but_updating_is(root: Path) -> None:
    """A log that is appended to is not read; a file opened to read and write is, and it is not what it was."""
    with tracker(root) as tracked, open("a.txt", "a") as file:
        file.write("more")
    assert tracked.reads == []
    with tracker(root) as tracked, open("b.txt", "r+") as file:
        file.write("changed")
    assert names(tracked) == ["b.txt"]
    assert tracked.unstable == ["b.txt"]


def test_a_file_that_changes_meanwhile_is_uncertain(root: Path) -> None:
    """The digest is that of what was read, or the name is told as unstable."""
    was = StatIndex().digest_file("a.txt")
    with tracker(root) as tracked:
        touch("a.txt")
        subprocess.run("echo new > a.txt", shell=True, check=True)
    assert tracked.unstable == ["a.txt"]
    (root / "young").write_text("1")
    was = StatIndex().digest_file("young")
    with tracker(root) as tracked:
        touch("young")
        subprocess.run("printf 2 > young", shell=True, check=True)
    assert tracked.reads == [("file", "young", was)]
    assert tracked.unstable == ["young"]
    with tracker(root) as tracked:
        with pytest.raises(FileNotFoundError):
            touch("came")
        subprocess.run("touch came", shell=True, check=True)
    assert tracked.unstable == ["came"]


def test_an_import_from_the_disk_counts_by_its_source(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own code that was not shipped was not in the fingerprint, so its file counts, compiled before or not."""
    (root / "late_module.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(root))
    for _ in range(2):
        importlib.invalidate_caches()
        with tracker(root) as tracked:
            importlib.import_module("late_module")
        assert [read[:2] for read in tracked.reads] == [("file", "late_module.py")]
        del sys.modules["late_module"]


def test_source_shown_in_messages_does_not_count(root: Path) -> None:
    """A warning or a traceback shows lines of the script: its text is no input."""
    (root / "script.py").write_text("x = 1\n")
    with tracker(root) as tracked:
        linecache.clearcache()
        assert linecache.getline("script.py", 1) == "x = 1\n"
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn_explicit("careful", UserWarning, "script.py", 1)
    assert tracked.reads == []


def test_threads_of_the_task_count_and_others_do_not(root: Path) -> None:
    """What the task's own threads read is its read; the worker's other threads are none of its business."""
    go, done = threading.Event(), threading.Event()

    def other() -> None:
        go.wait()
        touch("b.txt")
        os.environ.get("OTHERS_VARIABLE")
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with tracker(root) as tracked:
        go.set()
        done.wait()
        mine = threading.Thread(target=lambda: touch("a.txt"))
        mine.start()
        mine.join()
    thread.join()
    assert tracked.reads == [("file", "a.txt", StatIndex().digest_file("a.txt"))]


def test_after_the_task_nothing_is_noted_and_nothing_is_left(root: Path) -> None:
    """Outside a tracker opens are not looked at, and `os` is what it was."""
    kind = type(os.environ)
    before = os.open, dict(vars(kind)), set(os.supports_dir_fd)
    with tracker(root) as tracked:
        pass
    touch("a.txt")
    assert tracked.reads == []
    assert (os.open, dict(vars(kind)), set(os.supports_dir_fd)) == before


def test_a_failing_task_reports_nothing(root: Path) -> None:
    """No time is spent on the reads of a task that failed, and everything is put back."""
    before = os.open
    tracked = tracker(root)

    def task() -> None:
        with tracked:
            touch("a.txt")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        task()
    assert tracked.reads == []
    assert os.open is before


def test_errors_of_the_task_are_its_own(root: Path) -> None:
    """Looking at an odd path never raises; the call itself says what is wrong with it."""
    with tracker(root):  # a block of its own for each error
        with pytest.raises(ValueError, match="null"):
            touch("a\0b")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.listdir(12345)
        with pytest.raises(FileNotFoundError):
            touch("\udcff")
        with pytest.raises(TypeError):
            touch(None)
        with pytest.raises(IsADirectoryError):
            touch("data")


VARIABLE = "DAGGER_TEST_VARIABLE"


def test_each_way_to_read_a_variable_is_seen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Own code's reads of the environment count, set or not, however they are made."""
    for value in ("set", None):
        if value is None:
            monkeypatch.delenv(VARIABLE)
        else:
            monkeypatch.setenv(VARIABLE, value)
        for way in (
            lambda: os.environ.get(VARIABLE),
            lambda: os.getenv(VARIABLE),
            lambda: VARIABLE in os.environ,
            lambda: os.environ.get(VARIABLE, "default"),
            lambda: os.environb.get(VARIABLE.encode()),
            lambda: os.path.expandvars(f"${VARIABLE}/x"),
        ):
            with tracker(root) as tracked:
                way()
            assert tracked.reads == [("env", VARIABLE, digest(value))]
    with tracker(root) as tracked, pytest.raises(KeyError):
        os.environ[VARIABLE]
    assert tracked.reads == [("env", VARIABLE, "absent")]


def test_reads_of_libraries_do_not_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard library looks up for itself is not the task's."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    with tracker(root) as tracked:
        tempfile.gettempdir()
        shutil.which("sh")
    assert names(tracked, "env") == []


def test_what_the_task_sets_itself_does_not_count(root: Path) -> None:
    """A variable that is set and read again is the task's own; one that is read first is not."""
    with tracker(root) as tracked:
        os.environ[VARIABLE] = "mine"
        assert os.environ[VARIABLE] == "mine"
        assert subprocess.run(f"echo ${VARIABLE}", shell=True, capture_output=True, check=True).stdout == b"mine\n"
        del os.environ[VARIABLE]
        assert os.environ.get(VARIABLE) is None
    assert tracked.reads == []
    with tracker(root) as tracked:
        os.environ.setdefault(VARIABLE, "mine")
    assert tracked.reads == [("env", VARIABLE, "absent")]
    del os.environ[VARIABLE]


def test_a_copy_of_the_environment_reads_all_but_the_session(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes everything has read everything that may matter, and not which terminal it is."""
    monkeypatch.setenv(VARIABLE, "1")
    monkeypatch.setenv("SHLVL", "3")
    for way in (
        lambda: dict(os.environ),
        lambda: {**os.environ},
        lambda: os.environ.copy(),
        lambda: os.environ | {},
        lambda: list(os.environ.items()),
        lambda: list(os.environ),
    ):
        with tracker(root) as tracked:
            way()
        assert VARIABLE in names(tracked, "env")
        assert "SHLVL" not in names(tracked, "env")
    with tracker(root) as tracked:
        os.environ["SHLVL"]
    assert names(tracked, "env") == ["SHLVL"]


def test_an_open_costs_little(root: Path) -> None:
    """Watching adds at most some tens of microseconds to an open, far less to one of a file seen before."""
    files = [root / f"file-{number}" for number in range(300)]
    for path in files:
        path.write_text("")
        os.utime(path, (OLD, OLD))

    def opening() -> float:
        start = time.thread_time()
        for path in files:
            os.close(os.open(path, os.O_RDONLY))
        return (time.thread_time() - start) / len(files)

    bare = min(opening() for _ in range(5))
    with tracker(root):
        first = opening()
        again = min(opening() for _ in range(5))
    print(f"{bare * 1e6:.1f} us bare, {first * 1e6:.1f} us the first time, {again * 1e6:.1f} us again")
    assert first - bare < 300e-6  # some 30 on a quiet machine
    assert again - bare < 100e-6
