"""The checks that a task makes of its declaration; each message names the task and the part.

Plain loops that do nothing for what was not declared: a graph of 10,000 tasks is there in a moment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from dagger.abstract.datum import AbstractDatum
from dagger.errors import DeclarationError, RefusedError
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.abstract.task import AbstractTask

try:
    from dagger.abstract._declared import are_named
except ImportError:
    are_named = None

_UNNAMEABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Unicode's categories of control characters, halves of characters and ends of lines."""


def listed(names: Iterable[str]) -> str:
    """Return names for a message, as in ``'a', 'b'``."""
    return ", ".join(map(repr, names)) or "none"


def plain(text: str) -> str:
    """Return a text as Python's own `str`: of another kind, such as numpy's, it would be kept as something else."""
    return str.__str__(text)


def checked_identifier(identifier: object) -> str:
    """Return an identifier that is text and not empty."""
    if not isinstance(identifier, str):
        raise DeclarationError(f"a task's identifier is text, not a {type(identifier).__name__}")
    if not identifier:
        raise RefusedError("a task's identifier is empty; give it a name")
    if not identifier.isprintable() and _has_control(identifier):
        raise RefusedError(f"the identifier {identifier!r} holds a control character; give it a name for one line")
    return plain(identifier)


def _has_control(text: str) -> bool:
    from unicodedata import category

    return any(category(character) in _UNNAMEABLE for character in text)


def checked_data(identifier: str, what: str, data: object) -> dict[str, AbstractDatum]:
    """Return a mapping of name to datum as a dict. `what` it is: input or output."""
    if are_named and are_named(data, AbstractDatum):
        return data  # type: ignore[return-value]
    if type(data) is not dict:
        if not isinstance(data, Mapping):
            raise _wrong(identifier, f"its {what}s are", data, "a dict of name to datum")
        data = dict(data)
    are_plain = True
    for name, datum in data.items():
        if type(name) is not str:
            if not isinstance(name, str):
                raise _wrong(identifier, f"{what} name {name!r} is", name, "text")
            are_plain = False
        if AbstractDatum not in type(datum).__mro__:  # what `isinstance` says in a fifth of the time
            raise _wrong(identifier, f"{what} {name!r} is", datum, "a datum")
    return data if are_plain else _by_plain_names(data)


def checked_outputs(identifier: str, outputs: object) -> dict[str, Any]:
    """Return a mapping of output name to what a task makes a datum of, as a dict."""
    if type(outputs) is not dict:
        if not isinstance(outputs, Mapping):
            raise _wrong(identifier, "its outputs are", outputs, "a dict of name to datum or path")
        outputs = dict(outputs)
    are_plain = True
    for name in outputs:
        if type(name) is not str:
            if not isinstance(name, str):
                raise _wrong(identifier, f"output name {name!r} is", name, "text")
            are_plain = False
    return outputs if are_plain else _by_plain_names(outputs)


def _by_plain_names(named: dict[str, Any]) -> dict[str, Any]:
    return {plain(name): it for name, it in named.items()}


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
    check_amounts(f"task {identifier!r}: resource", resources)
    return dict(resources)


def check_amounts(what: str, resources: Mapping[Any, Any]) -> None:
    """Look at the amounts of resources, demanded or supplied; `what` begins the message."""
    from numbers import Real

    for kind, amount in resources.items():
        is_number = isinstance(amount, Real) and not isinstance(amount, bool)
        if not (isinstance(kind, str) and is_number and amount >= 0):
            raise RefusedError(f"{what} {kind!r} is {amount!r}; an amount is a number that is at least 0")


def checked_names(identifier: str, option: str, names: Any) -> tuple[str, ...]:
    """Return the names that an option lists."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise _wrong(identifier, f"{option}= is", names, "a list of names")
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise _wrong(identifier, f"{option}= has", name, "a name")
    return tuple(map(plain, found))


def check_limits(identifier: str, cache: object, retries: object, timeout: Any) -> None:
    """Look at whether a task is cached, and how often and how long it may be tried."""
    if not isinstance(cache, bool):
        raise RefusedError(f"task {identifier!r}: cache={cache!r}; it is True or False")
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise RefusedError(f"task {identifier!r}: retries={retries!r}; it is a whole number, at least 0")
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and 0 < timeout < math.inf):
        raise RefusedError(f"task {identifier!r}: timeout={timeout!r}; it is seconds, more than 0, or None")


def check_version(identifier: str, version: object) -> None:
    """Look at a version: it must read the same in every process."""
    if not isinstance(version, (str, int, float)):
        raise _wrong(identifier, "version= is", version, "text or a number")


def check_ignored(identifier: str, ignore: Iterable[str], inputs: Mapping[str, object]) -> None:
    """Look whether the inputs that are to be ignored are there."""
    for name in ignore:
        if name not in inputs:
            raise RefusedError(
                f"task {identifier!r}: ignore= names {name!r}, which is none of its inputs: {listed(inputs)}"
            )


def unknown_option(who: str, name: str, known: Iterable[str]) -> DeclarationError:
    """Return the error that refuses an option, with what may have been meant."""
    from difflib import get_close_matches

    options = sorted(known)
    close = get_close_matches(name, options, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"there are {listed(options)}"
    return DeclarationError(f"{who}: there is no option {name!r}; {meant}")


def _wrong(identifier: str, part: str, found: object, wanted: str) -> DeclarationError:
    return DeclarationError(f"task {identifier!r}: {part} a {type(found).__name__}, not {wanted}")
