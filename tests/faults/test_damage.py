"""Whatever befalls the cache, the next run gives right results, or one message says what mends it.

Each file and folder of a cache is harmed in each way there is (``--rounds N``: how many of the ways), and each time
the command is run as things are, after an edit, and with the outputs gone, so that they must come out of the cache.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harms
import pytest

from dagger.cache import Cache

PIPELINE = """
    import os
    import shutil
    import sys
    from concurrent.futures import ThreadPoolExecutor

    from dagger.core import FileDatum, FunctionTask, PklTask, ScriptTask, WorkflowManager


    def read(text):
        with open(text) as file:
            return {"words": file.read().split()}


    def many(words):
        return {"table": [word * (index % 50) for index in range(2000) for word in words]}


    def keep(table):
        return {"kept": {"length": len(table), "letters": sum(map(len, table))}}


    def write(table, page):
        print("lines", *range(5000))
        with open(page, "w") as file:
            file.write("\\n".join(table))


    def grow(words, place):
        os.makedirs(place + "/empty")
        for word in words:
            with open(f"{place}/{word}.txt", "w") as file:
                file.write(word * 3000)
        os.symlink(f"{words[0]}.txt", place + "/link")


    def add_up(kept, page, place, mode):
        with open(page) as file:
            return {"sum": [kept["letters"], len(file.read()), sorted(os.listdir(place)), mode]}


    source = {"text": FileDatum(pointer="text.txt")}
    words = FunctionTask("read", read, source, {"words": None})
    table = FunctionTask("many", many, {"words": words["words"]}, {"table": None})
    kept = PklTask("keep", keep, {"table": table["table"]}, {"kept": "kept.pkl"})
    page = FunctionTask("write", write, {"table": table["table"]}, {"page": "out/page.txt"})
    place = FunctionTask("grow", grow, {"words": words["words"]}, {"place": "place/"})
    mode = ScriptTask("mode", source, {"mode": "mode.sh"}, script="cat {text} > {mode}; chmod +x {mode}", env=["TONE"])
    inputs = {"kept": kept["kept"], "page": page["page"], "place": place["place"], "mode": mode["mode"]}
    total = FunctionTask("add", add_up, inputs, {"sum": None})

    # Threads start at once; what is stored, and how, is the same as with processes.
    manager = WorkflowManager(total, executor=ThreadPoolExecutor(2) if "here" in sys.argv else None)
    manager.run()
    print("result", total["sum"].pointer)
    if "copy" in sys.argv:  # while the database is open, with its log of writes beside it
        manager.cache.commit()
        shutil.copytree(".dagger", "../template")
"""

TEXT = "ab cd efg\nh\n"


class Harmed:
    """A project whose cache is harmed; what came of it is compared with clean builds."""

    def __init__(self, project: Any) -> None:
        self.project = project
        self.path: Path = project.path
        self.folder = self.path.parent
        self.project.write("pipeline.py", PIPELINE)
        self.wanted: dict[str, tuple[dict[str, str], str]] = {}
        self._build("edited", TEXT + "more words\n")
        self._build("as it is", TEXT, "here", "copy")
        self.wanted["outputs gone"] = self.wanted["as it is"]
        self._process: subprocess.Popen[str] | None = None

    def _build(self, when: str, text: str, *words: str) -> None:
        shutil.rmtree(self.path / ".dagger", ignore_errors=True)
        self.project.write("text.txt", text)
        self.project.write("mode.sh", "mine, and so it goes to saved/\n")
        done = self.project.dagger("run", "pipeline.py", "--", *words)
        self.wanted[when] = harms.left_in(self.path), done.stdout.splitlines(keepends=True)[-1]

    def places(self) -> list[str]:
        return [place for place, _ in harms.places_in(self.folder / "template")]

    def harms_to(self, place: str) -> list[str]:
        found = list(harms.TO_FOLDERS if (self.folder / "template" / place).is_dir() else harms.TO_FILES)
        return found if harms.can_freeze(self.folder) else [it for it in found if it != "read-only"]

    def try_out(self, harm: str, place: str = ".", seed: int = 0) -> None:
        """Do a harm and run: as it is, after an edit, with the outputs gone."""
        for run in self.ask(harm, place, seed):
            self.check(f"{place} {harm}, seed {seed}, {run['when']}", run)

    def ask(self, harm: str, place: str, seed: int = 0, *commands: list[str]) -> list[dict[str, Any]]:
        """Do a harm, then the commands, or else the runs; return what came of each."""
        if self._process is None:
            self._process = self.project.start(harms.__file__, str(self.folder), stdin=subprocess.PIPE)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps((harm, place, seed, commands)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._process.stderr and self._process.stderr.read()
        answers: list[dict[str, Any]] = json.loads(line)
        return answers

    def check(self, title: str, run: dict[str, Any]) -> None:
        """A run ended with right results, or with one message that says what mends it."""
        left, printed = self.wanted[run["when"]]
        told = f"{title}\n{run['said']}"
        assert "Traceback" not in run["said"], told
        if run["code"]:
            assert run["code"] in (1, 2), told
            assert run["said"].count("dagger:") == 1, told
            assert any(word in run["said"] for word in ("remove it", "DAGGER_CACHE_DIR")), told
        else:
            assert {**run["left"], "text.txt": ""} == {**left, "text.txt": ""}, told
            assert printed.strip() in run["said"], told

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
        harms.thaw(self.folder)


@pytest.fixture
def harmed(project: Any) -> Iterator[Harmed]:
    made = Harmed(project)
    yield made
    made.close()


KINDS = {
    "database": ("v2/index/cache.db*",),
    "blobs": ("v2/blobs/??/*",),
    "folders": ("*", "v2/*", "v2/blobs/*"),
    "memos": ("v2/memos/*", "v2/uses/*"),
    "the rest": ("*", "v2/*", "v2/index/lock", "v2/locks/*", "v2/logs/*", "saved/**/*"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(7200)
def test_any_file_of_the_cache_can_be_harmed(harmed: Harmed, kind: str, rounds: int) -> None:
    """Cut off, flipped, deleted, emptied, replaced, made read-only: each harm to some file, or each to each."""
    template = harmed.folder / "template"
    found = sorted({path for pattern in KINDS[kind] for path in template.glob(pattern)})
    places = [str(path.relative_to(template)) for path in found if path.is_dir() == (kind == "folders")]
    assert places
    pairs = [(harm, place) for place in places for harm in harmed.harms_to(place)]
    chance = random.Random(kind)
    chance.shuffle(pairs)
    for number, (harm, place) in enumerate((pairs * 5)[:rounds]):
        harmed.try_out(harm, place, number)


def test_any_part_of_the_cache_can_be_harmed_as_a_whole(harmed: Harmed) -> None:
    """Deleted, exchanged, another database's or another format's."""
    for harm in harms.TO_CACHE:
        for seed in range(6 if harm == "memos exchanged" else 1):
            harmed.try_out(harm, ".", seed)


HARMS = [
    *((harm, ".") for harm in ("index deleted", "blobs deleted", "log of another database", "foreign tables")),
    *((harm, ".") for harm in ("blobs exchanged", "rows exchanged", "rows of a newer format")),
    *((harm, "v2/index/cache.db") for harm in ("cut in half", "shredded")),
    ("a file", "v2/blobs"),
]
LOOKS = [
    ["cache", "ls"],
    ["cache", "show", "many"],
    ["why", "add"],
    ["run", "-n", "pipeline.py"],
    ["cache", "gc"],
]
MENDS = [["cache", "verify", "--repair"], ["cache", "verify"]]


SHARED = """
    import sys
    import time
    from concurrent.futures import ThreadPoolExecutor

    from dagger.core import FunctionTask, MemoryDatum, WorkflowManager


    def make():
        return {"value": "x" * 200_000}


    def use(value, number):
        time.sleep(0.1)
        return {"worth": len(value) + number}


    maker = FunctionTask("make", make, outputs={"value": None})
    users = [
        FunctionTask(
            f"use{number}",
            use,
            {"value": maker["value"], "number": MemoryDatum(pointer=number + int(sys.argv[1]))},
            {"worth": None},
        )
        for number in range(6)
    ]
    executor = ThreadPoolExecutor(int(sys.argv[2])) if len(sys.argv) > 2 else None
    WorkflowManager(users, executor=executor, jobs=2).run()
    print(*[user["worth"].pointer for user in users])
"""


@pytest.mark.parametrize("executor", [(), ("1",), ("3",)], ids=["workers", "a thread", "threads"])
def test_a_damaged_value_that_many_took_is_made_again_once(project, executor):
    """Whoever comes upon it while it is made again waits for that, and whoever tells of it late runs once more."""
    project.write("pipeline.py", SHARED)
    project.run("pipeline.py", "0", *executor)
    (blob,) = [it for it in (project.path / ".dagger").rglob("blobs/*/*") if it.is_file()]
    harms.write(blob, blob.read_bytes().replace(b"x", b"y", 1))
    said = project.run("pipeline.py", "100", *executor)
    assert said.stdout.split() == [str(200_100 + number) for number in range(6)]
    assert project.came_out("ran") == {"make", *(f"use{number}" for number in range(6))}


def test_every_command_copes_with_damage(harmed: Harmed) -> None:
    """It says what it can see, or in one message that there is nothing; after a repair the cache is sound."""
    for harm, place in HARMS:
        *looks, repair, verify = harmed.ask(harm, place, 0, *LOOKS, *MENDS)
        for run in (*looks, repair, verify):
            told = f"{place} {harm}, {run['when']}\n{run['said']}"
            assert "Traceback" not in run["said"], told
            assert run["code"] in (0, 1 if run is repair else 2), told
        assert verify["code"] == 0, verify["said"]
        assert verify["said"].endswith("no damage\n")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, byte for byte; what SQLite's processes share in memory is no content."""
    found = {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
    return {str(path): data for path, data in found.items() if path.suffix != ".db-shm"}


@pytest.fixture
def made(harmed: Harmed) -> Harmed:
    """A project as a crash leaves it: what was written last to the database is in its log only."""
    shutil.rmtree(harmed.path / ".dagger")
    shutil.copytree(harmed.folder / "template", harmed.path / ".dagger")
    assert (harmed.path / ".dagger/v2/index/cache.db-wal").stat().st_size
    return harmed


def test_verify_finds_every_flipped_blob_and_changes_nothing(made: Harmed) -> None:
    """Whichever blob it is, whichever byte; task and output are named."""
    blobs = sorted((made.path / ".dagger/v2/blobs").glob("??/*"))
    chance = random.Random(0)
    owners = set()
    for blob in blobs:
        sound = blob.read_bytes()
        harms.TO_FILES["flipped"](blob, chance)
        before = contents(made.path / ".dagger")
        cache = Cache.open(made.path / ".dagger", root=made.path)
        (found,) = cache.verify()
        cache.close()
        assert (found.kind, found.name) == ("blob", blob.parent.name + blob.name)
        assert contents(made.path / ".dagger") == before
        owners.update(found.of)
        harms.write(blob, sound)
    assert owners == {
        "task 'many', output 'table'",
        "task 'keep', output 'kept'",
        "task 'write', output 'page'",
        "task 'grow', output 'place'",
        "task 'mode', output 'mode'",
    }


def test_verify_finds_every_broken_row_and_changes_nothing(made: Harmed) -> None:
    """Whichever row it is, whichever byte of it."""
    database = made.path / ".dagger/v2/index/cache.db"
    with contextlib.closing(sqlite3.connect(database)) as rows:
        chance = random.Random(0)
        for key, value in rows.execute("SELECT key, value FROM Cache").fetchall():
            data = bytearray(value)
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            rows.execute("UPDATE Cache SET value = ? WHERE key = ?", (bytes(data), key))
            rows.commit()
            cache = Cache.open(made.path / ".dagger", root=made.path)
            before = contents(made.path / ".dagger")
            (found,) = cache.verify()
            cache.close()
            assert (found.kind, found.name) == ("row", key)
            assert found.of
            assert contents(made.path / ".dagger") == before
            rows.execute("UPDATE Cache SET value = ? WHERE key = ?", (value, key))
            rows.commit()


def spoil(cache: Path) -> None:
    """Harm something of each kind: records, blobs, what stands in a blob's place, the database's own pages."""
    chance = random.Random(1)
    harms.TO_CACHE["records spoilt"](cache, chance)
    first, second, third, *_ = sorted((cache / "v2/blobs").glob("??/*"))
    harms.TO_FILES["flipped"](first, chance)
    harms.TO_FILES["a directory"](second, chance)
    third.unlink()
    with contextlib.closing(sqlite3.connect(cache / "v2/index/cache.db")) as rows:
        rows.execute("UPDATE Cache SET raw = 0 WHERE key LIKE 'journal:%'")
        rows.execute("UPDATE Cache SET key = key || 'x' WHERE key LIKE 'entry:%'")
        rows.commit()


def test_verify_only_tells_and_repair_drops(made: Harmed) -> None:
    """Exit 1 and a line for each damage; only with --repair is it gone, and then runs make what is lost."""
    cache, project = made.path / ".dagger", made.project
    spoil(cache)
    before = contents(cache)
    for _ in range(2):
        told = project.dagger("cache", "verify", check=False)
        assert told.returncode == 1, told.stderr
        assert contents(cache) == before
        assert "cache verify --repair" in told.stdout
        assert "task 'grow'" in told.stdout
        assert not told.stderr
    repaired = project.dagger("cache", "verify", "--repair", check=False)
    assert repaired.returncode == 1
    assert repaired.stdout.splitlines()[:-1] == told.stdout.splitlines()[:-1]
    assert project.dagger("cache", "verify").stdout == "no damage\n"
    for name in ("kept.pkl", "mode.sh"):
        (made.path / name).unlink()
    for _ in range(2):
        printed = project.dagger("run", "pipeline.py").stdout
        assert (harms.left_in(made.path), printed) == made.wanted["as it is"]
    assert not project.ran()
    assert project.dagger("cache", "verify").stdout == "no damage\n"


def test_repair_keeps_what_can_be_read_of_a_damaged_database(made: Harmed) -> None:
    """A harm to one page of the database costs what was on it, not all results."""
    project, database = made.project, made.path / ".dagger/v2/index/cache.db"
    project.dagger("run", "pipeline.py")
    with contextlib.closing(sqlite3.connect(database)) as rows:
        (page,) = rows.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Cache_key_raw'").fetchone()
        (size,) = rows.execute("PRAGMA page_size").fetchone()
    data = bytearray(database.read_bytes())
    data[page * size - 20] ^= 1  # in the last of its keys
    database.write_bytes(data)
    told = project.dagger("cache", "verify", check=False)
    assert told.returncode == 1
    assert "index" in told.stdout
    project.dagger("cache", "verify", "--repair", check=False)
    assert project.dagger("cache", "verify").stdout == "no damage\n"
    project.dagger("run", "pipeline.py")
    assert not project.ran()
