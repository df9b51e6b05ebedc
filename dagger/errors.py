"""The tree of errors: each message names the culprit and the way out; each class owns its exit code."""

from __future__ import annotations


class DaggerError(Exception):
    """Base of every error that dagger raises on purpose.

    Attributes:
        exit_code: What the command line exits with when this error ends it.
    """

    exit_code = 1


class RefusedError(DaggerError, ValueError):
    """The workflow was refused before anything ran: a cycle, a duplicate, a demand beyond the supply."""

    exit_code = 2


class UsageError(DaggerError):
    """The command line or an option was used wrongly."""

    exit_code = 2


class UndigestibleError(DaggerError, TypeError):
    """A value has no digest, so that no result can be filed under it.

    Attributes:
        path: Where the offending part sits in the value, as in ``['model'].optimizer``.
        kind: The offending part's type, as in ``generator``.
    """

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(path, kind)
        self.path = path
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} has no digest"


class CacheError(DaggerError):
    """The cache directory cannot be used as it is; the message says which command mends it."""


class RefusedCacheError(CacheError, RefusedError):
    """The cache directory was refused before anything ran: others can write it, or it is no directory."""


class DamagedError(CacheError):
    """A blob or a record is not what its digest says; what made it must run again."""


class TaskError(DaggerError):
    """A task did not do what it declared: a missing output, a result of the wrong form, a time-out."""


class StateError(DaggerError, ValueError):
    """A datum or a task was told to make a move that its state machine does not have."""


class PointerError(DaggerError, ValueError):
    """A datum was given a pointer that is not of its form; it is left empty."""

    exit_code = 2


class DeclarationError(DaggerError, TypeError):
    """Something was declared with a part of the wrong type; the message names the part."""

    exit_code = 2


class NotReadyError(DaggerError, RuntimeError):
    """A task was run before the tasks that it needs were complete."""


class UnknownOutputError(DaggerError, KeyError):
    """A task was asked for an output that it does not have."""

    exit_code = 2
    __str__ = DaggerError.__str__  # KeyError would print the message in quotes
