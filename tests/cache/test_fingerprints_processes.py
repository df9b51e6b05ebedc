"""One function has one fingerprint in every process: other seeds, scripts, notebooks, workers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

SHOW = "from dagger.cache.fingerprints import fingerprint; print(fingerprint({}).digest)"


@pytest.fixture
def run(tmp_path):
    """Run Python text in a fresh process, in a folder with these files; returns what it prints."""

    def call(text, files=None, **environment):
        for name, content in (files or {}).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(content))
        done = subprocess.run(
            [sys.executable, *(["-c", textwrap.dedent(text)] if "\n" in text else text.split())],
            cwd=tmp_path,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return call


RICH = """
    import functools
    import logging
    from collections import namedtuple
    from dataclasses import dataclass, field
    from enum import Enum
    from typing import ClassVar
    import utils
    from utils import clean as c

    log = logging.getLogger(__name__)
    NAMES = {"a", "b", "c", "d"}
    Point = namedtuple("Point", "x y")

    class Color(Enum):
        RED = 1
        BLUE = "b"
        def mixed(self):
            return self.value

    class Base:
        def run(self):
            return super().__init__

    @dataclass
    class Config(Base):
        kind: ClassVar[str] = "c"
        size: int = 3
        names: list = field(default_factory=lambda: ["x"])
        @property
        def double(self):
            return self.size * 2
        @classmethod
        def make(cls):
            return cls()
        @staticmethod
        def help():
            return Color.RED

    CONFIG = Config(4)

    def deco(n):
        def inner(f):
            @functools.wraps(f)
            def wrapper(*args):
                return f(*args) * n
            return wrapper
        return inner

    @functools.lru_cache(maxsize=None)
    def cached(x):
        return x in {"one", "two", "three"}

    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    TABLE = {"even": even, "config": Config, "lambda": lambda x: x + 1, "set": NAMES}

    @functools.singledispatch
    def show(x):
        return x

    @show.register
    def _(x: int):
        return -x

    @deco(3)
    def task(x, y=CONFIG):
        import utils as u
        log.info("x")
        return cached(x), TABLE, utils.OFFSET, c(x), u.other(x), Point(1, 2), show(x), missing
"""
UTILS = """
    import math
    OFFSET = {"k": [1, 2, {"deep"}]}
    def clean(x):
        return math.floor(x) + OFFSET["k"][0]
    def other(x):
        return [y for y in x if y is not other]
"""


def test_hash_seed(run):
    """Sets, their constants and all else digest the same under every hash seed."""
    files = {"pipeline.py": RICH, "utils.py": UTILS}
    text = "import pipeline\n" + SHOW.format("pipeline.task")
    assert len({run(text, files, PYTHONHASHSEED=str(seed)) for seed in (0, 1, 2, 3)}) == 1


def test_script_or_import(run):
    """A function has the same fingerprint in a script that runs and in the module that it is."""
    plain = RICH.replace("CONFIG = Config(4)", "CONFIG = 4")
    script = textwrap.dedent(plain) + "\nif __name__ == '__main__':\n    " + SHOW.format("task")
    files = {"pipeline.py": script, "utils.py": UTILS}
    assert run("pipeline.py", files) == run("import pipeline\n" + SHOW.format("pipeline.task"))


SOURCE = "N = 1\ndef helper(x):\n    return x + N\ndef task(x):\n    return helper(x)\n"


def test_text_that_was_executed(run):
    """A function that exec made, in globals without a name, is own code like any other."""
    imported = run("import pipeline\n" + SHOW.format("pipeline.task"), {"pipeline.py": SOURCE})
    text = "import pathlib\nspace = {{}}\nexec({!r}, space)\n" + SHOW.format("space['task']")
    assert run(text.replace("{{}}", "{}").replace("{!r}", repr(SOURCE))) == imported
    changed = SOURCE.replace("x + N", "x - N")
    assert run(text.replace("{{}}", "{}").replace("{!r}", repr(changed))) != imported


def test_notebook_cell(run):
    """Functions of notebook cells, compiled under made-up file names, follow each other."""
    cells = SOURCE.replace("def task", "#cell\ndef task").split("#cell\n")
    text = "".join(
        f"exec(compile({cell!r}, '/tmp/ipykernel_1/{number}.py', 'exec'), globals())\n"
        for number, cell in enumerate(cells)
    )
    imported = run("import pipeline\n" + SHOW.format("pipeline.task"), {"pipeline.py": SOURCE})
    assert run(text + SHOW.format("task")) == imported
    assert run(text.replace("x + N", "x - N") + SHOW.format("task")) != imported


def test_standard_input(run, tmp_path):
    """A function typed into an interpreter has a fingerprint."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=SOURCE + "\n" + SHOW.format("task"),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    imported = run("import pipeline\n" + SHOW.format("pipeline.task"), {"pipeline.py": SOURCE})
    assert done.stdout.strip() == imported


SHIP = """
    import functools, sys, types, pickle, cloudpickle
    from dagger.cache.fingerprints import fingerprint
    def decorate(decorator, parameters, function):
        return decorator(**parameters)(function)
    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, obj):
            if isinstance(obj, functools._lru_cache_wrapper):  # would be pickled by name
                parameters = obj.cache_parameters()
                return decorate, (functools.lru_cache, parameters, obj.__wrapped__)
            if isinstance(obj, types.CodeType):  # from 3.1.3 on without the name of its file
                make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](obj)
                return make, tuple(obj.co_filename if it == "<dynamic-code>" else it for it in arguments)
            return super().reducer_override(obj)
    def ship(task, path):
        found = fingerprint(task)
        for name in found.reached:
            if name != "__main__":
                cloudpickle.register_pickle_by_value(sys.modules[name])
        modules = {}
        for name, names in found.reached.items():
            if name == "__main__":
                continue
            module = sys.modules[name]
            names = names if names is not None else [n for n in vars(module) if n[:2] != "__"]
            reached = {key: vars(module)[key] for key in names if key in vars(module)}
            held = {key: value for key, value in reached.items() if isinstance(value, types.ModuleType)}
            held = {key: value.__name__ for key, value in held.items()}
            rest = {key: value for key, value in reached.items() if key not in held}
            modules[name] = (module.__file__, list(getattr(module, "__path__", [])), rest, held)
        with open(path, "wb") as file:
            cloudpickle.register_pickle_by_value(sys.modules[__name__])
            Pickler(file).dump((modules, task))
        print(found.digest)
"""
RECEIVE = """
    import sys, types, pickle, importlib
    from dagger.cache.fingerprints import fingerprint
    sys.path[:] = [entry for entry in sys.path if entry not in ("", sys.argv[1])]
    class Shells:
        def find_spec(self, name, path=None, target=None):
            return None
    with open(sys.argv[2], "rb") as file:
        names = sys.argv[3].split(",")
        for name in names:
            sys.modules[name] = types.ModuleType(name)
        modules, task = pickle.load(file)
    for name, (location, path, rest, held) in modules.items():
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.__file__ = location
        if path:
            module.__path__ = path
        vars(module).update(rest)
    for name, (location, path, rest, held) in modules.items():
        for key, other in held.items():
            setattr(sys.modules[name], key, sys.modules.get(other) or importlib.import_module(other))
    print(fingerprint(task).digest)
"""


@pytest.mark.parametrize("how", ["script", "module"])
def test_worker(run, tmp_path, how):
    """A function that a worker got by value, without its files, has the fingerprint it was sent with."""
    # cloudpickle cannot pickle what singledispatch makes.
    body = textwrap.dedent(RICH).replace("@functools.singledispatch\n", "")
    body = body.replace("@show.register\n", "")
    files = {"utils.py": UTILS, "ship.py": SHIP, "receive.py": RECEIVE}
    if how == "script":
        end = "\nif __name__ == '__main__':\n    from ship import ship\n    ship(task, 'job')\n"
        sent = run("pipeline.py", {**files, "pipeline.py": body + end})
        modules = "utils"
    else:
        sent = run("import pipeline, ship\nship.ship(pipeline.task, 'job')", {**files, "pipeline.py": body})
        modules = "utils,pipeline"
    (tmp_path / "utils.py").unlink()
    (tmp_path / "pipeline.py").unlink()
    assert run(f"receive.py {tmp_path} job {modules}") == sent
