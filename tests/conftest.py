"""A scratch project whose scripts run in fresh processes, as a person would run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# By hand each run tries other examples; what decides about a change must give the same answer twice.
settings.register_profile("ci", derandomize=True, deadline=None)
if os.environ.get("CI"):
    settings.load_profile("ci")


# What a shell starts in its background ignores SIGINT, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=6, help="how often tests strike at random (6)")
    parser.addoption("--big", action="store_true", help="load tests at full size: 10 GB of disk")


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How often a test that strikes at random does so."""
    count: int = pytestconfig.getoption("rounds")
    return count


@pytest.fixture(scope="session")
def nothing_compiled() -> str:
    """How a program begins in which dagger is as it is where there is no compiler."""
    top = Path(__file__).resolve().parent.parent
    rooms = {"dagger.abstract": "dagger/abstract", "dagger.cache": "cache", "dagger.core": "dagger/core"}
    names = [f"{room}.{file.stem}" for room, folder in rooms.items() for file in (top / folder).glob("*.c")]
    assert names
    return f"import sys; sys.modules.update(dict.fromkeys({names}))\n"


@pytest.fixture(scope="session")
def big(pytestconfig: pytest.Config) -> bool:
    """Whether load tests are to be as large as what dagger is made for."""
    asked: bool = pytestconfig.getoption("big")
    return asked


class Project:
    """A folder with a pipeline in it.

    Attributes:
        path: The folder.
        reports: Where the managers of the last run left their reports.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reports = path.parent / f"{path.name}-reports.jsonl"

    def write(self, name: str, text: str) -> Path:
        """Write a file, its text dedented."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip("\n"))
        return file

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def run(self, script: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``python SCRIPT ARGS``."""
        return self._call([sys.executable, script, *args], **options)

    def dagger(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``dagger ARGS``."""
        return self._call([sys.executable, "-m", "dagger", *args], **options)

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``python COMMAND`` and return at once."""
        self.reports.unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.path,
            env=self._environment(options.pop("env", {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    @staticmethod
    def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until something holds, so long at most."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "waited in vain"
            time.sleep(0.02)

    def ran(self) -> set[str]:
        """The tasks that executed in the last run, whether they ended well or not."""
        return self.came_out("ran", "failed")

    def came_out(self, *outcomes: str) -> set[str]:
        """The tasks of the last run with one of these outcomes."""
        return {task["task"] for task in self.tasks() if task["outcome"] in outcomes}

    def tasks(self) -> list[dict[str, Any]]:
        """The task reports of the last run."""
        if not self.reports.exists():
            return []
        lines = self.reports.read_text().splitlines()
        return [task for line in lines for task in json.loads(line)["tasks"]]

    def notes(self) -> list[str]:
        """What the last run said beside its outcomes."""
        lines = self.reports.read_text().splitlines() if self.reports.exists() else []
        return [note for line in lines for note in json.loads(line)["notes"]]

    def _environment(self, extra: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAGGER_")}
        # Python takes a module's bytecode for good after an edit within one second that leaves its size as it is.
        kept["PYTHONDONTWRITEBYTECODE"] = "1"
        return {**kept, "DAGGER_REPORT": str(self.reports), **extra}

    def _call(
        self,
        command: list[str],
        *,
        env: dict[str, str] | None = None,
        check: bool = True,
        timeout: float = 120,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        self.reports.unlink(missing_ok=True)
        done = subprocess.run(
            command,
            cwd=cwd or self.path,
            env=self._environment(env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    return Project(folder)
