"""What is refused before anything runs: each fault names the culprits and the way out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dagger.abstract import AbstractDatum, AbstractTask, InputForm, converter_registry
from dagger.abstract.helpers import resources_available
from dagger.core.datum import FileDatum, FileGlob
from dagger.core.manifest import members
from dagger.core.places import Places
from dagger.core.task import FunctionTask, ScriptTask, is_written
from dagger.core.workspace import declared_paths
from dagger.errors import RefusedError


def check(tasks: Sequence[AbstractTask], places: Places, supply: Mapping[str, float], cache: str) -> None:
    """Look a whole workflow over.

    Args:
        tasks: All of it, no cycle among them.
        places: Where paths lead.
        supply: The resources that there are.
        cache: The cache directory; outputs in it are refused.

    Raises:
        RefusedError: With every fault found, one a line.
    """
    faults = [
        *_identifiers(tasks),
        *_files(tasks, places, cache),
        *(fault for task in tasks for fault in (*_demands(task, supply), *_fits(task))),
    ]
    if faults:
        more = f"\n... and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise RefusedError("\n".join(faults[:20]) + more)


def _identifiers(tasks: Sequence[AbstractTask]) -> Iterator[str]:
    seen: set[str] = set()
    for task in tasks:
        if task.identifier in seen:
            yield f"two tasks are named {task.identifier!r}; give each a name of its own"
        seen.add(task.identifier)


def _files(tasks: Sequence[AbstractTask], places: Places, cache: str) -> Iterator[str]:
    real = _RealPaths(places)
    makers: dict[str, AbstractTask] = {}
    inside = cache.rstrip("/") + "/"
    for task in tasks:
        for path in (it for datum in task.outputs.values() for it in declared_paths(datum)):
            place = real(path)
            other = makers.setdefault(place, task)
            if other is not task:
                yield (
                    f"tasks {other.identifier!r} and {task.identifier!r} both write {path}; "
                    "give one of them another path"
                )
            if (place + "/").startswith(inside):
                yield f"task {task.identifier!r}: output {path} lies inside the cache directory"
    yield from _nested(makers)
    yield from _sources(tasks, places, real, makers)


def _nested(makers: Mapping[str, AbstractTask]) -> Iterator[str]:
    """An output below a directory that another task makes would be swept away with it."""
    for place, task in makers.items():
        above = os.path.dirname(place)
        while len(above) > 1:
            other = makers.get(above)
            if other is not None and other is not task:
                yield (
                    f"task {task.identifier!r} writes {place} inside {above}, "
                    f"which is an output of task {other.identifier!r}"
                )
                break
            above = os.path.dirname(above)


def _sources(
    tasks: Sequence[AbstractTask],
    places: Places,
    real: _RealPaths,
    makers: Mapping[str, AbstractTask],
) -> Iterator[str]:
    seen: set[AbstractDatum] = set()
    for task in tasks:
        for name, given in task.inputs.items():
            for place, datum in members(name, given):
                if datum in seen or datum.parents or not isinstance(datum, FileDatum):
                    continue
                seen.add(datum)
                if datum.pointer is None:
                    yield f"task {task.identifier!r}: input {place!r} has no path"
                    continue
                maker = makers.get(real(datum.pointer))
                if maker is not None:
                    yield (
                        f"task {task.identifier!r}: input {place!r} is the file {datum.pointer}, which task "
                        f"{maker.identifier!r} writes; use that task's output as the input"
                    )
                elif not os.path.exists(places.absolute(datum.pointer)):
                    yield (
                        f"task {task.identifier!r}: input {place!r}: there is no file {datum.pointer} in {places.root}"
                    )


class _RealPaths:
    """Resolves each folder once; ten thousand files of one folder cost one `realpath`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._folders: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        folder, name = os.path.split(self._places.absolute(path))
        if name in ("", ".", ".."):
            return os.path.realpath(os.path.join(folder, name))
        real = self._folders.get(folder)
        if real is None:
            real = self._folders[folder] = os.path.realpath(folder)
        return os.path.join(real, name)


def _demands(task: AbstractTask, supply: Mapping[str, float]) -> Iterator[str]:
    if resources_available(supply, task.resources):
        return
    for kind, amount in task.resources.items():
        if kind in supply and amount > supply[kind]:
            yield f"task {task.identifier!r} demands {amount:g} {kind}, but there is {supply[kind]:g} in all"


def _fits(task: AbstractTask) -> Iterator[str]:
    who = f"task {task.identifier!r}"
    for name, datum in task.inputs.items():
        for place, member in members(name, datum):
            form = task.input_form
            if isinstance(form, InputForm) and not converter_registry.has_converter(type(member), form):
                yield (
                    f"{who}: input {place!r} is a {type(member).__name__}, which cannot be given as "
                    f"{'a path' if form is InputForm.FILEPATH else 'an object'}"
                )
            if not member.parents and member.pointer is None and _is_empty(member):
                yield f"{who}: input {place!r} is empty and no task makes it"
    if isinstance(task, FunctionTask):
        yield from _arguments(task, who)
    elif isinstance(task, ScriptTask):
        yield from _placeholders(task, who)


def _is_empty(datum: AbstractDatum) -> bool:
    return datum.state == 0


def _arguments(task: FunctionTask, who: str) -> Iterator[str]:
    """A call that cannot bind is known before it is made."""
    given = [*task.inputs, *(name for name, datum in task.outputs.items() if is_written(datum))]
    code = getattr(task.function, "__code__", None)
    if code is not None and not hasattr(task.function, "__wrapped__"):
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if code.co_posonlyargcount == 0 and set(named) == set(given):
            return  # the common case costs no signature
    from inspect import signature

    try:
        bound = signature(task.function)
    except (TypeError, ValueError):
        return  # a builtin may not tell
    try:
        bound.bind(**dict.fromkeys(given))
    except TypeError as error:
        yield f"{who}: its function takes {bound}, but gets {_listed(given) or 'nothing'}: {error}"


def _placeholders(task: ScriptTask, who: str) -> Iterator[str]:
    from dagger.core.script_text import placeholders

    try:
        used = placeholders(task.script)
    except RefusedError as error:
        yield f"{who}: {error}"
        return
    patterns = {name for name, datum in task.outputs.items() if isinstance(datum, FileGlob)}
    for name in sorted(used & patterns):
        yield f"{who}: {{{name}}} is a pattern, not a path; write the names in the script itself"
    unknown = used - set(task.inputs) - set(task.outputs)
    for name in sorted(unknown):
        yield (
            f"{who}: {{{name}}} in its script is neither an input nor an output "
            f"({_listed([*task.inputs, *task.outputs]) or 'there are none'}); "
            "a brace of the shell's own is written twice, {{ and }}"
        )
    both = set(task.inputs) & set(task.outputs)
    for name in sorted(both):
        yield f"{who}: {name!r} names both an input and an output"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
