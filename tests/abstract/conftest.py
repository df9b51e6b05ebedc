"""A toy datum, task and manager: nothing but the methods that a subclass must write."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from dagger.abstract import (
    AbstractDatum,
    AbstractManager,
    AbstractTask,
    InputForm,
    TaskState,
    converter_registry,
)


class Box(AbstractDatum):
    """Holds a value; the values `bad` and `gone` are badly formed and not there."""

    cleared = 0

    def _validate_format_logic(self) -> bool:
        return bool(self.pointer != "bad")

    def _verify_available_logic(self) -> bool:
        return bool(self.pointer != "gone")

    def _clear_logic(self) -> None:
        self.cleared += 1

    def _quickhash(self) -> int:
        return hash(str(self.pointer))


class Step(AbstractTask):
    """Puts the sum of its inputs and one into each output, or calls `work`."""

    input_form = InputForm.OBJECT
    work: Any = None

    def _initialize_outputs(self, output_dict: dict[str, Any]) -> dict[str, AbstractDatum]:
        return {name: given if isinstance(given, AbstractDatum) else Box() for name, given in output_dict.items()}

    def _run_logic(self, collected_inputs: dict[str, Any]) -> Any:
        if self.work is not None:
            return self.work(collected_inputs)
        return dict.fromkeys(self.outputs, 1 + sum(collected_inputs.values()))

    def _quickhash(self) -> str:
        return self.identifier


class Cleaning(Step):
    """Writes the other two methods as well and remembers that they were called."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.calls: list[str] = []
        super().__init__(*args, **options)

    def _interrupt_cleanup(self) -> None:
        self.calls.append("interrupt")

    def _fail_cleanup(self) -> None:
        self.calls.append("fail")


class ThreadManager(AbstractManager):
    """Runs at most two tasks at once, each in a thread."""

    poll_seconds = 0.001

    def __init__(self, end_task: Any) -> None:
        super().__init__(end_task)
        self.threads: dict[AbstractTask, threading.Thread] = {}
        self.launched: list[str] = []
        self.wrapped: list[str] = []
        self.most = 0
        self.interrupted = False

    def _launch_task(self, task: AbstractTask) -> None:
        self.launched.append(task.identifier)
        self.most = max(self.most, len(self.running))
        self.threads[task] = threading.Thread(target=self._run_quietly, args=(task,))
        self.threads[task].start()

    @staticmethod
    def _run_quietly(task: AbstractTask) -> None:
        try:
            task.run()
        except Exception:
            return  # its state says so

    def _wrapup_task(self, task: AbstractTask) -> None:
        self.threads.pop(task).join()
        self.wrapped.append(task.identifier)

    def _get_running_task_state(self, task: AbstractTask) -> TaskState:
        return TaskState.RUNNING if self.threads[task].is_alive() else task.state

    def _choose_tasks(self, ready: list[AbstractTask]) -> list[AbstractTask]:
        return ready[: 2 - len(self.running)]

    def _interrupt(self) -> None:
        self.interrupted = True
        for thread in self.threads.values():
            thread.join()


converter_registry.register(Box, InputForm.OBJECT, lambda box: box.pointer)


@pytest.fixture
def toys() -> SimpleNamespace:
    """The toy classes, and `chain(n)`: n steps, each needing the one before."""

    def chain(length: int) -> list[Step]:
        steps: list[Step] = []
        for index in range(length):
            inputs = {"before": steps[-1]["out"]} if steps else None
            steps.append(Step(f"s{index}", inputs, {"out": None}))
        return steps

    return SimpleNamespace(Box=Box, Step=Step, Cleaning=Cleaning, ThreadManager=ThreadManager, chain=chain)
