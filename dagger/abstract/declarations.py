"""The checks that a task makes of its declaration; each message names the task and the part.

Plain loops that do nothing for what was not declared: a graph of 10,000 tasks is there in a moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from dagger.abstract.datum import AbstractDatum
from dagger.errors import DeclarationError, RefusedError

if TYPE_CHECKING:
    from dagger.abstract.task import AbstractTask


def listed(names: Iterable[str]) -> str:
    """Return names for a message, as in ``'a', 'b'``."""
    return ", ".join(map(repr, names)) or "none"


def checked_identifier(identifier: object) -> str:
    """Return an identifier that is text and not empty."""
    if not isinstance(identifier, str):
        raise DeclarationError(f"a task's identifier is text, not a {type(identifier).__name__}")
    if not identifier:
        raise RefusedError("a task's identifier is empty; give it a name")
    return identifier


def checked_data(identifier: str, what: str, data: object) -> dict[str, AbstractDatum]:
    """Return a copy of a mapping of name to datum. `what` it is: input or output."""
    if not isinstance(data, Mapping):
        raise _wrong(identifier, f"its {what}s are", data, "a dict of name to datum")
    for name, datum in data.items():
        if not isinstance(name, str):
            raise _wrong(identifier, f"{what} name {name!r} is", name, "text")
        if not isinstance(datum, AbstractDatum):
            raise _wrong(identifier, f"{what} {name!r} is", datum, "a datum")
    return dict(data)


def checked_tasks(identifier: str, tasks: object) -> list[AbstractTask]:
    """Return a list of tasks."""
    from dagger.abstract.task import AbstractTask

    if not isinstance(tasks, Iterable):
        raise _wrong(identifier, "its dependencies are", tasks, "a list of tasks")
    found = list(tasks)
    for index, task in enumerate(found):
        if not isinstance(task, AbstractTask):
            raise _wrong(identifier, f"dependency {index} is", task, "a task")
    return found


def checked_resources(identifier: str, resources: object) -> dict[str, float]:
    """Return a copy of a mapping of resource kind to an amount of at least 0."""
    if not isinstance(resources, Mapping):
        raise _wrong(identifier, "its resources are", resources, "a dict of kind to amount")
    for kind, amount in resources.items():
        is_number = isinstance(amount, Real) and not isinstance(amount, bool)
        if not (isinstance(kind, str) and is_number and amount >= 0):
            raise RefusedError(
                f"task {identifier!r}: resource {kind!r} is {amount!r}; an amount is a number that is at least 0"
            )
    return dict(resources)


def checked_names(identifier: str, option: str, names: Any) -> tuple[str, ...]:
    """Return the names that an option lists."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise _wrong(identifier, f"{option}= is", names, "a list of names")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise _wrong(identifier, f"{option}= has", name, "a name")
    return found


def check_limits(identifier: str, retries: object, timeout: object) -> None:
    """Look at how often and how long a task may be tried."""
    if not isinstance(retries, int) or retries < 0:
        raise RefusedError(f"task {identifier!r}: retries={retries!r}; it is a whole number, at least 0")
    if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
        raise RefusedError(f"task {identifier!r}: timeout={timeout!r}; it is seconds, more than 0")


def _wrong(identifier: str, part: str, found: object, wanted: str) -> DeclarationError:
    return DeclarationError(f"task {identifier!r}: {part} a {type(found).__name__}, not {wanted}")
