"""Plain functions over a graph of tasks, and over the resources that tasks hold.

They see of a task only what is upstream of it. No recursion anywhere: chains may be 100,000 deep.
Where one says `end_tasks` it takes a task or several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from dagger.errors import RefusedError
from dagger.lean_typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from dagger.abstract.task import AbstractTask

Tasks: TypeAlias = "AbstractTask | Iterable[AbstractTask]"
"""One task or several."""

# Amounts may be fractions, and taking 0.1 three times from 0.3 leaves a crumb on either side of
# nothing.
_CRUMB = 1e-9


def as_tasks(end_tasks: Tasks) -> list[AbstractTask]:
    """Return one task or several as a list, each once."""
    from dagger.abstract.task import AbstractTask

    return [end_tasks] if isinstance(end_tasks, AbstractTask) else list(dict.fromkeys(end_tasks))


def collect_dependencies(end_tasks: Tasks) -> list[AbstractTask]:
    """Return every task that the end tasks need, themselves included, each once.

    Cycles do no harm. The end tasks come first; for an order to run in see `topological_order`.
    """
    found = as_tasks(end_tasks)
    seen = set(found)
    for task in found:  # which grows meanwhile
        for needed in task.upstream:
            if needed not in seen:
                seen.add(needed)
                found.append(needed)
    return found


def construct_adj_list(end_tasks: Tasks) -> dict[AbstractTask, list[AbstractTask]]:
    """Return, for every task that the end tasks need, the tasks that depend on it directly."""
    tasks = collect_dependencies(end_tasks)
    dependents: dict[AbstractTask, list[AbstractTask]] = {task: [] for task in tasks}
    for task in tasks:
        for needed in task.upstream:
            dependents[needed].append(task)
    return dependents


def find_cycle(end_tasks: Tasks) -> list[AbstractTask] | None:
    """Return one cycle, each task needing the one before it, the first the last; or None."""
    return _walk(end_tasks)[1]


def cycle_exists(end_tasks: Tasks) -> bool:
    """Tell whether a task needs itself, through however many others."""
    return find_cycle(end_tasks) is not None


def topological_order(end_tasks: Tasks) -> list[AbstractTask]:
    """Return the end tasks and all that they need, each behind what it needs itself.

    The order depends on how the graph was declared and on nothing else.

    Raises:
        RefusedError: There is a cycle; the message prints it whole.
    """
    return list(ordered_graph(end_tasks))


def ordered_graph(end_tasks: Tasks) -> dict[AbstractTask, list[AbstractTask]]:
    """Return what each task needs directly, for the end tasks and all that they need, in topological order.

    Raises:
        RefusedError: There is a cycle; the message prints it whole.
    """
    graph, cycle = _walk(end_tasks)
    if cycle is not None:
        raise RefusedError(cycle_message(cycle))
    return graph


def cycle_message(cycle: list[AbstractTask]) -> str:
    """Return the sentence that refuses a cycle, as in ``a → b → a``."""
    whole = " → ".join(task.identifier for task in [*cycle, cycle[0]])
    return f"the workflow has a cycle, each task needs the one before it: {whole}"


def _walk(end_tasks: Tasks) -> tuple[dict[AbstractTask, list[AbstractTask]], list[AbstractTask] | None]:
    """Go depth first, upstream first; return what was met so far, and the first cycle."""
    graph: dict[AbstractTask, list[AbstractTask]] = {}
    for end_task in as_tasks(end_tasks):
        if end_task in graph:
            continue
        path = {end_task: end_task.upstream}
        ways: list[Iterator[AbstractTask]] = [iter(path[end_task])]
        while ways:
            for needed in ways[-1]:
                if needed in graph:
                    continue
                if needed in path:
                    on_path = list(path)
                    return graph, on_path[on_path.index(needed) :][::-1]
                above = needed.upstream
                if above:
                    path[needed] = above
                    ways.append(iter(above))
                    break
                graph[needed] = above
            else:
                ways.pop()
                task, above = path.popitem()
                graph[task] = above
    return graph, None


def resources_available(supply: Mapping[str, float], demand: Mapping[str, float]) -> bool:
    """Tell whether a demand fits; a kind that the supply does not name is unlimited."""
    return all(amount <= supply[kind] + _CRUMB for kind, amount in demand.items() if kind in supply)


def decrement_resources(supply: MutableMapping[str, float], demand: Mapping[str, float]) -> MutableMapping[str, float]:
    """Take a demand out of the supply, in place, and return the supply.

    Raises:
        ValueError: It does not fit; the supply is as it was.
    """
    for kind, amount in demand.items():
        if not resources_available(supply, {kind: amount}):
            raise RefusedError(f"{amount:g} {kind} demanded, but only {supply[kind]:g} left")
    for kind, amount in demand.items():
        if kind in supply:
            supply[kind] = max(0, supply[kind] - amount)
    return supply


def increment_resources(supply: MutableMapping[str, float], demand: Mapping[str, float]) -> MutableMapping[str, float]:
    """Give back what `decrement_resources` took, in place, and return the supply."""
    for kind, amount in demand.items():
        if kind in supply:
            supply[kind] += amount
    return supply
