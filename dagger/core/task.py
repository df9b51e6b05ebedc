"""The tasks that people use: a function, a function that leaves a pickle, a shell script.

Each can run by itself (`task.run()`, here and now) or under a `WorkflowManager`, which runs the same body in a worker.
A body is a plain callable over data, without the graph around it: it is all of a task that travels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from dagger.abstract import AbstractDatum, AbstractTask, DatumList, InputForm, converter_registry
from dagger.abstract.declarations import plain
from dagger.core import converters as converters  # registers what the core data convert to
from dagger.core.datum import FileDatum, FileGlob, MemoryDatum, is_pattern, output_file, promised_files
from dagger.core.dedent import dedent_script
from dagger.errors import DeclarationError, TaskError
from dagger.lean_typing import Any

Inputs = Mapping[str, AbstractDatum]
Outputs = Mapping[str, AbstractDatum]
Body = Callable[[Inputs, Outputs], "Mapping[str, object] | None"]


def _declared_outputs(self: FunctionTask | ScriptTask, output_dict: dict[str, Any]) -> dict[str, AbstractDatum]:
    made: dict[str, Any] = promised_files(output_dict if type(output_dict) is dict else dict(output_dict))
    if None in made.values():
        for name, datum in made.items():
            made[name] = datum or self._output(name, output_dict[name])
    return made


class FunctionTask(AbstractTask):
    """A Python function over named inputs.

    Args:
        identifier: The task's name, unique in its workflow.
        function: Called with each input's value as the keyword argument of its name. It returns a dict of the
            outputs' values; a file that it writes itself it gets as a path, as the keyword argument of that
            output's name, and need not return.
        inputs: Name to datum.
        outputs: Name to None or a `MemoryDatum` (the value itself), or a path or `FileDatum` (a ``.pkl`` gets the
            value pickled, any other file the function writes, ``"dir/"`` is a directory).
        dependencies: Tasks that must be complete before, though nothing of theirs is an input.
        resources: Kind to amount that it holds while it runs, as in ``{"gpu": 1, "memory_gb": 16}``.
        **options: `cache`, `retries`, `timeout` (seconds), `version`, `ignore`, as `AbstractTask` takes them.

    Raises:
        TypeError: `function` is not callable.
    """

    input_form = InputForm.OBJECT

    def __init__(
        self,
        identifier: str,
        function: Callable[..., Any],
        inputs: Mapping[str, AbstractDatum] | None = None,
        outputs: Mapping[str, object] | None = None,
        dependencies: Iterable[AbstractTask] | None = None,
        resources: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        if not callable(function):
            raise DeclarationError(f"task {identifier!r}: the function is a {type(function).__name__}, not callable")
        self.function = function
        if options:
            AbstractTask.__init__(self, identifier, inputs, outputs, dependencies, resources, **options)
        else:  # to hand on none, by name, would take a tenth of all that making a task takes
            AbstractTask.__init__(self, identifier, inputs, outputs, dependencies, resources)

    _initialize_outputs = _declared_outputs

    def _output(self, name: str, declared: object) -> AbstractDatum:
        if declared is None:
            return MemoryDatum()
        if isinstance(declared, AbstractDatum):
            return declared
        return output_file(self.identifier, name, declared)

    def _run_logic(self, collected_inputs: dict[str, Any]) -> Mapping[str, object]:
        from dagger.core.value_files import dump_pickle

        made = call_function(self.function, collected_inputs, self.outputs)
        for name, datum in self.outputs.items():
            if isinstance(datum, FileDatum) and is_pickle(datum):
                dump_pickle(made[name], datum.location, name=name)
                made[name] = datum.pointer
        return made

    def _quickhash(self) -> object:
        from dagger.cache.fingerprints import fingerprint

        return (self.identifier, type(self).__qualname__, fingerprint(self.function).digest)


class PklTask(FunctionTask):
    """A `FunctionTask` whose outputs are pickles, as in ``outputs={"model": "model.pkl"}``."""


class ScriptTask(AbstractTask):
    """A shell script over the paths of its inputs and outputs.

    It runs under ``bash -euo pipefail`` where bash exists (else ``sh -eu``), in the project's root, with empty
    standard input.

    Args:
        identifier: The task's name, unique in its workflow.
        inputs: Name to a `FileDatum` or a `DatumList` of them.
        outputs: Name to a path, ``"dir/"`` for a directory, or a pattern such as ``"out/part-*.csv"`` for several.
        script: The text, with ``{name}`` for the path of an input or output and ``{{`` ``}}`` for braces; a list
            stands for its paths with spaces between. Each path is quoted for the place where it stands.
        env: Names of environment variables that count as inputs.
        tools: Names of programs whose resolved files count as inputs.
        dependencies: Tasks that must be complete before, though nothing of theirs is an input.
        resources: Kind to amount that it holds while it runs.
        **options: `cache`, `retries`, `timeout` (seconds), `version`, `ignore`, as `AbstractTask` takes them.

    Raises:
        RefusedError: A placeholder names neither an input nor an output, or a brace stands alone.
    """

    input_form = InputForm.FILEPATH
    env: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()

    def __init__(
        self,
        identifier: str,
        inputs: Mapping[str, AbstractDatum] | None = None,
        outputs: Mapping[str, object] | None = None,
        dependencies: Iterable[AbstractTask] | None = None,
        resources: Mapping[str, float] | None = None,
        *,
        script: str,
        env: Iterable[str] = (),
        tools: Iterable[str] = (),
        **options: Any,
    ) -> None:
        if not isinstance(script, str):
            raise DeclarationError(f"task {identifier!r}: the script is a {type(script).__name__}, not text")
        self.script = dedent_script(script)
        if env != ():
            self.env = _names(identifier, "env", env)
        if tools != ():
            self.tools = _names(identifier, "tools", tools)
        if options:
            AbstractTask.__init__(self, identifier, inputs, outputs, dependencies, resources, **options)
        else:  # as in a function's task
            AbstractTask.__init__(self, identifier, inputs, outputs, dependencies, resources)

    _initialize_outputs = _declared_outputs

    def _output(self, name: str, declared: object) -> AbstractDatum:
        if isinstance(declared, (FileDatum, DatumList)):
            return declared
        if isinstance(declared, str) and is_pattern(declared):
            return FileGlob(declared)
        return output_file(self.identifier, name, declared)

    def command(self, collected_inputs: Mapping[str, Any]) -> str:
        """Return the text that the shell runs, every placeholder filled in."""
        from dagger.core.script_text import render

        paths: dict[str, Any] = {**collected_inputs}
        for name, datum in self.outputs.items():
            if not isinstance(datum, FileGlob):  # a pattern's names are the script's to choose
                paths[name] = converter_registry.convert(datum, InputForm.FILEPATH)
        return render(self.script, paths)

    def _run_logic(self, collected_inputs: dict[str, Any]) -> None:
        import tempfile

        from dagger.core.scripts import ScriptRunner, shell_argv

        runner = ScriptRunner()
        with tempfile.TemporaryDirectory(prefix="dagger-") as scratch:
            log = os.path.join(scratch, "log")
            try:
                end = runner.run(
                    shell_argv(self.command(collected_inputs)),
                    cwd=os.getcwd(),
                    env=dict(os.environ),
                    log_path=log,
                    timeout=self.timeout,
                )
            finally:
                runner.close()
            with open(log, encoding="utf-8", errors="replace") as lines:
                said = lines.read()
        if end.exit_code != 0:
            raise TaskError(f"task {self.identifier!r}: the script {end.describe()}\n{said}")
        for datum in self.outputs.values():
            if isinstance(datum, FileGlob):
                datum.populate(matches(datum.pattern, os.getcwd()))

    def _quickhash(self) -> object:
        return (self.identifier, type(self).__qualname__, self.script)


def matches(pattern: str, root: str) -> list[str]:
    """Return the sorted paths, relative to `root`, of the files that a pattern stands for."""
    from glob import glob

    found = glob(pattern, root_dir=root, recursive=True)
    return sorted(path for path in found if os.path.isfile(os.path.join(root, path)))


def body_of(task: AbstractTask) -> Body:
    """Return what a worker calls for a task: a callable over its data, free of the graph."""
    if isinstance(task, FunctionTask) and is_plain(task):
        return partial(run_function, task.function)
    return partial(run_custom, bare_task(task))


def runs_in_worker(task: AbstractTask) -> bool:
    """Tell whether a task runs in a worker process, not as a script."""
    return type(task) is FunctionTask or not isinstance(task, ScriptTask)


def is_plain(task: AbstractTask) -> bool:
    """Tell whether a task is just its function, with nothing of its own around it."""
    return type(task)._run_logic is FunctionTask._run_logic


def run_function(function: Callable[..., Any], inputs: Inputs, outputs: Outputs) -> Mapping[str, object]:
    """The body of a `FunctionTask`."""
    collected = {name: converter_registry.convert(datum, InputForm.OBJECT) for name, datum in inputs.items()}
    return call_function(function, collected, outputs)


def run_custom(task: AbstractTask, inputs: Inputs, outputs: Outputs) -> Mapping[str, object] | None:
    """The body of a person's own task: its `_run_logic` over the data at hand."""
    task.inputs, task.outputs = dict(inputs), dict(outputs)
    return task._run_logic(task._collect_inputs())


def bare_task(task: AbstractTask) -> AbstractTask:
    """Return a copy of a task without the graph around it."""
    from copy import copy

    from dagger.abstract import DefaultCommunicator

    bare = copy(task)
    bare.inputs, bare.outputs, bare.dependencies = {}, {}, []
    bare.communicator = DefaultCommunicator()
    return bare


def bare_datum(datum: AbstractDatum) -> AbstractDatum:
    """Return a copy of a datum without the graph around it."""
    from copy import copy

    bare = copy(datum)
    if isinstance(bare, DatumList):
        bare.datums = [bare_datum(member) for member in bare.datums]
    bare.parents = []
    return bare


def call_function(function: Callable[..., Any], collected: Mapping[str, Any], outputs: Outputs) -> dict[str, object]:
    """Call a task's function and sort what it returns by output.

    Args:
        function: The user's.
        collected: Name to input value.
        outputs: Name to datum; for files that the function writes itself it is handed the path.

    Returns:
        Name to the value of each output, for a file that it wrote itself the path.

    Raises:
        TaskError: It returned something else than a dict with exactly the outputs' names.
    """
    written = {name: datum for name, datum in outputs.items() if is_written(datum)}
    returned = function(
        **collected,
        **{name: converter_registry.convert(it, InputForm.FILEPATH) for name, it in written.items()},
    )
    if returned is None:
        returned = {}
    if not isinstance(returned, Mapping):
        raise TaskError(
            f"the function returned a {type(returned).__name__}; it must return a dict with "
            f"{_listed(set(outputs) - set(written)) or 'nothing'}"
        )
    missing = set(outputs) - set(written) - set(returned)
    extra = set(returned) - set(outputs)
    if missing or extra:
        faults = [
            *([f"lacks {_listed(missing)}"] if missing else []),
            *([f"has {_listed(extra)}, which no output is named"] if extra else []),
        ]
        raise TaskError(f"the dict that the function returned {' and '.join(faults)}")
    return {name: datum.pointer if name in written else returned[name] for name, datum in outputs.items()}


def is_written(datum: AbstractDatum) -> bool:
    """Tell whether the function writes this output itself."""
    if type(datum) is MemoryDatum:  # looked up first: `isinstance` of an abstract class takes five times as long
        return False
    if isinstance(datum, DatumList):
        return datum.datum_type is FileDatum
    return isinstance(datum, FileDatum) and not is_pickle(datum)


def is_pickle(datum: AbstractDatum) -> bool:
    """Tell whether a datum is a file that holds a pickled value."""
    if type(datum) is MemoryDatum:
        return False
    return isinstance(datum, FileDatum) and str(datum.pointer).endswith(".pkl")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(repr(name) for name in sorted(map(str, names)))


def _names(identifier: str, what: str, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise DeclarationError(f"task {identifier!r}: {what}= takes a list of names, not a {type(names).__name__}")
    names = tuple(names)
    if not all(isinstance(name, str) and name for name in names):
        raise DeclarationError(f"task {identifier!r}: {what}= takes a list of names, none empty: {names!r}")
    return tuple(sorted(set(map(plain, names))))
