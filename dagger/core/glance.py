"""Is all as it was, by what a memo holds of it: one look at each declaration, one at each file.

This is what a run with nothing to do spends its time on, so a thousand tasks are compared at once: all that they were
declared as with one digest, and the stamps of all their files with one text of bytes, which are taken meanwhile. Where
either differs, each of the thousand is looked at by itself.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice

from dagger.abstract import AbstractDatum, AbstractTask
from dagger.cache.memos import Packed
from dagger.cache.records import Member, Output, Read
from dagger.cache.stamps import ManyStamps, joined, packed, stamps_of
from dagger.core.lookup import Lookup
from dagger.core.manifest import ABSENT
from dagger.core.outline import Outline, digest_of_words
from dagger.lean_typing import Any, NamedTuple

Plain = tuple[Any, ...]
"""An output, as a memo holds it."""
Entry = tuple[Any, str, tuple[Plain, ...], tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]
"""What a memo holds of a task: its outline, its key, what it made, what it was seen to read, and the files that it
takes and no task makes. Behind each of the last two stands a mark, and those of the outputs come last: the stamps by
which a file is known again without being read, or None."""
Worth = Any
"""What a task's outputs are worth: of one file the quickhash, of all else the outputs as a memo holds them."""
Summary = tuple[int, list[str], bytes, bytes, bytes, bytes, list[Any], str, list[Worth]]
"""What a memo holds of many tasks at once, all of which have an outline and marks: the newest of these, the tasks'
names, a digest of their outlines, the paths of what they take and of what they make, as `ManyStamps` takes them, their
stamps, other reads that must hold, keys, a line each, and worths."""

_FORM = [int, list, bytes, bytes, bytes, bytes, list, str, list]
_FILE = 5
_ONLY_FILES = frozenset((int,))
_MOST_KEPT = 5_000
_AHEAD = 16
"""So many summaries have their stamps taken while those before them are compared."""


class Part(NamedTuple):
    """A part of a memo.

    Attributes:
        summary: What can be compared at once, where `stamps` are not None.
        stamps: Those of the files in it.
        trusted: Whether the stamps in it are old enough to prove anything.
        entries: The tasks' entries.
    """

    summary: Summary
    stamps: ManyStamps | None
    trusted: bool
    entries: Packed


class Glance:
    """Looks at tasks, for one run.

    Args:
        lookup: Looks at what is not told by a file's stat.
        racy_since: The stamp, in ns, from which on a stat proves nothing.
        parts: Summary and entries of each part of the memo.

    Attributes:
        good: The tasks that were found as they were by themselves, whatever has become of what they need.
        keys: Theirs, a line each.
        has_read: Whether a file was known only when it was read: its stat can be noted now.
    """

    def __init__(self, lookup: Lookup, racy_since: int, parts: Iterator[tuple[Packed, Packed]]) -> None:
        self.good: list[AbstractTask] = []
        self.keys: list[str] = []
        self.has_read = False
        self._worths: list[Worth] = []
        self._lookup = lookup
        self._root = os.fsencode(lookup.places.root)
        self._racy_since = racy_since
        self._under_way = deque(map(self._begun, islice(parts, _AHEAD)))
        self._later = parts
        self._digests: dict[str, str] = {}

    def are_all_as_they_were(self, ends: Sequence[AbstractTask], count: int) -> bool:
        """Look at the end tasks and all that they need; tell whether all of them are good.

        Args:
            ends: The end tasks.
            count: How many tasks there are in a part of the memo.
        """
        survey = self._lookup.walker.survey(ends, count)
        tasks, words = next(survey)
        rest: list[AbstractTask] = []
        parts: list[Part] = []
        for part in self._parts():
            if part.stamps is None:
                parts.append(part)
                continue
            # The memo is in the survey's order, as long as the graph is what it was.
            if [task.identifier for task in tasks] != part.summary[1]:
                rest += tasks
                parts.append(part)
            elif self._are_as_they_were(tasks, words, part.summary, part.stamps):
                self._note(tasks, part.summary[7], part.summary[8])
            else:
                rest += tasks
                parts.append(part._replace(stamps=None))
            tasks, words = next(survey, ([], []))
        rest += chain(tasks, *(tasks for tasks, _ in survey))
        missing = {task.identifier: task for task in rest}
        if len(missing) < len(rest):  # two of one name are refused elsewhere
            return False
        for part in parts:
            if part.stamps is not None:
                part.stamps.taken()  # before anything is read: large files are mapped by a process of one thread
        for part in parts:
            self._look_by_name(part, missing)
        return not missing

    def adopt(self) -> None:
        """Give the data of all good tasks what they hold."""
        lookup = self._lookup
        elsewhere = lookup.elsewhere
        for task, worth in zip(self.good, self._worths, strict=True):
            if type(worth) is int:
                for datum in task.outputs.values():
                    if datum.root != elsewhere:  # type: ignore[attr-defined]  # what is no file has no digest here
                        datum.root = elsewhere  # type: ignore[attr-defined]
                    datum._found(worth)
            else:
                for datum, output in zip(task.outputs.values(), worth, strict=True):
                    lookup.adopt(datum, output_of(output))

    def _note(self, tasks: Iterable[AbstractTask], keys: str, worths: Iterable[Worth]) -> None:
        self.good += tasks
        self.keys.append(keys)
        self._worths += worths

    def _parts(self) -> Iterator[Part]:
        """Yield the parts of the memo; the stamps of the next ones are on their way meanwhile."""
        while self._under_way:
            yield self._under_way.popleft()
            self._under_way.extend(map(self._begun, islice(self._later, 1)))

    def _begun(self, part: tuple[Packed, Packed]) -> Part:
        summary: Any = part[0].value()
        trusted = type(summary) is tuple and type(summary[0]) is int and summary[0] < self._racy_since
        stamps = ManyStamps(self._root, *summary[3:5]) if trusted and is_whole(summary) else None
        return Part(summary, stamps, trusted, part[1])

    def _look_by_name(self, part: Part, missing: dict[str, AbstractTask]) -> None:
        """Look at the tasks of a part, wherever they are among those that are missing, and take the good ones out."""
        if part.stamps is not None:
            tasks = [missing[name] for name in part.summary[1] if name in missing]
            words = [word for task in tasks for word in self._lookup.walker.plain_outline(task) or ()]
            if self._are_as_they_were(tasks, words, part.summary, part.stamps):
                self._note(tasks, part.summary[7], part.summary[8])
                for name in part.summary[1]:
                    del missing[name]
                return
        for name, entry in entries_in(part.entries).items():
            task = missing.get(name)
            worth = None if task is None else self._worth(task, entry, trusted=part.trusted)
            if task is not None and worth is not None:
                del missing[name]
                self._note((task,), entry[1], (worth,))

    def _are_as_they_were(
        self, tasks: Sequence[AbstractTask], words: Sequence[str], summary: Summary, stamps: ManyStamps
    ) -> bool:
        """Tell whether the tasks of a summary, whose outlines these are, are as they were, each by itself."""
        _, _, outlines, _, _, were, reads, _, worths = summary
        try:
            return (
                digest_of_words(words) == outlines
                and stamps.taken() == were
                and all(self._lookup.current(Read(*read)) == read[2] for read in reads)
                and len(tasks) == len(worths)
                and (_ONLY_FILES.issuperset(map(type, worths)) or all(map(self._are_stored, tasks, worths)))
            )
        except Exception:  # whatever is wrong with it, the next look tells
            return False

    def _worth(self, task: AbstractTask, entry: Any, *, trusted: bool) -> Worth | None:
        """Return what a task's outputs are worth if it is as it was by itself, else None.

        Args:
            task: The task.
            entry: What the memo holds of it.
            trusted: Whether the marks in it are old enough to prove anything.
        """
        try:
            outline, _, outputs, reads, files, marks = entry
            if type(outline) is not tuple or self._lookup.walker.plain_outline(task) != outline:
                return None
            for path, digest, mark in files:
                if self._digests.get(path) != digest and not self._is_source(path, digest, trusted and mark):
                    return None
            for kind, name, digest, mark in reads:
                if not self._holds(kind, name, digest, trusted and mark):
                    return None
            for datum, output, mark in zip(task.outputs.values(), outputs, marks, strict=True):
                if not self._is_made(datum, output, trusted and mark):
                    return None
        except Exception:  # whatever is wrong with the entry, the look-up tells
            return None
        return worth_of(outputs)

    def _are_stored(self, task: AbstractTask, worth: Worth) -> bool:
        """Tell whether the outputs that are no files are there."""
        lookup = self._lookup
        return type(worth) is int or all(
            len(output) == _FILE or _is_in_record(output) or lookup.holds(datum, output_of(output))
            for datum, output in zip(task.outputs.values(), worth, strict=True)
        )

    def _is_source(self, path: str, digest: str, mark: Any) -> bool:
        """Tell whether a file that no task makes is what it was."""
        if not mark or mark != stamps_of(os.stat(self._lookup.places.absolute(path))):
            if self._lookup.worth_of_file(path) != digest:
                return False
            self.has_read = True
        if len(self._digests) == _MOST_KEPT:
            self._digests.clear()  # who shares a source stands near by, most of the time
        self._digests[path] = digest
        return True

    def _is_made(self, datum: AbstractDatum, output: Plain, mark: Any) -> bool:
        """Tell whether an output is there as it was made."""
        if mark and mark == stamps_of(os.lstat(self._lookup.places.absolute(datum._pointer))):
            return True
        if len(output) == _FILE:
            self.has_read = True
        elif _is_in_record(output):
            return True
        return self._lookup.holds(datum, output_of(output))

    def _holds(self, kind: str, name: str, digest: str, mark: Any) -> bool:
        """Tell whether a discovered read would come to the same now."""
        if kind == "file" and digest != ABSENT:
            return self._digests.get(name) == digest or self._is_source(name, digest, mark)
        return self._lookup.current(Read(kind, name, digest)) == digest


def entries_in(packed: Packed) -> dict[str, Any]:
    """Return the entries of a part of a memo; none where it is of another form."""
    entries = packed.value()
    return entries if isinstance(entries, dict) else {}


def is_whole(summary: object) -> bool:
    """Tell whether a summary says what can be compared at once."""
    return type(summary) is tuple and list(map(type, summary)) == _FORM


def is_marked(entry: Entry) -> bool:
    """Tell whether a task's outline and the stamps of its files are known, so that it can be summed up with others."""
    outline, _, outputs, reads, files, marks = entry
    return type(outline) is tuple and (
        not has_files(entry)
        or (
            all(mark is not None or kind != "file" or digest == ABSENT for kind, _, digest, mark in reads)
            and all(mark is not None for _, _, mark in files)
            and all(mark is not None or len(output) != _FILE for output, mark in zip(outputs, marks, strict=True))
        )
    )


def has_files(entry: Entry) -> bool:
    """Tell whether a task reads, takes or makes any file whose stamps count."""
    _, _, outputs, reads, files, _ = entry
    return bool(reads or files) or _FILE in map(len, outputs)


def _marks(entry: Entry) -> Iterator[Any]:
    _, _, _, reads, files, marks = entry
    yield from (it[3] for it in reads)
    yield from (it[2] for it in files)
    yield from marks


def summary_of(entries: Mapping[str, Entry]) -> Summary | tuple[int]:
    """Return what can be compared at once of tasks; just the newest stamp, where each is to be looked at by itself."""
    marks = chain.from_iterable(map(_marks, entries.values()))
    newest = max((max(mark[1:3]) for mark in marks if mark is not None), default=0)
    if not all(map(is_marked, entries.values())):
        return (newest,)
    words: list[str] = []
    followed: dict[str, Any] = {}
    made: dict[str, Any] = {}
    reads: dict[Any, None] = {}
    contradicts = False
    for outline, _, outputs, seen, files, made_marks in entries.values():
        words += outline
        for kind, name, digest, mark in seen:
            if mark is None:
                reads[kind, name, digest] = None
            else:
                contradicts |= followed.setdefault(name, mark) != mark
        for path, _, mark in files:
            contradicts |= followed.setdefault(path, mark) != mark
        made.update(zip(paths_made(outline, len(outputs)), made_marks, strict=True))
    made.pop("", None)  # values
    stamps = [*followed.values(), *made.values()]
    outlines = digest_of_words(words)
    if contradicts or not outlines:
        return (newest,)
    return (
        newest,
        list(entries),
        outlines,
        joined(list(followed)),
        joined(list(made)),
        b"".join([packed(it) for it in stamps]),
        list(reads),
        "\n".join([entry[1] for entry in entries.values()]),
        [worth_of(entry[2]) for entry in entries.values()],
    )


def paths_made(outline: Outline, count: int) -> Outline:
    """Return the paths of a task's outputs, which are so many, each empty where that is a value."""
    return outline[len(outline) - 2 * count + 1 :: 2]


def worth_of(outputs: Sequence[Plain]) -> Worth:
    """Return what a task's outputs are worth, as `Glance.adopt` takes it."""
    # A digest's number is what the datum will hold; its text would only take room until then.
    if len(outputs) == 1 and len(outputs[0]) == _FILE:
        return int(outputs[0][2] or outputs[0][1], 16)
    return outputs


def _is_in_record(output: Plain) -> bool:
    """Tell whether an output is a value whose bytes lie in its record."""
    return output[1] == "value" and output[5] is not None


def plain_output(output: Output) -> Plain:
    """Return an output without classes of ours, which marshal does not know; a file, as most are, in few words."""
    # Equal digests are one object, also when they are read again.
    value = output.content if output.value == output.content else output.value
    if output.kind == "file":
        return output.name, output.content, value, output.size, output.members[0].executable
    members = tuple(map(tuple, output.members))
    return (*output[:3], value, *output[4:6], members, tuple(map(plain_output, output.items)), output.classes)


def output_of(plain: Plain) -> Output:
    """Return an output from the plain data that a memo holds."""
    if len(plain) == _FILE:
        name, content, value, size, executable = plain
        return Output(name, "file", content, value, size, None, (Member("", content, size, executable),))
    name, kind, content, value, size, inline, members, items, classes = plain
    made = tuple([Member(*it) for it in members])
    return Output(name, kind, content, value, size, inline, made, tuple(map(output_of, items)), classes)
