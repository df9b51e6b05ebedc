"""What a plain task was declared as, in plain values: what a run with nothing to do compares, task by task.

A manifest lists what a task's result depends on; to make one takes a digest of each source, and to know what each made
input is worth. An outline takes neither: sources stand in it by their paths, made inputs by who makes them. A task
whose outline and files are what they were, and all of whose upstream is as it was, has the key that it had.

It is for tasks, and data, of the core types, with nothing uncommon to them. All others are outlined by the digest of
their rows (`Walker.outline`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from xxhash import xxh3_128_digest

from dagger.abstract import AbstractDatum, AbstractTask, DatumList
from dagger.abstract.helpers import as_tasks
from dagger.core.datum import FileDatum, MemoryDatum
from dagger.core.task import FunctionTask, PklTask, ScriptTask

try:
    from dagger.core._outline import add_outlines
except ImportError:
    add_outlines = None

Outline = tuple[str, ...]

_KINDS: dict[type[AbstractTask], str] = {cls: cls.__name__ for cls in (FunctionTask, PklTask, ScriptTask)}
_TYPES = _KINDS, ScriptTask, FileDatum, MemoryDatum, DatumList
# These stand where the name of a maker would; no name has such characters.
_VALUE, _LIST, _SEVERAL = "\1", "\2", "\3"

CodeOf = Callable[[AbstractTask], str]
WorthOf = Callable[[str, AbstractDatum], "tuple[str, tuple[str, ...]]"]


def plain_outline(task: AbstractTask, codes: dict[object, str], code_of: CodeOf, worth_of: WorthOf) -> Outline | None:
    """Return the outline of a task, or None where there is more to it than is told here.

    Args:
        task: The task.
        codes: What stands for the code of tasks by their script, or by the id of their function, as far as `code_of`
            was asked.
        code_of: Returns what stands for its code.
        worth_of: Returns the digest of an input that is a value, and the own classes that it needs.
    """
    words: list[str] = []
    # What it is compiled for has no values, which are to be digested.
    may_be_compiled = add_outlines and type(task.inputs) is dict and MemoryDatum not in map(type, task.inputs.values())
    if may_be_compiled and add_outlines([task], 0, 1, set(), words, codes, _TYPES):
        return tuple(words)
    return tuple(words) if _add_outline(task, words, code_of, worth_of) else None


def survey(
    ends: Iterable[AbstractTask], count: int, codes: dict[object, str], code_of: CodeOf, worth_of: WorthOf
) -> Iterator[tuple[list[AbstractTask], list[str]]]:
    """Yield the end tasks and all that they need, so many at a time, and their outlines in a row.

    The order is that of `collect_dependencies`, but for tasks without an outline: these come last, with no words.

    Args:
        ends: The end tasks.
        count: How many tasks to yield at once.
        codes: As in `plain_outline`, as are `code_of` and `worth_of`.
        code_of: The same.
        worth_of: The same.
    """
    tasks = as_tasks(ends)
    seen = set(tasks)
    plain: list[AbstractTask] = []
    words: list[str] = []
    others: list[AbstractTask] = []
    first = 0
    while first < len(tasks):
        done = add_outlines(tasks, first, count - len(plain), seen, words, codes, _TYPES) if add_outlines else 0
        plain += tasks[first : first + done]
        first += done
        if done == 0:
            task = tasks[first]
            first += 1
            length = len(words)
            if _add_outline(task, words, code_of, worth_of):
                plain.append(task)
            else:
                del words[length:]
                others.append(task)
            for needed in task.upstream:
                if needed not in seen:
                    seen.add(needed)
                    tasks.append(needed)
        if len(plain) == count:
            yield plain, words
            plain, words = [], []
    yield plain, words
    yield others, []


def _add_outline(task: AbstractTask, words: list[str], code_of: CodeOf, worth_of: WorthOf) -> bool:
    """Add the outline of a task to `words`, if it has one, and tell whether it has.

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
            if type(datum) is not DatumList:
                members = [datum]
            elif datum.datums and not any(datum in maker.outputs.values() for maker in datum._parents):
                members = datum.datums
                words += (name, _LIST, str(len(members)))
            else:
                return False  # made as a whole
            if not all(_add_input(name, member, words, worth_of) for member in members):
                return False
    except Exception:  # whatever is wrong with it, its manifest tells
        return False
    for name, datum in outputs.items():
        path = _path_of(datum)
        if path is None or path[-1:] == "/":
            return False
        words += (name, path)
    return True


def _add_input(name: str, datum: AbstractDatum, words: list[str], worth_of: WorthOf) -> bool:
    """Add an input's name, its maker and its path; tell whether that is all there is to it."""
    path = _path_of(datum)
    makers = datum._parents
    if path is None or len(makers) > 1:
        return False
    if not makers and path:
        words += (name, "", path)
        return True
    if not makers:
        digest, classes = worth_of(name, datum)
        words += (name, _VALUE, digest)
        return not classes
    (maker,) = makers
    for output, made in maker.outputs.items():
        if made is datum:
            several = f"{_SEVERAL}{maker.identifier}{_SEVERAL}{output}"
            words += (name, maker.identifier if len(maker.outputs) == 1 else several, path)
            return True
    return False  # one of the files that a pattern found, or of a list


def _path_of(datum: AbstractDatum) -> str | None:
    """Return the path of a file, or no text for a value; None for anything else."""
    if type(datum) is MemoryDatum:
        return ""
    path = datum._pointer if type(datum) is FileDatum else None
    return path if type(path) is str else None


def digest_of_words(words: Sequence[str]) -> bytes:
    """Digest texts in a row; none where they could be told apart in two ways."""
    text = "\0".join(words)
    if text.count("\0") != len(words) - 1:
        return b""
    return xxh3_128_digest(text.encode("utf-8", "surrogatepass"))
