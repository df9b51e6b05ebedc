"""Makes the tables importable, and plays each batch of scenarios once, however many processes run the tests."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, os.path.dirname(__file__))

from scenario_tables import scenarios_of
from scenario_tables.batch import Batch, Played, Ran


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Return a function from topic and place to the runs of that batch."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def play(topic: str, place: str) -> dict[str, Ran]:
        folder = shared / "scenarios" / f"{topic}-{place}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs = _play_once(topic, place, folder)
        if isinstance(runs, str):
            pytest.fail(runs, pytrace=False)
        return {name: Ran(**run) for name, run in runs.items()}

    return play


def _play_once(topic: str, place: str, folder: Path) -> dict[str, dict[str, Any]] | str:
    """Return the runs of a batch, or why it could not be played."""
    kept = folder / "runs.json"
    if kept.exists():
        found: dict[str, dict[str, Any]] | str = json.loads(kept.read_text())
        return found
    members = [scenario for scenario in scenarios_of(topic) if place in scenario.places]
    runs: dict[str, dict[str, Any]] | str
    try:
        runs = Batch(members, place, folder / "work").play()
    except Exception as error:
        runs = f"{type(error).__name__}: {error}"
    kept.write_text(json.dumps(runs))
    return runs
