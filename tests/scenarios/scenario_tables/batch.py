"""Many scenarios in one pipeline: laid out, run, edited, run again, so that a scenario costs milliseconds.

Each run is a fresh process. The edits of all scenarios are made at once; since no task of one depends on another's,
what ran can be told apart by name.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenario_tables.scenario import Scenario

RUNS = ("first", "again", "edited", "moved", "undone", "clean")

_HEAD = """\
import importlib, json, linecache, os, pickle, sys
from dagger.core import FileDatum, FunctionTask, MemoryDatum, PklTask, ScriptTask, WorkflowError, WorkflowManager
"""

_FOOT = """

def show_file(path):
    if os.path.isdir(path):
        return {name: show_file(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    mode = "x" if os.access(path, os.X_OK) else "-"
    if path.endswith(".pkl"):
        with open(path, "rb") as file:
            return [mode, repr(pickle.load(file))]
    with open(path, encoding="latin-1") as file:
        return [mode, file.read()]


def show(datum):
    if hasattr(datum, "datums"):
        return [show(member) for member in datum.datums]
    if isinstance(datum, FileDatum):
        return [datum.pointer, show_file(datum.pointer)]
    return repr(datum.pointer)


def namespace_of(case):
    if case["place"] == "module":
        return vars(importlib.import_module(case["name"] + ".steps"))
    with open("inline/" + case["name"] + ".py") as file:
        text = file.read()
    if case["place"] == "exec":
        namespace = {"__name__": "__main__"}
        exec(text, namespace)
        return namespace
    cell = "<ipython-input-7-" + case["name"] + ">"
    linecache.cache[cell] = (len(text), None, text.splitlines(keepends=True), cell)
    exec(compile(text, cell, "exec"), globals())
    return globals()


def tasks_of(case):
    namespace = globals() if case["place"] == "main" else namespace_of(case)
    suffix = "" if case["place"] == "module" else "_" + case["name"]
    if "tasks" + suffix in namespace:
        return namespace["tasks" + suffix]
    inputs = {"x": MemoryDatum(pointer=3)}
    return [FunctionTask(case["name"] + ".f", namespace["f" + suffix], inputs, {"y": None})]


def main():
    with open("cases.json") as file:
        cases = json.load(file)
    if os.environ.get("OTHER_ORDER"):
        cases.reverse()
    groups = {}
    for case in cases:
        groups.setdefault(json.dumps(case["manager"]), []).extend(tasks_of(case))
    shown = {}
    for options, tasks in groups.items():
        manager = WorkflowManager(tasks, jobs=2, **json.loads(options))
        try:
            manager.run(keep_going=True)
        except WorkflowError as error:
            pass
        for task in manager.complete:
            shown[task.identifier] = {name: show(datum) for name, datum in task.outputs.items()}
    with open("shown.json", "w") as file:
        json.dump(shown, file)


main()
"""


@dataclass(frozen=True)
class Ran:
    """What one process came to.

    Attributes:
        outcomes: Task to outcome.
        reasons: Task to why, as one text.
        notes: All that the run said beside its outcomes.
        shown: Task to its outputs' names and contents, as texts.
        files: Path to content of what the scenarios want kept; absent paths are not in it.
    """

    outcomes: dict[str, str]
    reasons: dict[str, str]
    notes: list[str]
    shown: dict[str, Any]
    files: dict[str, str]

    def executed(self, scenario: Scenario) -> set[str]:
        """Return the short names of a scenario's tasks that executed."""
        return self.came_out(scenario, "ran", "failed")

    def came_out(self, scenario: Scenario, *outcomes: str) -> set[str]:
        """Return the short names of a scenario's tasks that came out so."""
        prefix = scenario.task("")
        hits = (task for task, outcome in self.outcomes.items() if outcome in outcomes)
        return {task[len(prefix) :] for task in hits if task.startswith(prefix)}

    def told_of(self, scenario: Scenario) -> list[str]:
        """Return the notes about a scenario's tasks."""
        return [note for note in self.notes if f"task '{scenario.task('')}" in note]

    def results(self, scenario: Scenario) -> dict[str, Any]:
        """Return the outputs of a scenario's tasks."""
        return {task: shown for task, shown in self.shown.items() if task.startswith(scenario.task(""))}


Played = Callable[[str, str], dict[str, Ran]]
"""From topic and place to the runs of that batch."""


class Batch:
    """Scenarios that share a project.

    Args:
        scenarios: In the order in which their tasks are made.
        place: Where their code stands, see `Scenario.places`.
        folder: An empty one to work in.
    """

    def __init__(self, scenarios: Sequence[Scenario], place: str, folder: Path) -> None:
        self.scenarios = scenarios
        self.place = place
        self.folder = folder

    def play(self) -> dict[str, Any]:
        """Run everything; return each run of `RUNS` as plain data."""
        project = self._laid_out("project")
        played = {"first": self._run(project)}
        self._touch(project)
        played["again"] = self._run(project, hash_seed="7", other_order=True)
        made = {scenario.name: self._edit(scenario, project) for scenario in self.scenarios}
        self._write_script(project, edited=True)
        played["edited"] = self._run(project, edited=True)
        moved = self.folder / "elsewhere" / "moved"
        shutil.copytree(project, moved, symlinks=True)
        played["moved"] = self._run(moved, edited=True)
        for scenario in self.scenarios:
            for path in made[scenario.name]:
                _remove(path)
            scenario.lay_out(project)
        self._write_script(project, edited=False)
        played["undone"] = self._run(project)
        clean = self._laid_out("clean")
        for scenario in self.scenarios:
            scenario.apply(clean)
        self._write_script(clean, edited=True)
        played["clean"] = self._run(clean, edited=True)
        return played

    def _laid_out(self, name: str) -> Path:
        project = self.folder / name
        project.mkdir(parents=True)
        for scenario in self.scenarios:
            scenario.lay_out(project)
        cases = [{"name": it.here, "place": self.place, "manager": dict(it.manager)} for it in self.scenarios]
        (project / "cases.json").write_text(json.dumps(cases))
        self._write_script(project, edited=False)
        return project

    def _write_script(self, project: Path, *, edited: bool) -> None:
        texts = {scenario.here: scenario.inlined(edited=edited) for scenario in self.scenarios}
        inline = "\n\n".join(texts.values()) if self.place == "main" else ""
        (project / "pipeline.py").write_text(f"{_HEAD}\n{inline}{_FOOT}")
        (project / "inline").mkdir(exist_ok=True)
        for name, text in texts.items():
            (project / "inline" / f"{name}.py").write_text(text)

    def _edit(self, scenario: Scenario, project: Path) -> list[Path]:
        """Make a scenario's edit; return what it made and undoing has to take away, the deepest first."""
        folder = project / scenario.here
        before = set(folder.rglob("*"))
        scenario.apply(project)
        return sorted(set(folder.rglob("*")) - before, reverse=True)

    def _touch(self, project: Path) -> None:
        for path in project.rglob("*"):
            if path.is_file() and ".dagger" not in path.parts:
                path.touch()

    def _run(
        self, project: Path, *, edited: bool = False, hash_seed: str = "0", other_order: bool = False
    ) -> dict[str, Any]:
        reports = self.folder / "reports.jsonl"
        reports.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "pipeline.py"],
            cwd=project,
            env=self._environment(project, reports, edited, hash_seed, other_order),
            capture_output=True,
            text=True,
            timeout=120,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"the pipeline of {self.place!r} failed\n{done.stdout}\n{done.stderr}")
        told = [json.loads(line) for line in reports.read_text().splitlines()]
        tasks = [task for report in told for task in report["tasks"]]
        paths = [f"{it.here}/{path}" for it in self.scenarios for path in (*it.kept, *it.gone)]
        return {
            "outcomes": {task["task"]: task["outcome"] for task in tasks},
            "reasons": {task["task"]: "; ".join(task["reasons"]) + _failure(task) for task in tasks},
            "notes": [note for report in told for note in report["notes"]]
            + [note for task in tasks for note in task["notes"]],
            "shown": json.loads((project / "shown.json").read_text()),
            "files": {path: _content(project / path) for path in paths if os.path.lexists(project / path)},
        }

    def _environment(
        self, project: Path, reports: Path, edited: bool, hash_seed: str, other_order: bool
    ) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_")}
        env |= {
            "DAGGER_REPORT": str(reports),
            "PYTHONHASHSEED": hash_seed,
            "PYTHONDONTWRITEBYTECODE": "1",  # its caches miss an edit of the same size within a second
            "PYTHONPATH": os.pathsep.join(filter(None, [str(project / "site-packages"), env.get("PYTHONPATH")])),
            "OTHER_ORDER": "1" if other_order else "",
        }
        for scenario in self.scenarios:
            for variable, values in scenario.env.items():
                value = values[1 if edited else 0]
                env.pop(variable, None)
                env |= {} if value is None else {variable: value}
        return env


def _failure(task: dict[str, Any]) -> str:
    failure = task.get("failure")
    return f"; {failure['message']}" if failure else ""


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    elif not any(path.iterdir()):
        path.rmdir()


def _content(path: Path) -> str:
    mode = "x" if os.access(path, os.X_OK) else "-"
    return mode + path.read_bytes().decode("latin-1")
