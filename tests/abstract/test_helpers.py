"""Plain functions over graphs and resources."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from dagger.abstract import AbstractTask
from dagger.abstract.helpers import (
    collect_dependencies,
    construct_adj_list,
    cycle_exists,
    decrement_resources,
    find_cycle,
    increment_resources,
    resources_available,
    topological_order,
)
from dagger.errors import RefusedError


def test_a_diamond(toys: SimpleNamespace) -> None:
    """Order, dependents and dependencies of a small graph; one end task or several."""
    top = toys.Step("top", outputs={"x": None})
    left = toys.Step("left", {"x": top["x"]}, {"x": None})
    right = toys.Step("right", {"x": top["x"]}, {"x": None})
    end = toys.Step("end", {"l": left["x"], "r": right["x"]})
    assert topological_order(end) == [top, left, right, end]
    assert topological_order([right, end, right]) == [top, right, left, end]
    assert construct_adj_list(end) == {top: [left, right], left: [end], right: [end], end: []}
    assert set(collect_dependencies(end)) == {top, left, right, end}
    assert collect_dependencies([left]) == [left, top]
    assert collect_dependencies([]) == topological_order([]) == []
    assert find_cycle(end) is None
    assert not cycle_exists([end])


def test_random_graphs(toys: SimpleNamespace) -> None:
    """Each task stands behind what it needs; a way back makes a cycle that is one indeed."""
    choose = random.Random(5)
    for _ in range(60):
        tasks = [toys.Step(f"t{index}") for index in range(choose.randint(1, 14))]
        for index, task in enumerate(tasks):
            task.dependencies = choose.sample(tasks[:index], min(index, choose.randint(0, 3)))
        order = topological_order(tasks)
        place = {task: index for index, task in enumerate(order)}
        assert len(order) == len(tasks)
        assert all(place[needed] < place[task] for task in tasks for needed in task.upstream)
        tasks[0].dependencies = [choose.choice(tasks)]
        cycle = find_cycle(tasks)
        goes_back = tasks[0] in collect_dependencies(tasks[0].dependencies)
        assert (cycle is not None) == goes_back == cycle_exists(tasks)
        for before, task in zip([*cycle[-1:], *cycle], cycle, strict=False) if cycle else ():
            assert before in task.upstream


def test_the_whole_cycle_is_printed(toys: SimpleNamespace) -> None:
    """An order of what has none is refused with the cycle in the message, and only the cycle."""
    first, second, third, end = toys.chain(4)
    second.dependencies.append(third)
    with pytest.raises(RefusedError) as caught:
        topological_order(end)
    assert str(caught.value).endswith(("s1 → s2 → s1", "s2 → s1 → s2"))
    first.dependencies.append(first)
    with pytest.raises(ValueError, match=r"s0 → s0$"):
        topological_order(first)


def test_a_deep_chain(toys: SimpleNamespace) -> None:
    """A chain of 100,000 is walked in seconds, with and without a cycle, and synced."""
    steps = toys.chain(100_000)
    assert topological_order(steps[-1]) == steps
    assert len(construct_adj_list(steps[-1])) == len(steps)
    assert not cycle_exists(steps[-1])
    steps[-1].sync()
    steps[0].dependencies.append(steps[-1])
    cycle = find_cycle(steps[-1])
    assert cycle is not None
    assert len(cycle) == len(steps)


def test_a_wide_graph(toys: SimpleNamespace) -> None:
    """Layers of 300, each task needing all of the layer before: edges count once."""
    layer: list[AbstractTask] = []
    for depth in range(4):
        layer = [toys.Step(f"{depth}/{index}", dependencies=layer) for index in range(300)]
    assert len(topological_order(layer)) == 1200
    assert sum(len(them) for them in construct_adj_list(layer).values()) == 3 * 300 * 300


def test_resources() -> None:
    """A demand fits what is left; a kind that the supply does not name is unlimited."""
    supply = {"gpu": 2.0, "memory": 10}
    assert resources_available(supply, {"gpu": 2, "memory": 10, "licence": 10**9})
    assert not resources_available(supply, {"gpu": 2.5})
    assert resources_available({}, {"gpu": 1})
    assert resources_available(supply, {})
    assert decrement_resources(supply, {"gpu": 1.5, "licence": 1}) is supply
    assert supply == {"gpu": 0.5, "memory": 10}
    with pytest.raises(ValueError, match=r"1 gpu demanded, but only 0\.5 left"):
        decrement_resources(supply, {"memory": 1, "gpu": 1})
    assert supply == {"gpu": 0.5, "memory": 10}, "nothing is taken when not all can be"
    assert increment_resources(supply, {"gpu": 1.5, "licence": 1}) is supply
    assert supply == {"gpu": 2.0, "memory": 10}


@given(st.lists(st.integers(1, 50).map(lambda n: n / 10), min_size=1, max_size=12), st.randoms())
def test_fractions_leave_no_crumbs(amounts: list[float], choose: random.Random) -> None:
    """What was taken in parts and given back in another order fits again as a whole, for ever."""
    supply = {"memory": sum(amounts)}
    for _ in range(20):
        for amount in amounts:
            decrement_resources(supply, {"memory": amount})
            assert supply["memory"] >= 0
        for amount in choose.sample(amounts, len(amounts)):
            increment_resources(supply, {"memory": amount})
    assert resources_available(supply, {"memory": sum(amounts)})
