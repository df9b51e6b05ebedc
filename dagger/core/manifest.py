"""A task's ingredients, walked once into rows; the key, `why` and `--json` are readers of these rows.

The walk needs to know what each input is worth, so it happens when the tasks upstream are settled.
"""

from __future__ import annotations

import marshal
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain

from xxhash import xxh3_128_digest

from dagger.abstract import AbstractDatum, AbstractTask, DatumList, InputForm, converter_registry
from dagger.abstract.helpers import collect_dependencies
from dagger.cache import Cache
from dagger.cache.digests import digest_text, digest_value, keyed_digest
from dagger.cache.records import Output, Row
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.outline import Outline, digest_of_words, plain_outline, survey
from dagger.core.places import Places
from dagger.core.task import FunctionTask, PklTask, ScriptTask, is_pickle
from dagger.errors import UndigestibleError
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.cache.fingerprints import Fingerprint, Fingerprinter

FORMAT = "2"
ABSENT = "absent"

_CORE_TASKS: frozenset[type[AbstractTask]] = frozenset((FunctionTask, PklTask, ScriptTask))
# Plain types are looked up before `isinstance` is asked, which for an abstract class takes five times as long.
SINGLE = frozenset((FileDatum, MemoryDatum))
_CORE_TYPES: frozenset[type] = frozenset((*_CORE_TASKS, FileDatum, FileGlob, MemoryDatum, DatumList))
_common: tuple[Row, ...] = (
    ("format", "", FORMAT),
    ("python", "", f"{sys.version_info.major}.{sys.version_info.minor}"),
)


class Manifest:
    """What a task's result depends on, as far as it is known before it runs.

    Attributes:
        rows: Kind, name and digest (or text) of each ingredient.
        key: What the result is filed under; empty where an ingredient has no digest.
        code: The fingerprint that the row ``code`` stands for.
        uncacheable: Why the task has no key, or empty.
        outline: As `Walker.outline`; empty where there is none.
        files: Path and digest of each file that no task makes, where the outline does not say what it is worth.
    """

    __slots__ = ("code", "files", "key", "outline", "rows", "uncacheable")

    def __init__(
        self,
        rows: tuple[Row, ...],
        key: str,
        code: Fingerprint | None,
        uncacheable: str = "",
        outline: Outline | bytes = b"",
        files: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.rows = rows
        self.key = key
        self.code = code
        self.uncacheable = uncacheable
        self.outline = outline
        self.files = files


def source_files(tasks: Iterable[AbstractTask], places: Places) -> Iterator[str]:
    """Return the path of each file that tasks take and none makes."""
    for task in tasks:
        for name, given in task.inputs.items():
            for _, datum in members(name, given):
                if isinstance(datum, FileDatum) and not datum.parents and name not in task.ignore:
                    yield places.absolute(datum.pointer)


class Walker:
    """Makes manifests, for one run.

    Args:
        cache: Its stat index digests files, its secret keys the digests of environment variables.
        places: Where paths lead.
        made: What each settled task's output is worth.
    """

    def __init__(self, cache: Cache, places: Places, made: dict[AbstractDatum, Output]) -> None:
        self.cache = cache
        self.places = places
        self.made = made
        self._several: dict[AbstractTask, dict[AbstractDatum, str]] = {}
        self._has_converters = bool(converter_registry.custom())
        self._converts_plain_data = self._has_converters and any(
            converter_registry.custom_for(cls, form) for cls in (*SINGLE, DatumList) for form in InputForm
        )
        self._own: dict[type, bool] = dict.fromkeys(_CORE_TYPES, False)
        self._code: dict[object, tuple[Fingerprint, tuple[Row, ...]]] = {}
        self._plain_codes: dict[object, str] = {}

    def walk(self, task: AbstractTask, dependency_rows: Sequence[Row] = ()) -> Manifest:
        """Return a task's manifest. All of its upstream tasks must be settled.

        Args:
            task: The task.
            dependency_rows: What each explicit dependency is worth, in their order.

        Raises:
            FileNotFoundError: A source file is gone.
        """
        sketch = self._sketch(task)
        rows = sketch.rows.copy()
        for index, datum in sketch.made:
            output = self.made[datum]
            rows[index] = "input", rows[index][1], output.value or output.content
        if dependency_rows:
            rows[-len(dependency_rows) :] = dependency_rows
        key = "" if sketch.flaw else _digest(rows).hex()
        plain = None if sketch.flaw else self.plain_outline(task)
        if plain is None:
            return Manifest(tuple(rows), key, sketch.code, sketch.flaw, sketch.digest())
        return Manifest(tuple(rows), key, sketch.code, outline=plain, files=tuple(sketch.files))

    def plain_outline(self, task: AbstractTask) -> Outline | None:
        """Return what a task was declared as, where that can be told in plain values, as of most tasks."""
        return (
            None if self._converts_plain_data else plain_outline(task, self._plain_codes, self._plain_code, self.source)
        )

    def survey(self, ends: Iterable[AbstractTask], count: int) -> Iterator[tuple[list[AbstractTask], list[str]]]:
        """Yield the end tasks and all that they need, so many at a time, with their plain outlines as `survey` does."""
        if self._converts_plain_data:
            return iter([(collect_dependencies(ends), [])])
        return survey(ends, count, self._plain_codes, self._plain_code, self.source)

    def outline(self, task: AbstractTask) -> bytes:
        """Digest what a manifest is made of, with each made input by its maker's name instead of by its worth.

        A task with the outline that it had has the key that it had, if what its made inputs are worth is as it was.
        Empty where an ingredient has no digest.
        """
        return self._sketch(task).digest()

    def _plain_code(self, task: AbstractTask) -> str:
        known = self._plain_codes.get(_body(task))
        if known is None:
            known = repr(self.code(task)[1])
            memo = self._memo_of(task)
            if memo == _body(task):  # else the classes of its data are code too
                self._plain_codes[memo] = known
        return known

    def _sketch(self, task: AbstractTask) -> _Sketch:
        sketch = _Sketch([*_common, ("task", task.identifier, type_name(task))])
        rows = sketch.rows
        try:
            sketch.code, code_rows = self.code(task)
            rows += code_rows
            self._add_own_rows(task, rows)
            self._add_input_rows(task, sketch)
        except UndigestibleError as error:
            sketch.flaw = str(error)
        self._add_output_rows(task, rows)
        for needed in task._dependencies or ():
            rows.append(("dependency", needed.identifier, ""))
        return sketch

    def code(self, task: AbstractTask) -> tuple[Fingerprint, tuple[Row, ...]]:
        """Return the fingerprint of all code of a task, and its rows.

        Raises:
            UndigestibleError: The code uses a value that has no digest.
        """
        memo = self._memo_of(task)
        known = self._code.get(memo)
        if known is None:
            sources = code_of(task, self._is_own)
            fingerprint = merge([self._fingerprint(source) for source in sources])
            packages = (("package", name, version) for name, version in fingerprint.distributions)
            known = self._code[memo] = fingerprint, (("code", "", fingerprint.digest), *packages)
        return known

    def _memo_of(self, task: AbstractTask) -> object:
        """Return what stands for a task's code in this run: of most, their function or script and nothing else."""
        data = (*task.inputs.values(), *task.outputs.values())
        if type(task) in _CORE_TASKS and _CORE_TYPES.issuperset(map(type, data)):
            return _body(task)
        return tuple([it if type(it) is str else id(it) for it in code_of(task, self._is_own)])

    def _is_own(self, cls: type) -> bool:
        known = self._own.get(cls)
        if known is None:
            known = self._own[cls] = _is_own_type(cls)
        return known

    @cached_property
    def fingerprinter(self) -> Fingerprinter:
        """What fingerprints code; it remembers every part that it has seen."""
        from dagger.cache.fingerprints import Fingerprinter

        return Fingerprinter()

    def _fingerprint(self, source: object) -> Fingerprint:
        from dagger.cache.parts import Fingerprint, Part

        if isinstance(source, str):
            part = Part("script", "script", digest_text(source), source)
            return Fingerprint(part.digest, (part,), (), {})
        return self.fingerprinter.of(source)

    def _add_own_rows(self, task: AbstractTask, rows: list[Row]) -> None:
        if task.version:
            rows.append(("version", "", str(task.version)))
        if type(task) not in _CORE_TASKS and type(task)._quickhash not in _CORE_QUICKHASHES:
            rows.append(("quickhash", "", digest_value(task._quickhash(), path="_quickhash()")))
        if type(task) is not FunctionTask and isinstance(task, ScriptTask):
            rows += [("env", name, self.variable(name)) for name in task.env]
            rows += [("tool", name, self.program(name)) for name in task.tools]

    def variable(self, name: str) -> str:
        """Return the digest of an environment variable's value, keyed with the cache's secret."""
        value = os.environ.get(name)
        return ABSENT if value is None else keyed_digest(value, self.cache.secret)

    def program(self, name: str) -> str:
        """Return the digest of the file that a program's name leads to."""
        from shutil import which

        found = which(name, path=os.environ.get("PATH"))
        return self.cache.stats.digest_file(os.path.realpath(found)) if found else ABSENT

    def _add_input_rows(self, task: AbstractTask, sketch: _Sketch) -> None:
        form = task.input_form
        for name, datum in task.inputs.items():
            if name in task.ignore:
                continue
            if type(datum) in SINGLE or not isinstance(datum, DatumList):
                self._add_input(name, datum, form, sketch)
            else:
                for place, member in members(name, datum):
                    self._add_input(place, member, form, sketch)

    def _add_input(self, place: str, datum: AbstractDatum, form: InputForm | None, sketch: _Sketch) -> None:
        rows = sketch.rows
        made = self.made.get(datum) if datum._parents else None  # a file that a pattern found counts as a source
        maker = None if made is None else self._maker(datum)
        if made is not None and maker is not None:
            sketch.made.append((len(rows), datum))
            rows.append(("made", place, maker))
            classes = made.classes
        else:
            digest, classes = self.source(place, datum)
            rows.append(("input", place, digest))
            if isinstance(datum, FileDatum):
                sketch.files.append((datum.pointer, digest))
        if classes:
            rows += [("class", name, self._class_digest(name)) for name in sorted(classes)]
        if isinstance(datum, FileDatum) and (form is not InputForm.OBJECT or not is_pickle(datum)):
            rows.append(("input path", place, self.places.shown(datum.pointer)))
        if form is not None and self._has_converters:
            convert = converter_registry.custom_for(type(datum), form)
            if convert is not None:
                rows.append(("converter", place, self.fingerprinter.of(convert).digest))

    def _maker(self, datum: AbstractDatum) -> str | None:
        """Return what a task makes a datum as, as in ``model of fit``; None where it turns out to make no such one."""
        task = datum._parents[-1]
        if len(task.outputs) == 1:
            for name, made in task.outputs.items():
                if made is datum:
                    return f"{name} of {task.identifier}"
        known = self._several.get(task)
        if known is None:
            places = (pair for name, made in task.outputs.items() for pair in members(name, made))
            known = self._several[task] = {member: f"{place} of {task.identifier}" for place, member in places}
        return known.get(datum)

    def source(self, place: str, datum: AbstractDatum) -> tuple[str, tuple[str, ...]]:
        """Return the digest of a datum that no task makes, and the own classes that its value needs."""
        if isinstance(datum, FileDatum):
            return self.cache.stats.digest_path(self.places.absolute(datum.pointer)), ()
        path = f"inputs[{place!r}]"
        if isinstance(datum, MemoryDatum):
            instances: set[type] = set()
            digest = digest_value(datum.pointer, path=path, instances=instances)
            return digest, tuple(f"{cls.__module__}:{cls.__qualname__}" for cls in instances if self._is_own(cls))
        datum.verify_available()
        return digest_value(datum.quickhash, path=path), ()

    def _class_digest(self, name: str) -> str:
        from dagger.core.by_name import find_class

        try:
            return self.fingerprinter.of(find_class(name)).digest
        except (ImportError, AttributeError):
            return ABSENT

    def _add_output_rows(self, task: AbstractTask, rows: list[Row]) -> None:
        sees_pickles = type(task) is ScriptTask or not isinstance(task, FunctionTask)
        for name, datum in task.outputs.items():
            if type(datum) not in SINGLE and isinstance(datum, FileGlob):
                rows.append(("output", name, "glob"))
                rows.append(("output path", name, datum.pattern))
                continue
            for place, member in members(name, datum):
                rows.append(("output", place, kind_of(member)))
                if isinstance(member, FileDatum) and (sees_pickles or not is_pickle(member)):
                    rows.append(("output path", place, self.places.shown(member.pointer)))


def _body(task: AbstractTask) -> object:
    """Return what stands for the code of a task of a core type, whose data are too, within one run."""
    return task.script if type(task) is ScriptTask else id(task.function)  # type: ignore[attr-defined]


def _digest(rows: list[Row]) -> bytes:
    """Digest rows by their texts; by their marshal where these could be told apart in two ways."""
    texts = list(chain.from_iterable(rows))
    # Marshal's second version: its bytes are the same for the same value.
    return digest_of_words(texts) or xxh3_128_digest(marshal.dumps(rows, 2))


class _Sketch:
    """A manifest while it is made.

    Attributes:
        rows: As in a manifest, but a made input is there by its maker's name, a dependency by its own.
        made: The place of each made input among the rows, and its datum.
        files: Path and digest of each file that no task makes.
        code: The fingerprint of the task's code.
        flaw: Why the task has no key, or empty.
    """

    __slots__ = ("code", "files", "flaw", "made", "rows")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.made: list[tuple[int, AbstractDatum]] = []
        self.files: list[tuple[str, str]] = []
        self.code: Fingerprint | None = None
        self.flaw = ""

    def digest(self) -> bytes:
        """Digest the rows."""
        return b"" if self.flaw else _digest(self.rows)


def _is_own_type(cls: type) -> bool:
    from dagger.cache.ownership import is_own

    return is_own(cls.__module__)


def code_of(task: AbstractTask, is_own_type: Callable[[type], bool] = _is_own_type) -> list[object]:
    """Return what of a task is code: its function or script, and its class where that is the user's."""
    sources: list[object] = []
    if isinstance(task, ScriptTask):
        sources.append(task.script)
    elif isinstance(task, FunctionTask):
        sources.append(task.function)
    for kind in (type(task), *map(type, task.inputs.values()), *map(type, task.outputs.values())):
        if is_own_type(kind) and kind not in sources:
            sources.append(kind)
    return sources


def merge(fingerprints: list[Fingerprint]) -> Fingerprint:
    """Return one fingerprint for several pieces of code."""
    from dagger.cache.parts import Fingerprint

    if len(fingerprints) == 1:
        return fingerprints[0]
    parts = {part.name: part for fingerprint in fingerprints for part in fingerprint.parts}
    distributions = {pair for fingerprint in fingerprints for pair in fingerprint.distributions}
    reached: dict[str, frozenset[str] | None] = {}
    for fingerprint in fingerprints:
        for module, names in fingerprint.reached.items():
            former = reached.get(module, frozenset())
            reached[module] = None if names is None or former is None else names | former
    return Fingerprint(
        digest_text("\n".join(fingerprint.digest for fingerprint in fingerprints)),
        tuple(parts[name] for name in sorted(parts)),
        tuple(sorted(distributions)),
        reached,
    )


def members(name: str, datum: AbstractDatum) -> list[tuple[str, AbstractDatum]]:
    """Return each single datum under a name, with its place as in ``parts[3]``."""
    if type(datum) in SINGLE or not isinstance(datum, DatumList):
        return [(name, datum)]
    return [pair for index, member in enumerate(datum.datums) for pair in members(f"{name}[{index}]", member)]


def kind_of(datum: AbstractDatum) -> str:
    """Return the kind of an output, as the manifest and the records name it."""
    if type(datum) is FileDatum:
        return "tree" if datum.pointer.endswith("/") else "file"
    if type(datum) is MemoryDatum:
        return "value"
    if isinstance(datum, FileGlob):
        return "glob"
    if isinstance(datum, DatumList):
        return "list"
    if isinstance(datum, FileDatum):
        return "tree" if str(datum.pointer).endswith("/") else "file"
    return "value" if isinstance(datum, MemoryDatum) else "handle"


def type_name(task: AbstractTask) -> str:
    """Return how a task's type is named in keys and listings."""
    cls = type(task)
    return cls.__name__ if cls in _CORE_TASKS else f"{cls.__qualname__}"


_CORE_QUICKHASHES = {cls._quickhash for cls in _CORE_TASKS}
