"""Why a task runs: its manifest compared with the one that was last in effect, row by row.

The rows are those that the key was made of, so that a reason cannot drift from the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dagger.cache.records import Entry, Read, Reason, Row

Parts = Callable[[str], "dict[str, str] | None"]
"""From a fingerprint's digest to its parts' names and digests, or None where it is not known."""

FIRST = "first time"
FORCED = "forced"
FAILED = "failed last time"
MISSING = "output missing"
UNCACHEABLE = "uncacheable"
NOT_CACHED = "not cached"
UNDECLARED = "undeclared input changed"
CODE = "code changed"
FORGOTTEN = "forgotten"
ORDER = "order of inputs or outputs changed"

_CODES = {
    "input": "input changed",
    "class": "input's class changed",
    "converter": "converter changed",
    "input path": "input's path changed",
    "output": "outputs changed",
    "output path": "output's path changed",
    "dependency": "dependency changed",
    "package": "package changed",
    "env": "environment variable changed",
    "tool": "program changed",
    "version": "version changed",
    "python": "Python changed",
    "format": "dagger's format changed",
    "task": "task's type changed",
    "quickhash": "quickhash changed",
}


def changes(before: Sequence[Row], after: Sequence[Row], parts: Parts) -> tuple[Reason, ...]:
    """Return a reason for each row that differs; code is told by its parts.

    Args:
        before: The manifest that was last in effect.
        after: The one at hand.
        parts: Looks up the parts behind a fingerprint's digest.
    """
    was = {(kind, name): digest for kind, name, digest in before}
    now = {(kind, name): digest for kind, name, digest in after}
    differing = [it for it in dict.fromkeys([*now, *was]) if was.get(it) != now.get(it)]
    reasons: list[Reason] = []
    for kind, name in differing:
        old, new = was.get((kind, name), ""), now.get((kind, name), "")
        if kind == "code":
            # A fingerprint counts the packages too; where only these differ, their rows tell.
            packages = any(other == "package" for other, _ in differing)
            reasons += _code(old, new, parts) or ([] if packages else [Reason(CODE, "", old, new)])
        else:
            reasons.append(Reason(_CODES.get(kind, f"{kind} changed"), name, old, new))
    return tuple(reasons)


def _code(old: str, new: str, parts: Parts) -> list[Reason]:
    """A reason for each part that differs; none where the parts are not known."""
    was, now = parts(old) or {}, parts(new) or {}
    if not was or not now:
        return []
    names = [name for name in sorted({*was, *now}) if was.get(name) != now.get(name)]
    return [Reason(CODE, name, was.get(name, ""), now.get(name, "")) for name in names]


def why_run(
    entry: Entry | None,
    rows: Sequence[Row],
    stale: Sequence[tuple[Read, str]],
    parts: Parts,
) -> tuple[Reason, ...]:
    """Return why a task whose look-up missed must run.

    Args:
        entry: What the task last did, or None.
        rows: Its manifest now.
        stale: Discovered reads of its records that no longer hold, with what they are now.
        parts: Looks up the parts behind a fingerprint's digest.
    """
    if entry is None:
        return (Reason(FIRST),)
    found = changes(entry.rows, rows, parts)
    if entry.outcome == "failed":
        found = (Reason(FAILED, "", "", entry.error), *found)
    if not found:
        found = tuple(Reason(UNDECLARED, read.name, read.digest, now) for read, now in stale)
    if not found and tuple(entry.rows) != tuple(rows):
        found = (Reason(ORDER),)
    return found or (Reason(FORGOTTEN),)


def sentence(reason: Reason) -> str:
    """Return a reason as a person reads it, as in ``code changed: helpers.clean``."""
    told = reason.code
    if reason.subject:
        told += f": {reason.subject}"
    if reason.code in _SHOWN and (reason.before or reason.after):
        told += f" ({reason.before or 'none'} → {reason.after or 'none'})"
    return told


_SHOWN = {
    "package changed",
    "Python changed",
    "version changed",
    "output's path changed",
    "input's path changed",
}
