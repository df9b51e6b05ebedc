"""Reading values: classes and functions of own modules by their names, as whoever reads has them.

In a worker these names lead to the job's own modules, in the manager to the modules that it runs. ``__main__`` is
the running script in both.
"""

from __future__ import annotations

import _pickle as pickle
import os

from dagger.core.landing import JobModule, Landing, resolve
from dagger.errors import TaskError
from dagger.lean_typing import Any, BinaryIO


class ValueUnpickler(pickle.Unpickler):
    """Reads what a `ValuePickler` wrote."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Find a global by its name; in a worker the job's modules come first.

        Raises:
            TaskError: The task's code did not bring the class along, and it cannot be imported either.
        """
        landing = Landing.current
        module = None if landing is None else landing.modules.get(module_name)
        if module is None:
            return super().find_class(module_name, global_name)
        try:
            return resolve(module_name, global_name)
        except AttributeError:
            return _complete(module, global_name)


def value_unpickler(file: BinaryIO, buffers: Any = None) -> ValueUnpickler:
    """Make an unpickler for values; `dagger.cache.values.load` takes this as its factory."""
    return ValueUnpickler(file, buffers=buffers)


def load_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a ``.pkl`` file."""
    with open(path, "rb") as file:
        return value_unpickler(file).load()


def find_class(name: str) -> Any:
    """Find a class or function by ``"module:qualname"``.

    Raises:
        ImportError: There is no such module.
        AttributeError: It has no such name.
    """
    module, _, qualname = name.partition(":")
    return resolve(module, qualname)


def _complete(module: JobModule, qualname: str) -> Any:
    """Add a name to a job's module from the module's file, for a pickle from elsewhere that nobody knew to need it."""
    from importlib.util import module_from_spec, spec_from_file_location

    name, file = module.__name__, getattr(module, "__file__", None)
    # Running a script once more, for a class in it, would run the whole workflow.
    if name != "__main__" and file is not None:
        spec = spec_from_file_location(name, file)
        if spec is not None and spec.loader is not None:
            whole = module_from_spec(spec)
            spec.loader.exec_module(whole)
            for key, value in vars(whole).items():
                vars(module).setdefault(key, value)
    try:
        return resolve(name, qualname)
    except AttributeError:
        raise TaskError(
            f"a pickled value needs {name}.{qualname}, which the task's code does not use; "
            "name it in the task's function"
        ) from None
