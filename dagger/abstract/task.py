"""The interface of a task: what it needs, what it makes, and how it gets from the one to the other.

A task's outputs are data that know it as their parent, so that the graph of tasks follows from who
uses what. A task can run by itself; a manager runs many in the right order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping

from dagger.abstract.communicator import AbstractCommunicator, DefaultCommunicator
from dagger.abstract.datum import NOTHING, AbstractDatum
from dagger.abstract.declarations import (
    check_ignored,
    check_limits,
    check_version,
    checked_data,
    checked_identifier,
    checked_names,
    checked_outputs,
    checked_resources,
    checked_tasks,
    listed,
    unknown_option,
)
from dagger.abstract.helpers import topological_order
from dagger.abstract.input_converters import InputForm, converter_registry
from dagger.abstract.states import TASK_TRANSITIONS, DatumState, TaskState, checked_move
from dagger.errors import (
    DeclarationError,
    NotReadyError,
    TaskError,
    UnknownOutputError,
)
from dagger.lean_typing import Any, ClassVar

__all__ = ["AbstractTask", "TaskState", "on_create"]

_WAITING, _COMPLETE = TaskState.WAITING, TaskState.COMPLETE  # looking up a member of an enumeration is dear

on_create: list[Callable[[AbstractTask], object]] = []
"""Called with each new task, before its subclass has set what it sets after `__init__`."""


class AbstractTask(ABC):
    """A step of a workflow.

    A subclass writes `_initialize_outputs`, `_run_logic` and `_quickhash`, where it must clean up
    in another way `_interrupt_cleanup` and `_fail_cleanup`, and either sets `input_form` or writes
    `_collect_inputs`.

    Args:
        identifier: The task's name.
        inputs: Name to datum; another task's output may be one before anything ran.
        outputs: Name to whatever the subclass makes an output datum of.
        dependencies: Tasks that must be complete before, though nothing of theirs is an input.
        resources: Kind to the amount that it holds while it runs.
        cache: Whether a former result may stand in for running it.
        retries: How often it is tried again after a failure.
        timeout: Seconds after which it has failed, None for no limit.
        version: Counts as an ingredient; a new one makes it run again.
        ignore: Names of inputs that do not count as ingredients.

    Attributes:
        outputs: Name to datum, as `_initialize_outputs` made them.
        communicator: Whom state changes are reported to.
        input_form: What its inputs are converted to, by `converter_registry`.

    Raises:
        TypeError: A part of the declaration is of the wrong type; the message names the task and
            the part.
        ValueError: The identifier is empty, or an amount is not a number that is at least 0.
    """

    input_form: InputForm | None = None
    communicator: AbstractCommunicator = DefaultCommunicator()

    # What most tasks have stands here: a task holds what is its own, so that many are small and soon made.
    cache: bool = True
    retries: int = 0
    timeout: float | None = None
    version: str | int | None = None
    ignore: tuple[str, ...] = ()
    _state: TaskState = TaskState.WAITING
    _known_quickhash: Hashable = None
    _dependencies: list[AbstractTask] | None = None
    _resources: dict[str, float] | None = None

    def __init__(
        self,
        identifier: str,
        inputs: Mapping[str, AbstractDatum] | None = None,
        outputs: Mapping[str, Any] | None = None,
        dependencies: Iterable[AbstractTask] | None = None,
        resources: Mapping[str, float] | None = None,
        *,
        cache: bool = True,
        retries: int = 0,
        timeout: float | None = None,
        version: str | int | None = None,
        ignore: Iterable[str] = (),
        **unknown: object,
    ) -> None:
        # Looked at in place where it is what it mostly is: a call costs as much as the look.
        if type(identifier) is not str or not identifier or not identifier.isprintable():
            identifier = checked_identifier(identifier)
        self.identifier = identifier
        for option in unknown:
            raise unknown_option(f"task {identifier!r}", option, _options_of(type(self)))
        if cache is not True or type(retries) is not int or retries or timeout is not None:
            check_limits(identifier, cache, retries, timeout)
            self.cache, self.retries, self.timeout = cache, retries, timeout
        if version is not None:
            check_version(identifier, version)
            self.version = version
        self.inputs = {} if inputs is None else checked_data(identifier, "input", inputs).copy()
        if dependencies is not None:
            self._dependencies = checked_tasks(identifier, dependencies)
        if resources is not None:
            self._resources = checked_resources(identifier, resources)
        if ignore != ():
            self.ignore = checked_names(identifier, "ignore", ignore)
            check_ignored(identifier, self.ignore, self.inputs)
        if self.input_form is None and type(self)._collect_inputs is AbstractTask._collect_inputs:
            raise DeclarationError(
                f"task {identifier!r}: {type(self).__name__} must set input_form or write _collect_inputs"
            )
        made = self._initialize_outputs({} if outputs is None else checked_outputs(identifier, outputs).copy())
        self.outputs = checked_data(identifier, "output", made)
        for datum in self.outputs.values():
            datum._adopt(self)
        for tell in on_create:
            tell(self)

    # What a subclass writes

    @abstractmethod
    def _initialize_outputs(self, output_dict: dict[str, Any]) -> dict[str, AbstractDatum]:
        """Return name to datum for what was declared as `outputs`. Called once, early."""

    @abstractmethod
    def _run_logic(self, collected_inputs: dict[str, Any]) -> Mapping[str, Any] | None:
        """Do the work.

        Args:
            collected_inputs: What `_collect_inputs` returned.

        Returns:
            Name to pointer of the outputs that are to be populated, or None when it populated them
            itself.
        """

    @abstractmethod
    def _quickhash(self) -> Hashable:
        """Return what stands for identity and code: hashable, the same in every process."""

    def _collect_inputs(self) -> dict[str, Any]:
        """Return name to what `_run_logic` gets: here, each input in the task's `input_form`."""
        form = self.input_form
        assert form is not None, "refused when the task was made"
        return {name: converter_registry.convert(datum, form) for name, datum in self.inputs.items()}

    def _interrupt_cleanup(self) -> None:
        """Take away what an interrupted run left: here, all outputs; declared pointers stay."""
        self._clear_outputs()

    def _fail_cleanup(self) -> None:
        """Take away what a failed run left: here, all outputs; declared pointers stay."""
        self._clear_outputs()

    # What is known

    @property
    def state(self) -> TaskState:
        """How far it has come; moves as `TASK_TRANSITIONS` says."""
        return self._state

    @state.setter
    def state(self, new: TaskState) -> None:
        self._state = checked_move(TASK_TRANSITIONS, self._state, new)

    @property
    def dependencies(self) -> list[AbstractTask]:
        """The tasks that must be complete before, though nothing of theirs is an input."""
        if self._dependencies is None:
            self._dependencies = []
        return self._dependencies

    @dependencies.setter
    def dependencies(self, tasks: list[AbstractTask]) -> None:
        self._dependencies = tasks

    @property
    def resources(self) -> dict[str, float]:
        """Kind to the amount that it holds while it runs."""
        if self._resources is None:
            self._resources = {}
        return self._resources

    @resources.setter
    def resources(self, amounts: dict[str, float]) -> None:
        self._resources = amounts

    @property
    def upstream(self) -> list[AbstractTask]:
        """The tasks that it needs directly: makers of inputs, then dependencies, each once."""
        found: dict[AbstractTask, None] = {}
        for datum in self.inputs.values():
            for parent in datum._makers():
                found[parent] = None
        for task in self._dependencies or ():
            found[task] = None
        return list(found)

    @property
    def quickhash(self) -> Any:  # whatever a person's `_quickhash` returns
        """What stands for its identity and code. Computed when first asked for, then remembered."""
        if self._known_quickhash is None:
            self._known_quickhash = self._quickhash()
        return self._known_quickhash

    def is_ready(self) -> bool:
        """Tell whether it is WAITING, all upstream COMPLETE, and every input AVAILABLE."""
        return (
            self.state is TaskState.WAITING
            and all(task.state is TaskState.COMPLETE for task in self.upstream)
            and all(datum.state is DatumState.AVAILABLE for datum in self.inputs.values())
        )

    def __getitem__(self, name: str) -> AbstractDatum:
        """Return an output, which may be used as an input before anything ran.

        Raises:
            KeyError: There is none of that name.
        """
        try:
            return self.outputs[name]
        except KeyError:
            raise UnknownOutputError(
                f"task {self.identifier!r} has no output {name!r}; its outputs: {listed(self.outputs)}"
            ) from None

    __iter__: ClassVar[None] = None  # without this, list(task) would ask for an output named 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identifier!r} {self.state.name}>"

    # Moves

    def run(self) -> None:
        """Run it here and now; it ends COMPLETE with every output AVAILABLE, or raises.

        Only a KeyboardInterrupt is not raised on: the task cleans up and is WAITING again.

        Raises:
            RuntimeError: A task that it needs is not COMPLETE.
            ValueError: It is COMPLETE or FAILED; put it back to WAITING before.
            TaskError: It ended without one of its outputs; like any exception of its own, this
                leaves it FAILED.
        """
        unmet = [task.identifier for task in self.upstream if task.state is not TaskState.COMPLETE]
        if unmet:
            raise NotReadyError(f"task {self.identifier!r} needs tasks that are not complete: {listed(unmet)}")
        self.state = TaskState.RUNNING
        try:
            self.communicator.report_state(self)
            self._make_outputs()
        except KeyboardInterrupt:
            self.interrupt()
        except BaseException:
            # SystemExit too: a task that ends the program has not made its outputs.
            self.fail()
            raise
        else:
            self.update_state(TaskState.COMPLETE)

    def sync(self, recursive: bool = True) -> None:
        """Look at its sources and outputs again.

        When it was COMPLETE and an output is gone, or a task that it needs is no longer COMPLETE,
        it is WAITING again. WAITING it stays: that all outputs are there does not say that they are
        what it would make.

        Args:
            recursive: Look at everything upstream before.
        """
        if recursive:
            for task in topological_order(self):
                task.sync(recursive=False)
            return
        for datum in self.inputs.values():
            for source in datum._sources():
                source.sync()
        for datum in self.outputs.values():
            datum.sync()
        if self.state is TaskState.COMPLETE and not self._still_holds():
            self.update_state(TaskState.WAITING)

    def update_state(self, new: TaskState) -> None:
        """Move to a state and report it.

        Raises:
            ValueError: There is no such move.
        """
        self.state = new
        self.communicator.report_state(self)

    def _await(self) -> None:
        """Be WAITING, whatever it was, and report it."""
        if self._state is not _WAITING or self.communicator is not AbstractTask.communicator:
            self.update_state(_WAITING)

    def _skip(self) -> None:
        """Be COMPLETE without having run, and report it: what it would make is there."""
        if self._state is not _WAITING:
            self.update_state(_WAITING)
        if self.communicator is AbstractTask.communicator:  # which tells nobody
            self._state = _COMPLETE
        else:
            self.update_state(_COMPLETE)

    def fail(self) -> None:
        """End as FAILED and clean up. Must be RUNNING; what is reported has been cleaned up."""
        self.state = TaskState.FAILED
        try:
            self._fail_cleanup()
        finally:
            self.communicator.report_state(self)

    def interrupt(self) -> None:
        """Clean up and be WAITING again."""
        try:
            self._interrupt_cleanup()
        finally:
            self.update_state(TaskState.WAITING)

    def _verify_outputs(self) -> bool:
        """Look at each output; tell whether all are there."""
        return not self._missing_outputs()

    def _verify_quickhash(self, update: bool = False) -> bool:
        """Compute the quickhash anew and tell whether it is what it was.

        Args:
            update: Remember the new one. The first one is always remembered.
        """
        known, now = self._known_quickhash, self._quickhash()
        if update or known is None:
            self._known_quickhash = now
        return known is None or known == now

    # Parts of the above

    def _make_outputs(self) -> None:
        self._forget_former()
        made = self._run_logic(self._collect_inputs())
        if made is not None:
            self._populate_outputs(made)
        missing = self._missing_outputs()
        if missing:
            raise TaskError(f"task {self.identifier!r} ended without its outputs: {listed(missing)}")

    def _forget_former(self) -> None:
        """What a former run put in memory must not pass for what this one makes."""
        for datum in self.outputs.values():
            if datum._declared_pointer() is NOTHING and datum.state is DatumState.AVAILABLE:
                datum.state = DatumState.EMPTY

    def _populate_outputs(self, made: object) -> None:
        if not isinstance(made, Mapping):
            raise TaskError(
                f"task {self.identifier!r}: _run_logic returned a {type(made).__name__}; "
                "it must return a mapping from output name to pointer, or None"
            )
        for name, pointer in made.items():
            if name not in self.outputs:
                raise TaskError(
                    f"task {self.identifier!r} made {name!r}, which is not among its outputs: {listed(self.outputs)}"
                )
            self.outputs[name].populate(pointer)

    def _missing_outputs(self) -> list[str]:
        return [name for name, datum in self.outputs.items() if not datum.verify_available()]

    def _still_holds(self) -> bool:
        return all(datum.state is DatumState.AVAILABLE for datum in self.outputs.values()) and all(
            task.state is TaskState.COMPLETE for task in self.upstream
        )

    def _clear_outputs(self) -> None:
        for datum in self.outputs.values():
            pointer = datum._declared_pointer()
            datum.clear()
            if pointer is not NOTHING:
                datum.populate(pointer)


def _options_of(kind: type[AbstractTask]) -> set[str]:
    """Return the keyword arguments that a class of tasks and those above it take."""
    from inspect import signature

    above = [cls for cls in kind.__mro__ if issubclass(cls, AbstractTask)]
    parameters = [it for cls in above for it in signature(cls).parameters.values()]
    return {it.name for it in parameters if it.kind not in (it.VAR_KEYWORD, it.VAR_POSITIONAL)}
