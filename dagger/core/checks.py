"""What is refused before anything runs: each fault names the culprits and the way out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from dagger.abstract import AbstractDatum, AbstractTask, DatumList, InputForm, converter_registry
from dagger.abstract.helpers import resources_available
from dagger.core.datum import FileDatum, FileGlob, declared_paths
from dagger.core.manifest import SINGLE, members
from dagger.core.places import Places
from dagger.core.task import FunctionTask, ScriptTask, is_written
from dagger.errors import RefusedError


def check(
    tasks: Sequence[AbstractTask],
    places: Places,
    supply: Mapping[str, float],
    cache: str,
    *,
    controlled: bool = True,
    undeclared: str = "track",
    fitting: Collection[AbstractTask] = (),
) -> None:
    """Look a whole workflow over.

    Args:
        tasks: All of it, no cycle among them.
        places: Where paths lead.
        supply: The resources that there are.
        cache: The cache directory; outputs in it are refused.
        controlled: Whether functions run in dagger's own processes, which can be timed and watched.
        undeclared: What to do about undeclared reads.
        fitting: Tasks that were declared just so in a run that was not refused.

    Raises:
        RefusedError: With every fault found, one a line.
    """
    faults = [
        *_identifiers(tasks),
        *_files(tasks, places, cache, fitting),
        *(fault for task in tasks if task._resources for fault in _demands(task, supply)),
        *(fault for task in tasks if task not in fitting for fault in _fits(task, places)),
        *(() if controlled else _uncontrolled(tasks, undeclared)),
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


def _files(
    tasks: Sequence[AbstractTask], places: Places, cache: str, fitting: Collection[AbstractTask]
) -> Iterator[str]:
    real = _RealPaths(places)
    makers: dict[str, AbstractTask] = {}
    written = [(task, path) for task in tasks for it in task.outputs.values() for path in declared_paths(it)]
    for (task, path), place in zip(written, real.all(path for _, path in written), strict=True):
        other = makers.get(place)
        if other is None:
            makers[place] = task
        elif other is task:
            yield _twice(task, place, real)
        else:
            yield (
                f"tasks {other.identifier!r} and {task.identifier!r} both write {path}; give one of them another path"
            )
    links = real.links()
    sources: dict[str, AbstractTask] = {}
    yield from _around(makers, real.fold(os.path.realpath(places.root)), real.fold(os.path.realpath(cache)))
    yield from _below(makers, makers, "writes", "which is an output of", real)
    yield from _sources(tasks, places, real, makers, sources, fitting)
    yield from _below(sources, makers, "reads", "which is an output of", real)
    yield from _below(makers, sources, "writes", "which is an input of", real)
    yield from _matching(tasks, real, sources, makers)
    yield from _through_links(links, makers, sources, real)


def _twice(task: AbstractTask, place: str, real: _RealPaths) -> str:
    written = [(name, path) for name, datum in task.outputs.items() for path in declared_paths(datum)]
    names = dict.fromkeys(name for name, path in written if real(path) == place)
    both = (
        f"outputs {_listed(map(repr, names))} are both" if len(names) > 1 else f"output {next(iter(names))!r} has twice"
    )
    return f"task {task.identifier!r}: {both} the file {place}; give one of them another path"


def _around(makers: Mapping[str, AbstractTask], root: str, cache: str) -> Iterator[str]:
    """An output is taken away before its task runs: with it would go the cache, or the project."""
    kept = {cache: "is the cache directory", root: "is the project itself"}
    for folder, what in [*kept.items()][::-1]:
        while len(folder) > 1:
            folder = os.path.dirname(folder)
            kept.setdefault(folder, what.replace("is", "holds", 1))
    for place in makers.keys() & kept.keys():
        yield f"task {makers[place].identifier!r}: output {place} {kept[place]}; give it another path"
    inside = cache + "/"
    for place, task in makers.items():
        if place.startswith(inside):
            yield f"task {task.identifier!r}: output {place} lies inside the cache directory; give it another path"


def _below(
    inner: Mapping[str, AbstractTask],
    outer: Mapping[str, AbstractTask],
    does: str,
    whose: str,
    real: _RealPaths,
) -> Iterator[str]:
    """What lies in a directory that another task makes would be swept away; in one that is read, it would change it."""
    folders = {place.rpartition("/")[0] for place in inner}
    inside = {folder: found for folder in folders if (found := real.nearest(folder, outer))}
    for place, task in inner.items() if inside else ():
        above = inside.get(place.rpartition("/")[0])
        if above and (outer[above] is not task or does == "reads"):
            yield (
                f"task {task.identifier!r} {does} {place} inside {above}, {whose} task {outer[above].identifier!r}; "
                "move one of them"
            )


def _sources(
    tasks: Sequence[AbstractTask],
    places: Places,
    real: _RealPaths,
    makers: Mapping[str, AbstractTask],
    found: dict[str, AbstractTask],
    fitting: Collection[AbstractTask],
) -> Iterator[str]:
    """Look at each source once, and file it under its real path in `found`."""
    sources: dict[AbstractDatum, tuple[AbstractTask, str]] = {}
    for task in tasks:
        for name, given in task.inputs.items():
            if type(given) is FileDatum and not given._parents:  # as most that no task makes
                sources.setdefault(given, (task, name))
                continue
            if _is_made(given):
                continue
            for place, datum in members(name, given):
                if not datum._parents and datum not in sources and isinstance(datum, FileDatum):
                    sources[datum] = task, place
    with_path = [datum for datum in sources if datum.pointer is not None]
    places_of = dict(zip(with_path, real.all(datum.pointer for datum in with_path), strict=True))
    links = set(map(real.fold, real.links()))
    for datum, (task, place) in sources.items():
        path = places_of.get(datum)
        if path is None:
            yield f"task {task.identifier!r}: input {place!r} has no path"
            continue
        mode = stat.S_IFREG
        if path in links or task not in fitting:  # else it is there, as it was
            path, mode = _looked_up(path, real)
        maker = makers.get(path)
        found.setdefault(path, task)
        if maker is task:
            yield (
                f"task {task.identifier!r}: input {place!r} is {datum.pointer}, its own output; "
                "give one of them another path"
            )
        elif maker is not None:
            yield (
                f"task {task.identifier!r}: input {place!r} is the file {datum.pointer}, which task "
                f"{maker.identifier!r} writes; use that task's output as the input"
            )
        elif not mode:
            yield f"task {task.identifier!r}: input {place!r}: {_why_not(datum.pointer, places)}"
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            yield f"task {task.identifier!r}: input {place!r}: {datum.pointer} is neither a file nor a directory"


def _is_made(datum: AbstractDatum) -> bool:
    """Tell of most data that tasks make, by a glance, that they are no sources."""
    return all(map(_is_made, datum.datums)) if type(datum) is DatumList else bool(datum._parents)


def _looked_up(place: str, real: _RealPaths) -> tuple[str, int]:
    """Return where a path leads in the end, and the mode of what is there, 0 for nothing."""
    mode = _mode(os.lstat, place)
    if not stat.S_ISLNK(mode):
        return place, mode
    target = os.path.realpath(place)
    return real.fold(target), _mode(os.stat, target)


def _why_not(path: str, places: Places) -> str:
    """Say why a source cannot be looked at."""
    try:
        os.stat(places.absolute(path))
    except PermissionError as error:
        return f"{path} cannot be read: {error.strerror}"
    except OSError:
        pass
    return f"there is no file {path} in {places.root}"


def _mode(look: Callable[[str], os.stat_result], path: str) -> int:
    try:
        return look(path).st_mode
    except OSError:
        return 0


def _matching(
    tasks: Sequence[AbstractTask],
    real: _RealPaths,
    sources: Mapping[str, AbstractTask],
    makers: Mapping[str, AbstractTask],
) -> Iterator[str]:
    """A pattern's files are taken away before its task runs, whoever's they are."""
    others = [(task, it) for task in tasks for it in task.outputs.values() if type(it) not in SINGLE]
    globs = [(task, it.pattern) for task, it in others if isinstance(it, FileGlob)]
    if not globs:
        return
    from dagger.core.patterns import Patterns

    patterns = Patterns((task, pattern, real(pattern)) for task, pattern in globs)
    for place, other in {**sources, **makers}.items():
        for task, pattern in patterns.that_take_in(place):
            if task is not other:
                yield (
                    f"task {task.identifier!r}: its output {pattern} takes in {place}, which task "
                    f"{other.identifier!r} uses; give one of them another path"
                )


def _through_links(
    links: Iterable[str],
    makers: Mapping[str, AbstractTask],
    sources: Mapping[str, AbstractTask],
    real: _RealPaths,
) -> Iterator[str]:
    """An output that is a link now would be a file of its own then, which is hardly what was meant."""
    for link in links:
        target = real.fold(os.path.realpath(link))
        for other, verb in ((makers.get(target), "writes"), (sources.get(target), "reads")):
            if other is not None:
                yield (
                    f"task {makers[real.fold(link)].identifier!r}: output {link} is a symbolic link to {target}, "
                    f"which task {other.identifier!r} {verb}; remove the link, or give the output another path"
                )


_NO_NAMES = frozenset(("", ".", ".."))


class _RealPaths:
    """Resolves each folder once; ten thousand files of one folder cost one `realpath`."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._folders: dict[str, tuple[str, set[str]]] = {}
        self._names: dict[str, set[str]] = {}
        self._listed: dict[str, set[str]] = {}
        self._nearest: dict[tuple[int, str], str] = {}
        self._ignores_case = _ignores_case(places.root)

    def __call__(self, path: str) -> str:
        folder, slash, name = path.rpartition("/")
        if name in _NO_NAMES:
            shorter = path.rstrip("/")
            return self(shorter) if "" != shorter != path else os.path.realpath(self._places.absolute(path))
        known = self._folders.get(folder + slash)
        if known is None:
            real = os.path.realpath(self._places.absolute(folder + slash) or "/")
            known = real.rstrip("/") + "/", self._names.setdefault(real, set())
            self._folders[folder + slash] = known
        known[1].add(name)
        place = known[0] + name
        return place.casefold() if self._ignores_case else place

    def all(self, paths: Iterable[str]) -> list[str]:
        """Resolve many, most of them in folders that others are in: to call for each would take twice as long."""
        known = {} if self._ignores_case else self._folders
        found = []
        for path in paths:
            folder, slash, name = path.rpartition("/")
            inside = None if name in _NO_NAMES else known.get(folder + slash)
            if inside is None:
                found.append(self(path))
            else:
                inside[1].add(name)
                found.append(inside[0] + name)
        return found

    def fold(self, place: str) -> str:
        """Return what stands for a place where upper and lower case are one."""
        return place.casefold() if self._ignores_case else place

    def nearest(self, folder: str, outer: Mapping[str, object]) -> str:
        """Return the nearest of a folder and those above it that is among `outer`, or nothing."""
        way = []
        while len(folder) > 1 and (id(outer), folder) not in self._nearest:
            way.append(folder)
            if folder in outer:
                break
            folder = os.path.dirname(folder)
        found = folder if folder in outer else self._nearest.get((id(outer), folder), "")
        for each in way:
            self._nearest[id(outer), each] = found
        return found

    def links(self) -> list[str]:
        """Return which of the paths so far are symbolic links; one listing tells of all files of a folder."""
        return [
            os.path.join(folder, name) for folder, names in self._names.items() for name in self._links(folder, names)
        ]

    def _links(self, folder: str, names: set[str]) -> Collection[str]:
        if folder in self._listed:
            return self._listed[folder] & names
        try:
            with os.scandir(folder) as listing:
                most = 4 * len(names) + 64
                entries = list(islice(listing, most + 1))
                if len(entries) <= most:
                    self._listed[folder] = {entry.name for entry in entries if entry.is_symlink()}
                    return self._listed[folder] & names
        except OSError:
            return ()
        return [name for name in names if os.path.islink(os.path.join(folder, name))]


def _ignores_case(root: str) -> bool:
    swapped = root.swapcase()
    try:
        return swapped != root and os.path.samefile(root, swapped)
    except OSError:
        return False


def _demands(task: AbstractTask, supply: Mapping[str, float]) -> Iterator[str]:
    if resources_available(supply, task.resources):
        return
    for kind, amount in task.resources.items():
        if kind in supply and amount > supply[kind]:
            yield f"task {task.identifier!r} demands {amount:g} {kind}, but there is {supply[kind]:g} in all"


def _uncontrolled(tasks: Sequence[AbstractTask], undeclared: str) -> Iterator[str]:
    """What is asked of processes that are not dagger's own."""
    functions = [task for task in tasks if not isinstance(task, ScriptTask)]
    if undeclared in ("warn", "error") and functions:
        yield (
            f"undeclared={undeclared!r} needs dagger's own workers: what runs in an executor= of yours is not watched; "
            "leave one out"
        )
    for task in functions:
        if task.timeout is not None:
            yield (
                f"task {task.identifier!r}: timeout={task.timeout:g} needs dagger's own workers: what runs in an "
                "executor= of yours cannot be ended; leave one out"
            )


def _fits(task: AbstractTask, places: Places) -> Iterator[str]:
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
        yield from _placeholders(task, who, places)


def _is_empty(datum: AbstractDatum) -> bool:
    return datum.state == 0


def _arguments(task: FunctionTask, who: str) -> Iterator[str]:
    """A call that cannot bind is known before it is made."""
    written = [name for name, datum in task.outputs.items() if is_written(datum)]
    both = [name for name in written if name in task.inputs]
    if both:
        yield f"{who}: {_listed(map(repr, both))} names both an input and an output that its function writes"
        return
    given = [*task.inputs, *written]
    code = getattr(task.function, "__code__", None)
    if code is not None:
        named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if code.co_posonlyargcount == 0 and set(named) == set(given):
            return  # the common case costs no signature
    from inspect import signature

    try:
        # What is called is the wrapper: it may add arguments to those that it is given.
        bound = signature(task.function, follow_wrapped=False)
    except (TypeError, ValueError):
        return  # a builtin may not tell
    try:
        bound.bind(**dict.fromkeys(given))
    except TypeError as error:
        yield f"{who}: its function takes {bound}, but gets {_listed(given) or 'nothing'}: {error}"


def _placeholders(task: ScriptTask, who: str, places: Places) -> Iterator[str]:
    from dagger.core.script_text import placeholders

    try:
        used = placeholders(task.script)
    except RefusedError as error:
        yield f"{who}: {error}"
        return
    for name, datum in task.outputs.items():
        if isinstance(datum, FileDatum) and datum.pointer is None:
            yield f"{who}: output {name!r} has no path"
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
    if not (unknown or both or used & patterns):
        yield from _unfit_paths(task, who, used, places)


def _unfit_paths(task: ScriptTask, who: str, used: Iterable[str], places: Places) -> Iterator[str]:
    """An odd path, or several, may not go into each place of a script; a plain one may, but to end a here-document."""
    from dagger.core.script_text import is_plain_path, render, stands_alone

    paths: dict[str, str | list[str]] = {}
    is_suspect = False
    for name in used:
        datum = task.inputs[name] if name in task.inputs else task.outputs[name]
        found = [member.pointer for _, member in members(name, datum) if type(member) is FileDatum]
        if (
            isinstance(datum, FileGlob)
            or None in found
            or len(found) != (len(datum) if isinstance(datum, DatumList) else 1)
        ):
            return  # not known before what makes it has run, or a person's own
        shown = [places.shown(path) for path in found]
        paths[name] = shown if isinstance(datum, DatumList) else shown[0]
        is_suspect = (
            is_suspect
            or not all(map(is_plain_path, shown))
            or (not stands_alone(task.script, name) if len(shown) != 1 else shown[0] in task.script)
        )
    if is_suspect:
        try:
            render(task.script, paths)
        except RefusedError as error:
            yield f"{who}: {error}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
