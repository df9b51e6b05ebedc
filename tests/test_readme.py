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


def shell(command: str, folder: Path) -> list[str]:
    """Run a command line in a folder; return the lines that a terminal would show."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_")}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**kept, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"[\d.]+ s\b", "0.00 s", line) for line in lines]


def session() -> list[tuple[str, list[str]]]:
    """Return the README's session: each command with the lines that it is shown to print."""
    (shown,) = blocks("console")
    parts = re.split(r"^\$ (.*)\n", shown, flags=re.MULTILINE)[1:]
    return [(command, output.splitlines()) for command, output in zip(parts[::2], parts[1::2], strict=True)]


@pytest.fixture
def quick_start(tmp_path: Path) -> Path:
    """Return a folder with the quick start's script."""
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 20
    (tmp_path / "quick.py").write_text(code)
    return tmp_path


def test_quick_start_prints_what_is_shown(quick_start: Path) -> None:
    """The README's session is what a terminal shows, line by line, times apart."""
    for command, shown in session():
        assert without_times(shell(command, quick_start)) == without_times(shown), command


def test_quick_start_runs_both_ways_and_once(quick_start: Path) -> None:
    """`python quick.py` and `dagger run quick.py` do the same; the second finds nothing to do."""
    shell(session()[0][0], quick_start)
    assert shell("python quick.py", quick_start)[-1] == "the"
    line, word = shell("dagger run quick.py", quick_start)
    assert "nothing to do" in line
    assert word == "the"


def test_the_second_run_prints_what_is_shown(tmp_path: Path) -> None:
    """The line that the README quotes for the second run is the very line, its time apart."""
    (shown,) = blocks("text")
    (tmp_path / "many.py").write_text(
        "from dagger.core import FunctionTask, MemoryDatum, WorkflowManager\n"
        "def one(x): return {'y': x}\n"
        "tasks = [FunctionTask(f't{n}', one, {'x': MemoryDatum(pointer=n)}, {'y': None})\n"
        "         for n in range(14)]\n"
        "WorkflowManager(tasks).run()\n"
    )
    shell("dagger run many.py", tmp_path)
    printed = shell("dagger run many.py", tmp_path)
    assert without_times(printed) == without_times(shown.splitlines())


def test_the_two_commands_name_extras_that_exist() -> None:
    """The two commands, which `.ci/run` runs as they stand, are two; their extras are known."""
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv ")]
    assert len(lines) == 2
    defined = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    for line in lines:
        (extras,) = re.findall(r"'\.\[([\w,]+)\]'", line)
        assert set(extras.split(",")) <= defined


def test_every_command_that_is_named_exists(tmp_path: Path) -> None:
    """Each `dagger COMMAND` in the README's table has help, and every command is in the table."""
    table = README[README.index("| command | does |") : README.index("## What counts")]
    named = set(re.findall(r"`dagger ((?:cache )?[a-z]+)", table))
    named |= {f"cache {word}" for word in re.findall(r"`dagger cache.*?`, `(\w+)`, `(\w+)`", table)[0]}
    for words in named:
        assert shell(f"dagger {words} --help", tmp_path)
    assert named == commands(tmp_path)


def test_every_option_that_is_named_exists(tmp_path: Path) -> None:
    """Each option in the README's table is in the help of that row's command."""
    table = README[README.index("| command | does |") : README.index("## What counts")]
    for words, row in re.findall(r"^\| `dagger ((?:cache )?[a-z]+)(.*)$", table, re.MULTILINE):
        helped = " ".join(shell(f"dagger {words} --help", tmp_path))
        for option in re.findall(r"`(-\w|--[a-z-]+)\b", row):
            assert option in helped, f"dagger {words} {option}"


def commands(folder: Path) -> set[str]:
    """Return all commands, as in `run` and `cache gc`."""

    def listed(words: str) -> list[str]:
        lines = shell(f"dagger {words} --help", folder)
        return [line.split()[0] for line in lines[lines.index("Commands:") + 1 :] if line[2:3] > " "]

    inner = {f"cache {word}" for word in listed("cache")}
    return {word for word in listed("") if word != "cache"} | inner


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of each page is a file of the repository."""
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing
