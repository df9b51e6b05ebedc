"""The examples run as they stand, run nothing twice, and rerun just what an edit concerns."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
MADE = shutil.ignore_patterns(".dagger", "__pycache__", "results", "output.*")

# Folder and script, how many tasks it has, and what it prints by itself.
SCRIPTS = {
    "diamond.py": (".", 4, ["40"]),
    "process.py": (".", 1, []),
    "resources.py": (".", 9, ["1910041713"]),
    "concat.py": ("concat", 1, []),
    "pipeline.py": ("penguins", 14, []),
}
SPECIES = {"Adelie", "Chinstrap", "Gentoo"}
JOINT = {"fit-all-together", "fit-within-species", "fit-within-species-and-sex"}


@dataclass(frozen=True)
class Example:
    """A copy of one folder of examples, where nothing was run yet."""

    folder: Path

    def run(self, *command: str, cwd: Path | None = None) -> tuple[str, dict[str, str]]:
        """Run the command; return what it printed, and each task's outcome."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, *command],
            cwd=cwd or self.folder,
            env={**os.environ, "DAGGER_REPORT": str(report)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        tasks = json.loads(report.read_text())["tasks"]
        return done.stdout + done.stderr, {task["task"]: task["outcome"] for task in tasks}

    def ran(self) -> set[str]:
        """Run the pipeline; return the tasks that were executed."""
        _, outcomes = self.run("pipeline.py")
        return {task for task, outcome in outcomes.items() if outcome == "ran"}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the one place where the file says `old`."""
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))


def copy_of(name: str, tmp_path: Path) -> Example:
    folder = tmp_path / "copy"
    shutil.copytree(EXAMPLES / name, folder, ignore=MADE)
    return Example(folder)


@pytest.mark.parametrize("way", [(), ("-m", "dagger", "run")], ids=["python", "dagger"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_example_runs_once(script: str, way: tuple[str, ...], tmp_path: Path) -> None:
    """Each example runs both ways; run again, it executes nothing, and one line says so."""
    name, count, printed = SCRIPTS[script]
    example = copy_of(name, tmp_path)

    output, outcomes = example.run(*way, script)
    assert set(outcomes.values()) == {"ran"}
    assert len(outcomes) == count
    assert set(printed) <= set(output.splitlines())

    output, outcomes = example.run(*way, script)
    assert set(outcomes.values()) == {"up to date"}
    assert len(outcomes) == count
    (line,) = [line for line in output.splitlines() if line not in printed]
    assert "nothing to do" in line


def test_both_ways_share_a_cache(tmp_path: Path) -> None:
    """What `python pipeline.py` made is up to date for `dagger run`, from elsewhere by `-C`."""
    example = copy_of("penguins", tmp_path)
    assert len(example.ran()) == 14
    _, inside = example.run("-m", "dagger", "run", "pipeline.py")
    _, outside = example.run("-m", "dagger", "-C", "copy", "run", "pipeline.py", cwd=tmp_path)
    assert set(inside.values()) == set(outside.values()) == {"up to date"}


def test_concat(tmp_path: Path) -> None:
    """A script's output is what the shell wrote."""
    example = copy_of("concat", tmp_path)
    example.run("concat.py")
    assert (example.folder / "output.txt").read_text() == "first\nsecond\n"


def test_penguins_end_in_a_table_and_a_figure(tmp_path: Path) -> None:
    """The table says what the README's figure shows, and the figure is a picture of its size."""
    example = copy_of("penguins", tmp_path)
    example.run("pipeline.py")
    rows = (example.folder / "results" / "slopes.md").read_text(encoding="utf-8").splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    slopes = {name: slope for name, _, slope, _ in cells}
    assert slopes.pop("all together").startswith("\N{MINUS SIGN}")
    assert len(slopes) == 5
    assert all(slope.startswith("+") for slope in slopes.values())
    head = (example.folder / "results" / "bills.png").read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    assert struct.unpack(">II", head[16:]) == (1950, 690)


# What is edited, from what, to what, and the tasks that run then. The README's table is this one.
EDITS = {
    "a comment": ("bills.py", "a resample may have missed", "a resample could have missed", set()),
    "a docstring": ("bills.py", "Take its group's mean", "Subtract its group's mean", set()),
    "a local variable": ("pipeline.py", "as file:\n        file.", "as out:\n        out.", set()),
    "the colours": ("drawing.py", "#8e5ea2", "#8e5ea3", {"figure"}),
    "a helper of the table": ("drawing.py", ':+.2f}"', ':+.3f}"', {"table"}),
    "a helper that comes out the same": (
        "bills.py",
        "species.str.split().str[0]",
        'species.str.partition(" ")[0]',
        {f"clean-{name}" for name in SPECIES},
    ),
    "the number of resamples": (
        "bills.py",
        "RESAMPLES = 2000",
        "RESAMPLES = 1900",
        {f"fit-{name}" for name in SPECIES} | JOINT | {"table", "figure"},
    ),
    "one Gentoo": (
        "data/penguins-raw.csv",
        "46.1,13.2,211,4500",
        "46.1,13.3,211,4500",
        {f"split-{name}" for name in SPECIES}
        | {"clean-Gentoo", "fit-Gentoo", "table", "figure"}
        | JOINT,
    ),
}


def test_an_edit_reruns_just_what_uses_it(tmp_path: Path) -> None:
    """Each edit of the README's table runs just the tasks named there; undone, it runs nothing."""
    example = copy_of("penguins", tmp_path)
    assert len(example.ran()) == 14
    seen = {}
    for name, (file, old, new, _) in EDITS.items():
        example.edit(file, old, new)
        edited = example.ran()
        example.edit(file, new, old)
        seen[name] = (edited, example.ran())
    assert seen == {name: (expected, set()) for name, (*_, expected) in EDITS.items()}
