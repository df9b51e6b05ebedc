"""What can befall a file of the cache, and a process that runs the command again and again after each harm.

`python harms.py FOLDER` reads lines of JSON (a harm, a file, a number that decides about the rest), does the harm to
a copy of the cache in FOLDER, runs the command as a person would next, and writes a line of JSON with what came of
it. Each run is a fork of this process, in which the command is loaded already: a fresh process at a tenth of the time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


def write(path: Path, data: bytes) -> None:
    """Change a file's bytes and nothing else of it, as a bad disk does."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


def _halve(path: Path, _chance: random.Random) -> None:
    write(path, path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    write(path, bytes(data))


def _flip_first(path: Path, _chance: random.Random) -> None:
    data = path.read_bytes()
    write(path, bytes([data[0] ^ 1]) + data[1:] if data else b"")


def _flip_last(path: Path, _chance: random.Random) -> None:
    data = path.read_bytes()
    write(path, data[:-1] + bytes([data[-1] ^ 128]) if data else b"")


def _shred(path: Path, chance: random.Random) -> None:
    """Many flipped bytes, in pages of their own."""
    data = bytearray(path.read_bytes())
    for at in range(chance.randrange(700), len(data), 700):
        data[at] ^= 1 << chance.randrange(8)
    write(path, bytes(data))


def _overwrite(path: Path, chance: random.Random) -> None:
    write(path, chance.randbytes(path.stat().st_size))


def _replace(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.write_bytes(b"garbage " * chance.randrange(1, 2000))


def _lengthen(path: Path, chance: random.Random) -> None:
    write(path, path.read_bytes() + chance.randbytes(5000))


def _to_directory(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.randrange(2):
        (path / "something").write_text("in it\n")


def _to_link(path: Path, chance: random.Random) -> None:
    """A link that leads nowhere, or to a file of somebody else's."""
    path.unlink()
    path.symlink_to("nowhere" if chance.randrange(2) else "/etc/passwd")


def _to_file(path: Path, _chance: random.Random) -> None:
    shutil.rmtree(path)
    path.write_text("a file\n")


def _empty(path: Path, _chance: random.Random) -> None:
    shutil.rmtree(path)
    path.mkdir()


def _freeze(path: Path, _chance: random.Random) -> None:
    """Make it unwritable; root, whom no mode stops, needs an attribute of the file system's."""
    path.chmod(0o500 if path.is_dir() else 0o400)
    if os.geteuid() == 0:
        subprocess.run(["chattr", "+i", str(path)], check=True, capture_output=True)


Harm = Callable[[Path, random.Random], None]

TO_FILES: dict[str, Harm] = {
    "cut in half": _halve,
    "flipped": _flip,
    "flipped at its beginning": _flip_first,
    "flipped at its end": _flip_last,
    "shredded": _shred,
    "overwritten": _overwrite,
    "replaced": _replace,
    "longer": _lengthen,
    "emptied": lambda path, _: write(path, b""),
    "deleted": lambda path, _: path.unlink(),
    "a directory": _to_directory,
    "a link": _to_link,
    "read-only": _freeze,
}

TO_FOLDERS: dict[str, Harm] = {
    "deleted": lambda path, _: shutil.rmtree(path),
    "emptied": _empty,
    "a file": _to_file,
    "read-only": _freeze,
}


def _without(name: str) -> Harm:
    return lambda cache, _: shutil.rmtree(cache / "v2" / name)


def _foreign_log(cache: Path, _chance: random.Random) -> None:
    """The log of writes of another database, as a botched copy leaves it."""
    other = cache.parent / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute("CREATE TABLE Cache (key, value, raw)")
        database.executemany("INSERT INTO Cache VALUES (?, ?, 1)", [(f"record:{n}", b"x" * 3000) for n in range(50)])
        database.commit()
        shutil.copy(f"{other}-wal", cache / "v2/index/cache.db-wal")
    (cache / "v2/index/cache.db-shm").unlink(missing_ok=True)
    other.unlink()


def _foreign_tables(cache: Path, chance: random.Random) -> None:
    """A database that is sound, and somebody else's."""
    for name in ("cache.db", "cache.db-wal", "cache.db-shm"):
        (cache / "v2/index" / name).unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(cache / "v2/index/cache.db")) as database:
        if chance.randrange(2):
            database.execute("CREATE TABLE Cache (key TEXT, value TEXT)")
            database.execute("CREATE TABLE Settings (name)")
        database.execute("CREATE TABLE Plants (name)")
        database.commit()


def _exchange_blobs(cache: Path, chance: random.Random) -> None:
    """Each blob gets the content of another, of its own size where there is one."""
    blobs = [path for path in (cache / "v2/blobs").glob("??/*") if path.is_file()]
    chance.shuffle(blobs)
    blobs.sort(key=lambda path: path.stat().st_size)
    contents = [path.read_bytes() for path in blobs]
    for path, content in zip(blobs, contents[1:] + contents[:1], strict=True):
        write(path, content)


def _exchange_memos(cache: Path, chance: random.Random) -> None:
    """Whole memos, under other memos' names: the run's where the files' digests go, and something else in its place."""
    from dagger.cache.memos import RUN, STATS, read_memo, write_memo
    from dagger.cache.rows import short

    (run,) = (cache / "v2/memos").glob(f"{RUN}-*")
    _, root, _ = run.name.split("-")
    value = read_memo(str(run))
    assert value is not None
    write_memo(str(run.with_name(f"{STATS}-{root}-{short('')}")), value)
    write_memo(str(run), chance.choice([{"text.txt": (4, 5)}, ["a", 1], 7, (), (1, (), {}, "x"), {1: {}}]))


def _change_rows(change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> Harm:
    def harm(cache: Path, _chance: random.Random) -> None:
        with contextlib.closing(sqlite3.connect(cache / "v2/index/cache.db")) as database:
            rows = database.execute("SELECT key, value FROM Cache ORDER BY key").fetchall()
            database.executemany("UPDATE Cache SET value = ? WHERE key = ?", [(it[1], it[0]) for it in change(rows)])
            database.commit()

    return harm


def _exchange_rows(rows: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Each row gets the value of the next one, of its own kind mostly."""
    return [(key, rows[index - 1][1]) for index, (key, _) in enumerate(rows)]


def _spoil_records(rows: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(key, value[:-9] + b"different") for key, value in rows if key.startswith("record:")]


TO_CACHE: dict[str, Harm] = {
    "index deleted": _without("index"),
    "blobs deleted": _without("blobs"),
    "locks and logs deleted": lambda cache, chance: (_without("locks")(cache, chance), _without("logs")(cache, chance))[
        0
    ],
    "log of another database": _foreign_log,
    "foreign tables": _foreign_tables,
    "blobs exchanged": _exchange_blobs,
    "memos exchanged": _exchange_memos,
    "rows exchanged": _change_rows(_exchange_rows),
    "rows of a newer format": _change_rows(lambda rows: [(key, b"\x02" + value[1:]) for key, value in rows]),
    "rows of an older format": _change_rows(lambda rows: [(key, b"\x00" + value[1:]) for key, value in rows]),
    "records spoilt": _change_rows(_spoil_records),
    "of another version": lambda cache, _: (cache / "v2").rename(cache / "v3"),
}


def can_freeze(folder: Path) -> bool:
    """Tell whether files can be made unwritable even for root, whom no mode stops."""
    probe = folder / "probe"
    probe.touch()
    try:
        _freeze(probe, random.Random())
    except (OSError, subprocess.CalledProcessError):
        return False
    thaw(folder)
    probe.unlink()
    return True


def thaw(folder: Path) -> None:
    """Make everything in a folder writable again."""
    if os.geteuid() == 0:
        subprocess.run(["chattr", "-R", "-f", "-i", str(folder)], check=False, capture_output=True)
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)


def places_in(folder: Path) -> list[tuple[str, bool]]:
    """Return each path below a folder, from there, and whether it is a folder itself."""
    return sorted((str(path.relative_to(folder)), path.is_dir()) for path in folder.rglob("*"))


class Bench:
    """A project that is harmed and run, over and over.

    Args:
        folder: Has ``project``, which was run, and ``template``, a copy of its cache.
        command: What is run, in a fork; takes the words behind ``dagger`` and returns the exit code.
    """

    def __init__(self, folder: Path, command: Callable[[list[str]], int]) -> None:
        self.project = folder / "project"
        self.cache = self.project / ".dagger"
        self.template = folder / "template"
        self.said = folder / "said.txt"
        self.command = command

    def try_out(self, harm: str, place: str, seed: int, commands: list[list[str]]) -> list[dict[str, Any]]:
        """Do a harm, then the commands, or else run as things are, after an edit, and with the outputs gone."""
        self.renew()
        path = self.cache / place
        with contextlib.suppress(FileNotFoundError):
            harms = TO_CACHE if harm in TO_CACHE else TO_FOLDERS if path.is_dir() else TO_FILES
            harms[harm](path, random.Random(seed))
        return [self.run(" ".join(words), words) for words in commands] or list(self._runs())

    def renew(self) -> None:
        """Put the cache back as it was."""
        if self.cache.exists():
            thaw(self.cache)
            shutil.rmtree(self.cache)
        for saved in self.project.glob("*.saved-*"):
            saved.unlink()
        shutil.copytree(self.template, self.cache, symlinks=True)
        self.said.unlink(missing_ok=True)

    def _runs(self) -> Iterator[dict[str, Any]]:
        source = self.project / "text.txt"
        before = source.read_text()
        yield self.run("as it is")
        source.write_text(before + "more words\n")
        yield self.run("edited")
        source.write_text(before)
        for name in ("kept.pkl", "mode.sh", "out/page.txt"):
            (self.project / name).unlink(missing_ok=True)
        shutil.rmtree(self.project / "place", ignore_errors=True)
        yield self.run("outputs gone")

    def run(self, when: str, words: Sequence[str] = ("run", "pipeline.py", "--", "here")) -> dict[str, Any]:
        """Run the command in a fork; return how it ended, what it said and what it left."""
        self.said.write_bytes(b"")
        child = os.fork()
        if not child:
            self._be_the_command(list(words))
        _, status = os.waitpid(child, 0)
        return {
            "when": when,
            "code": os.waitstatus_to_exitcode(status),
            "said": self.said.read_text(errors="replace"),
            "left": left_in(self.project),
        }

    def _be_the_command(self, words: list[str]) -> None:
        code = 99
        try:
            with open(self.said, "wb", buffering=0) as said:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
            os.chdir(self.project)
            code = self.command(words)
        except BaseException:
            traceback.print_exc()
        finally:
            import atexit

            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def left_in(project: Path) -> dict[str, str]:
    """Return what a run left in a project: each output's content, its bit, or what a link says."""
    found = {}
    for path in sorted(project.rglob("*")):
        name = str(path.relative_to(project))
        if name.startswith((".dagger", "__pycache__")) or ".saved-" in name:
            continue
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "a directory"
        else:
            found[name] = f"{path.stat().st_mode & 0o100:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def main(folder: Path) -> None:
    """Try out each harm that standard input names."""
    from dagger.cli import main as dagger_main

    def command(words: list[str]) -> int:
        sys.argv = ["dagger", *words]
        sys.path[0] = str(folder / "project")
        try:
            found = dagger_main()
        except SystemExit as ended:
            found = ended.code
        return int(found or 0)

    bench = Bench(folder, command)
    for line in sys.stdin:
        print(json.dumps(bench.try_out(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
