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
