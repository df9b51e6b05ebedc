"""Names, files and stores that somebody made to do harm: nothing of them is executed, followed or shown raw."""

from __future__ import annotations

import json
import os
import pickle
import pty
import random
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dagger.cache import Cache
from dagger.cache.blobs import BlobStore
from dagger.cache.records import Member
from dagger.cache.trees import digest_members

NAMES = [
    "with space",
    " leading",
    "trailing ",
    "tab\tand\ttab",
    "new\nline",
    "\n",
    "new\ntouch CANARY\nline",
    "$(touch CANARY)",
    "${IFS}touch${IFS}CANARY",
    "$HOME",
    "$'\\x41'",
    "`touch CANARY`",
    ";touch CANARY;",
    "a; touch CANARY #",
    "a && touch CANARY",
    "a || touch CANARY",
    "a | touch CANARY",
    "a & touch CANARY &",
    "> CANARY",
    "< in",
    "<(touch CANARY)",
    "(touch CANARY)",
    "'",
    '"',
    "'; touch CANARY; '",
    '"; touch CANARY; "',
    '"$(touch CANARY)"',
    "'\"'\"'$(touch CANARY)",
    "\\",
    "\\$(touch CANARY)",
    "\\\\`touch CANARY`",
    "trailing\\",
    "!!",
    "!touch CANARY",
    "*",
    "?",
    "[a-z]",
    "{a,b}",
    "{in}",
    "{{in}}",
    "}{",
    "~",
    "~root",
    "-rf",
    "--help",
    "-",
    "-e",
    "#comment",
    "a=b",
    "PATH=x",
    "1",
    "done",
    "if",
    "%s%n",
    "a\rb",
    "\x9b31m",
    "e\u0301",
    "\u00e9",
    "\u202egpj.exe",
    "\u2028",
    "\U0001f4a9",
    "\udcff\udc80",
    "l" * 200,
    "EOF",
    ".hidden",
    "..dots",
    "a.pkl.txt",
]

SCRIPTS = """
import os, sys
from dagger.abstract import DatumList
from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

with open("names.json") as file:
    import json
    names = json.load(file)

TEXTS = {
    "bare": "cat {i} > {o}",
    "double": 'cat "{i}" > "{o}"',
    "single": "cat '{i}' > '{o}'",
    "within": 'cat "./{i}" > ./{o}',
    "substituted": 'x=$(cat {i}); printf %s "$x" > {o}',
    "backticks": 'x=`cat {i}`; printf %s "$x" > {o}',
    "assigned": 'i={i}; o="{o}"; cat "$i" > "$o"',
    "looped": 'for path in {i}; do cat "$path"; done > {o}',
    "argument": "cp -- {i} {o}",
    "function": 'f() {{ cat "$1" > "$2"; }}; f {i} {o}',
    "string": "cat $'{i}' > {o}",
}

def copy(given, out):
    with open(given) as file, open(out, "w") as to:
        to.write(file.read())

def copy_into(given, out):
    for name in [*names, "\\x1b[2J\\x07"]:
        with open(os.path.join(out, name), "w") as to:
            to.write("in")

def graph():
    tasks = []
    for number, name in enumerate(names):
        given = FileDatum(pointer=os.path.join("in", name))
        for step in range(2):
            how = list(TEXTS)[(number * (1 + 2 * step) + step) % len(TEXTS)]
            out = FileDatum(pointer=os.path.join(f"out-{step}", name))  # as text it may be a pattern
            tasks.append(ScriptTask(f"{step} {number} {how}", {"i": given}, {"o": out}, script=TEXTS[how]))
        tasks.append(FunctionTask(f"copy {number}", copy, {"given": given}, {"out": os.path.join("out-2", name)}))
    everything = DatumList(FileDatum, pointer=[os.path.join("in", name) for name in names])
    tasks.append(ScriptTask("all", {"all": everything}, {"o": "all"}, script="cat {all} > {o}"))
    tasks.append(FunctionTask("into", copy_into, {"given": everything}, {"out": "tree/"}))
    glob = 'for path in {all}; do mkdir -p "parts/$path"; cat "$path" > "parts/$path/n.part"; done'
    tasks.append(ScriptTask("glob", {"all": everything}, {"parts": "parts/in/*/*.part"}, script=glob))
    return tasks

report = WorkflowManager(graph()).run(keep_going=True)
print(len(report.ran), len(report.restored), len(report.failed), len(report.tasks))
"""


def _hostile(project, names: list[str]) -> None:
    project.write("pipeline.py", SCRIPTS)
    (project.path / "names.json").write_text(json.dumps(names))
    (project.path / "in").mkdir(exist_ok=True)
    for name in names:
        (project.path / "in" / name).write_text("in")


def _is_clean(project, names: list[str]) -> None:
    """Each file has come where it should, and there is nothing else."""
    assert not project.exists("CANARY")
    for folder in ("out-0", "out-1", "out-2", "tree"):
        found = {name: (project.path / folder / name).read_text() for name in os.listdir(project.path / folder)}
        assert found == dict.fromkeys([*names, *(["\x1b[2J\x07"] if folder == "tree" else [])], "in"), folder
    assert project.read("all") == "in" * len(names)
    visible = [name for name in names if not name.startswith(".")]
    assert {path.parent.name for path in (project.path / "parts").glob("*/*/*.part")} >= set(visible)
    made = {"all", "in", "names.json", "out-0", "out-1", "out-2", "parts", "pipeline.py", "tree", ".dagger"}
    assert set(os.listdir(project.path)) == made


def _run_restore_and_clean(project, names: list[str]) -> None:
    _hostile(project, names)
    count = len(names) * 3 + 3
    assert project.run("pipeline.py").stdout.split() == [str(count), "0", "0", str(count)]
    _is_clean(project, names)
    for folder in ("out-0", "out-1", "out-2", "tree", "parts"):
        shutil.rmtree(project.path / folder)
    (project.path / "all").unlink()
    hidden = any(name.startswith(".") for name in names)
    if hidden:  # a pattern does not take these in, so they do not come back
        for name in names:
            (project.path / "parts/in" / name).mkdir(parents=True)
    assert project.run("pipeline.py").stdout.split() == ["0", str(count), "0", str(count)]
    _is_clean(project, names)
    project.dagger("clean", "--outputs")
    assert {it for it in os.listdir(project.path) if not (project.path / it).is_dir()} == {"names.json", "pipeline.py"}
    assert not any(files for folder in project.path.glob("out-*") for _, _, files in os.walk(folder))
    assert sorted(os.listdir(project.path / "in")) == sorted(names)
    assert not project.exists("CANARY")


def test_no_name_is_executed_wherever_it_stands(project):
    """In each place of a script, in functions, lists, directories and patterns; restored the same, and cleaned up."""
    _run_restore_and_clean(project, NAMES)


PIECES = [*"$(){}`;&|'\"\\\n \t*~-<>#!?[]=%a1", "touch CANARY", "$(touch CANARY)", "\udc80"]


def test_no_random_name_is_executed(project, rounds):
    """What the table does not think of; ``--rounds N`` for more of it."""
    for seed in range(max(1, rounds // 6)):
        chance = random.Random(seed)
        names = {"".join(chance.choices(PIECES, k=chance.randint(1, 12))) for _ in range(30)}
        shutil.rmtree(project.path)
        project.path.mkdir()
        _run_restore_and_clean(project, sorted(names, key=os.fsencode))


EVIL = "evil\x1b]0;title\x07\x9b31m\u202egpj\r"
SHOWN = """
import sys
from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager

EVIL = "evil\\x1b]0;title\\x07\\x9b31m\\u202egpj\\r"
IDENTIFIER = "a b;$(touch CANARY)'`*~{x}[bold]../../up\\u202e"
VALUE = 1

def fail(x):
    print(EVIL)
    raise ValueError(EVIL)

def fill(out, x):
    print(EVIL)
    with open(out + "/" + EVIL, "w") as file:
        file.write(str(x))

x = MemoryDatum(pointer=VALUE)
tasks = [
    FunctionTask(IDENTIFIER, fill, {"x": x}, {"out": "tree/"}),
    ScriptTask("script", outputs={"o": "\\udc9b\\u202egpj"}, script="printf 'evil\\\\033]0;title\\\\007' | tee {o}"),
    ScriptTask("lines", {"i": FileDatum(pointer="new\\nran  fake")}, {"o": "n\\nran  fake"}, script="cp {i} {o}"),
]
if len(sys.argv) > 1:
    tasks += [
        FunctionTask("fails", fail, {"x": x}, {"y": None}),
        ScriptTask("script fails", outputs={"o": "o"}, script="printf 'evil\\\\033]0;title\\\\007\\\\r'; false"),
        ScriptTask("none", outputs={"o": "\\u202egpj"}, script="true"),
    ]
WorkflowManager(tasks).run(keep_going=True)
"""
RAW = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]")


def _raw(project, *arguments: str) -> str:
    """What a command prints, undecoded by any universal newline."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project.path, env=environment, capture_output=True, stdin=subprocess.DEVNULL
    )
    said = (done.stdout + done.stderr).decode()
    assert "site-packages" not in said
    assert "/cli/" not in said
    return said


def test_a_terminal_is_never_told_what_to_do(project):
    """Not by identifiers, names of files, what tasks print or raise: in no command's words."""
    project.write("pipeline.py", SHOWN)
    (project.path / "new\nran  fake").write_text("")
    identifier = "a b;$(touch CANARY)'`*~{x}[bold]../../up\u202e"
    commands = [
        ("run", "-n", "pipeline.py"),
        ("run", "-v", "pipeline.py"),
        ("run", "-v", "pipeline.py", "--", "fail"),
        ("run", "--json", "pipeline.py", "--", "fail"),
        ("run", "pipeline.py", EVIL),
        ("why", identifier),
        ("why", identifier, "pipeline.py"),
        ("why", EVIL),
        ("cache", "ls"),
        ("cache", "ls", EVIL),
        ("cache", "show", identifier),
        ("cache", "show", "script"),
        ("clean", "--outputs", "-n"),
        ("clean", "--outputs"),
    ]
    said = {command: _raw(project, "-m", "dagger", *command) for command in commands}
    said["python"] = _raw(project, "pipeline.py", "fail")
    for command, text in said.items():
        assert text, command
        assert not RAW.search(text), (command, text)
        assert not any(line.startswith("ran  fake") for line in text.splitlines()), command
    assert "evil\\x1b]0;title\\x07" in said["run", "-v", "pipeline.py", "--", "fail"]
    assert not project.exists("CANARY")


def test_nor_by_the_line_that_moves(project):
    """On a terminal there are escapes, those of the display alone."""
    project.write("pipeline.py", SHOWN)
    (project.path / "new\nran  fake").write_text("")
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dagger", "run", "-v", "pipeline.py", "--", "fail"],
        cwd=project.path,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=other,
    )
    os.close(other)
    said = b""
    while True:
        try:
            piece = os.read(main, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    os.close(main)
    assert process.wait() == 1
    text = said.decode(errors="replace")
    assert "\x1b" in text
    assert "]0;title" in text
    assert "\x1b]0;title" not in text
    assert not set(text) & {"\x07", "\x9b", "\u202e"}


def test_a_file_name_that_steers_a_terminal_is_refused(project):
    """It must be renamed before anything runs; the message shows it without obeying it."""
    project.write(
        "pipeline.py",
        """
        from dagger.core import ScriptTask, WorkflowManager
        WorkflowManager(ScriptTask("t", outputs={"o": "a\\x1b]0"}, script="touch {o}")).run()
        """,
    )
    refused = project.dagger("run", "pipeline.py", check=False)
    assert refused.returncode == 2
    assert "'a\\x1b]0'" in refused.stderr


MADE = """
import os, sys
from dagger.core import FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowManager

def tree(whole):
    os.makedirs(whole + "/sub")
    with open(whole + "/1", "w") as one, open(whole + "/sub/2", "w") as two:
        one.write("one"), two.write("two")

def value():
    return {"x": list(range(5000))}

def pickled():
    return {"p": {"a": 1}}

def use(x, p, n):
    return {"y": len(x) + p["a"] + n}

made = FunctionTask("value", value, outputs={"x": None})
kept = PklTask("pickled", pickled, outputs={"p": "out/kept.pkl"})
n = MemoryDatum(pointer=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
used = FunctionTask("use", use, {"x": made["x"], "p": kept["p"], "n": n}, {"y": None})
tasks = [
    FunctionTask("tree", tree, outputs={"whole": "out/tree/"}),
    ScriptTask("file", outputs={"o": "out/file.txt"}, script="echo file > {o}"),
    ScriptTask("glob", outputs={"parts": "out/parts/*.part"}, script="mkdir -p out/parts; echo 1 > out/parts/1.part"),
    used,
]
WorkflowManager(tasks).run()
print(used["y"].pointer)
"""
RIGHT = {"file.txt": "file\n", "tree/1": "one", "tree/sub/2": "two", "parts/1.part": "1\n"}


@pytest.fixture
def made(project):
    project.write("pipeline.py", MADE)
    project.write("precious/file.txt", "mine")
    project.write("precious/1", "mine")
    project.write("precious/1.part", "mine")
    project.run("pipeline.py")
    return project


def _is_right(project) -> None:
    """Everything is made, as files of its own, and what is the user's is whole: in its place or saved."""
    for name, text in RIGHT.items():
        assert not (project.path / "out" / name).is_symlink()
        assert project.read(f"out/{name}") == text
    assert not project.exists("CANARY")


def _is_untouched(project) -> None:
    assert sorted(os.listdir(project.path / "precious")) == ["1", "1.part", "file.txt"]
    for name in ("1", "1.part", "file.txt"):
        assert project.read(f"precious/{name}") == "mine"


@pytest.mark.parametrize("again", [[], ["5"]], ids=["restored", "run"])
def test_a_link_in_an_outputs_place_is_replaced_not_followed(made, again):
    """A file, a directory, a directory within, a file that a pattern takes in, the link to nowhere."""
    out = made.path / "out"
    for name, target in (("file.txt", "file.txt"), ("parts/1.part", "1.part"), ("tree/1", "1")):
        (out / name).unlink()
        (out / name).symlink_to(made.path / "precious" / target)
    (out / "kept.pkl").unlink()
    (out / "kept.pkl").symlink_to("nowhere")
    shutil.rmtree(out / "tree/sub")
    (out / "tree/sub").symlink_to(made.path / "precious")
    made.run("pipeline.py", *again)
    _is_right(made)
    _is_untouched(made)
    shutil.rmtree(out / "tree")
    (out / "tree").symlink_to(made.path / "precious")
    made.run("pipeline.py", *again)
    _is_right(made)
    _is_untouched(made)


def test_behind_a_link_to_a_directory_nothing_is_lost(made):
    """A parent may be a link, as to a large disk; what stands there and is not dagger's is saved, the rest is left."""
    shutil.rmtree(made.path / "out")
    (made.path / "out").symlink_to("precious")
    said = made.run("pipeline.py").stderr
    _is_right(made)
    assert "moved it to" in said
    saved = [path for path in (made.path / ".dagger/saved").rglob("*") if path.is_file()]
    assert [path.read_text() for path in saved] == ["mine"]
    assert made.read("precious/1") == made.read("precious/1.part") == "mine"


def _forge(project, task: str, members: list[Member]) -> None:
    """Give a task's record other members, and take its files away, so that they would be put back."""
    with_root = str(project.path)
    cache = Cache.open(project.path / ".dagger", root=with_root)
    (record,) = [it for it in cache.all_records() if it.task == task]
    (output,) = record.outputs
    content = digest_members(members) if output.kind == "tree" else output.content
    forged = output._replace(members=tuple(members), content=content, value=content)
    cache.add(record._replace(outputs=(forged,)))
    cache.close()
    shutil.rmtree(project.path / "out")


def _member(project, path: str, link: str | None = None) -> Member:
    digest = BlobStore(project.path / ".dagger/v2/blobs").put_bytes(b"evil")
    return Member(path, "", 0, link=link) if link is not None or path.endswith("/") else Member(path, digest, 4)


FORGED = {
    "up": [("../escaped", None)],
    "far up": [("../../../../../../../../tmp/dagger-escaped", None)],
    "up within": [("sub/../../escaped", None)],
    "absolute": [("/tmp/dagger-escaped", None)],
    "nothing": [("", None)],
    "itself": [(".", None)],
    "empty part": [("a//b", None)],
    "NUL": [("a\0b", None)],
    "folder up": [("../escaped/", None)],
    "twice": [("a", None), ("a", None)],
    "file and folder": [("a", None), ("a/b", None)],
    "file under a link": [("a", "../../precious"), ("a/escaped", None)],
    "file under a link, the file first": [("a/escaped", None), ("a", "../../precious")],
    "folder under a link": [("a", "../../precious"), ("a/escaped/", None)],
    "link under a link": [("a", "../../precious"), ("a/escaped", "1")],
    "link over a file": [("a", None), ("a", "../../precious/1")],
    "link up": [("../escaped", "precious/1")],
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_directory_is_not_built(made, forged):
    """What leads out of it, through a link in it or over itself: its task runs, nothing is written elsewhere."""
    _forge(made, "tree", [_member(made, *each) for each in FORGED[forged]])
    made.run("pipeline.py")
    _is_right(made)
    _is_untouched(made)
    assert "tree" in made.ran()
    assert not [path for path in made.path.rglob("*escaped*") if ".dagger" not in path.parts]
    assert not os.path.exists("/tmp/dagger-escaped")


@pytest.mark.parametrize(
    "path",
    [
        "../escaped.part",
        "/tmp/dagger-escaped.part",
        "out/parts/../../escaped.part",
        "precious/1.part",
        "out/parts/x/1.part",
        "out/parts/1.other",
    ],
)
def test_a_forged_file_of_a_pattern_is_not_restored(made, path):
    """A record says what matched; what does not match is not written."""
    _forge(made, "glob", [_member(made, path)])
    made.run("pipeline.py")
    _is_right(made)
    _is_untouched(made)
    assert "glob" in made.ran()
    assert not [path for path in made.path.parent.rglob("*escaped*") if ".dagger" not in path.parts]
    assert not os.path.exists("/tmp/dagger-escaped.part")


class _Evil:
    def __reduce__(self):
        return os.system, ("touch CANARY",)


def test_a_blob_exchanged_for_another_is_found_out_before_it_is_loaded(made):
    """Of the same size even, in a value, in a pickle and in a file; a pickle in the project, too."""
    evil = pickle.dumps(_Evil())
    for blob in (made.path / ".dagger/v2/blobs").glob("??/*"):
        size = blob.stat().st_size
        blob.chmod(0o600)
        blob.write_bytes(evil + b"\0" * max(0, size - len(evil)))
    (made.path / "out/kept.pkl").write_bytes(evil)
    (made.path / "out/file.txt").unlink()
    assert made.run("pipeline.py", "5").stdout.strip() == "5006"
    _is_right(made)
    assert {"value", "pickled", "file", "use"} <= made.ran()


def test_blobs_exchanged_for_each_other_are_found_out(made):
    """Good bytes under a wrong name are as bad as bad ones."""
    blobs = sorted((made.path / ".dagger/v2/blobs").glob("??/*"))
    texts = [blob.read_bytes() for blob in blobs]
    for blob, text in zip(blobs, [*texts[1:], texts[0]], strict=True):
        blob.chmod(0o600)
        blob.write_bytes(text)
    shutil.rmtree(made.path / "out")
    assert made.run("pipeline.py", "5").stdout.strip() == "5006"
    _is_right(made)


def test_an_index_that_holds_pickles_runs_none(made):
    """diskcache would unpickle them (CVE-2025-69872), and remove files that a row names."""
    made.write("precious.txt", "mine")
    evil = pickle.dumps(_Evil())
    with sqlite3.connect(made.path / ".dagger/v2/index/cache.db") as database:
        keys = [key for (key,) in database.execute("SELECT key FROM Cache")]
        for number, key in enumerate(keys):
            mode = (1, 2, 3, 4)[number % 4]
            filename = [None, "../../../precious.txt", "../../../CANARY"][number % 3]
            database.execute(
                "UPDATE Cache SET mode = ?, value = ?, filename = ? WHERE key = ?", (mode, evil, filename, key)
            )
        columns = "key, raw, store_time, access_time, size, mode, filename, value"
        row = (evil, "../../../precious.txt", evil)
        database.execute(f"INSERT INTO Cache ({columns}) VALUES (?, 0, 0, 0, 0, 4, ?, ?)", row)
        database.execute("UPDATE Settings SET value = ? WHERE key = 'tag_index'", (evil,))
    database.close()
    assert made.run("pipeline.py").stdout.strip() == "5001"
    _is_right(made)
    for command in (("cache", "ls"), ("cache", "verify", "--repair"), ("cache", "gc"), ("why", "use"), ("clean",)):
        made.dagger(*command, check=False)
    assert made.run("pipeline.py").stdout.strip() == "5001"
    _is_right(made)
    assert made.read("precious.txt") == "mine"
    assert not made.exists("CANARY")


def test_the_cache_is_private_and_one_that_others_can_write_is_refused(made):
    """0700 whatever the umask; refused by runs and commands alike until it is mended, or told otherwise."""
    folder = made.path / ".dagger"
    for path in (folder, folder / "v2"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    shutil.rmtree(folder)
    project_umask = [
        sys.executable,
        "-c",
        "import os, runpy; os.umask(0); runpy.run_path('pipeline.py', run_name='__main__')",
    ]
    subprocess.run(project_umask, cwd=made.path, check=True, capture_output=True)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in (folder, folder / "v2"):
        for mode in (0o770, 0o777, 0o702):
            path.chmod(mode)
            for command in (
                ("run", "pipeline.py"),
                ("cache", "ls"),
                ("cache", "show", "use"),
                ("why", "use"),
                ("clean",),
            ):
                refused = made.dagger(*command, check=False)
                assert refused.returncode == 2, command
                assert f"chmod go-w {path}" in refused.stderr
                assert "Traceback" not in refused.stderr
                if mode != 0o777:
                    break
            path.chmod(0o700)
    folder.chmod(0o777)
    assert made.dagger("run", "pipeline.py", env={"DAGGER_ALLOW_SHARED_CACHE": "1"}).returncode == 0
    folder.chmod(0o700)
    assert made.dagger("run", "pipeline.py").returncode == 0
    assert made.ran() == set()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory to another user")
def test_a_cache_of_another_user_is_refused(made):
    """Whoever owns it can make it writable at any time. Root is refused nothing that it could not undo."""
    nobody = 65534
    home = Path(tempfile.mkdtemp(prefix="dagger-of-others-"))
    try:
        home.chmod(0o777)
        shutil.copytree(made.path / ".dagger", home / ".dagger")
        for folder, _, _ in os.walk(home / ".dagger"):
            os.chmod(folder, 0o755)
        os.chown(home / ".dagger", 12345, 12345)
        code = (
            "import os; from dagger.cache import Cache; from dagger.errors import DaggerError\n"
            f"os.setuid({nobody})\n"
            "try:\n    Cache.open('.dagger')\nexcept DaggerError as error:\n    print(error.exit_code, error)"
        )
        said = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True).stdout
        assert said.startswith("2 ")
        assert "belongs to another user" in said
        assert "DAGGER_ALLOW_SHARED_CACHE=1" in said
    finally:
        shutil.rmtree(home)


def test_values_of_variables_are_nowhere_in_the_cache(project):
    """Declared or discovered, in runs that end well or badly, by scripts or functions: looked for in all bytes."""
    project.write(
        "pipeline.py",
        """
        import os, sys
        from dagger.core import FunctionTask, ScriptTask, WorkflowManager
        from dagger.core.report import WorkflowError

        def look():
            return {"x": len(os.environ["DISCOVERED"])}

        def fail():
            raise ValueError(len(os.environ["DISCOVERED"]))

        tasks = [
            ScriptTask("s", outputs={"o": "o"}, script="echo ${{#DECLARED}} > {o}", env=["DECLARED"]),
            ScriptTask("f", outputs={"o": "p"}, script="echo ${{#DECLARED}}; false", env=["DECLARED"]),
            FunctionTask("look", look, outputs={"x": None}),
            FunctionTask("fail", fail, outputs={"x": None}),
        ]
        try:
            WorkflowManager(tasks).run(keep_going=True)
        except WorkflowError:
            pass
        if len(sys.argv) > 1:
            WorkflowManager(tasks).cache.commit()
            os._exit(0)  # what SQLite writes beside its database stays
        """,
    )
    for number in range(3):
        secrets = {"DECLARED": f"declared-{number}-sesame", "DISCOVERED": f"discovered-{number}-sesame"}
        project.run("pipeline.py", *(["x"] if number else []), env=secrets)
        assert {"s", "look"} <= project.ran()
    project.dagger("why", "s")
    files = [path for path in (project.path / ".dagger").rglob("*") if path.is_file()]
    assert any(path.name == "cache.db" for path in files)
    for path in files:
        found = path.read_bytes()
        assert b"sesame" not in found, path
        assert "sesame".encode("utf-16-le") not in found, path


def test_clean_removes_nothing_through_a_link_or_elsewhere(made):
    """A journal can name any path: only files that are as a task made them go, and none behind a link."""
    outside = made.path.parent / "outside.txt"
    outside.write_text("mine")
    moved = made.path.parent / "moved"
    os.rename(made.path / "out", moved)
    (made.path / "out").symlink_to(moved)
    cache = Cache.open(made.path / ".dagger", root=made.path)
    digest = cache.blobs.put_bytes(b"other")
    for path in ("../outside.txt", str(outside), "out/../../outside.txt", "precious/1", "", ".", "..", "/", ".dagger"):
        cache.journal_add(str(made.path), path, digest)
    cache.close()
    said = made.dagger("clean", "--outputs").stdout
    assert outside.read_text() == "mine"
    assert sorted(os.listdir(moved)) == ["file.txt", "kept.pkl", "parts", "tree"]
    _is_untouched(made)
    assert "removed" not in said
    assert "symbolic link" in said
