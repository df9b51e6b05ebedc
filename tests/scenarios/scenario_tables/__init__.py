"""Tables of scenarios: a tiny pipeline, one edit, and the tasks that must run for it.

A topic is a module here with a list `SCENARIOS`; `test_tables.py` finds it by its place in `TOPICS` and makes a test of
each entry. To add a scenario, add an entry.
"""

from __future__ import annotations

from importlib import import_module

from scenario_tables.scenario import Scenario

TOPICS = (
    "code",
    "reach",
    "dynamic",
    "classes",
    "callables",
    "values",
    "files",
    "undeclared",
    "outputs",
    "scripts",
    "packages",
)


def scenarios_of(topic: str) -> list[Scenario]:
    """Return the scenarios of a topic, in the order of its table."""
    table: list[Scenario] = import_module(f"scenario_tables.{topic}").SCENARIOS
    names = [scenario.name for scenario in table]
    assert len(set(names)) == len(names), f"two scenarios of {topic!r} have one name"
    return table
