"""`dagger why` names what it was, before a run and after it, as a person reads it and as JSON."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

PIPELINE = """
from dagger.core import FileDatum, FunctionTask, MemoryDatum, ScriptTask, WorkflowManager
import helpers
import lib_of_reasons


def code(x):
    return {"y": helpers.clean(x)}


def value(x):
    return {"y": x}


def content(source):
    with open(source) as file:
        return {"y": file.read()}


def lookup(x):
    with open("lookup.csv") as file:
        return {"y": file.read()}


def variable(x):
    import os

    return {"y": os.environ.get("REASON")}


def package(x):
    return {"y": lib_of_reasons.number()}


def made(out):
    with open(out, "w") as file:
        file.write("made")


def fails(x):
    with open("fixed.txt") as file:
        assert file.read() != "one\\n", "not yet"
    return {"y": x}


def task(function, given, **options):
    return FunctionTask(function.__name__, function, {"x": MemoryDatum(pointer=given)}, {"y": None}, **options)


given = {"source": FileDatum(pointer="data.txt")}
tasks = [
    task(code, 1),
    task(value, "small before"),
    FunctionTask("content", content, given, {"y": None}),
    task(lookup, 1),
    task(variable, 1),
    task(package, 1, version="1"),
    FunctionTask("made", made, {}, {"out": "out.txt"}),
    ScriptTask("script", {"source": FileDatum(pointer="fixed.txt")}, {"out": "all.txt"}, script="cat {source} > {out}"),
    task(fails, 1),
]
WorkflowManager(tasks).run(keep_going=True)
"""

HELPERS = """
FACTOR = 2


def clean(x):
    "Clean a number."
    return x * FACTOR


def beside(x):
    return x
"""


@dataclass(frozen=True)
class Case:
    """A reason: the task that has it, what brings it about, and what `why` must and must not say."""

    task: str
    edit: Callable[[Any], object]
    reason: str
    code: str
    subject: str = ""
    shown: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    env: tuple[str, str] = ("REASON", "a")
    outcome: str = "ran"


def _replace(path: str, old: str, new: str) -> Callable[[Any], object]:
    def edit(project: Any) -> None:
        text = project.read(path)
        assert old in text
        project.write(path, text.replace(old, new, 1))

    return edit


def _install(project: Any, version: str) -> None:
    site = project.path / "site-packages"
    shutil.rmtree(site, ignore_errors=True)
    info = f"site-packages/lib_of_reasons-{version}.dist-info"
    project.write("site-packages/lib_of_reasons/__init__.py", "def number():\n    return 1\n")
    project.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: lib-of-reasons\nVersion: {version}\n")
    project.write(f"{info}/RECORD", "lib_of_reasons/__init__.py,,\n")


CASES = [
    Case(
        "code",
        _replace("helpers.py", "x * FACTOR", "x * FACTOR + 1"),
        "code changed: helpers.clean",
        "code changed",
        "helpers.clean",
        shown=("-    return x * FACTOR", "+    return x * FACTOR + 1", "--- helpers.clean (before)"),
        hidden=("beside", "FACTOR = 2"),
    ),
    Case(
        "code",
        _replace("helpers.py", "FACTOR = 2", "FACTOR = 33"),
        "code changed: helpers.FACTOR",
        "code changed",
        "helpers.FACTOR",
        shown=("-2", "+33"),
        hidden=("def clean",),
    ),
    Case(
        "value",
        _replace("pipeline.py", "small before", "small after"),
        "input changed: x",
        "input changed",
        "x",
        shown=("small before", "small after"),
    ),
    Case(
        "content",
        lambda project: project.write("data.txt", "two\n"),
        "input changed: source",
        "input changed",
        "source",
    ),
    Case(
        "lookup",
        lambda project: project.write("lookup.csv", "two\n"),
        "undeclared input changed: lookup.csv",
        "undeclared input changed",
        "lookup.csv",
    ),
    Case(
        "variable",
        lambda _project: None,
        "undeclared input changed: REASON",
        "undeclared input changed",
        "REASON",
        hidden=("secret value",),
        env=("REASON", "secret value"),
    ),
    Case(
        "package",
        lambda project: _install(project, "1.1"),
        "package changed: lib-of-reasons (1.0 → 1.1)",
        "package changed",
        "lib-of-reasons",
    ),
    Case(
        "package",
        _replace("pipeline.py", 'version="1"', 'version="2"'),
        "version changed (1 → 2)",
        "version changed",
    ),
    Case(
        "made",
        lambda project: (project.path / "out.txt").unlink(),
        "output missing: out",
        "output missing",
        "out",
        outcome="restored",
    ),
    Case(
        "script",
        _replace("pipeline.py", "cat {source}", "sort {source}"),
        "code changed: script",
        "code changed",
        "script",
        shown=("-cat {source} > {out}", "+sort {source} > {out}"),
    ),
    Case(
        "fails",
        lambda project: project.write("fixed.txt", "two\n"),
        "failed last time",
        "failed last time",
    ),
]


@pytest.fixture
def known(project: Any) -> Any:
    """Return a project that ran once."""
    project.write("pipeline.py", PIPELINE)
    project.write("helpers.py", HELPERS)
    for name in ("data.txt", "lookup.csv", "fixed.txt"):
        project.write(name, "one\n")
    _install(project, "1.0")
    _dagger(project, "run", "-k", "pipeline.py", env={"REASON": "a"})
    return project


def _dagger(project: Any, *args: str, env: dict[str, str]) -> Any:
    path = str(project.path / "site-packages")
    search = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))
    return project.dagger(*args, env={"PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1", **env}, check=False)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.task}-{case.reason[:30]}" for case in CASES])
def test_a_reason_is_told_before_and_after_the_run(known: Any, case: Case) -> None:
    """What `why` foresees is what the run then does, for the very same reason."""
    case.edit(known)
    env = dict([case.env])
    foreseen = _dagger(known, "why", case.task, "pipeline.py", env=env).stdout
    _dagger(known, "run", "-k", "pipeline.py", env=env)
    assert case.task in known.came_out(case.outcome)
    told = json.loads(_dagger(known, "why", case.task, "--json", env=env).stdout)
    said = "\n".join(text for it in told["details"] for text in (it["sentence"], it["diff"], it["before"], it["after"]))
    assert foreseen.startswith(f"{case.task}: {'will be restored' if case.outcome == 'restored' else 'will run'}")
    assert told["outcome"] == case.outcome
    for text in (foreseen, said):
        assert case.reason in text
        assert [shown for shown in case.shown if shown not in text] == []
        assert [hidden for hidden in case.hidden if hidden in text] == []
    assert (case.code, case.subject) in [(detail["code"], detail["subject"]) for detail in told["details"]]


def test_what_is_foreseen_is_told_as_json_and_what_was_as_text(known: Any) -> None:
    """Both forms say the same of the next run as of the last."""
    _replace("helpers.py", "FACTOR = 2", "FACTOR = 33")(known)
    foreseen = json.loads(_dagger(known, "why", "code", "pipeline.py", "--json", env={"REASON": "a"}).stdout)
    _dagger(known, "run", "-k", "pipeline.py", env={"REASON": "a"})
    told = json.loads(_dagger(known, "why", "code", "--json", env={"REASON": "a"}).stdout)
    assert foreseen["details"] == told["details"]
    assert "+33" in _dagger(known, "why", "code", env={"REASON": "a"}).stdout


def test_the_first_time_and_force_are_reasons(known: Any) -> None:
    """A task that nothing is known of runs for that; one that was told to run, for that."""
    env = {"REASON": "a"}
    assert "first time" in _dagger(known, "why", "value", env=env).stdout
    _dagger(known, "run", "-k", "-f", "value", "pipeline.py", env=env)
    assert known.came_out("ran") == {"value"}
    assert "forced" in _dagger(known, "why", "value", env=env).stdout


def test_a_task_that_will_not_run_says_so(known: Any) -> None:
    """Without a change the answer is that all is up to date."""
    told = _dagger(known, "why", "code", "pipeline.py", env={"REASON": "a"}).stdout
    assert "up to date" in told


def test_a_file_is_told_by_path_and_digest(known: Any) -> None:
    """Of a file that changed, `why` says where it is and its digest before and after."""
    known.write("data.txt", "two\n")
    told = _dagger(known, "why", "content", "pipeline.py", env={"REASON": "a"}).stdout
    assert "input changed: source (data.txt)" in told
    before, arrow, after = told.splitlines()[-1].split()
    assert arrow == "→"
    assert len(before) == len(after) == 12


def test_a_file_stands_for_the_task_that_makes_it(known: Any) -> None:
    """One may ask about an output's path."""
    told = _dagger(known, "why", "out.txt", env={"REASON": "a"}).stdout
    assert told.startswith("made:")


def test_looking_for_a_reason_runs_nothing(known: Any) -> None:
    """`why` with a script leaves the project as it was."""
    known.write("data.txt", "two\n")
    (known.path / "out.txt").unlink()
    _dagger(known, "why", "content", "pipeline.py", env={"REASON": "a"})
    assert not known.exists("out.txt")
    _dagger(known, "run", "-k", "pipeline.py", env={"REASON": "a"})
    assert known.came_out("ran", "restored") == {"content", "made"}
