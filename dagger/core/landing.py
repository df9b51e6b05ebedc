"""Where a shipped job lands in a worker: modules of its own, made for it and gone with it.

A worker is warm: jobs run in it one after another. What `shipping.ship` sends is built anew for each job, inside a
`Landing` that puts the job's modules into ``sys.modules`` (``__main__`` among them) and takes them out again, so that
a filled ``lru_cache``, a counter in a module or a patched class of one job cannot be seen by the next.
`process_state` does the same for what the process has beside modules. Not undone: what a task changes inside
installed packages and the standard library.
"""

from __future__ import annotations

import builtins
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType, TracebackType

from dagger.core.process_state import ProcessState
from dagger.errors import TaskError
from dagger.lean_typing import Any, ClassVar, NamedTuple

FULL_COLLECTION_EVERY = 200
"""Jobs after which all that was ever set aside is looked through, if `_SECONDS_BETWEEN` are over too."""
_SECONDS_BETWEEN = 1.0  # short jobs make little, and would spend a tenth of their time on it
PARTS_OF_FUNCTIONS = (
    "__name__",
    "__qualname__",
    "__annotations__",
    "__kwdefaults__",
    "__defaults__",
    "__module__",
    "__doc__",
)
"""What a function has beside its code, its cells and what is set on it."""


Setter = Callable[[Any, Any], None]


class ModuleFrame(NamedTuple):
    """What a module is, without what is in it.

    Attributes:
        name: As in ``sys.modules``; ``__main__`` stays.
        file: Its ``__file__``, or None.
        package: Its ``__package__``, or None.
        path: Its ``__path__`` where it is a package.
        documented: Its docstring.
        has_spec: Whether it was imported; a script was not.
        bound: Whether its package has it as an attribute.
    """

    name: str
    file: str | None
    package: str | None
    path: tuple[str, ...] | None
    documented: str | None
    has_spec: bool
    bound: bool


class JobModule(ModuleType):
    """A module as one job sees it: what the job's code reaches of it."""

    def __getattr__(self, name: str) -> Any:
        """Say why a name is not there."""
        own = self.__dict__
        reason = own.get("__left_out__", {}).get(name)
        if reason is not None:
            raise AttributeError(
                f"{own['__name__']}.{name} is not there in a task: {reason} cannot be sent to a worker; "
                "make it inside the function"
            )
        raise AttributeError(f"module {own['__name__']!r} has no attribute {name!r} in this task")


class Ground:
    """This process as jobs find it and are to leave it; looked at once for several that come one after the other.

    Attributes:
        state: What it has beside modules.
        loaded: Its ``sys.modules``.
        threads: Those that run.
    """

    def __init__(self) -> None:
        self.state = ProcessState()
        self.loaded = dict(sys.modules)
        self.threads = set(threading.enumerate())


class Landing:
    """One job's stay in this process; jobs do not overlap.

    Args:
        ground: The process as the job finds it, where that is known from the jobs before.

    Attributes:
        modules: The job's modules.
        left_threads: Names of threads that the job left running, known once it is over.
    """

    current: ClassVar[Landing | None] = None
    _jobs: ClassVar[int] = 0
    _latest: ClassVar[float] = 0.0

    def __init__(self, ground: Ground | None = None) -> None:
        self.modules: dict[str, JobModule] = {}
        self.left_threads: tuple[str, ...] = ()
        self._given = ground

    def __enter__(self) -> Landing:
        if Landing.current is not None:
            raise TaskError("a task that ran in this process before has left what cannot be undone")
        Landing.current = self
        self._ground = self._given or Ground()
        self._ground.state.begin()
        self._classes = _take_dynamic_classes()
        # What lives before a job is set aside, so that collecting the job costs no more than what it made.
        gc.freeze()
        return self

    def load(self, payload: bytes) -> Any:
        """Build what `shipping.ship` sent; several payloads of one job share their modules.

        Raises:
            TaskError: It cannot be built here, as when a package is missing.
        """
        import _pickle as pickle
        import io

        unpickler = pickle.Unpickler(io.BytesIO(payload))
        try:
            sys.path[:] = unpickler.load()
            while (fill := unpickler.load()) is not None:
                self._fill(*fill)
            landed = unpickler.load()
            while (fill := unpickler.load()) is not None:
                self._fill(*fill)
        except (ImportError, AttributeError) as error:
            raise TaskError(f"the task's code cannot be loaded in a worker: {error}") from error
        self._ground.state.take_modules()
        return landed

    def _fill(self, module: JobModule, name: str, value: object, left_out: str | None) -> None:
        if left_out is not None:
            module.__dict__.setdefault("__left_out__", {})[name] = left_out
        else:
            module.__dict__.setdefault(name, value)

    def module(self, frame: ModuleFrame) -> JobModule:
        """Return this job's module of a name, made and put into ``sys.modules`` when first asked for."""
        made = self.modules.get(frame.name)
        if made is None:
            made = self.modules[frame.name] = _make_module(frame)
            sys.modules[frame.name] = made
            parent, _, child = frame.name.rpartition(".")
            if parent and frame.bound and parent in self.modules:
                self.modules[parent].__dict__.setdefault(child, made)
        return made

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name, made in self.modules.items():
            if sys.modules.get(name) is made:
                self._put_back(name)
        loaded = self._ground.loaded
        if sys.modules != loaded:
            for name in list(_own_names(loaded)):
                self._put_back(name)
            for name, module in loaded.items():
                if sys.modules.get(name) is not module:
                    sys.modules[name] = module
            self._ground.loaded = dict(sys.modules)
        _take_dynamic_classes()
        _put_dynamic_classes(self._classes)
        self._tell_of_threads()
        self._ground.state.restore()
        self.modules.clear()
        del self._ground, self._classes
        Landing.current = None
        _collect()

    def _tell_of_threads(self) -> None:
        threads = set(threading.enumerate())
        self.left_threads = tuple(sorted(it.name for it in threads - self._ground.threads))
        if self.left_threads:
            print(f"dagger: the task left threads running: {', '.join(self.left_threads)}", file=sys.stderr)
        self._ground.threads = threads

    def _put_back(self, name: str) -> None:
        """Let a name in ``sys.modules`` stand for what it stood for before the job."""
        if name in self._ground.loaded:
            sys.modules[name] = self._ground.loaded[name]
        else:
            del sys.modules[name]


def job_module(*frame: Any) -> JobModule:
    """Return a module of the job that is landing; a shipped pickle calls this."""
    if Landing.current is None:
        raise TaskError("a shipped task can be loaded only inside a Landing")
    return Landing.current.module(ModuleFrame(*frame))


def namespace(*frame: Any) -> dict[str, Any]:
    """Return the globals of a module of the job that is landing; a shipped pickle calls this."""
    return job_module(*frame).__dict__


def installed_namespace(name: str) -> dict[str, Any]:
    """Return the globals of an installed module; a shipped pickle calls this."""
    from importlib import import_module

    return import_module(name).__dict__


def make_function(code: CodeType, namespace: dict[str, Any], closure: tuple[CellType, ...] | None) -> FunctionType:
    """Return a function that `set_function` will finish: what it holds may lead back to it."""
    namespace.setdefault("__builtins__", vars(builtins))
    return FunctionType(code, namespace, closure=closure)


def make_cell() -> CellType:
    """Return an empty cell of a closure."""
    return CellType()


def set_cell(cell: CellType, content: tuple[Any]) -> None:
    """Fill a cell."""
    (cell.cell_contents,) = content


def set_function(function: FunctionType, state: tuple[Any, ...]) -> None:
    """Finish a function, without overriding what its module's namespace has already.

    A second payload brings its own copies of the same globals, and all code of a job must see the same ones.
    """
    attributes, names, parts, home, _ = state  # the last are modules that are loaded now
    function.__dict__.update(attributes)
    for name, value in names.items():
        function.__globals__.setdefault(name, value)
    for name, value in parts.items():
        setattr(function, name, value)
    _note_name(home, function)


def make_class(make: Callable[..., type], *arguments: Any) -> type:
    """Make a class without telling its bases: they were told when the manager made it, and it shows in their state."""
    _, _, bases, *_ = arguments if isinstance(arguments[0], type) else (None, None, arguments[0])
    told = {
        base
        for given in bases
        for base in getattr(getattr(given, "__origin__", given), "__mro__", ())
        if "__init_subclass__" in vars(base) and isinstance(sys.modules.get(base.__module__), JobModule)
    }
    former = {base: vars(base)["__init_subclass__"] for base in told}
    try:
        for base in told:
            base.__init_subclass__ = classmethod(_not_told)
        return make(*arguments)
    finally:
        for base, method in former.items():
            base.__init_subclass__ = method


def _not_told(cls: type[Any], /, **_: object) -> None:
    """Stand in for ``__init_subclass__``."""


def set_class(setter: Setter, qualname: str, home: JobModule | None, cls: type, state: Any) -> None:
    """Finish a class. Of one that stands inside another or in a function, cloudpickle forgets where."""
    setter(cls, state)
    cls.__qualname__ = qualname
    _note_name(home, cls)


def set_members(setter: Setter, attributes: dict[str, dict[str, Any]], cls: Any, state: Any) -> None:
    """Finish an enum: its members get back what its ``__init__`` or ``__new__`` gave them."""
    setter(cls, state)
    for name, values in attributes.items():
        vars(cls[name]).update(values)


def _note_name(home: JobModule | None, obj: Any) -> None:
    """Give a module what the manager finds in it by name, also where the code does not use it by that name."""
    if home is not None and "." not in obj.__qualname__:
        vars(home).setdefault(obj.__qualname__, obj)


def empty_cache(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Wrap a function in an ``lru_cache`` that has seen nothing yet; a shipped pickle calls this."""
    from functools import lru_cache

    return lru_cache(maxsize, typed)(function)


def _make_module(frame: ModuleFrame) -> JobModule:
    module = JobModule(frame.name, frame.documented)
    if frame.file is not None:
        module.__file__ = frame.file
    module.__package__ = frame.package
    if frame.path is not None:
        module.__path__ = list(frame.path)
    if frame.has_spec:
        _give_spec(module, frame)
    parent = frame.name.rpartition(".")[0]
    if parent and parent not in sys.modules:
        installed_namespace(parent)
    return module


def _give_spec(module: JobModule, frame: ModuleFrame) -> None:
    from importlib.machinery import ModuleSpec
    from importlib.util import spec_from_file_location

    folders = None if frame.path is None else list(frame.path)
    spec = None
    if frame.file is not None:
        spec = spec_from_file_location(frame.name, frame.file, submodule_search_locations=folders)
    if spec is None:
        spec = ModuleSpec(frame.name, None, origin=frame.file, is_package=folders is not None)
        if folders is not None:
            spec.submodule_search_locations = folders
    module.__spec__ = spec
    module.__loader__ = spec.loader


def _own_names(former: dict[str, ModuleType]) -> Iterator[str]:
    """Name the modules that must not outlive the job.

    Own extension modules stay: most cannot be loaded a second time in one process. So do modules that an
    installed package made up without a file (as six and Cython do), since the package keeps using them.
    """
    from dagger.cache.ownership import is_extension, is_own

    for name, module in list(sys.modules.items()):
        if name in former and former[name] is module:
            continue
        if isinstance(module, JobModule) or _is_stub(name, module):
            yield name
        elif module is not None and is_own(module):
            namespace = getattr(module, "__dict__", {})
            if not is_extension(namespace) and not _is_made_up(name, namespace):
                yield name


def _is_stub(name: str, module: ModuleType | None) -> bool:
    """Tell whether a job has put something of its own where a module of the standard library is to be."""
    return name in sys.stdlib_module_names and getattr(module, "__spec__", None) is None


def _is_made_up(name: str, namespace: dict[str, Any]) -> bool:
    from dagger.cache.ownership import is_made_up

    if namespace.get("__file__") or namespace.get("__path__") or namespace.get("__spec__"):
        return False
    return name.startswith(("_cython", "cython_runtime")) or is_made_up(name, namespace)


def _take_dynamic_classes() -> dict[str, type]:
    """Make cloudpickle forget which classes it has built in this process, and return them.

    It would not build a class anew when it arrives again but hand out the one that a former job changed.
    """
    module: Any = sys.modules.get("cloudpickle.cloudpickle")
    if module is None or not module._DYNAMIC_CLASS_TRACKER_BY_ID:
        return {}
    taken = dict(module._DYNAMIC_CLASS_TRACKER_BY_ID.items())  # which passes over those that go meanwhile
    module._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    return taken


def _put_dynamic_classes(classes: dict[str, type]) -> None:
    if classes:
        sys.modules["cloudpickle.cloudpickle"]._DYNAMIC_CLASS_TRACKER_BY_ID.update(classes)


def _collect() -> None:
    """Free what the job made, cycles too; now and then all that was ever set aside."""
    Landing._jobs += 1
    if Landing._jobs >= FULL_COLLECTION_EVERY and time.monotonic() - Landing._latest > _SECONDS_BETWEEN:
        Landing._jobs, Landing._latest = 0, time.monotonic()
        gc.unfreeze()
    gc.collect()


def resolve(module: str, qualname: str) -> Any:
    """Find an object by its name, in the job's modules first.

    Raises:
        ImportError: There is no such module.
        AttributeError: It has no such name.
    """
    found: Any = sys.modules.get(module)
    if found is None:
        from importlib import import_module

        found = import_module(module)
    for name in qualname.split("."):
        found = getattr(found, name)
    return found
