"""What a plain task was declared as, in plain values: what a run with nothing to do compares, task by task.

A manifest lists what a task's result depends on; to make one takes a digest of each source, and to know what each made
input is worth. An outline takes neither: sources stand in it by their paths, made inputs by who makes them. A task
whose outline and files are what they were, and all of whose upstream is as it was, has the key that it had.

It is for tasks, and data, of the core types, with nothing uncommon to them. All others are outlined by the digest of
their rows (`Walker.outline`).
"""

from __future__ import annotations

from collections.abc import Callable

from dagger.abstract import AbstractDatum, AbstractTask, DatumList
from dagger.core.datum import FileDatum, MemoryDatum
from dagger.core.task import FunctionTask, PklTask, ScriptTask
from dagger.errors import UndigestibleError

Outline = tuple[object, ...]
"""Of marshal's types."""

_KINDS: dict[type[AbstractTask], str] = {cls: cls.__name__ for cls in (FunctionTask, PklTask, ScriptTask)}

CodeOf = Callable[[AbstractTask], object]
WorthOf = Callable[[str, AbstractDatum], "tuple[str, tuple[str, ...]]"]


def plain_outline(task: AbstractTask, code_of: CodeOf, worth_of: WorthOf) -> Outline | None:
    """Return the outline of a task, or None where there is more to it than is told here.

    Args:
        task: The task.
        code_of: Returns what stands for its code.
        worth_of: Returns the digest of an input that is a value, and the own classes that it needs.
    """
    kind = _KINDS.get(type(task))
    if kind is None or task._dependencies or task.ignore or task.version is not None or not task.cache:
        return None
    if kind == "ScriptTask" and (task.env or task.tools):  # type: ignore[attr-defined]
        return None
    try:
        parts: list[object] = [kind, code_of(task), len(task.inputs)]
        for name, datum in task.inputs.items():
            if type(datum) is DatumList:
                parts += (name, len(datum.datums))
                for index, member in enumerate(datum.datums):
                    if not _add_input(f"{name}[{index}]", member, parts, worth_of):
                        return None
            elif not _add_input(name, datum, parts, worth_of):
                return None
    except UndigestibleError:
        return None
    for name, datum in task.outputs.items():
        cls = type(datum)
        path = datum._pointer if cls is FileDatum else None
        if (type(path) is not str or path[-1:] == "/") if cls is FileDatum else cls is not MemoryDatum:
            return None
        parts += (name, path)
    return tuple(parts)


def _add_input(name: str, datum: AbstractDatum, parts: list[object], worth_of: WorthOf) -> bool:
    """Add an input's name, its maker and its path; tell whether that is all there is to it."""
    cls = type(datum)
    if cls is FileDatum:
        path: object = datum._pointer
        if type(path) is not str:
            return False
    elif cls is MemoryDatum:
        path = None
    else:
        return False
    if not datum._parents:
        if cls is MemoryDatum:
            digest, classes = worth_of(name, datum)
            if classes:
                return False
            path = digest.encode()  # no path is bytes
        parts += (name, None, path)
        return True
    maker = datum._parents[-1]
    outputs = maker.outputs
    if len(outputs) == 1:
        (made,) = outputs.values()
        if made is not datum:  # one of the files that a pattern found, or of a list
            return False
        parts += (name, maker.identifier, path)
        return True
    for output, made in outputs.items():
        if made is datum:
            parts += (name, (output, maker.identifier), path)
            return True
    return False
