"""A task's ingredients, walked once into rows; the key, `why` and `--json` are readers of these rows.

The walk needs to know what each input is worth, so it happens when the tasks upstream are settled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from dagger.abstract import AbstractDatum, AbstractTask, DatumList, InputForm, converter_registry
from dagger.cache import Cache
from dagger.cache.digests import digest_bytes, digest_text, digest_value
from dagger.cache.fingerprints import Fingerprint, Fingerprinter, Part
from dagger.cache.ownership import is_own
from dagger.cache.records import Output, Row
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum
from dagger.core.places import Places
from dagger.core.task import FunctionTask, PklTask, ScriptTask, is_pickle
from dagger.errors import UndigestibleError

FORMAT = "1"
ABSENT = "absent"

_CORE_TASKS = (FunctionTask, PklTask, ScriptTask)
_encode = msgspec.msgpack.Encoder().encode
_common: tuple[Row, ...] = (
    ("format", "", FORMAT),
    ("python", "", f"{sys.version_info.major}.{sys.version_info.minor}"),
)


@dataclass(frozen=True)
class Manifest:
    """What a task's result depends on, as far as it is known before it runs.

    Attributes:
        rows: Kind, name and digest (or text) of each ingredient.
        key: What the result is filed under; empty where an ingredient has no digest.
        code: The fingerprint that the row ``code`` stands for.
        reached: Own modules and the names in them that the task's code uses, for shipping.
        uncacheable: Why the task has no key, or empty.
    """

    rows: tuple[Row, ...]
    key: str
    code: Fingerprint | None
    uncacheable: str = ""


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
        self.fingerprinter = Fingerprinter()
        self._code: dict[object, tuple[Fingerprint, tuple[Row, ...]]] = {}

    def walk(self, task: AbstractTask, dependency_rows: Iterable[Row] = ()) -> Manifest:
        """Return a task's manifest. All of its upstream tasks must be settled.

        Raises:
            FileNotFoundError: A source file is gone.
        """
        fingerprint: Fingerprint | None = None
        flaw = ""
        rows: list[Row] = [*_common, ("task", task.identifier, type_name(task))]
        try:
            fingerprint, code_rows = self.code(task)
            rows += code_rows
            rows += self._own_rows(task)
            rows += self._input_rows(task)
        except UndigestibleError as error:
            flaw = str(error)
        rows += self._output_rows(task)
        rows += dependency_rows
        key = "" if flaw else digest_bytes(_encoded(rows))
        return Manifest(tuple(rows), key, fingerprint, flaw)

    def code(self, task: AbstractTask) -> tuple[Fingerprint, tuple[Row, ...]]:
        """Return the fingerprint of all code of a task, and its rows.

        Raises:
            UndigestibleError: The code uses a value that has no digest.
        """
        sources = code_of(task)
        memo = tuple(id(source) if not isinstance(source, str) else source for source in sources)
        if memo not in self._code:
            fingerprint = merge([self._fingerprint(source) for source in sources])
            packages = (("package", name, version) for name, version in fingerprint.distributions)
            self._code[memo] = fingerprint, (("code", "", fingerprint.digest), *packages)
        return self._code[memo]

    def _fingerprint(self, source: object) -> Fingerprint:
        if isinstance(source, str):
            part = Part("script", "script", digest_text(source), source)
            return Fingerprint(part.digest, (part,), (), {})
        return self.fingerprinter.of(source)

    def _own_rows(self, task: AbstractTask) -> Iterator[Row]:
        if task.version:
            yield "version", "", str(task.version)
        if type(task)._quickhash not in _CORE_QUICKHASHES:
            yield "quickhash", "", digest_value(task._quickhash(), path="_quickhash()")
        if isinstance(task, ScriptTask):
            for name in task.env:
                yield "env", name, self.variable(name)
            for name in task.tools:
                yield "tool", name, self.program(name)

    def variable(self, name: str) -> str:
        """Return the digest of an environment variable's value, keyed with the cache's secret."""
        value = os.environ.get(name)
        return ABSENT if value is None else keyed_digest(value, self.cache.secret)

    def program(self, name: str) -> str:
        """Return the digest of the file that a program's name leads to."""
        from shutil import which

        found = which(name, path=os.environ.get("PATH"))
        return self.cache.stats.digest_file(os.path.realpath(found)) if found else ABSENT

    def _input_rows(self, task: AbstractTask) -> Iterator[Row]:
        form = task.input_form
        for name, datum in task.inputs.items():
            if name in task.ignore:
                continue
            for place, member in members(name, datum):
                yield from self._worth(place, member)
                if isinstance(member, FileDatum) and not (form is InputForm.OBJECT and is_pickle(member)):
                    yield "input path", place, self.places.shown(member.pointer)
                convert = _custom_converter(member, form)
                if convert is not None:
                    yield "converter", place, self.fingerprinter.of(convert).digest

    def _worth(self, place: str, datum: AbstractDatum) -> Iterator[Row]:
        output = self.made.get(datum)
        if output is not None:
            yield "input", place, output.value or output.content
            classes: Iterable[object] = output.classes
        else:
            digest, classes = self.source(place, datum)
            yield "input", place, digest
        for name in sorted(map(str, classes)):
            yield "class", name, self._class_digest(name)

    def source(self, place: str, datum: AbstractDatum) -> tuple[str, tuple[str, ...]]:
        """Return the digest of a datum that no task makes, and the own classes that its value needs."""
        if isinstance(datum, FileDatum):
            return self.cache.stats.digest_path(self.places.absolute(datum.pointer)), ()
        path = f"inputs[{place!r}]"
        if isinstance(datum, MemoryDatum):
            instances: set[type] = set()
            digest = digest_value(datum.pointer, path=path, instances=instances)
            return digest, tuple(f"{cls.__module__}:{cls.__qualname__}" for cls in instances if is_own(cls.__module__))
        datum.verify_available()
        return digest_value(datum.quickhash, path=path), ()

    def _class_digest(self, name: str) -> str:
        from dagger.core.shipping import find_class

        try:
            return self.fingerprinter.of(find_class(name)).digest
        except (ImportError, AttributeError):
            return ABSENT

    def _output_rows(self, task: AbstractTask) -> Iterator[Row]:
        sees_pickles = not isinstance(task, FunctionTask)
        for name, datum in task.outputs.items():
            if isinstance(datum, FileGlob):
                yield "output", name, "glob"
                yield "output path", name, datum.pattern
                continue
            for place, member in members(name, datum):
                yield "output", place, kind_of(member)
                if isinstance(member, FileDatum) and (sees_pickles or not is_pickle(member)):
                    yield "output path", place, self.places.shown(member.pointer)


def _encoded(rows: Sequence[Row]) -> bytes:
    try:
        return _encode(rows)
    except UnicodeEncodeError:  # a file name that is not UTF-8, which Python holds as lone surrogates
        return _encode([[text.encode("utf-8", "surrogatepass") for text in row] for row in rows])


def code_of(task: AbstractTask) -> list[object]:
    """Return what of a task is code: its function or script, and its class where that is the user's."""
    sources: list[object] = []
    if isinstance(task, FunctionTask):
        sources.append(task.function)
    if isinstance(task, ScriptTask):
        sources.append(task.script)
    own = [type(task), *(type(datum) for datum in (*task.inputs.values(), *task.outputs.values()))]
    sources += [cls for cls in dict.fromkeys(own) if is_own(cls.__module__)]
    return sources


def merge(fingerprints: list[Fingerprint]) -> Fingerprint:
    """Return one fingerprint for several pieces of code."""
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


def members(name: str, datum: AbstractDatum) -> Iterator[tuple[str, AbstractDatum]]:
    """Return each single datum under a name, with its place as in ``parts[3]``."""
    if not isinstance(datum, DatumList):
        yield name, datum
        return
    for index, member in enumerate(datum.datums):
        yield from members(f"{name}[{index}]", member)


def kind_of(datum: AbstractDatum) -> str:
    """Return the kind of an output, as the manifest and the records name it."""
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


def keyed_digest(text: str, secret: bytes) -> str:
    """Return a digest of a text that cannot be tried out without the cache's secret (BLAKE2b, keyed)."""
    from hashlib import blake2b

    return blake2b(os.fsencode(text), key=secret[:64], digest_size=16).hexdigest()


_CORE_QUICKHASHES = {cls._quickhash for cls in _CORE_TASKS}


def _custom_converter(datum: AbstractDatum, form: InputForm | None) -> object | None:
    if form is None:
        return None
    for cls, registered_form, convert in converter_registry.custom():
        if registered_form is form and isinstance(datum, cls):
            return convert
    return None
