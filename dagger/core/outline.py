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

Outline = tuple[str, ...]

_KINDS: dict[type[AbstractTask], str] = {cls: cls.__name__ for cls in (FunctionTask, PklTask, ScriptTask)}
# These stand where the name of a maker would; no name has such characters.
_VALUE, _LIST, _SEVERAL = "\1", "\2", "\3"

CodeOf = Callable[[AbstractTask], str]
WorthOf = Callable[[str, AbstractDatum], "tuple[str, tuple[str, ...]]"]


def plain_outline(task: AbstractTask, code_of: CodeOf, worth_of: WorthOf) -> Outline | None:
    """Return the outline of a task, or None where there is more to it than is told here.

    Args:
        task: The task.
        code_of: Returns what stands for its code.
        worth_of: Returns the digest of an input that is a value, and the own classes that it needs.
    """
    words: list[str] = []
    return tuple(words) if add_outline(task, words, code_of, worth_of) else None


def add_outline(task: AbstractTask, words: list[str], code_of: CodeOf, worth_of: WorthOf) -> bool:
    """Add the outline of a task, if it has one, and tell whether it has; if not, `words` are of no more use.

    Each outline says how long it is, so that many in a row are told apart. Its last words are the names of the outputs,
    each before its path, or before nothing where it is a value.
    """
    kind = _KINDS.get(type(task))
    if kind is None or task._dependencies or task.ignore or task.version is not None or not task.cache:
        return False
    if kind == "ScriptTask" and (task.env or task.tools):  # type: ignore[attr-defined]
        return False
    inputs, outputs = task.inputs, task.outputs
    try:
        words += (kind, code_of(task), str(len(inputs)), str(len(outputs)))
        for name, datum in inputs.items():
            if type(datum) is DatumList:
                words += (name, _LIST, str(len(datum.datums)))
                for index, member in enumerate(datum.datums):
                    if not _add_input(f"{name}[{index}]", member, words, worth_of):
                        return False
            elif not _add_input(name, datum, words, worth_of):
                return False
    except UndigestibleError:
        return False
    for name, datum in outputs.items():
        cls = type(datum)
        path = datum._pointer if cls is FileDatum else ""
        if (type(path) is not str or path[-1:] == "/") if cls is FileDatum else cls is not MemoryDatum:
            return False
        words += (name, path)
    return True


def _add_input(name: str, datum: AbstractDatum, words: list[str], worth_of: WorthOf) -> bool:
    """Add an input's name, its maker and its path; tell whether that is all there is to it."""
    cls = type(datum)
    path = datum._pointer if cls is FileDatum else ""
    if type(path) is not str if cls is FileDatum else cls is not MemoryDatum:
        return False
    if not datum._parents:
        if cls is FileDatum:
            words += (name, "", path)
            return True
        digest, classes = worth_of(name, datum)
        words += (name, _VALUE, digest)
        return not classes
    maker = datum._parents[-1]
    outputs = maker.outputs
    if len(outputs) == 1:
        (made,) = outputs.values()
        words += (name, maker.identifier, path)
        return made is datum  # not where it is one of the files that a pattern found, or of a list
    for output, made in outputs.items():
        if made is datum:
            words += (name, f"{_SEVERAL}{maker.identifier}{_SEVERAL}{output}", path)
            return True
    return False
