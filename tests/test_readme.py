"""What README.md and docs/ say is so: the quick start runs, commands exist, links lead on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    """Return the README's code blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def dagger(*words: str, cwd: Path, python: bool = False) -> list[str]:
    """Run `dagger WORDS` or `python WORDS`; return the lines that it printed."""
    command = [sys.executable, *([] if python else ["-m", "dagger"]), *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).splitlines()


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"[\d.]+ s\b", "0.00 s", line) for line in lines]


@pytest.fixture
def quick_start(tmp_path: Path) -> Path:
    """Return a folder with the quick start's script and its text."""
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 20
    (tmp_path / "quick.py").write_text(code)
    (session, *_) = blocks("console")
    for command in re.findall(r"^\$ (echo .*)$", session, re.MULTILINE):
        subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    return tmp_path


def test_quick_start_prints_what_is_shown(quick_start: Path) -> None:
    """The README's session is what a terminal shows, line by line, times apart."""
    (session, *_) = blocks("console")
    shown = re.split(r"^\$ (.*)\n", session, flags=re.MULTILINE)[1:]
    for command, output in zip(shown[::2], shown[1::2], strict=True):
        if command.startswith("dagger "):
            printed = dagger(*command.split()[1:], cwd=quick_start)
            assert without_times(printed) == without_times(output.splitlines())


def test_quick_start_runs_both_ways_and_once(quick_start: Path) -> None:
    """`python quick.py` and `dagger run quick.py` do the same; the second finds nothing to do."""
    assert "the" in dagger("quick.py", cwd=quick_start, python=True)
    assert sum("nothing to do" in line for line in dagger("run", "quick.py", cwd=quick_start)) == 1


def test_the_second_run_prints_what_is_shown(tmp_path: Path) -> None:
    """The line that the README quotes for the second run is the very line, its time apart."""
    (shown,) = blocks("text")
    (tmp_path / "many.py").write_text(
        "from dagger.core import *\n"
        "def one(x): return {'y': x}\n"
        "tasks = [FunctionTask(f't{n}', one, {'x': MemoryDatum(pointer=n)}, {'y': None})\n"
        "         for n in range(14)]\n"
        "WorkflowManager(tasks).run()\n"
    )
    dagger("run", "many.py", cwd=tmp_path)
    assert without_times(dagger("run", "many.py", cwd=tmp_path)) == without_times(
        shown.splitlines()
    )


def test_the_two_commands_name_extras_that_exist() -> None:
    """The two commands, which `.ci/run` runs as they stand, are two; their extras are known."""
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv ")]
    assert len(lines) == 2
    defined = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    for line in lines:
        (extras,) = re.findall(r"'\.\[([\w,]+)\]'", line)
        assert set(extras.split(",")) <= defined


def test_every_command_that_is_named_exists(tmp_path: Path) -> None:
    """Each `dagger COMMAND` in the README has help."""
    named = set(re.findall(r"`dagger (?:-C \S+ )?([a-z]+(?: [a-z]+\b(?!\.))?)", README))
    assert named
    for words in sorted(named):
        assert dagger(*words.split(), "--help", cwd=tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of each page is a file of the repository."""
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
