"""How a running task's state reaches whoever manages it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.abstract.task import AbstractTask


class AbstractCommunicator(ABC):
    """Carries the news of a task to its manager. A task has one as its `communicator`."""

    @abstractmethod
    def report_state(self, task: AbstractTask) -> None:
        """Tell the manager what state a task is in now.

        Args:
            task: The one that moved; its `state` is the new one.
        """


class DefaultCommunicator(AbstractCommunicator):
    """Tells nobody: for a task that runs by itself, or whose manager looks at `state`."""

    def report_state(self, task: AbstractTask) -> None:
        """Do nothing."""
