"""Is a task as it was, by what a memo holds of it: one look at its declaration, one at each of its files.

This is what a run with nothing to do spends its time on, task by task; hence the looks in place of calls.
"""

from __future__ import annotations

import os
from typing import Any

from dagger.abstract import AbstractDatum, AbstractTask
from dagger.cache.records import Member, Output, Read
from dagger.core.lookup import Lookup
from dagger.core.manifest import ABSENT

Plain = tuple[Any, ...]
"""An output, as a memo holds it."""
_FILE = 5
_MOST_KEPT = 5_000


class Glance:
    """Looks at tasks, for one run.

    Args:
        lookup: Looks at what is not told by a file's stat.
        racy_since: The stamp, in ns, from which on a stat proves nothing.

    Attributes:
        has_read: Whether a file was known only when it was read: its stat can be noted now.
    """

    def __init__(self, lookup: Lookup, racy_since: int) -> None:
        self.has_read = False
        self._lookup = lookup
        self._outline = lookup.walker.plain_outline
        # Where the root is the working directory, the system finds the way by itself, and sooner.
        self._is_here = lookup.places.root == os.getcwd()
        self._racy_since = racy_since
        self._trusted = True
        self._digests: dict[str, str] = {}

    def trust(self, newest: int) -> None:
        """Take the marks of what comes for what they say, unless the newest stamp in them is too young for that."""
        self._trusted = newest < self._racy_since

    def worth(self, task: AbstractTask, entry: Any) -> Any:
        """Return what a task's outputs are worth, as `adopt` takes it, if the task is as it was; else None."""
        try:
            outline, _, outputs, reads, files, marks = entry
            if type(outline) is not tuple or self._outline(task) != outline:
                return None
            digests = self._digests
            for path, digest, mark in files:
                if digests.get(path) != digest and not self._is_source(path, digest, mark):
                    return None
            for kind, name, digest, mark in reads:
                if not self._holds(kind, name, digest, mark):
                    return None
            for datum, output, mark in zip(task.outputs.values(), outputs, marks, strict=True):
                if not self._is_made(datum, output, mark):
                    return None
        except Exception:  # whatever is wrong with the entry, the look-up tells
            return None
        # A digest's number is what the datum will hold; its text would only take room until then.
        return int(output[2] or output[1], 16) if len(outputs) == 1 and len(output) == _FILE else outputs

    def adopt(self, task: AbstractTask, worth: Any) -> None:
        """Give a task's data what they hold."""
        if type(worth) is int:
            (datum,) = task.outputs.values()
            self._lookup.adopt_file(datum, worth)  # type: ignore[arg-type]  # one that is no file has no digest here
            return
        for datum, output in zip(task.outputs.values(), worth, strict=True):
            self._lookup.adopt(datum, output_of(output))

    def _is_source(self, path: str, digest: str, mark: Any) -> bool:
        """Tell whether a file that no task makes is what it was."""
        is_known = False
        if mark is not None and self._trusted:
            now = os.stat(path if self._is_here else self._lookup.places.absolute(path))
            # `stamps_of`, without the call
            is_known = mark == (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino)
        if not is_known:
            if self._lookup.worth_of_file(path) != digest:
                return False
            self.has_read = True
        if len(self._digests) == _MOST_KEPT:
            self._digests.clear()  # who shares a source stands near by, most of the time
        self._digests[path] = digest
        return True

    def _is_made(self, datum: AbstractDatum, output: Any, mark: Any) -> bool:
        """Tell whether an output is there as it was made."""
        if mark is not None and self._trusted:
            path = datum._pointer
            now = os.lstat(path if self._is_here else self._lookup.places.absolute(path))
            if mark == (now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino):
                return True
        if len(output) == _FILE:
            self.has_read = True
        elif output[1] == "value" and output[5] is not None:  # its bytes are in its record
            return True
        return self._lookup.holds(datum, output_of(output))

    def _holds(self, kind: str, name: str, digest: str, mark: Any) -> bool:
        """Tell whether a discovered read would come to the same now."""
        if kind == "file" and digest != ABSENT:
            return self._digests.get(name) == digest or self._is_source(name, digest, mark)
        return self._lookup.current(Read(kind, name, digest)) == digest


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
        return Output(name, "file", content, value, size, members=(Member("", content, size, executable),))
    name, kind, content, value, size, inline, members, items, classes = plain
    made = tuple([Member(*it) for it in members])
    return Output(name, kind, content, value, size, inline, made, tuple(map(output_of, items)), classes)
