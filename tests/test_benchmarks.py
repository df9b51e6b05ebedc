"""What the benchmarks rest on is right: the ideal that they compare with, the verdicts, their description; no times."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]


def call(*words: str) -> str:
    """Run Python where `tests.benchmarks` can be imported, which it cannot be under pytest."""
    env = {**os.environ, "COLUMNS": "10000"}
    return subprocess.run([sys.executable, *words], cwd=TOP, env=env, check=True, capture_output=True, text=True).stdout


def evaluate(imports: str, expression: str) -> Any:
    return json.loads(call("-c", f"import json\n{imports}\nprint(json.dumps({expression}))"))


def test_list_scheduling_takes_the_longest_way_first():
    """Two workers: the chain 0-1-2 begins at once beside the short ones; taken in order it would end at 5."""
    graph = [[1, []], [1, []], [1, []], [1, [2]], [1, [3]]]
    schedule = "from tests.benchmarks.busy import schedule"
    for given, end in ((f"{graph}, 2", 3), (f"{graph}, 1", 5), ("[(2, []), (1, []), (1, [1]), (4, [0])], 2", 6)):
        assert max(map(sum, evaluate(schedule, f"schedule({given})"))) == end


def test_a_schedule_has_each_workers_tasks_and_waits():
    """The second task waits for the first: the other worker is idle for as long."""
    schedule = "from tests.benchmarks.busy import schedule"
    shares = evaluate(schedule, "schedule([(2, []), (1, [0]), (3, [0])], 2)")
    assert sorted(map(sum, shares)) == [3, 5]
    assert sorted(seconds for share in shares for seconds in share if seconds) == [1, 2, 2, 3]


def test_a_target_is_met_or_not():
    """A ratio above its limit is told as not met, in the list of all targets and in the case's own."""
    code = """
from tests.benchmarks.harness import Result, Sample, Target
from tests.benchmarks.table import tables, verdicts
"""
    result = (
        "Result('case', 'title', 1, {'ours': [Sample(3), Sample(9), Sample(4)], 'theirs': [Sample(2)]},"
        " [Target('ours', 'theirs', LIMIT)])"
    )
    for limit, met in (("1.9", "**no**"), ("2.0", "yes")):
        for form in ("verdicts", "tables"):
            told = str(evaluate(code, f"{form}([{result.replace('LIMIT', limit)}])"))
            row = next(line for line in told.splitlines() if f"≤ {float(limit):.3g} x theirs" in line)
            assert row.split("|")[-2].strip() == met
            assert " 2 |" in row


def test_every_round_has_everybody_in_an_order_of_its_own():
    """Nobody is left out of a round, and nobody always comes after the same one."""
    code = """
from tests.benchmarks.harness import Contender, race
order = []
def entrant(name):
    return Contender(name, ('true',), before=lambda: order.append(name))
samples = race([entrant(name) for name in 'abc'], 12)
"""
    order, counts = evaluate(code, "[order, {name: len(rounds) for name, rounds in samples.items()}]")
    assert counts == {"a": 12, "b": 12, "c": 12}
    rounds = {tuple(order[at : at + 3]) for at in range(0, 36, 3)}
    assert all(sorted(it) == ["a", "b", "c"] for it in rounds)
    assert len(rounds) > 2


def test_results_outlast_a_call(tmp_path):
    """A case that is run by itself is added to what is known of the others, in place of its own former result."""
    code = f"""
from pathlib import Path
from tests.benchmarks.harness import Result, Sample, Target, load, save
path = Path({str(tmp_path)!r}, 'results.json')
save([Result('one', '', 1, {{'x': [Sample(1)]}}), Result('two', '', 1, {{'x': [Sample(2)]}})], path)
save([Result('two', '', 1, {{'x': [Sample(3)]}}, [Target('x', '', 5)])], path)
"""
    found = evaluate(code, "[[it.case, it.median('x'), len(it.targets)] for it in load(path)]")
    assert found == [["one", 1, 0], ["two", 3, 1]]


def test_every_case_is_described():
    """docs/benchmarks.md has a line on each case, and on no other."""
    told = call("-m", "tests.benchmarks", "--help")
    cases = re.search(r"--only CASE\s+(.*)", told)
    assert cases
    table = re.findall(r"^\| (`[^|]*`) \|[^|]*\|[^|]*\|$", (TOP / "docs" / "benchmarks.md").read_text(), re.MULTILINE)
    described = {name for cell in table for name in re.findall(r"`([a-z-]+)`", cell)}
    assert described == set(cases[1].split(", "))
