"""Every scenario of every table: what ran is what must run, and what came out is what a clean build makes."""

from __future__ import annotations

import pytest
from scenario_tables import TOPICS, scenarios_of
from scenario_tables.batch import Played
from scenario_tables.scenario import ALL_PLACES, Scenario

BATCHES = [
    (topic, place)
    for topic in TOPICS
    for place in ALL_PLACES
    if any(place in scenario.places for scenario in scenarios_of(topic))
]
CASES = [
    pytest.param(topic, place, scenario, id=f"{topic}-{place}-{scenario.name}")
    for topic, place in BATCHES
    for scenario in scenarios_of(topic)
    if place in scenario.places
]


@pytest.mark.parametrize(("topic", "place", "scenario"), CASES)
def test_what_ran_and_what_came_out(played: Played, topic: str, place: str, scenario: Scenario) -> None:
    """After one edit exactly the tasks run that must, and all is as a clean build would leave it."""
    runs = played(topic, place)
    first, edited, clean = runs["first"], runs["edited"], runs["clean"]
    assert first.executed(scenario)
    assert clean.executed(scenario)
    told = {task: reason for task, reason in edited.reasons.items() if task.startswith(scenario.task(""))}
    assert edited.executed(scenario) == set(scenario.ran), told
    assert scenario.stale or edited.results(scenario) == clean.results(scenario)
    for run in (first, edited, clean):
        assert run.came_out(scenario, "failed") <= set(scenario.failing), run.reasons
    for task in scenario.ran:
        assert scenario.reason.replace("HERE", scenario.here) in edited.reasons[scenario.task(task)]
    for path in scenario.kept:
        assert edited.files[f"{scenario.here}/{path}"] == clean.files[f"{scenario.here}/{path}"]
    for path in scenario.gone:
        assert f"{scenario.here}/{path}" not in edited.files
    said = first.told_of(scenario)
    assert bool(said) == bool(scenario.note), said
    assert not said or any(scenario.note.replace("HERE", scenario.here) in note for note in said), said


@pytest.mark.parametrize(("topic", "place"), BATCHES)
@pytest.mark.parametrize("run", ["again", "moved", "undone"])
def test_what_changes_no_meaning_runs_nothing(played: Played, topic: str, place: str, run: str) -> None:
    """Touched files, another hash seed, another order; another folder; the edit undone: nothing of it runs anything."""
    runs = played(topic, place)
    wrong = {
        scenario.here: runs[run].executed(scenario)
        for scenario in scenarios_of(topic)
        if place in scenario.places
        and runs[run].executed(scenario) != (set() if run == "moved" and scenario.mended else scenario.always)
    }
    assert not wrong, {task: runs[run].reasons[task] for task in runs[run].reasons if task.partition(".")[0] in wrong}


@pytest.mark.parametrize(("topic", "place"), BATCHES)
@pytest.mark.parametrize("run", ["again", "moved", "undone"])
def test_what_was_not_run_is_what_it_was(played: Played, topic: str, place: str, run: str) -> None:
    """What comes from the cache is what a run made: the first, the edited, and again the first."""
    runs = played(topic, place)
    assert runs[run].shown == runs["edited" if run == "moved" else "first"].shown
