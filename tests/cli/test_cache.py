"""`dagger cache`: listing, showing, counting, tidying and checking what is remembered."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time

import pytest

from dagger.cache import Cache
from dagger.cache.records import Record, decode, encode

BIG = """
    from dagger.core import FunctionTask, ScriptTask

    def big():
        return {"data": bytes(range(256)) * 400}

    ScriptTask("file", {}, {"o": "file.txt"}, script="seq 5000 > {o}")
    FunctionTask("big", big, {}, {"data": None})
"""


@pytest.fixture
def big(project):
    """A project with blobs; the records above are all small enough to hold their values."""
    project.write("pipeline.py", BIG)
    project.dagger("run", "pipeline.py")
    return project


def blobs(project):
    return [it for it in (project.path / ".dagger/v2/blobs").rglob("*") if it.is_file() and len(it.name) >= 30]


def make_old(project):
    """Let the blobs look as if nobody had used them for days."""
    for blob in blobs(project):
        os.utime(blob, (time.time() - 10**6,) * 2)


def test_ls_lists_the_newest_first(made, edit):
    """Each record has a line: task, type, age, time, size, key."""
    edit(made, "return 2", "return 3")
    made.dagger("run", "pipeline.py")
    heading, *lines = made.dagger("cache", "ls").stdout.splitlines()
    assert heading.split() == ["task", "type", "made", "took", "size", "key"]
    assert len(lines) == 6
    assert {line.split()[0] for line in lines[:2]} == {"page", "double"}
    assert len(made.dagger("cache", "ls", "--limit", "2").stdout.splitlines()) == 3
    assert len(made.dagger("cache", "ls", "double").stdout.splitlines()) == 3


@pytest.fixture
def long_history(project):
    """A project of which 120 results are known."""
    store = Cache.open(project.path / ".dagger")
    for number in range(120):
        root = str(project.path)
        store.add(Record(f"{number:032}", root, f"t{number % 2}", "FunctionTask", (), "", (), (), 1e9 + number, 0.0))
    store.close()
    return project


def test_ls_shows_the_newest_page(long_history):
    """A hundred records, and how to see more; all of them for programs, and where N is 0."""
    shown = long_history.dagger("cache", "ls")
    _, *lines = shown.stdout.splitlines()
    assert len(lines) == 100
    assert lines[0].split()[-1] == f"{119:032}"[:12]
    assert shown.stderr == "dagger: these are the newest 100; --limit 0 lists all\n"
    for more in (("--limit", "0"), ("--limit", "120")):
        all_of_it = long_history.dagger("cache", "ls", *more)
        assert (len(all_of_it.stdout.splitlines()), all_of_it.stderr) == (121, "")
    found = json.loads(long_history.dagger("cache", "ls", "--json").stdout)
    assert [it["started"] for it in found] == [1e9 + number for number in reversed(range(120))]
    found = json.loads(long_history.dagger("cache", "ls", "t1", "--json", "--limit", "2").stdout)
    assert [(it["task"], it["started"]) for it in found] == [("t1", 1e9 + 119), ("t1", 1e9 + 117)]


def test_ls_json(made):
    """The same for programs."""
    found = json.loads(made.dagger("cache", "ls", "--json").stdout)
    assert {it["task"] for it in found} == {"fold", "count", "double", "page"}
    assert {it["type"] for it in found} == {"ScriptTask", "PklTask", "FunctionTask"}
    assert [it["started"] for it in found] == sorted((it["started"] for it in found), reverse=True)
    assert all(len(it["key"]) == 32 for it in found)


def test_ls_of_all_projects(made):
    """Only the project here is listed, unless all that share the cache are asked for."""
    there = ("--cache", str(made.path / ".dagger"))
    above = made.path.parent
    assert made.dagger("cache", "ls", *there, cwd=above).stdout == ""
    assert len(made.dagger("cache", "ls", "--all", *there, cwd=above).stdout.splitlines()) == 5


def test_unknown_task_is_wrong_usage(made):
    """A wrong name gets the right one."""
    for command in ("ls", "show"):
        done = made.dagger("cache", command, "duoble", check=False)
        assert done.returncode == 2
        assert "did you mean 'double'?" in done.stderr


def test_show_says_what_a_record_is_made_of(made):
    """Manifest, code parts, outputs with digests and sizes, and the log."""
    shown = made.dagger("cache", "show", "double").stdout
    for text in ("FunctionTask", "pipeline.double", "pipeline.factor", "twice", "doubling 3", "first time"):
        assert text in shown
    found = json.loads(made.dagger("cache", "show", "double", "--json").stdout)
    assert found["log"] == "doubling 3\n"
    assert {"kind": "python", "name": "", "digest": found["manifest"][1]["digest"]} == found["manifest"][1]
    assert "factor()" in next(part["source"] for part in found["code"] if part["name"] == "pipeline.double")
    assert [output["name"] for output in found["outputs"]] == ["twice"]


def test_show_takes_the_beginning_of_a_key(made):
    """A record is found by its key as well."""
    (record,) = json.loads(made.dagger("cache", "ls", "page", "--json").stdout)
    shown = json.loads(made.dagger("cache", "show", record["key"][:10], "--json").stdout)
    assert shown["task"] == "page"
    assert shown["outputs"][0]["kind"] == "file"


def test_show_tells_discovered_reads(project):
    """What a task was seen to read is part of its record."""
    project.write("table.json", "{}")
    project.write(
        "pipeline.py",
        "from dagger.core import FunctionTask\n"
        "def look():\n    return {'size': len(open('table.json').read())}\n"
        "FunctionTask('look', look, {}, {'size': None})\n",
    )
    project.dagger("run", "pipeline.py")
    (read,) = json.loads(project.dagger("cache", "show", "look", "--json").stdout)["reads"]
    assert (read["kind"], read["name"]) == ("file", "table.json")


def test_stats_counts(big):
    """Records, blobs and their bytes."""
    found = json.loads(big.dagger("cache", "stats", "--json").stdout)
    assert found["records"] == 2
    assert found["blobs"] == len(blobs(big)) == 2
    assert found["bytes"] == sum(it.stat().st_size for it in blobs(big))
    assert "2 records, 2 blobs" in big.dagger("cache", "stats").stdout


def test_gc_without_limits_drops_what_nobody_needs(big):
    """Blobs of forgotten results go; with `-n` they are only counted. Needed ones stay."""
    big.dagger("clean", "big")
    make_old(big)
    assert "would drop 0 records, 1 blob" in big.dagger("cache", "gc", "-n").stdout
    assert len(blobs(big)) == 2
    assert "dropped 0 records, 1 blob" in big.dagger("cache", "gc").stdout
    assert len(blobs(big)) == 1
    big.dagger("run", "pipeline.py", "file")
    assert big.ran() == set()


def test_gc_takes_sizes_with_units(big):
    """SIZE is a number with a unit or without; anything else is wrong usage."""
    for size in ("0", "1.5GiB", "500M", "10 kB"):
        big.dagger("cache", "gc", "-n", "--max-bytes", size)
    for wrong in ("much", "-1", "1X"):
        assert big.dagger("cache", "gc", "--max-bytes", wrong, check=False).returncode == 2
    assert json.loads(big.dagger("cache", "gc", "--max-age", "30", "--json").stdout)["records"] == 0


def test_verify_finds_nothing_in_a_sound_cache(big):
    """No damage: exit 0."""
    assert big.dagger("cache", "verify").stdout == "no damage\n"
    assert json.loads(big.dagger("cache", "verify", "--json").stdout) == []


def test_verify_finds_a_damaged_blob(big):
    """A flipped byte is found and exits with 1; after a repair the cache is sound, and a run makes what it lost."""
    for blob in blobs(big):
        blob.chmod(0o600)
        data = bytearray(blob.read_bytes())
        data[100] ^= 1
        blob.write_bytes(data)
    done = big.dagger("cache", "verify", check=False)
    assert done.returncode == 1
    assert done.stdout.count("blob") >= 2
    assert big.dagger("cache", "verify", "--repair", check=False).returncode == 1
    assert big.dagger("cache", "verify").returncode == 0
    big.dagger("run", "pipeline.py")
    assert big.ran() == {"big", "file"}
    assert big.dagger("cache", "verify").returncode == 0


def test_named_cache_must_exist(project):
    """A mistyped `--cache` is wrong usage; a project without a cache is just empty, and gets none by asking."""
    assert project.dagger("cache", "ls", "--cache", "nowhere", check=False).returncode == 2
    for words in (["ls"], ["stats"], ["gc"], ["verify"]):
        done = project.dagger("cache", *words)
        assert "nothing was run here yet" in done.stderr
    assert not project.exists(".dagger")


def test_open_cache_is_refused_with_the_command_that_mends_it(made):
    """A cache that others can write is not read, in one message."""
    (made.path / ".dagger").chmod(0o777)
    done = made.dagger("cache", "ls", check=False)
    assert done.returncode != 0
    assert "chmod" in done.stderr
    assert "Traceback" not in done.stderr


def test_gc_spares_what_each_run_uses(made, edit):
    """A record counts as used by a run that found it up to date, in however many other states the project was since."""
    month = 30 * 86400
    early = time.time() - month

    def all_happened(when):
        """Let the runs so far have been long ago."""
        with contextlib.closing(sqlite3.connect(made.path / ".dagger/v2/index/cache.db")) as rows:
            for key, value in rows.execute("SELECT key, value FROM Cache WHERE key LIKE 'record:%'").fetchall():
                old = [decode(it, Record)._replace(started=when) for it in decode(value, list)]
                rows.execute("UPDATE Cache SET value = ? WHERE key = ?", (encode([*map(encode, old)]), key))
            rows.execute("DELETE FROM Cache WHERE key LIKE 'entry:%'")
            rows.commit()
        for path in (made.path / ".dagger/v2/uses").iterdir():
            os.utime(path, (when, when))

    def old_records():
        done = made.dagger("cache", "gc", "-n", "--max-age", "20", "--json")
        return json.loads(done.stdout)["records"]

    all_happened(early)
    assert old_records() == 4
    edit(made, "return 2", "return 3")
    made.dagger("run", "pipeline.py")
    assert made.ran() == {"double", "page"}
    assert old_records() == 2
    edit(made, "return 3", "return 2")
    made.dagger("run", "pipeline.py")
    assert not made.ran()
    assert old_records() == 0
    all_happened(early)
    assert old_records() == 4  # what only the run before used is remembered with its own time
    made.dagger("run", "pipeline.py", "double")
    assert old_records() == 1
    assert len(list((made.path / ".dagger/v2/uses").glob("*-*"))) == 1
    made.dagger("run", "-n", "pipeline.py")
    assert old_records() == 1
    made.dagger("cache", "gc", "--max-age", "20")
    made.dagger("run", "pipeline.py", "double")
    assert not made.ran()
