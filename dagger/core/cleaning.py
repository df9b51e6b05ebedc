"""Forgetting results, and taking away the files that tasks made; what `dagger clean` does, for scripts too.

A file goes only when the journal lists it and its content is what the journal says a task made there. Whatever
else is found stays, and is listed with the reason.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from dagger.core.places import Places
from dagger.errors import CacheError, UsageError
from dagger.lean_typing import TYPE_CHECKING, Any
from dagger.printable import one_line

if TYPE_CHECKING:
    from dagger.cache import Cache
    from dagger.cache.records import Output, Record, Row

CHANGED = "it is not as its task made it"
PROJECT = "the project lies in it"
SYMLINK = "it is, or is behind, a symbolic link"


@dataclass(frozen=True)
class CleanReport:
    """What was taken away, or would be.

    Attributes:
        forgotten: Identifiers of the tasks whose results are forgotten.
        records: How many records that were.
        removed: Paths of the files and directories removed.
        left: Path to the reason why it stays.
        dry_run: Whether nothing was done.
    """

    forgotten: tuple[str, ...] = ()
    records: int = 0
    removed: tuple[str, ...] = ()
    left: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        from dataclasses import asdict

        return asdict(self)


def clean(
    cache: Cache,
    root: str,
    targets: Iterable[str] = (),
    outputs: bool = False,
    dry_run: bool = False,
) -> CleanReport:
    """Forget cached results of a project, and with `outputs` remove the files that its tasks made.

    Args:
        cache: The store.
        root: The project's root, absolute.
        targets: Tasks, or paths of their outputs; none means all.
        outputs: Remove files too: those that the journal lists and that are as it says, never through a symbolic
            link.
        dry_run: Only say what would go.

    Raises:
        UsageError: No task or file that is known here is named so.
    """
    known = _Known(cache, Places(root))
    named = list(targets)
    tasks = {task for target in named for task in known.tasks_of(target)} if named else None
    paths = known.paths_of(named, tasks) if outputs else []
    removed, left = _remove_all(cache, known, paths, dry_run=dry_run)
    # Even a deletion of nothing would make the store of a project that has none.
    dropped = cache.forget(root, tasks, dry_run=dry_run) if known.claims else []
    if not dry_run and (known.claims or known.journal):
        cache.flush()
    return CleanReport(
        forgotten=tuple(sorted({record.task for record in dropped})),
        records=len(dropped),
        removed=tuple(removed),
        left=left,
        dry_run=dry_run,
    )


def makers_of(cache: Cache, root: str, target: str) -> set[str]:
    """Return the tasks that a name stands for: one by its identifier, or those that made a path.

    Raises:
        UsageError: Nothing that is known here is named so.
    """
    return _Known(cache, Places(root)).tasks_of(target)


class _Known:
    """What records, entries and the journal of a root say of its tasks and their files."""

    def __init__(self, cache: Cache, places: Places) -> None:
        self.places = places
        self.journal = cache.journal(places.root)
        self.records = [record for record in cache.all_records() if record.root == places.root]
        self.entries = cache.entries(places.root)
        self.claims: dict[str, set[str]] = {}
        for task, rows in self._manifests():
            self.claims.setdefault(task, set()).update(self._paths_in(rows))

    def _manifests(self) -> Iterator[tuple[str, Sequence[Row]]]:
        yield from ((record.task, record.rows) for record in self.records)
        yield from ((task, entry.rows) for task, entry in self.entries.items())

    def _paths_in(self, rows: Sequence[Row]) -> Iterator[str]:
        for kind, _, path in rows:
            if kind == "output path":
                yield self._shown(path)

    def _shown(self, path: str) -> str:
        return self.places.shown(os.path.normpath(self.places.absolute(path)))

    def tasks_of(self, target: str) -> set[str]:
        """See `makers_of`; empty for a file in the journal whose task was forgotten."""
        if target in self.claims:
            return {target}
        path = self._shown(target)
        makers = {task for task, paths in self.claims.items() if _is_among(path, paths)}
        if not makers and path in self.journal:
            makers = self._makers_of_content(self.journal[path])
        if not makers and path not in self.journal:
            raise UsageError(f"no task or output is named {target!r}; {self._listed(target)}")
        return makers

    def _makers_of_content(self, digest: str) -> set[str]:
        """A pickle's path is in no manifest, for the code does not see it; its content tells who made it."""
        return {record.task for record in self.records if digest in _contents(record)}

    def _listed(self, target: str) -> str:
        from difflib import get_close_matches

        names = sorted({*self.claims, *self.journal})
        close = get_close_matches(target, names, n=3)
        if close:
            return f"did you mean {' or '.join(map(repr, close))}?"
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        return f"there are {', '.join(map(one_line, names[:20]))}{more}" if names else "nothing is known here"

    def paths_of(self, targets: Sequence[str], tasks: Collection[str] | None) -> list[str]:
        """Return the paths in the journal that targets name, or that the tasks made; all of them for None."""
        if tasks is None:
            return sorted(self.journal)
        named = {self._shown(target) for target in targets if target not in self.claims}
        claimed = {path for task in tasks for path in self.claims[task]}
        of_others = {path for task, paths in self.claims.items() if task not in tasks for path in paths}
        made = {digest for record in self.records if record.task in tasks for digest in _contents(record)}
        made -= {digest for record in self.records if record.task not in tasks for digest in _contents(record)}
        return sorted(
            path
            for path, digest in self.journal.items()
            if path in named or _is_among(path, claimed) or (digest in made and not _is_among(path, of_others))
        )


def _contents(record: Record) -> set[str]:
    return {digest for output in record.outputs for digest in _digests(output)}


def _digests(output: Output) -> Iterator[str]:
    if output.kind in ("file", "tree"):
        yield output.content
    if output.kind != "tree":
        yield from (member.digest for member in output.members)
    for item in output.items:
        yield from _digests(item)


def _is_among(path: str, claims: Collection[str]) -> bool:
    """Tell whether a path is claimed, by name or by a pattern for several files."""
    if path in claims:
        return True
    return any(fnmatchcase(path, claim) for claim in claims if "*" in claim or "?" in claim or "[" in claim)


def _remove_all(
    cache: Cache, known: _Known, paths: Sequence[str], *, dry_run: bool
) -> tuple[list[str], dict[str, str]]:
    removed: list[str] = []
    left: dict[str, str] = {}
    gone: list[str] = []
    for path in paths:
        full = known.places.absolute(path)
        if not os.path.lexists(full):
            gone.append(path)
            continue
        reason = _why_left(cache, known, path, full)
        if not reason and not dry_run:
            reason = _remove(full)
        if reason:
            left[path] = reason
        else:
            removed.append(path)
    if not dry_run and (removed or gone):
        cache.journal_drop(known.places.root, [*removed, *gone])
    return removed, left


def _why_left(cache: Cache, known: _Known, path: str, full: str) -> str:
    """Return why a path stays, or nothing where it may go."""
    if _has_symlink(known.places, full):
        return SYMLINK
    if (known.places.root + "/").startswith(os.path.normpath(full).rstrip("/") + "/"):
        return PROJECT
    try:
        is_same = cache.stats.digest_path(full) == known.journal[path]
    except (OSError, CacheError) as error:
        return f"it cannot be read: {getattr(error, 'strerror', error)}"
    return "" if is_same else CHANGED


def _has_symlink(places: Places, full: str) -> bool:
    """Tell whether a path is a symbolic link or leads through one, as seen from the root."""
    inside = full.startswith(places.root.rstrip("/") + "/")
    place = places.root if inside else "/"
    for name in os.path.relpath(full, place).split("/"):
        place = os.path.join(place, name)
        if os.path.islink(place):
            return True
    return False


def _remove(full: str) -> str:
    """Remove a file or a directory; return what kept it from going."""
    from shutil import rmtree

    try:
        if stat.S_ISDIR(os.lstat(full).st_mode):
            rmtree(full)
        else:
            os.remove(full)
    except OSError as error:
        return f"it cannot be removed: {error.strerror}"
    return ""
