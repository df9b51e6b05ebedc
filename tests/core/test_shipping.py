"""What a worker runs is what the manager has, no job sees another's state, and values come back as one's own."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from dagger.core.by_name import find_class, load_pickle, value_unpickler
from dagger.core.landing import Landing
from dagger.core.shipping import ship
from dagger.core.value_files import dump_pickle, pickling, value_pickler
from dagger.errors import TaskError

MANAGER = """

if __name__ == "__main__":
    import pickle, subprocess, sys
    from dagger.cache.fingerprints import fingerprint
    from dagger.core.by_name import value_unpickler
    from dagger.core.shipping import ship
    from dagger.errors import UndigestibleError
    def reached(function):
        try:
            return fingerprint(function).reached
        except UndigestibleError:
            return {}
    payloads = [ship(globals()[name], reached(globals()[name])) for name in sys.argv[1:]]
    with open("payloads", "wb") as file:
        pickle.dump(payloads, file)
    subprocess.run([sys.executable, "worker.py"], check=True, env={"PATH": "", "IN_WORKER": "yes"})
    with open("values", "rb") as file:
        for _ in payloads:
            print(value_unpickler(file).load())
"""

WORKER = """
import os, pickle, sys
from dagger.core.landing import Landing
from dagger.core.value_files import value_pickler
with open("payloads", "rb") as file:
    payloads = pickle.load(file)
values = open("values", "wb")
os.chdir("elsewhere")
sys.path[0] = ""
before = {name: id(module) for name, module in sys.modules.items()}
for payload in payloads:
    with Landing() as landing:
        value_pickler(values).dump(landing.load(payload)())
    own = [name for name in sys.modules if name.partition(".")[0] in ("helpers", "__main__", "pkg", "left")]
    assert own == ["__main__"] and not hasattr(sys.modules["__main__"], "task"), own
values.close()
"""


class Project:
    """A script and its modules, whose functions are run in one warm worker, one after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "elsewhere").mkdir()
        self.write("worker.py", WORKER)

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(exist_ok=True)
        (self.path / name).write_text(dedent(text))

    def run(self, script: str, *tasks: str) -> list[str]:
        """Runs functions of a script; what each returns, as the manager prints it."""
        self.write("main.py", dedent(script) + MANAGER)
        done = subprocess.run(
            [sys.executable, "main.py", *(tasks or ("task",))],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise AssertionError(done.stderr)
        return done.stdout.splitlines()

    def fail(self, script: str, *tasks: str) -> str:
        """Runs functions that cannot be sent; the last line of the error."""
        with pytest.raises(AssertionError) as caught:
            self.run(script, *tasks)
        return str(caught.value).strip().splitlines()[-1]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_functions_of_a_module_share_its_globals(project: Project) -> None:
    """A global that one function sets is seen by the others, through the module, and by `globals()`."""
    project.write(
        "helpers.py",
        """
        count = 0
        def bump():
            global count
            count += 1
        def get():
            return count
        """,
    )
    script = """
        import helpers
        from helpers import bump as other_name
        def task():
            helpers.bump()
            other_name()
            helpers.count += 10
            return helpers.get(), helpers.count, helpers.bump.__globals__ is vars(helpers), other_name is helpers.bump
        """
    assert project.run(script, "task", "task") == ["(12, 12, True, True)"] * 2


def test_no_state_of_a_job_reaches_the_next(project: Project) -> None:
    """Caches, counters, class attributes, patches, the environment, paths and settings are as they were before."""
    project.write(
        "helpers.py",
        """
        import functools
        seen = []
        class Model:
            made = 0
        @functools.lru_cache(maxsize=7, typed=True)
        def cached(x):
            return x
        def patched():
            return "original"
        """,
    )
    script = """
        import decimal, locale, logging, os, random, signal, sys, warnings
        import numpy, pandas, matplotlib
        import helpers
        def task():
            import matplotlib.pyplot as plt
            state = (
                helpers.cached.cache_info()[:3], len(helpers.seen), helpers.Model.made, helpers.patched(),
                os.environ.get("LEFT"), os.environ["IN_WORKER"], os.path.basename(os.getcwd()), "left" in sys.path,
                "left" in sys.argv, signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, sys.getrecursionlimit(),
                len(warnings.filters), logging.getLogger().level, len(logging.getLogger("x").handlers),
                decimal.getcontext().prec, numpy.geterr()["divide"], numpy.get_printoptions()["precision"],
                pandas.get_option("display.precision"), matplotlib.rcParams["lines.linewidth"], plt.get_fignums(),
                os.umask(0o22), "left" in sys.modules, sys.modules["__main__"] is not None,
            )
            helpers.cached(1), helpers.cached(1)
            helpers.seen.append(1)
            helpers.Model.made += 1
            helpers.patched = lambda: "patched"
            os.environ["LEFT"] = "1"
            del os.environ["IN_WORKER"]
            os.chdir("/")
            sys.path.insert(0, "left")
            sys.argv.append("left")
            signal.signal(signal.SIGUSR1, lambda *_: None)
            signal.alarm(1)
            sys.setrecursionlimit(5000)
            warnings.simplefilter("error")
            logging.basicConfig(level=5)
            logging.getLogger("x").addHandler(logging.NullHandler())
            decimal.getcontext().prec = 3
            numpy.seterr(all="raise")
            numpy.set_printoptions(precision=2)
            pandas.set_option("display.precision", 2)
            matplotlib.rcParams["lines.linewidth"] = 9
            plt.figure()
            os.umask(0o77)
            sys.modules["left"] = type(sys)("left")
            return state
        """
    first, second, third = project.run(script, "task", "task", "task")
    assert first == second == third
    assert first.startswith("((0, 0, 7), 0, 0, 'original', None, 'yes', 'elsewhere', False, False, True, ")


@pytest.mark.parametrize("first", ["import six", "import six.moves", "import six.moves.urllib"])
def test_a_package_that_makes_up_modules(project: Project, first: str) -> None:
    """six finds them by itself, and does so still for the next task; they are its own, not the user's."""
    script = f"""
        def one():
            {first}
            return 1
        def two():
            from six.moves import range
            from six.moves.urllib.parse import quote
            return quote("a b")
        """
    assert project.run(script, "one", "two", "one") == ["1", "a%20b", "1"]
    script = """
        from six.moves import urllib
        def three():
            return urllib.parse.quote("a b")
        """
    assert project.run(script, "three", "three") == ["a%20b"] * 2


def test_a_finder_of_a_tasks_own_does_not_reach_the_next(project: Project) -> None:
    """Nor does what it finds."""
    script = """
        import sys
        def task():
            class Finder:
                @staticmethod
                def find_spec(name, path=None, target=None):
                    return None
            before = len(sys.meta_path)
            sys.meta_path.append(Finder)
            sys.meta_path.append(Finder())
            return before
        """
    first, second = project.run(script, "task", "task")
    assert first == second


def test_random_numbers_differ_from_job_to_job(project: Project) -> None:
    """A seed that one task sets does not reach the next, and two replicates in one worker are not the same."""
    script = """
        import random
        import numpy
        def task():
            drawn = random.random(), numpy.random.random()
            random.seed(1)
            numpy.random.seed(1)
            return drawn
        """
    lines = project.run(script, "task", "task", "task")
    assert len({number for line in lines for number in line.strip("()").split(", ")}) == 6


def test_packages_and_imports_inside_functions(project: Project) -> None:
    """Relative, absolute and late imports find the job's modules, and packages are above what is in them."""
    project.write("pkg/__init__.py", "VERSION = 3\nfrom .clean import clean\n")
    project.write("pkg/clean.py", "from . import table\ndef clean():\n    return table.lookup('a')\n")
    project.write(
        "pkg/table.py",
        """
        TABLE = {"a": 1}
        def lookup(key):
            from . import VERSION
            from .deep.inner import add
            return add(TABLE[key], VERSION)
        """,
    )
    project.write("pkg/deep/__init__.py", "")
    project.write("pkg/deep/inner.py", "def add(a, b):\n    return a + b\n")
    script = """
        import pkg
        import pkg.table as short
        def task():
            import sys
            from pkg.deep import inner
            import pkg.deep.inner as again
            import __main__
            return pkg.clean(), short.lookup("a"), inner is again, inner is sys.modules["pkg"].deep.inner, \\
                __main__.task is task, sys.modules["pkg.table"] is short, pkg.__spec__.name, len(pkg.__path__)
        """
    for name in ("pkg/deep/__init__.py", "pkg/deep/inner.py"):
        assert (project.path / name).exists() or (project.path / name).parent.mkdir()
    assert project.run(script) == ["(4, 4, True, True, True, True, 'pkg', 1)"]


def test_what_runs_is_what_was_loaded_not_what_lies_on_the_disk(project: Project) -> None:
    """A module that changes after the manager loaded it reaches the worker as it was loaded."""
    project.write("helpers.py", "def f():\n    return 'loaded'\n")
    script = """
        import helpers
        with open("helpers.py", "w") as file:
            file.write("raise SystemExit('read again')")
        def task():
            from helpers import f
            return f(), helpers.f()
        """
    assert project.run(script) == ["('loaded', 'loaded')"]


def test_values_that_belong_to_one_process_are_made_anew(project: Project) -> None:
    """Locks are open, thread storage is empty, loggers go by name, caches of own functions keep their form."""
    project.write(
        "helpers.py",
        """
        import functools, logging, sys, threading, weakref
        lock, again, local, log = threading.Lock(), threading.RLock(), threading.local(), logging.getLogger("mine")
        event, out = threading.Event(), sys.stderr
        lock.acquire()
        local.x = 1
        class Table:
            @functools.cached_property
            def rows(self):
                return [1]
            @functools.lru_cache
            def size(self):
                return 1
        @functools.singledispatch
        def kind(x):
            return "any"
        @kind.register
        def _(x: int):
            return "int"
        @functools.lru_cache(maxsize=None)
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)
        fib.note = "kept"
        fib(5)
        """,
    )
    script = """
        import helpers
        def task():
            with helpers.lock, helpers.again:
                helpers.event.set()
                t = helpers.Table()
                return (hasattr(helpers.local, "x"), helpers.log.name, t.rows, t.size(), helpers.kind(1),
                    helpers.kind(""), helpers.fib.cache_info().currsize, helpers.fib(10), helpers.fib.note,
                    helpers.fib.cache_info()[:3], helpers.fib.__name__)
        """
    expected = "(False, 'mine', [1], 1, 'int', 'any', 0, 55, 'kept', (8, 11, None), 'fib')"
    assert project.run(script) == [expected]


def test_decorators_of_installed_packages_keep_their_modules(project: Project) -> None:
    """A wrapper from the standard library or an installed package uses that module itself, no copy of its globals."""
    script = """
        import contextlib, functools
        import click
        @contextlib.contextmanager
        def opened():
            yield "open"
        @click.command()
        def command():
            return 1
        def task():
            with opened() as state:
                return state, opened.__globals__ is vars(contextlib), command.callback()
        """
    assert project.run(script) == ["('open', True, 1)"]


def test_classes_of_all_kinds_travel(project: Project) -> None:
    """Dataclasses, enums, named tuples, abstract and generic classes behave, and come back as the manager's own."""
    project.write(
        "helpers.py",
        """
        import abc, collections, dataclasses, enum, typing
        T = typing.TypeVar("T")
        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int = 0
            inner: list = dataclasses.field(default_factory=list)
        class Color(enum.Enum):
            RED = 1
        Pair = collections.namedtuple("Pair", "a b")
        class Base(abc.ABC):
            @abc.abstractmethod
            def f(self): ...
        class Box(Base, typing.Generic[T]):
            __slots__ = ("x",)
            class Inner:
                pass
            def f(self):
                return super().__init__() or __class__.__name__
        class Both(typing.NamedTuple):
            x: int
        class Error(Exception):
            pass
        """,
    )
    script = """
        import helpers
        from helpers import *
        class Mine:
            pass
        def task():
            box = Box()
            box.x = 3
            assert isinstance(box, Base) and Color.RED is helpers.Color.RED and box.f() == "Box"
            values = Checked([Point(1), Color.RED, Pair(1, 2), box, Box.Inner(), Both(1), Error("x"), Mine(), Point])
            return values
        class Checked(list):
            def __repr__(self):
                own = [Point, Color, Pair, Box, Box.Inner, Both, Error, Mine]
                assert self[0] == Point(1) and self[3].x == 3 and self[8] is Point
                return str([type(value) is kind for value, kind in zip(self, own)])
            __str__ = __repr__
        """
    assert project.run(script) == [str([True] * 8)]


def test_enums_and_families_of_classes_are_what_they_were(project: Project) -> None:
    """Members keep what they were made with; bases that keep a register of their subclasses are not told twice."""
    project.write(
        "helpers.py",
        """
        import enum
        class Planet(enum.Enum):
            EARTH = (5.9, 6.3)
            def __init__(self, mass, radius):
                self.mass = mass
        class Level(enum.IntFlag):
            LOW = 1
            HIGH = 2
        class Base:
            register = []
            def __init_subclass__(cls, *, tag, **more):
                super().__init_subclass__(**more)
                cls.tag = tag
                Base.register.append(cls)
        class One(Base, tag="one"):
            pass
        class Two(One, tag="two"):
            pass
        """,
    )
    script = """
        from helpers import *
        def task():
            class Three(Two, tag="three"):
                pass
            return (Planet.EARTH.mass, Planet((5.9, 6.3)) is Planet.EARTH, Level.LOW | Level.HIGH,
                One.tag, Two.tag, [cls.__name__ for cls in Base.register])
        """
    expected = "(5.9, True, <Level.HIGH|LOW: 3>, 'one', 'two', ['One', 'Two', 'Three'])"
    assert [line.replace("LOW|HIGH", "HIGH|LOW") for line in project.run(script)] == [expected]


def test_tasks_of_all_forms(project: Project) -> None:
    """Closures, lambdas, partials, bound methods, callable objects and wrapped functions run as they do at home."""
    script = """
        import functools
        def wrap(function):
            @functools.wraps(function)
            def inner():
                calls.append(1)
                return function(), len(calls)
            return inner
        calls = []
        def make(n):
            def inner():
                return n + offset
            return inner
        offset = 10
        class Callable:
            def __init__(self, n): self.n = n
            def __call__(self): return self.n + offset
            def method(self): return self.n * offset
            @classmethod
            def shared(cls): return cls.__name__, offset
            @staticmethod
            def alone(): return Callable(3)()
        closure, short, part = make(1), lambda: offset, functools.partial(max, 1, 2)
        obj = Callable(2)
        bound, shared, alone = obj.method, Callable.shared, Callable.alone
        @wrap
        def wrapped():
            return wrapped.__name__
        """
    forms = ("closure", "short", "part", "obj", "bound", "shared", "alone", "wrapped")
    assert project.run(script, *forms) == ["11", "10", "2", "12", "20", "('Callable', 10)", "13", "('wrapped', 1)"]


@pytest.mark.parametrize("more", ["None", "Own"])
def test_functions_are_what_they_were(project: Project, more: str) -> None:
    """Both ways: as dagger alone takes them apart, and beside a class, for which cloudpickle is there."""
    script = f"""
        import xml.etree.ElementTree
        class Own: pass
        def pair():
            count = 0
            def add():
                nonlocal count
                count += 1
            def get():
                return count
            return add, get
        add, get = pair()
        def late():
            def inner():
                return unset
            if get():
                unset = 1
            return inner
        holder = late()
        def knot():
            def even(n): return n == 0 or odd(n - 1)
            def odd(n): return n != 0 and even(n - 1)
            return even
        even = knot()
        def named(a, /, b: "int" = 1, *, c=[2], **rest) -> "str":
            'Say so.'
            yield a, b, c, sorted(rest)
        named.mark = named
        loose = {{}}
        exec("def first(): return second()\\ndef second(): return len(seen)\\nseen = [1, 2]", loose)
        first, second = loose["first"], loose["second"]
        def task():
            def inner():
                return xml.etree.ElementTree.Element("a").tag
            add()
            add()
            loose_too = second.__globals__ is first.__globals__ and first.__globals__ is not globals()
            try:
                holder()
            except NameError:
                empty = True
            return get(), empty, even(7), list(named(0, d=1)), named.mark is named, named.__doc__, \\
                sorted(named.__annotations__), named.__qualname__, holder.__qualname__, first(), loose_too, inner(), \\
                task.__module__, {more} is None
        """
    whole = "(2, True, False, [(0, 1, [2], ['d'])], True, 'Say so.', ['b', 'return'], 'named', 'late.<locals>.inner', 2"
    assert project.run(script) == [f"{whole}, True, 'a', '__main__', {more == 'None'})"]


def test_constants_that_no_compiler_made(project: Project) -> None:
    """Code may have been given others since, as by decorators that bind names early."""
    script = """
        import types
        class Odd(str): pass
        def bound(function, **values):
            code = function.__code__
            constants = tuple(values.get(it, it) if isinstance(it, str) else it for it in code.co_consts)
            return types.FunctionType(code.replace(co_consts=constants), globals(), "bound")
        def plain():
            return "ADD"([1, 2]), type("ODD").__name__, (lambda: "ADD")()
        task = bound(plain, ADD=sum, ODD=Odd("odd"))
        """
    assert project.run(script, "task") == ["(3, 'Odd', 'ADD')"]


def test_what_a_task_defines_itself_comes_back_by_value(project: Project) -> None:
    """A class that is made inside a function has no name that leads to it, whatever it is called."""
    script = """
        import collections
        def task():
            Row = collections.namedtuple("Row", "a b")
            Mine = type("Mine", (), {"x": 1, "__repr__": lambda self: f"Mine {self.x}"})
            return [Row(1, 2), Mine(), (lambda: 5)()]
        """
    assert project.run(script) == ["[Row(a=1, b=2), Mine 1, 5]"]


def test_children_of_a_task_find_its_functions(project: Project) -> None:
    """A pool of processes inside a task is given functions by name, and they are there."""
    project.write("helpers.py", "def square(x):\n    return x * x\n")
    script = """
        import helpers, multiprocessing
        def here(x):
            return helpers.square(x) + 1
        def task():
            with multiprocessing.get_context("fork").Pool(2) as pool:
                return pool.map(here, [1, 2]), pool.map(helpers.square, [3])
        """
    assert project.run(script) == ["([2, 5], [9])"]


def test_names_that_a_module_makes_when_asked_are_sent(project: Project) -> None:
    """A lazy attribute, from a module's own ``__getattr__``, is a value like any other."""
    project.write("helpers.py", "def __getattr__(name):\n    return name.upper()\n")
    script = """
        import helpers
        from dagger.core.landing import Landing
        from dagger.core.shipping import ship
        def task():
            return helpers.lazy
        if __name__ == "__main__":
            payload = ship(task, {"helpers": frozenset({"lazy"})})
            with Landing() as landing:
                print(landing.load(payload)())
            raise SystemExit
        """
    assert project.run(script) == ["LAZY"]


def test_what_cannot_be_sent_is_named(project: Project) -> None:
    """The message says which name of which module, and what it is."""
    project.write(
        "helpers.py", "conn = {'db': [x for x in (iter([1]), (i for i in ()))]}\ndef use():\n    return conn\n"
    )
    script = """
        import helpers
        def task():
            return helpers.use()
        def send():
            from dagger.core.shipping import ship
            ship(task, {"helpers": frozenset({"use", "conn"})})
        if __name__ == "__main__":
            send()
        """
    assert project.fail(script) == (
        "dagger.errors.TaskError: helpers.conn['db'][1]: a generator cannot be sent to a worker; make it inside the "
        "function, or give the function what it is made from"
    )
    script = """
        def task(file=None):
            return opened.read()
        opened = open(__file__)
        if __name__ == "__main__":
            from dagger.core.shipping import ship
            ship(task, {})
        """
    assert "TaskError: __main__.opened: a _io.TextIOWrapper cannot be sent" in project.fail(script)


def test_of_a_whole_module_what_cannot_be_sent_is_left_out_and_says_so(project: Project) -> None:
    """Code that may use anything of a module gets all that can be sent; the rest is an error when it is used."""
    project.write(
        "helpers.py",
        """
        from dagger import MemoryDatum
        conn = (i for i in ())
        datum = MemoryDatum(pointer=1)
        table = {"a": 1}
        def use():
            return conn
        def f():
            return table["a"]
        __version__ = "1"
        """,
    )
    script = """
        import helpers
        def task():
            name, said = "f", []
            for missing in ("conn", "use", "datum", "nothing"):
                try:
                    getattr(helpers, missing)
                except AttributeError as error:
                    said.append(str(error))
            return getattr(helpers, name)(), helpers.__version__, said
        if __name__ == "__main__":
            from dagger.core.shipping import ship
            from dagger.core.landing import Landing
            payload = ship(task, {"helpers": None})
            with Landing() as landing:
                print(landing.load(payload)())
            raise SystemExit
        """
    (line,) = project.run(script)
    assert line.startswith("(1, '1', [")
    assert "helpers.conn is not there in a task: a generator cannot be sent to a worker" in line
    assert "helpers.use is not there in a task: a function cannot be sent" in line
    assert "helpers.datum is not there in a task: a MemoryDatum cannot be sent" in line
    assert "module 'helpers' has no attribute 'nothing' in this task" in line


def test_a_class_that_only_a_value_needs_is_sent_when_asked_for(project: Project) -> None:
    """The consumer of a value need not name its class: the manager sends it along."""
    project.write("helpers.py", "class Model:\n    x = 1\n    def get(self):\n        return self.x\n")
    script = """
        import io, sys
        import helpers
        from dagger.core.landing import Landing
        from dagger.core.by_name import value_unpickler
        from dagger.core.shipping import ship
        from dagger.core.value_files import value_pickler
        def consume(data):
            return data.get()
        class Here(helpers.Model):
            x = 2
        if __name__ == "__main__":
            for value in (helpers.Model(), Here()):
                file = io.BytesIO()
                pickler = value_pickler(file)
                pickler.dump(value)
                file.seek(0)
                payload = ship(consume, {}, sorted(pickler.classes))
                with Landing() as landing:
                    landing.load(payload)
                    landed = value_unpickler(file).load()
                    print(sorted(pickler.classes), consume(landed), type(landed) is type(value))
            raise SystemExit
        """
    assert project.run(script) == ["['helpers:Model'] 1 False", "['__main__:Here'] 2 False"]


def test_a_foreign_pickle_finds_its_class_on_the_disk_but_never_runs_the_script(project: Project) -> None:
    """A ``.pkl`` that nobody knows anything of may need an own class that the task does not name."""
    project.write("helpers.py", "def f():\n    pass\nclass Model:\n    pass\n")
    script = """
        import helpers, pickle
        from dagger.core.landing import Landing
        from dagger.core.by_name import load_pickle
        from dagger.core.shipping import ship
        class Mine:
            pass
        def task():
            helpers.f()
            return [load_pickle(name) for name in ("one.pkl", "two.pkl")]
        if __name__ == "__main__":
            for name, value in (("one.pkl", helpers.Model()), ("two.pkl", Mine())):
                with open(name, "wb") as file:
                    pickle.dump(value, file)
            payload = ship(task, {"helpers": frozenset({"f"}), "__main__": frozenset({"task", "helpers"})})
            with Landing() as landing:
                landing.load(payload)()
        """
    assert project.fail(script) == (
        "dagger.errors.TaskError: a pickled value needs __main__.Mine, which the task's code does not use; "
        "name it in the task's function"
    )


def test_two_payloads_of_a_job_share_their_modules(project: Project) -> None:
    """Code and data are sent apart, and still see the same classes, globals and modules."""
    project.write("helpers.py", "TABLE = {}\nclass Model:\n    def put(self):\n        TABLE['x'] = 1\n")
    script = """
        import helpers
        from helpers import TABLE
        from dagger.core.landing import Landing
        from dagger.core.shipping import ship
        def task(model):
            model.put()
            return isinstance(model, helpers.Model), TABLE, helpers.TABLE is TABLE
        if __name__ == "__main__":
            code = ship(task, {"helpers": frozenset({"TABLE", "Model"}), "__main__": frozenset({"helpers", "TABLE"})})
            data = ship(helpers.Model(), {})
            with Landing() as landing:
                print(landing.load(code)(landing.load(data)), TABLE)
            raise SystemExit
        """
    assert project.run(script) == ["(True, {'x': 1}, True) {}"]


def test_a_thread_that_a_job_left_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """Threads cannot be ended; that one was left is known, and the task's log says so."""
    stop = threading.Event()
    with Landing() as landing:
        thread = threading.Thread(target=stop.wait, name="left behind")
        thread.start()
    assert landing.left_threads == ("left behind",)
    assert capsys.readouterr().err == "dagger: the task left threads running: left behind\n"
    stop.set()
    thread.join()


def test_jobs_do_not_overlap_and_nothing_lands_outside() -> None:
    """A payload needs a landing, and there is one at a time."""
    payload = ship(test_jobs_do_not_overlap_and_nothing_lands_outside, {})
    with Landing() as landing:
        assert landing.load(payload).__name__ == "test_jobs_do_not_overlap_and_nothing_lands_outside"
        with pytest.raises(TaskError, match="has left what cannot be undone"), Landing():
            pass
    with pytest.raises(TaskError, match="only inside a Landing"):
        landing.load(payload)


def test_shipping_leaves_cloudpickle_as_it_was() -> None:
    """Nobody else's pickling in the manager changes by ours."""
    import cloudpickle

    ship(Project, {})
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_in_loky_workers(project: Project) -> None:
    """The whole way with real workers: several warm processes, several jobs in each."""
    project.write("helpers.py", "count = 0\ndef bump():\n    global count\n    count += 1\n    return count\n")
    script = """
        import helpers
        from loky import get_reusable_executor
        from dagger.core.landing import Landing
        from dagger.core.shipping import ship
        def task():
            return helpers.bump()
        def run(payload):
            pass
        if __name__ == "__main__":
            from jobs import land
            payload = ship(task, {"helpers": frozenset({"bump", "count"})})
            print(list(get_reusable_executor(2).map(land, [payload] * 20)) == [1] * 20)
            raise SystemExit
        """
    project.write(
        "jobs.py",
        "from dagger.core.landing import Landing\ndef land(payload):\n    with Landing() as landing:\n"
        "        return landing.load(payload)()\n",
    )
    assert project.run(script) == ["True"]


class Local:
    """A class of this module, which pickles know by name."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)


def roundtrip(value: object) -> tuple[Any, set[str]]:
    file = io.BytesIO()
    pickler = value_pickler(file)
    pickler.dump(value)
    file.seek(0)
    return value_unpickler(file).load(), pickler.classes


def test_values_name_their_classes() -> None:
    """What has a name goes by it and is listed; a lambda or a local class goes by value."""
    name = f"{__name__}:Local"
    value, classes = roundtrip([Local(x=1), roundtrip, threading.Thread, len])
    assert type(value[0]) is Local
    assert value[1] is roundtrip
    assert classes == {name, f"{__name__}:roundtrip"}
    assert find_class(name) is Local

    class Inner:
        x = 1

    value, classes = roundtrip([lambda: 3, Inner()])
    assert value[0]() == 3
    assert value[1].x == 1
    assert classes == set()


def test_values_of_a_class_that_was_defined_again_are_the_new_ones() -> None:
    """A name stands for what it leads to where the value is read."""
    former = type("Local", (), {"__module__": __name__, "__qualname__": "Local"})
    value, _ = roundtrip(former())
    assert type(value) is Local


def test_arrays_stay_outside_the_stream() -> None:
    """The pickler hands large buffers to who asked for them."""
    import numpy as np

    buffers: list[pickle.PickleBuffer] = []
    file = io.BytesIO()
    value_pickler(file, protocol=5, buffer_callback=buffers.append).dump(np.arange(10_000))
    file.seek(0)
    assert len(buffers) == 1
    assert value_unpickler(file, buffers=buffers).load().sum() == 49_995_000


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda: threading.Lock(), "it is a _thread.lock"),
        (lambda: {"model": Local(lock=threading.Lock())}, "['model'].lock is a _thread.lock"),
        (lambda: [1, (2, {"x": (i for i in ())})], "[1][1]['x'] is a generator"),
        (lambda: Local(f=lambda: 1, g={"a": open(os.devnull, "rb")}), ".g['a'] is a _io.BufferedReader"),  # noqa: SIM115
    ],
)
def test_what_cannot_be_pickled_is_named(make: Callable[[], object], place: str, tmp_path: Path) -> None:
    """The message has the output's name and the path of the part that is to blame, and no file is left."""
    with pytest.raises(TaskError) as caught, pickling("x") as factory:
        factory(io.BytesIO()).dump(make())
    assert str(caught.value) == f"output 'x' cannot be pickled: {place}"
    with pytest.raises(TaskError, match="output 'y' cannot be pickled"):
        dump_pickle(make(), tmp_path / "y.pkl", name="y")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_pass_through_pickling() -> None:
    """A full disk is no matter of the value's."""
    with pytest.raises(OSError, match="full"), pickling("x"):
        raise OSError("full")


def test_a_pkl_is_a_plain_pickle(tmp_path: Path) -> None:
    """Any Python reads what a task left, with the usual permissions, and a reader never sees half of it."""
    path = tmp_path / "x.pkl"
    path.write_bytes(b"former")
    held = open(path, "rb")  # noqa: SIM115  (it is held while the file is replaced)
    assert dump_pickle({"a": Local(x=1)}, path) == {f"{__name__}:Local"}
    assert held.read() == b"former"
    held.close()
    assert pickle.loads(path.read_bytes())["a"].x == 1
    assert load_pickle(path)["a"].x == 1
    assert [each.name for each in tmp_path.iterdir()] == ["x.pkl"]
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
