"""The examples run as they stand, run nothing twice, and rerun just what an edit concerns."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

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


def copy_example(project: Any, folder: str) -> None:
    """Copy a folder of examples into the project, without what a run of them has left."""
    shutil.copytree(EXAMPLES / folder, project.path, ignore=MADE, dirs_exist_ok=True)


def run(project: Any, way: str, script: str) -> list[str]:
    """Run the script by `python` or by `dagger run`; return the lines that it printed."""
    done = project.run(script) if way == "python" else project.dagger("run", script)
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


def edit(project: Any, file: str, old: str, new: str) -> None:
    """Replace the one place where the file says `old`."""
    text = project.read(file)
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {file}"
    (project.path / file).write_text(text.replace(old, new))


@pytest.mark.parametrize("way", ["python", "dagger"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_example_runs_once(script: str, way: str, project: Any) -> None:
    """Each example runs both ways; run again, it executes nothing, and one line says so."""
    folder, count, printed = SCRIPTS[script]
    copy_example(project, folder)

    assert set(printed) <= set(run(project, way, script))
    assert len(project.tasks()) == len(project.came_out("ran")) == count

    lines = run(project, way, script)
    assert len(project.tasks()) == len(project.came_out("up to date")) == count
    (line,) = [line for line in lines if line not in printed]
    assert "nothing to do" in line


def test_both_ways_share_a_cache(project: Any) -> None:
    """What `python pipeline.py` made is up to date for `dagger run`, from elsewhere by `-C`."""
    copy_example(project, "penguins")
    project.run("pipeline.py")
    assert len(project.came_out("ran")) == 14
    project.dagger("run", "pipeline.py")
    assert len(project.came_out("up to date")) == 14
    project.dagger("-C", project.path.name, "run", "pipeline.py", cwd=project.path.parent)
    assert len(project.came_out("up to date")) == 14


def test_concat(project: Any) -> None:
    """A script's output is what the shell wrote."""
    copy_example(project, "concat")
    project.run("concat.py")
    assert project.read("output.txt") == "first\nsecond\n"


def test_penguins_end_in_a_table_and_a_figure(project: Any) -> None:
    """The table says what the README's figure shows, and the figure is a picture of its size."""
    copy_example(project, "penguins")
    project.run("pipeline.py")
    table = (project.path / "results" / "slopes.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    slopes = {name: slope for name, _, slope, _ in cells}
    assert slopes.pop("all together").startswith("\N{MINUS SIGN}")
    assert len(slopes) == 5
    assert all(slope.startswith("+") for slope in slopes.values())
    head = (project.path / "results" / "bills.png").read_bytes()[:24]
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
        "species.str.split()",
        'species.str.split(" ")',
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
        {f"split-{name}" for name in SPECIES} | {"clean-Gentoo", "fit-Gentoo", "table", "figure"} | JOINT,
    ),
}


def test_an_edit_reruns_just_what_uses_it(project: Any) -> None:
    """Each edit of the README's table runs just the tasks named there; undone, it runs nothing."""
    copy_example(project, "penguins")
    # Python takes a module for unchanged that was edited within a second and is as long as it was.
    fresh = {"PYTHONDONTWRITEBYTECODE": "1"}
    project.run("pipeline.py", env=fresh)
    seen = {}
    for name, (file, old, new, _) in EDITS.items():
        edit(project, file, old, new)
        project.run("pipeline.py", env=fresh)
        edited = project.ran()
        edit(project, file, new, old)
        project.run("pipeline.py", env=fresh)
        seen[name] = (edited, project.ran())
    assert seen == {name: (expected, set()) for name, (*_, expected) in EDITS.items()}
