"""The pickler for values: classes and functions of own modules go by name.

So an instance that a worker made of its job's copy of a class is, once read, an instance of the reader's own class.
What has no name that leads to it (a lambda, a local class) goes by value, as cloudpickle does it.

Imported when a value is written, since cloudpickle takes its time to load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FunctionType

import cloudpickle

from dagger.cache.ownership import is_own
from dagger.core.code_objects import reduce_code
from dagger.core.landing import resolve
from dagger.lean_typing import Any, BinaryIO


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles a value by name.

    Args:
        file: Where to.
        protocol: Of pickle.
        buffer_callback: Takes large buffers out of the stream, as in `pickle`.

    Attributes:
        classes: ``"module:qualname"`` of the own classes and functions that it met.
        failed: Whether the value could not be pickled.
        value: The value then.
    """

    def __init__(
        self,
        file: BinaryIO,
        protocol: int = 5,
        buffer_callback: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(file, protocol=protocol, buffer_callback=buffer_callback)
        self.classes: set[str] = set()
        self.failed = False
        self.value: object = None

    def dump(self, obj: object) -> None:
        """Write a value."""
        try:
            super().dump(obj)
        except Exception:
            self.failed, self.value = True, obj
            raise

    def reducer_override(self, obj: Any) -> Any:
        """Write what has a name by it, and leave all else to cloudpickle."""
        kind = type(obj)
        if kind is FunctionType or issubclass(kind, type):
            found = _named(obj)
            if found is not None:
                if is_own(obj.__module__):
                    self.classes.add(f"{obj.__module__}:{obj.__qualname__}")
                if _is_there(obj):
                    return NotImplemented  # pickle writes the name itself
                return resolve, (obj.__module__, obj.__qualname__)
        if kind is CodeType:
            return reduce_code(obj)
        return super().reducer_override(obj)


def _is_there(obj: Any) -> bool:
    """Tell whether pickle would find an object under its own name."""
    found: Any = sys.modules[obj.__module__]
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _named(obj: Any) -> Any:
    """What an object's name leads to, or None where it is not importable by name.

    It need not be the very object: the class of an older instance may have been defined again since, and a reader
    has only the one that the name leads to.
    """
    module, qualname = getattr(obj, "__module__", None), getattr(obj, "__qualname__", "")
    if not isinstance(module, str) or module not in sys.modules or "<" in qualname:
        return None
    try:
        found = resolve(module, qualname)
    except AttributeError:
        return None
    return found if type(found) is type(obj) else None
