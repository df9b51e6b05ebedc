"""What a fingerprint tells beside its digest: parts, sources, names reached, distributions, errors."""

from __future__ import annotations

import functools
import importlib
import logging
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import numpy
import pytest

from dagger import MemoryDatum
from dagger.cache.fingerprints import Fingerprinter, Part, fingerprint
from dagger.errors import UndigestibleError


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import modules written into a folder of their own; returns the one called pipeline."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loaded = []

    def call(**sources):
        for name, text in sources.items():
            path = tmp_path / (name.replace("__", "/") + ".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
            loaded.append(name.partition("__")[0])
        importlib.invalidate_caches()
        return importlib.import_module("pipeline")

    yield call
    for name in list(sys.modules):
        if name.partition(".")[0] in loaded:
            del sys.modules[name]


def parts_of(obj):
    return {part.name: part for part in fingerprint(obj).parts}


def define(text, **names):
    """A function called task, made by exec."""
    space = dict(names)
    exec(textwrap.dedent(text), space)
    return space["task"]


def test_parts(load):
    """Every function, class and value of own code is a part under its module's name, and only these."""
    module = load(
        pipeline="""
            import math, utils
            from utils import Model
            LIMIT = 3
            def helper(x): return math.floor(x) + LIMIT
            def task(x): return helper(x), utils.clean(x), Model().run()
        """,
        utils="""
            TABLE = {"a": 1}
            class Base: pass
            class Model(Base):
                def run(self): return TABLE
            def clean(x): return x
            def other(x): return x
        """,
    )
    assert {name: part.kind for name, part in parts_of(module.task).items()} == {
        "pipeline.LIMIT": "value",
        "pipeline.helper": "function",
        "pipeline.task": "function",
        "utils.Base": "class",
        "utils.Model": "class",
        "utils.TABLE": "value",
        "utils.clean": "function",
    }


def test_only_the_edited_part_changes(load):
    """A part's digest is its own: an edit of a helper changes the helper's and no other."""
    text = """
        LIMIT = 3
        def helper(x): return x + LIMIT
        def task(x): return helper(x)
    """
    before = parts_of(load(pipeline=text).task)
    del sys.modules["pipeline"]
    after = parts_of(load(pipeline=text.replace("x + LIMIT", "x - LIMIT")).task)
    assert [name for name in before if before[name] != after[name]] == ["pipeline.helper"]


def test_method_is_part_of_its_class(load):
    """An edit of a method changes its class, as one part."""
    text = "class A:\n    def f(self): return 1\ndef task(): return A().f()\n"
    before = parts_of(load(pipeline=text).task)
    del sys.modules["pipeline"]
    after = parts_of(load(pipeline=text.replace("return 1", "return 2")).task)
    assert set(before) == {"pipeline.A", "pipeline.task"}
    assert [name for name in before if before[name] != after[name]] == ["pipeline.A"]


def test_parts_have_names_of_their_own(load):
    """Two closures over one function's code are two parts under two names."""
    module = load(
        pipeline="""
            def make(f):
                def inner(x): return f(x)
                return inner
            A = make(make(len))
            def task(x): return A(x)
        """
    )
    names = [part.name for part in fingerprint(module.task).parts]
    assert len(names) == len(set(names))
    assert "pipeline.make.<locals>.inner" in names or sys.version_info < (3, 11)


def test_sources(load):
    """A part carries its dedented source with decorators, a value its repr, cut short."""
    module = load(
        pipeline="""
            import functools
            TABLE = list(range(1000))
            class Model:
                size = 1
                @functools.lru_cache
                def run(self):
                    return 1
            if True:
                @functools.wraps(len)
                def helper(x):
                    return x  # kept
            task = lambda: (helper(TABLE), Model)
        """
    )
    parts = parts_of(module.task)
    assert parts["pipeline.helper"].source == ("@functools.wraps(len)\ndef helper(x):\n    return x  # kept\n")
    assert parts["pipeline.Model"].source.startswith("class Model:\n    size = 1\n")
    assert parts["pipeline.TABLE"].source.startswith("[0, 1, 2,")
    assert len(parts["pipeline.TABLE"].source) < 1010
    assert parts["pipeline.<lambda>"].source == "task = lambda: (helper(TABLE), Model)\n"


def test_source_of_an_edited_file(load, tmp_path):
    """A source that is not what was loaded is not shown as such."""
    module = load(pipeline="def task(x):\n    return x + 1\n")
    (tmp_path / "pipeline.py").write_text("def task(x):\n    return x + 2\n")
    (part,) = fingerprint(module.task).parts
    assert part.source == "(the file was changed after this was loaded)"


def test_part_survives_pickling(load):
    """A part can be sent with its source."""
    module = load(pipeline="def task(x):\n    return x\n")
    (part,) = fingerprint(module.task).parts
    copy = pickle.loads(pickle.dumps(part))
    assert copy == part
    assert copy.source == part.source
    assert Part(name="a", kind="value", digest="0", source="text").source == "text"


def test_reached(load):
    """The names that own code reads are told for each module, so that a worker gets just these."""
    module = load(
        pipeline="""
            import json, utils, pkg.mod
            from utils import CONST as renamed
            def helper(x): return utils.clean(x)
            def unused(x): return x
            def task(x):
                from late import f
                return helper(x), pkg.mod.g(x), renamed, f, len(json.dumps(x))
        """,
        utils="""
            CONST = 1
            def clean(x): return deep(x)
            def deep(x): return x
            def other(x): return x
        """,
        pkg__mod="def g(x): return x\ndef h(x): return x",
        late="def f(): return 1\nX = 1",
    )
    assert fingerprint(module.task).reached == {
        "pipeline": {"helper", "json", "pkg", "renamed", "task", "utils"},
        "utils": {"clean", "deep"},
        "pkg": {"mod"},
        "pkg.mod": {"g"},
        "late": {"f"},
    }


def test_module_reached_whole(load):
    """A module that is passed on is told as reached whole."""
    module = load(pipeline="import utils\ndef task(x): return getattr(utils, x)", utils="A = 1\nB = 2")
    found = fingerprint(module.task)
    assert found.reached["utils"] is None
    assert {part.name for part in found.parts} >= {"utils", "utils.A", "utils.B"}


def test_distributions():
    """Installed code counts by its version, with all that it requires; its code is no part."""
    pandas = pytest.importorskip("pandas")
    found = fingerprint(define("def task(x): return pandas.concat(x)", pandas=pandas))
    names = [name for name, _ in found.distributions]
    assert set(names) >= {"pandas", "numpy", "python-dateutil"}
    assert dict(found.distributions)["pandas"] == pandas.__version__
    assert len(found.parts) == 1


def test_distribution_of_an_unloaded_module():
    """A package imported only inside the function counts by its version, without being imported."""
    script = """
        import sys
        from dagger.cache.fingerprints import fingerprint
        def task():
            import scipy.stats
            from pandas import DataFrame
            return scipy.stats, DataFrame
        print(dict(fingerprint(task).distributions).keys() >= {"scipy", "pandas", "numpy"})
        print("scipy" in sys.modules)
    """
    pytest.importorskip("scipy")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_distribution_of_a_value():
    """A value whose class is installed counts by that distribution's version too."""
    found = fingerprint(define("def task(): return A.sum()", A=numpy.arange(3)))
    assert ("numpy", numpy.__version__) in found.distributions


def test_dagger_is_never_counted(load):
    """Neither dagger's code nor its version is part of a fingerprint."""
    module = load(
        pipeline="""
            import dagger
            from dagger.errors import TaskError
            class Mine(TaskError): pass
            def task(x):
                raise Mine(dagger.TaskError(x))
        """
    )
    found = fingerprint(module.task)
    assert found.distributions == ()
    assert [part.name for part in found.parts] == ["pipeline.Mine", "pipeline.task"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (threading.Lock(), "lock"),
        ((number for number in range(3)), "generator"),
        (MemoryDatum(), "MemoryDatum"),
        ({"a": [threading.Lock()]}, "lock"),
    ],
)
def test_global_without_a_digest(load, value, kind):
    """A global that has no digest is an error that names module, global and type."""
    module = load(pipeline="SESSION = None\ndef helper(): return SESSION\ndef task(): return helper()")
    module.SESSION = value
    with pytest.raises(UndigestibleError) as caught:
        fingerprint(module.task)
    assert caught.value.path.startswith("pipeline.SESSION")
    assert caught.value.kind.endswith(kind)


def test_error_concerns_only_who_reaches_it(load):
    """One task's global without a digest does not touch another task of the same file."""
    module = load(pipeline="import threading\nL = threading.Lock()\ndef bad(): return L\ndef good(): return 1")
    fingerprinter = Fingerprinter()
    with pytest.raises(UndigestibleError):
        fingerprinter.of(module.bad)
    assert fingerprinter.of(module.good).digest
    with pytest.raises(UndigestibleError):
        fingerprinter.of(module.bad)


def test_loggers_count_by_name():
    """A logger, of which there is one in almost every module, does not hinder."""
    task = define("def task(): log.info('x')", log=logging.getLogger("some.name"))
    assert fingerprint(task).parts


def test_what_lru_cache_remembers_does_not_count(load):
    """A cache that was filled leaves the fingerprint as it is; how it fills is counted."""
    text = "import functools\n@functools.lru_cache(maxsize=4)\ndef f(x): return x\ndef task(): return f(1)"
    module = load(pipeline=text)
    before = fingerprint(module.task)
    module.f(1)
    assert fingerprint(module.task) == before
    del sys.modules["pipeline"]
    assert fingerprint(load(pipeline=text.replace("4", "5")).task).digest != before.digest


def test_values_are_looked_at_anew():
    """A global that changed in place changes the next fingerprint, not one of the same Fingerprinter."""
    table = {"a": 1}
    task = define("def task(): return TABLE", TABLE=table)
    fingerprinter = Fingerprinter()
    before = fingerprinter.of(task).digest
    table["a"] = 2
    assert fingerprinter.of(task).digest == before
    assert fingerprint(task).digest != before


def test_order_of_tasks_does_not_count(load):
    """A fingerprint is the same whatever else its Fingerprinter has seen."""
    module = load(
        pipeline="""
            import functools, utils
            from utils import b
            def a(n): return b(n - 1) if n else T
            P = functools.partial(a, 1)
            T = {"a": a, "b": b, "p": P}
            def task(): return T["a"](1)
            def second(): return utils.b(1)
            def third(): return P()
        """,
        utils="import pipeline\ndef b(n): return pipeline.a(n)",
    )
    names = ["task", "second", "third", "a", "b"]
    alone = {name: fingerprint(getattr(module, name)).digest for name in names}
    for order in (names, names[::-1]):
        shared = Fingerprinter()
        assert {name: shared.of(getattr(module, name)).digest for name in order} == alone


@pytest.mark.parametrize(
    "obj", [len, functools.partial(len), "x".join, numpy.sum, numpy.add, int, str.upper, print, sum]
)
def test_anything_callable(obj):
    """Builtins, methods of builtins, classes and installed functions have fingerprints."""
    assert fingerprint(obj).digest == fingerprint(obj).digest


def test_random_functions_do_not_count_by_state():
    """Functions of the shared generators count by name: their state differs in every process."""
    import random

    task = define("def task(): return choice([1]), normal()", choice=random.choice, normal=numpy.random.normal)
    before = fingerprint(task)
    random.random()
    numpy.random.normal()
    assert fingerprint(task) == before


def test_long_chain_of_helpers():
    """Ten thousand helpers, each calling the next, are followed without recursion."""
    text = "\n".join(f"def h{n}(): return h{n + 1}()" for n in range(10_000))
    one = define(text + "\ndef h10000(): return 1\ndef task(): return h0()")
    two = define(text + "\ndef h10000(): return 2\ndef task(): return h0()")
    assert fingerprint(one).digest != fingerprint(two).digest


def test_long_ring_of_helpers():
    """A thousand helpers that call each other in a ring end, and an edit of any one shows."""
    text = "\n".join(f"def h{n}(): return h{(n + 1) % 1000}()" for n in range(1000))
    one = define(text + "\ndef task(): return h0()")
    two = define(text.replace("def h500(): return", "def h500(): return 1 +") + "\ndef task(): return h0()")
    assert fingerprint(one).digest != fingerprint(two).digest


def test_cost():
    """Ten thousand tasks that share functions cost next to nothing each."""
    text = "\n".join(f"def h{n}(x): return sorted(x)[{n}] + h{n + 1}(x)" for n in range(20))
    task = define(text + "\ndef h20(x): return 1\ndef task(x): return h0(x)")
    fingerprinter = Fingerprinter()
    fingerprinter.of(task)
    started = time.perf_counter()
    for _ in range(10_000):
        fingerprinter.of(task)
    assert time.perf_counter() - started < 1


def test_mutable_default_and_empty_cell():
    """A variable around the function that is not assigned yet is no obstacle."""

    def outer():
        def task():
            return later

        found = fingerprint(task).digest
        later = 1
        return found, fingerprint(task).digest

    before, after = outer()
    assert before != after
