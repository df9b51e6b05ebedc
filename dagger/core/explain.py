"""Why a task ran, or would run: the reasons of the run itself, with what changed shown beside them.

The reasons are the run's own, read off the manifest that its key was made of. What is added here only illustrates
them: the source of a changed part before and after, a small value, a file's path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dagger.core import report as out
from dagger.core.cleaning import makers_of
from dagger.core.reasons import CODE, sentence
from dagger.errors import UsageError
from dagger.lean_typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagger.abstract import AbstractTask
    from dagger.cache import Cache
    from dagger.cache.records import Output, Reason, Record, Row
    from dagger.core.graph import Slot
    from dagger.core.session import Session

_LONGEST_VALUE = 200
_LARGEST_LOADED = 16_384
_SHORT = 12
_INPUT = "input changed"


@dataclass(frozen=True)
class Detail:
    """One reason, with what can be shown of it.

    Attributes:
        sentence: The reason as a person reads it.
        code: Which kind of reason.
        subject: What changed.
        before: What it was: a small value, or a digest; empty where there was nothing.
        after: What it is.
        path: The file behind an input, if there is one.
        diff: For code, how its source changed.
    """

    sentence: str
    code: str = ""
    subject: str = ""
    before: str = ""
    after: str = ""
    path: str = ""
    diff: str = ""


@dataclass(frozen=True)
class Explanation:
    """Why a task came out as it did, or will.

    Attributes:
        task: Its identifier.
        outcome: One of `dagger.core.report.OUTCOMES`.
        details: The reasons.
        when: When that was decided, in seconds since the epoch; 0 for what is to come.
        seconds: How long the task ran.
        error: What failed.
        because: For a task that may run, the ones before it that will.
    """

    task: str
    outcome: str
    details: tuple[Detail, ...] = ()
    when: float = 0.0
    seconds: float = 0.0
    error: str = ""
    because: tuple[Explanation, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        from dataclasses import asdict

        return asdict(self)


def explain_last(cache: Cache, root: str, target: str) -> Explanation:
    """Explain what a task last did.

    Args:
        cache: The store.
        root: The project's root, absolute.
        target: The task, or the path of one of its outputs.

    Raises:
        UsageError: No run of such a task is remembered.
    """
    task = _task_of(cache, root, target)
    entry = cache.entry(root, task)
    if entry is None:
        raise UsageError(f"no run of task {task!r} is remembered; a SCRIPT tells of the next one")
    evidence = _Evidence(cache, root, task, entry.rows)
    return Explanation(
        task=task,
        outcome=entry.outcome,
        details=tuple(evidence.detail(reason) for reason in entry.reasons),
        when=entry.when,
        seconds=entry.seconds,
        error=entry.error,
    )


def explain_next(session: Session, target: str) -> Explanation:
    """Explain what a task would do now.

    Args:
        session: One whose dry run has come to its end.
        target: The task, or the path of one of its outputs.

    Raises:
        UsageError: The dry run did not come to such a task.
    """
    for manager in session.managers:
        for slot in manager._slots:
            if slot.report is not None and manager.is_target(slot.task, [target]):
                return _of_slot(slot, manager.cache, manager.places.root)
    raise UsageError(f"the script ended before it came to {target!r}")


def _of_slot(slot: Slot, cache: Cache, root: str) -> Explanation:
    assert slot.report is not None
    rows = slot.manifest.rows if slot.manifest else ()
    evidence = _Evidence(cache, root, slot.name, rows)
    evidence.add_current(slot)
    details = [evidence.detail(reason) for reason in slot.reasons]
    return Explanation(
        task=slot.name,
        outcome=slot.report.outcome,
        details=tuple(details or (Detail(told) for told in slot.report.reasons)),
        because=tuple(_of_slot(above, cache, root) for above in _running_above(slot)),
    )


def _running_above(slot: Slot) -> list[Slot]:
    """Return the slots for whose sake nobody knows yet whether this one will run."""
    if slot.report is None or slot.report.outcome != out.MAY_RUN:
        return []
    found: dict[Slot, None] = {}
    seen: set[Slot] = set()
    stack = list(slot.upstream)
    while stack:
        above = stack.pop()
        if above in seen or above.report is None:
            continue
        seen.add(above)
        if above.report.outcome == out.WILL_RUN:
            found[above] = None
        elif above.report.outcome == out.MAY_RUN:
            stack += above.upstream
    return sorted(found, key=lambda it: it.index)


def _task_of(cache: Cache, root: str, target: str) -> str:
    tasks = sorted(makers_of(cache, root, target))
    if len(tasks) == 1:
        return tasks[0]
    if tasks:
        raise UsageError(f"{target} may be of any of these tasks; name one: {', '.join(tasks)}")
    raise UsageError(f"{target} was made by a task of which nothing is remembered")


class _Evidence:
    """What the store still has of the two sides of a change."""

    def __init__(self, cache: Cache, root: str, task: str, rows: Sequence[Row]) -> None:
        self.cache = cache
        self.paths = {name: path for kind, name, path in rows if kind == "input path"}
        self._fingerprints = [name for kind, _, name in rows if kind == "code"]
        self._root = root
        self._task = task
        self._records: list[Record] | None = None
        self._sources: dict[tuple[str, str], str] | None = None
        self._current_sources: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}

    def add_current(self, slot: Slot) -> None:
        """Take in what is not stored yet: the code and the values that the script has now."""
        if slot.manifest is not None and slot.manifest.code is not None:
            parts = slot.manifest.code.parts
            self._current_sources = {(it.name, it.digest): it.source for it in parts}
            rows = slot.manifest.rows
            worth = {name: digest for kind, name, digest in rows if kind == "input"}
            self._values.update(_script_values(slot.task, worth))

    def detail(self, reason: Reason) -> Detail:
        """Return a reason with what can be shown of it."""
        before, after, diff = reason.before, reason.after, ""
        path = self.paths.get(reason.subject, "") if reason.code == _INPUT else ""
        if reason.code == CODE and reason.subject:
            diff = self._diff(reason)
        elif reason.code == _INPUT:
            before, after = (self._value(digest) or digest for digest in (before, after))
        return Detail(sentence(reason), reason.code, reason.subject, before, after, path, diff)

    def _diff(self, reason: Reason) -> str:
        from difflib import unified_diff

        before, after = (self._source(reason.subject, digest) for digest in (reason.before, reason.after))
        lines = unified_diff(
            before.splitlines(),
            after.splitlines(),
            f"{reason.subject} (before)",
            f"{reason.subject} (after)",
            lineterm="",
        )
        return "\n".join(lines)

    def _source(self, part: str, digest: str) -> str:
        if (part, digest) in self._current_sources:
            return self._current_sources[part, digest]
        if self._sources is None:
            self._sources = dict(self._stored_sources())
        return self._sources.get((part, digest), "")

    def _stored_sources(self) -> Iterator[tuple[tuple[str, str], str]]:
        former = (it.fingerprint for it in self._all() if it.task == self._task and it.root == self._root)
        for fingerprint in dict.fromkeys([*self._fingerprints, *former]):
            code = self.cache.parts(fingerprint) if fingerprint else None
            for part in code.parts if code is not None else ():
                yield (part.name, part.digest), part.source

    def _value(self, digest: str) -> str:
        """Return the text of a small value that some task made, or nothing."""
        if digest and digest not in self._values:
            outputs = (output for record in self._all() for output in _flat(record.outputs))
            texts = (text_of_stored(self.cache, output) for output in outputs if output.value == digest)
            self._values[digest] = next(filter(None, texts), "")
        return self._values.get(digest, "")

    def _all(self) -> list[Record]:
        if self._records is None:
            self._records = list(self.cache.all_records())
        return self._records


def _flat(outputs: Sequence[Output]) -> Iterator[Output]:
    for output in outputs:
        yield output
        yield from _flat(output.items)


def text_of_stored(cache: Cache, output: Output) -> str:
    """Return a small stored value as text, or nothing; one that needs classes of a script is not loaded for this."""
    if output.classes or output.size > _LARGEST_LOADED:
        return ""
    from dagger.cache import values
    from dagger.core.by_name import load_pickle, value_unpickler

    try:
        if output.kind == "value":
            kept = output.inline if output.inline is not None else cache.blobs.open_checked(output.content)
            return text_of(values.load(kept, value_unpickler))
        if output.kind == "file" and output.value != output.content:  # a pickle that dagger wrote
            return text_of(load_pickle(cache.blobs.open_checked(output.members[0].digest)))
    except Exception:
        return ""  # an illustration: what cannot be loaded is left out
    return ""


def _script_values(task: AbstractTask, worth: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return digest and text of each value that the script itself gives to a task."""
    from dagger.core.datum import MemoryDatum
    from dagger.core.manifest import members

    for name, given in task.inputs.items():
        for place, datum in members(name, given):
            if isinstance(datum, MemoryDatum) and not datum.parents and place in worth:
                yield worth[place], text_of(datum.pointer)


def text_of(value: object) -> str:
    """Return a value as a short text."""
    from reprlib import Repr

    short = Repr()
    short.maxstring = short.maxother = short.maxlong = _LONGEST_VALUE
    short.maxlist = short.maxtuple = short.maxdict = short.maxset = 20
    return short.repr(value)
