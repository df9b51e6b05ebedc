"""What changes a fingerprint and what does not: small projects before and after an edit."""
# ruff: noqa: E501 -- a file of a scenario reads best as one line

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap

import pytest

from dagger.cache.fingerprints import Fingerprinter
from dagger.cache.ownership import is_own

_numbers = itertools.count()


class Loader:
    """Loads small projects, each in a folder of its own and without a trace of the one before."""

    def __init__(self, folder):
        self.folder = folder

    def write(self, files):
        root = self.folder / f"project{next(_numbers)}"
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return root

    def load(self, files, name="task"):
        """The fingerprint of ``pipeline.<name>`` in a project of these files."""
        root = self.write(files)
        # Own code that is loaded by the way, such as this file, would count where all own modules do.
        others = {key: sys.modules.pop(key) for key in list(sys.modules) if is_own(key)}
        before = set(sys.modules)
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
        try:
            module = importlib.import_module("pipeline")
            return Fingerprinter().of(getattr(module, name))
        finally:
            sys.path.remove(str(root))
            for loaded in set(sys.modules) - before:
                if is_own(loaded):
                    del sys.modules[loaded]
            sys.modules.update(others)


@pytest.fixture
def loader(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Loader(tmp_path)


def project(pipeline, **others):
    """Files of a project; a double underscore in a name stands for a slash."""
    named = {name.replace("__", "/").replace("/init/", "/__init__") + ".py": text for name, text in others.items()}
    return {"pipeline.py": pipeline, **named}


BASE = """
    import utils
    LIMIT = 3
    TABLE = {"a": 1, "b": [1, 2]}
    def helper(x):
        return x + 1
    def task(x, scale=2, *, shift=1):
        return helper(x) * scale + shift + LIMIT
    def unrelated(x):
        return x
"""
UTILS = """
    OFFSET = 1
    def clean(x):
        return x + OFFSET
    def other(x):
        return x
"""


def edited(text, old, new):
    text = textwrap.dedent(text)
    assert old in text, (old, text)
    return text.replace(old, new)


# name: (files, file to edit, old, new)
DIFFERENT = {
    "body": (project(BASE, utils=UTILS), "pipeline.py", "* scale +", "* scale -"),
    "constant": (project(BASE, utils=UTILS), "pipeline.py", "x + 1", "x + 2"),
    "constant's type": (project(BASE, utils=UTILS), "pipeline.py", "x + 1", "x + 1.0"),
    "computed default of an annotated nested function": (
        project(
            "def task(a):\n    b = a\n    def g(x: a.A[a.f(3)] = a.f(1), *, y: int = 2): return x + b\n    return g(1)"
        ),
        "pipeline.py",
        "a.f(1)",
        "a.f(2)",
    ),
    "default": (project(BASE, utils=UTILS), "pipeline.py", "scale=2", "scale=3"),
    "keyword default": (project(BASE, utils=UTILS), "pipeline.py", "shift=1", "shift=2"),
    "parameter's name": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "def helper(x):\n    return x",
        "def helper(y):\n    return y",
    ),
    "global": (project(BASE, utils=UTILS), "pipeline.py", "LIMIT = 3", "LIMIT = 4"),
    "global's type": (project(BASE, utils=UTILS), "pipeline.py", "LIMIT = 3", "LIMIT = True"),
    "helper": (project(BASE, utils=UTILS), "pipeline.py", "return x + 1", "return x - 1"),
    "negative zero": (project("def task(): return 0.0"), "pipeline.py", "0.0", "-0.0"),
    "operator": (project("def task(a, b): return a < b"), "pipeline.py", "<", "<="),
    "order of branches": (
        project("def task(a):\n    if a:\n        return 1\n    return 2"),
        "pipeline.py",
        "if a",
        "if not a",
    ),
    "exception handled": (
        project("def task(a):\n    try:\n        return a()\n    except KeyError:\n        return 2"),
        "pipeline.py",
        "KeyError",
        "IndexError",
    ),
    "what a try covers": (
        project("def task(a):\n    try:\n        a()\n        a()\n    except KeyError:\n        pass\n    return 1"),
        "pipeline.py",
        "try:\n        a()\n        a()\n",
        "a()\n    try:\n        a()\n",
    ),
    "generator or list": (
        project("def task(a): return (x for x in a)"),
        "pipeline.py",
        "(x for x in a)",
        "[x for x in a]",
    ),
    "attribute's name": (project("def task(a): return a.x"), "pipeline.py", "a.x", "a.y"),
    "keyword in a call": (project("def task(a): return a(x=1)"), "pipeline.py", "x=1", "y=1"),
    "mutable global": (project("TABLE = {'a': [1]}\ndef task(): return TABLE"), "pipeline.py", "[1]", "[2]"),
    "dict order of a global": (
        project("TABLE = {'a': 1, 'b': 2}\ndef task(): return TABLE"),
        "pipeline.py",
        "'a': 1, 'b': 2",
        "'b': 2, 'a': 1",
    ),
    "helper in another module": (
        project("from utils import clean\ndef task(x): return clean(x)", utils=UTILS),
        "utils.py",
        "x + OFFSET",
        "x - OFFSET",
    ),
    "global of a helper in another module": (
        project("import utils\ndef task(x): return utils.clean(x)", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "three modules deep": (
        project(
            "import one\ndef task(x): return one.f(x)",
            one="from two import f as g\ndef f(x): return g(x)",
            two="import three\ndef f(x): return three.f(x)",
            three="def f(x): return x + 1",
        ),
        "three.py",
        "+ 1",
        "+ 2",
    ),
    "alias": (
        project("from utils import clean as c\nd = c\ndef task(x): return d(x)", utils=UTILS),
        "utils.py",
        "x + OFFSET",
        "x",
    ),
    "module in a package under another name": (
        project("import pkg.mod as p\ndef task(x): return p.f(x)", pkg__init_="", pkg__mod="def f(x): return x + 1"),
        "pkg/mod.py",
        "+ 1",
        "+ 2",
    ),
    "attribute chain through a package": (
        project("import pkg.mod\ndef task(x): return pkg.mod.f(x)", pkg__mod="def f(x): return x + 1"),
        "pkg/mod.py",
        "+ 1",
        "+ 2",
    ),
    "re-export": (
        project("import api\ndef task(x): return api.clean(x)", api="from utils import clean", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "star import": (
        project("from utils import *\ndef task(x): return clean(x)", utils=UTILS),
        "utils.py",
        "x + OFFSET",
        "x",
    ),
    "import in the body": (
        project("def task(x):\n    import utils\n    return utils.clean(x)", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "from-import in the body": (
        project("def task(x):\n    from utils import clean as c\n    return c(x)", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "package import in the body": (
        project("def task(x):\n    import pkg.mod\n    return pkg.mod.f(x)", pkg__mod="def f(x): return x + 1"),
        "pkg/mod.py",
        "+ 1",
        "+ 2",
    ),
    "import in the body under another name": (
        project(
            "def task(x):\n    import pkg.mod as m\n    return [m.f(i) for i in x]", pkg__mod="def f(x): return x + 1"
        ),
        "pkg/mod.py",
        "+ 1",
        "+ 2",
    ),
    "import in the body, used in a nested function": (
        project("def task(x):\n    import utils\n    def g(): return utils.clean(x)\n    return g()", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "module imported in the body and passed on": (
        project("def use(m): return m.other(1)\ndef task(x):\n    import utils\n    return use(utils)", utils=UTILS),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "import in the body bound twice": (
        project(
            "def task(x):\n    try:\n        import missing as m\n    except ImportError:\n        import utils as m\n    return m.clean(x)",
            utils=UTILS,
        ),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "relative import in the body": (
        {
            "pipeline.py": "from pkg.mod import f\ntask = f",
            "pkg/__init__.py": "",
            "pkg/mod.py": "def f(x):\n    from .deep import g\n    from . import deep as d\n    return g(x) + d.h()",
            "pkg/deep.py": "def g(x): return x + 1\ndef h(): return 0",
        },
        "pkg/deep.py",
        "return 0",
        "return 1",
    ),
    "missing module that appears": (
        project("def task(x):\n    import late\n    return late.f()", utils=UTILS),
        "late.py",
        None,
        "def f(): return 1",
    ),
    "missing global that appears": (
        project("def task(): return later()"),
        "pipeline.py",
        "def task",
        "def later(): return 1\ndef task",
    ),
    "global that hides a builtin": (
        project("def task(x): return len(x)"),
        "pipeline.py",
        "def task",
        "def len(x): return 1\ndef task",
    ),
    "literal getattr": (
        project('import utils\ndef task(x): return getattr(utils, "clean")(x)', utils=UTILS),
        "utils.py",
        "x + OFFSET",
        "x",
    ),
    "computed getattr": (
        project("import utils\ndef task(x): return getattr(utils, x)(x)", utils=UTILS),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "module passed on": (
        project("import utils\ndef use(m): return m.other(1)\ndef task(): return use(utils)", utils=UTILS),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "vars of a module": (
        project("import utils\ndef task(n): return vars(utils)[n]", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "import_module of a literal": (
        project('import importlib\ndef task(n): return importlib.import_module("utils").clean(n)', utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "import_module of a computed name": (
        project("import importlib, utils\ndef task(n): return importlib.import_module(n)", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "__import__ of a computed name": (
        project("import utils\ndef task(n): return __import__(n)", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "eval of a computed text": (
        project("import utils\ndef task(n): return eval(n)", utils=UTILS),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "eval of a constant text": (
        project('def g(): return 1\ndef task(n): return eval("g() + 1")'),
        "pipeline.py",
        "g(): return 1",
        "g(): return 2",
    ),
    "globals by name": (
        project("def g(): return 1\ndef task(n): return globals()[n]()"),
        "pipeline.py",
        "g(): return 1",
        "g(): return 2",
    ),
    "sys.modules": (
        project("import sys\ndef g(): return 1\ndef task(n): return getattr(sys.modules[__name__], n)()"),
        "pipeline.py",
        "g(): return 1",
        "g(): return 2",
    ),
    "module's __getattr__": (
        project("import lazy\ndef task(): return lazy.thing", lazy="def __getattr__(name): return 1"),
        "lazy.py",
        "return 1",
        "return 2",
    ),
    "dispatch table": (
        project("def f(x): return 1\nTABLE = {'a': [f]}\ndef task(n): return TABLE[n][0](n)"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "recursive dispatch table": (
        project(
            "def f(x): return TABLE['b'](x)\ndef g(x): return 1\nTABLE = {'a': f, 'b': g}\ndef task(n): return TABLE[n](n)"
        ),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "class in a table": (
        project("class A:\n    def run(self): return 1\nTABLE = {'a': A}\ndef task(n): return TABLE[n]().run()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "lambda in a list": (
        project("TABLE = [lambda x: x + 1]\ndef task(n): return TABLE[0](n)"),
        "pipeline.py",
        "x + 1",
        "x + 2",
    ),
    "order of a table": (
        project(
            "def make(n):\n    def f(): return n()\n    return f\nT = [make(lambda: 1), make(lambda: 2)]\ndef task(): return T"
        ),
        "pipeline.py",
        "make(lambda: 1), make(lambda: 2)",
        "make(lambda: 2), make(lambda: 1)",
    ),
    "closure": (
        project("def make(n):\n    def inner(x): return x + n\n    return inner\ntask = make(1)"),
        "pipeline.py",
        "make(1)",
        "make(2)",
    ),
    "closure over a function": (
        project("def make(f):\n    def inner(x): return f(x)\n    return inner\ndef g(x): return 1\ntask = make(g)"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "closures exchanged": (
        project("def make(a, b):\n    def inner(): return a - b\n    return inner\ntask = make(1, 2)"),
        "pipeline.py",
        "make(1, 2)",
        "make(2, 1)",
    ),
    "closure over a module": (
        project(
            "import utils\ndef make(m):\n    def inner(x): return m.clean(x)\n    return inner\ntask = make(utils)",
            utils=UTILS,
        ),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "nested function": (
        project("def task(x):\n    def g(y): return y + 1\n    return g(x)"),
        "pipeline.py",
        "y + 1",
        "y + 2",
    ),
    "which variable a nested function uses": (
        project("def task(a, b):\n    def g(): return a\n    return g(), b"),
        "pipeline.py",
        "g(): return a",
        "g(): return b",
    ),
    "lambda": (project("task = lambda x: x + 1"), "pipeline.py", "+ 1", "+ 2"),
    "generator": (project("def task(x):\n    yield x + 1"), "pipeline.py", "+ 1", "+ 2"),
    "partial's function": (
        project("from functools import partial\ndef f(a, b): return a + b\ntask = partial(f, 1)"),
        "pipeline.py",
        "a + b",
        "a - b",
    ),
    "partial's argument": (
        project("from functools import partial\ndef f(a, b): return a + b\ntask = partial(f, 1)"),
        "pipeline.py",
        "(f, 1)",
        "(f, 2)",
    ),
    "partial's keyword": (
        project("from functools import partial\ndef f(a, b): return a + b\ntask = partial(f, b=1)"),
        "pipeline.py",
        "b=1",
        "b=2",
    ),
    "decorated function": (
        project(
            "from deco import twice\n@twice\ndef g(x): return x + 1\ndef task(x): return g(x)",
            deco="def twice(f):\n    def wrapper(x): return f(x) * 2\n    return wrapper",
        ),
        "pipeline.py",
        "x + 1",
        "x + 2",
    ),
    "decorator": (
        project(
            "from deco import twice\n@twice\ndef task(x): return x + 1",
            deco="def twice(f):\n    def wrapper(x): return f(x) * 2\n    return wrapper",
        ),
        "deco.py",
        "* 2",
        "* 3",
    ),
    "decorator with wraps": (
        project(
            "from deco import twice\n@twice\ndef task(x): return x + 1",
            deco="import functools\ndef twice(f):\n    @functools.wraps(f)\n    def wrapper(x): return f(x) * 2\n    return wrapper",
        ),
        "deco.py",
        "* 2",
        "* 3",
    ),
    "decorator's argument": (
        project(
            "def times(n):\n    def deco(f):\n        def wrapper(x): return f(x) * n\n        return wrapper\n    return deco\n@times(2)\ndef task(x): return x"
        ),
        "pipeline.py",
        "times(2)",
        "times(3)",
    ),
    "decorator class": (
        project(
            "class Twice:\n    def __init__(self, f): self.f = f\n    def __call__(self, x): return self.f(x) * 2\n@Twice\ndef task(x): return x + 1"
        ),
        "pipeline.py",
        "* 2",
        "* 3",
    ),
    "function under a decorator class": (
        project(
            "class Twice:\n    def __init__(self, f): self.f = f\n    def __call__(self, x): return self.f(x) * 2\n@Twice\ndef task(x): return x + 1"
        ),
        "pipeline.py",
        "+ 1",
        "+ 2",
    ),
    "contextmanager": (
        project(
            "from contextlib import contextmanager\n@contextmanager\ndef c(): yield 1\ndef task():\n    with c() as x: return x"
        ),
        "pipeline.py",
        "yield 1",
        "yield 2",
    ),
    "lru_cache": (
        project("from functools import lru_cache\n@lru_cache\ndef f(x): return x + 1\ndef task(x): return f(x)"),
        "pipeline.py",
        "+ 1",
        "+ 2",
    ),
    "singledispatch": (
        project(
            "from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 1\ndef task(x): return f(x)"
        ),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "type of a singledispatch": (
        project(
            "from functools import singledispatch\n@singledispatch\ndef f(x): return 0\n@f.register\ndef _(x: int): return 1\ndef task(x): return f(x)"
        ),
        "pipeline.py",
        "x: int",
        "x: float",
    ),
    "bound method's class": (
        project(
            "class A:\n    def __init__(self): self.n = 1\n    def run(self, x): return x + self.n\ntask = A().run"
        ),
        "pipeline.py",
        "x + self",
        "x - self",
    ),
    "bound method's state": (
        project(
            "class A:\n    def __init__(self, n): self.n = n\n    def run(self, x): return x + self.n\ntask = A(1).run"
        ),
        "pipeline.py",
        "A(1)",
        "A(2)",
    ),
    "class method": (
        project("class A:\n    n = 1\n    @classmethod\n    def run(cls, x): return x + cls.n\ntask = A.run"),
        "pipeline.py",
        "n = 1",
        "n = 2",
    ),
    "callable instance's state": (
        project(
            "class A:\n    def __init__(self, n): self.n = n\n    def __call__(self, x): return x + self.n\ntask = A(1)"
        ),
        "pipeline.py",
        "A(1)",
        "A(2)",
    ),
    "callable instance's class": (
        project(
            "class A:\n    def __init__(self, n): self.n = n\n    def __call__(self, x): return x + self.n\ntask = A(1)"
        ),
        "pipeline.py",
        "x + self",
        "x - self",
    ),
    "instance as a global": (
        project(
            "class A:\n    def __init__(self, n): self.n = n\n    def f(self): return self.n\nA1 = A(1)\ndef task(x): return A1.f()"
        ),
        "pipeline.py",
        "return self.n",
        "return -self.n",
    ),
    "instance inside a global": (
        project("class A:\n    def f(self): return 1\nTABLE = {'a': [A()]}\ndef task(x): return TABLE[x][0].f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "method": (
        project("class A:\n    def f(self): return self.g()\n    def g(self): return 1\ndef task(): return A().f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "property": (
        project("class A:\n    @property\n    def f(self): return 1\ndef task(): return A().f"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "cached property": (
        project(
            "from functools import cached_property\nclass A:\n    @cached_property\n    def f(self): return 1\ndef task(): return A().f"
        ),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "static method": (
        project("class A:\n    @staticmethod\n    def f(): return 1\ndef task(): return A.f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "class attribute": (project("class A:\n    n = 1\ndef task(): return A.n"), "pipeline.py", "n = 1", "n = 2"),
    "base class": (
        project("class B:\n    def f(self): return 1\nclass A(B): pass\ndef task(): return A().f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "base class elsewhere": (
        project(
            "from base import B\nclass A(B): pass\ndef task(): return A().f()",
            base="import utils\nclass B:\n    def f(self): return utils.clean(1)",
            utils=UTILS,
        ),
        "utils.py",
        "OFFSET = 1",
        "OFFSET = 2",
    ),
    "metaclass": (
        project("class M(type):\n    def f(cls): return 1\nclass A(metaclass=M): pass\ndef task(): return A.f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "dataclass field default": (
        project("from dataclasses import dataclass\n@dataclass\nclass A:\n    n: int = 1\ndef task(): return A().n"),
        "pipeline.py",
        "= 1",
        "= 2",
    ),
    "dataclass field factory": (
        project(
            "from dataclasses import dataclass, field\n@dataclass\nclass A:\n    n: list = field(default_factory=lambda: [1])\ndef task(): return A().n"
        ),
        "pipeline.py",
        "[1]",
        "[2]",
    ),
    "dataclass field order": (
        project(
            "from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\n    b: int\ndef task(): return A(1, 2)"
        ),
        "pipeline.py",
        "    a: int\n    b: int\n",
        "    b: int\n    a: int\n",
    ),
    "dataclass annotation": (
        project("from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\ndef task(): return A(1)"),
        "pipeline.py",
        "a: int",
        "a: str",
    ),
    "dataclass annotation, postponed": (
        project(
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\ndef task(): return A(1)"
        ),
        "pipeline.py",
        "a: int",
        "a: str",
    ),
    "dataclass frozen": (
        project(
            "from dataclasses import dataclass\n@dataclass(order=False)\nclass A:\n    a: int\ndef task(): return A(1)"
        ),
        "pipeline.py",
        "order=False",
        "order=True",
    ),
    "dataclass as a global": (
        project(
            "from dataclasses import dataclass\n@dataclass\nclass A:\n    a: int\nC = A(1)\ndef task(): return C.a"
        ),
        "pipeline.py",
        "A(1)",
        "A(2)",
    ),
    "enum value": (
        project("from enum import Enum\nclass E(Enum):\n    A = 1\ndef task(): return E.A.value"),
        "pipeline.py",
        "A = 1",
        "A = 2",
    ),
    "enum order": (
        project("from enum import Enum\nclass E(Enum):\n    A = 1\n    B = 2\ndef task(): return list(E)"),
        "pipeline.py",
        "A = 1\n    B = 2",
        "B = 2\n    A = 1",
    ),
    "enum method": (
        project(
            "from enum import Enum\nclass E(Enum):\n    A = 1\n    def f(self): return 1\ndef task(): return E.A.f()"
        ),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "enum member as a global": (
        project("from enum import Enum\nclass E(Enum):\n    A = 1\n    B = 2\nX = E.A\ndef task(): return X"),
        "pipeline.py",
        "X = E.A",
        "X = E.B",
    ),
    "named tuple": (
        project("from typing import NamedTuple\nclass N(NamedTuple):\n    a: int = 1\ndef task(): return N()"),
        "pipeline.py",
        "= 1",
        "= 2",
    ),
    "collections.namedtuple": (
        project("from collections import namedtuple\nN = namedtuple('N', 'a b')\ndef task(): return N(1, 2)"),
        "pipeline.py",
        "'a b'",
        "'b a'",
    ),
    "class in a function": (
        project("def task():\n    class A:\n        def f(self): return 1\n    return A().f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "mutual recursion": (
        project(
            "def a(n): return b(n - 1) if n else 0\ndef b(n): return a(n - 1) if n else 1\ndef task(n): return a(n)"
        ),
        "pipeline.py",
        "else 1",
        "else 2",
    ),
    "global that is assigned and read elsewhere": (
        project("N = 1\ndef set_n(x):\n    global N\n    N = x\ndef task(x):\n    set_n(x)\n    return 1"),
        "pipeline.py",
        "N = 1",
        "N = 2",
    ),
    "function attribute": (
        project("def f(): return f.n\nf.n = 1\ndef task(): return f()"),
        "pipeline.py",
        "f.n = 1",
        "f.n = 2",
    ),
    "logger's name": (
        project("import logging\nlog = logging.getLogger('a')\ndef task(): log.info('x')"),
        "pipeline.py",
        "'a'",
        "'b'",
    ),
    "regular expression": (
        project("import re\nR = re.compile('a+')\ndef task(x): return R.match(x)"),
        "pipeline.py",
        "a+",
        "b+",
    ),
    "which library function": (
        project("from math import sin as f\ndef task(x): return f(x)"),
        "pipeline.py",
        "sin",
        "cos",
    ),
    "which library": (
        project("import math as m\ndef task(x): return m.sqrt(x)"),
        "pipeline.py",
        "import math",
        "import cmath",
    ),
    "docstring that is read": (
        project('def f():\n    "one"\ndef task(): return f.__doc__'),
        "pipeline.py",
        '"one"',
        '"two"',
    ),
    "docstring read by getattr": (
        project('def f():\n    "one"\ndef task(): return getattr(f, "__doc__")'),
        "pipeline.py",
        '"one"',
        '"two"',
    ),
    "docstring of a class that is read": (
        project('class A:\n    "one"\ndef task(): return A.__doc__'),
        "pipeline.py",
        '"one"',
        '"two"',
    ),
    "annotations that are read": (
        project("import typing\ndef f(x: int): return x\ndef task(): return typing.get_type_hints(f)"),
        "pipeline.py",
        "x: int",
        "x: str",
    ),
    "annotations that a decorator reads later": (
        project(
            "import inspect\ndef deco(f):\n    def wrapper(*a): return inspect.signature(f).bind(*a)\n    return wrapper\n@deco\ndef task(x: int): return x"
        ),
        "pipeline.py",
        "x: int",
        "x: str",
    ),
    "annotations that a decorator has read": (
        project(
            "def deco(f):\n    hints = f.__annotations__\n    def wrapper(*a): return list(hints.values())[0](*a)\n    return wrapper\n@deco\ndef task(x: int): return x"
        ),
        "pipeline.py",
        "x: int",
        "x: str",
    ),
    "global named in a query": (
        project("LIMIT = 3\ndef task(t): return t.query('size > @LIMIT')"),
        "pipeline.py",
        "= 3",
        "= 4",
    ),
    "local named in a query": (
        project("def task(t, n):\n    a = n + 1\n    b = n + 2\n    return t.query('size > @a')"),
        "pipeline.py",
        "    a = n + 1\n    b = n + 2",
        "    b = n + 1\n    a = n + 2",
    ),
    "locals by name": (project("def task():\n    a = 1\n    return locals()"), "pipeline.py", "a = 1", "b = 1"),
    "function's name that is read": (
        project("def f(): pass\ndef g(): pass\nT = [f, g][0]\ndef task(): return T.__name__"),
        "pipeline.py",
        "[f, g][0]",
        "[f, g][1]",
    ),
    "format of a value": (project("def task(x): return f'{x:.2f}'"), "pipeline.py", ".2f", ".3f"),
    "assertion": (project("def task(x):\n    assert x > 1\n    return x"), "pipeline.py", "x > 1", "x > 2"),
    "star in a call": (project("def task(f, x): return f(*x)"), "pipeline.py", "f(*x)", "f(x)"),
    "async": (project("async def task(x):\n    return x"), "pipeline.py", "async def", "def"),
    "match": (
        project("def task(x):\n    match x:\n        case 1: return 2\n        case _: return 3"),
        "pipeline.py",
        "case 1",
        "case 4",
    ),
    "constant set": (project("def task(x): return x in {'a', 'b'}"), "pipeline.py", "'b'", "'c'"),
    "parameter that becomes keyword only": (project("def task(a, b): return a"), "pipeline.py", "a, b", "a, *, b"),
    "decorator removed": (
        project("from functools import cache\n@cache\ndef f(x): return x\ndef task(x): return f(x)"),
        "pipeline.py",
        "@cache\n",
        "",
    ),
    "instance in a default": (
        project("class A:\n    def f(self): return 1\ndef task(a=A()): return a.f()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "function in a default": (
        project("def f(): return 1\ndef task(a=f): return a()"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "operator.methodcaller": (
        project("from operator import itemgetter\nG = itemgetter(1)\ndef task(x): return G(x)"),
        "pipeline.py",
        "itemgetter(1)",
        "itemgetter(2)",
    ),
    "subclass found by __subclasses__": (
        project(
            "class B: pass\nclass A(B):\n    def f(self): return 1\ndef task(): return [c().f() for c in B.__subclasses__()]"
        ),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "random generator": (
        project("import random\nR = random.Random(1)\ndef task(): return R.random()"),
        "pipeline.py",
        "Random(1)",
        "Random(2)",
    ),
    "descriptor": (
        project("class D:\n    def __get__(self, o, t): return 1\nclass A:\n    d = D()\ndef task(): return A().d"),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
}

SAME = {
    "comment": (project(BASE, utils=UTILS), "pipeline.py", "LIMIT = 3", "LIMIT = 3  # three"),
    "comment in the body": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "    return x + 1",
        "    # plus one\n\n    return x + 1",
    ),
    "blank lines": (project(BASE, utils=UTILS), "pipeline.py", "def task", "\n\n\ndef task"),
    "docstring": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "    return x + 1",
        '    """Add one."""\n    return x + 1',
    ),
    "docstring edited": (
        project('def task():\n    "a"\n    return "a"'),
        "pipeline.py",
        '    "a"\n    return',
        '    "b"\n    return',
    ),
    "docstring of a nested function": (
        project('def task():\n    def g():\n        "a"\n        return 1\n    return g()'),
        "pipeline.py",
        '        "a"\n',
        "",
    ),
    "docstring of a class": (
        project('class A:\n    "a"\n    n = 1\ndef task(): return A'),
        "pipeline.py",
        '"a"',
        '"b"',
    ),
    "docstring of a class in a function": (
        project('def task():\n    class A:\n        "a"\n        n = 1\n    return A'),
        "pipeline.py",
        '        "a"\n',
        "",
    ),
    "docstring of a module": (project(BASE, utils=UTILS), "pipeline.py", "import utils", '"Module."\nimport utils'),
    "annotations": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "def helper(x):",
        "def helper(x: int) -> dict[str, list[int]]:",
    ),
    "annotations of the task": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "def task(x, scale=2, *, shift=1):",
        "def task(x: int, scale: int=2, *, shift: float=1) -> float:",
    ),
    "annotations of a nested function": (
        project("def task(a):\n    b = a\n    def g(x=1, *, y=2): return x + b\n    return g(1)"),
        "pipeline.py",
        "g(x=1, *, y=2)",
        "g(x: int = 1, *, y: 'str' = 2) -> float",
    ),
    "computed annotations of a nested function": (
        project("def task(a):\n    b = a\n    def g(x=a.f(1), *, y=2): return x + b\n    return g(1)"),
        "pipeline.py",
        "g(x=a.f(1), *, y=2)",
        "g(x: a.A[int, a.field(gt=3), {**a, 'k': a(*a)}] = a.f(1), *, y: list[a.t(1)] = 2) -> a.b.c(x=1)(2)",
    ),
    "annotation of a local": (project("def task(a):\n    b = a\n    return b"), "pipeline.py", "b = a", "b: int = a"),
    "annotations of a method": (
        project("class A:\n    def f(self, x): return x\ndef task(): return A().f(1)"),
        "pipeline.py",
        "self, x)",
        "self, x: int) -> int",
    ),
    "postponed annotations": (
        project("def task(a):\n    def g(x: int): return x\n    return g(a)"),
        "pipeline.py",
        "def task",
        "from __future__ import annotations\ndef task",
    ),
    "class of an annotation": (
        project("class A:\n    n = 1\ndef task(a: A): return a"),
        "pipeline.py",
        "n = 1",
        "n = 2",
    ),
    "call over several lines": (
        project("def task(f, a, b): return f(a, b, 1)"),
        "pipeline.py",
        "f(a, b, 1)",
        "f(\n    a,\n    b,\n    1,\n)",
    ),
    "statements on one line": (
        project("def task(a):\n    b = a; c = b\n    return c"),
        "pipeline.py",
        "b = a; c = b",
        "b = a\n    c = b",
    ),
    "condition over several lines": (
        project("def task(a, b, c):\n    x = (a and b or not c)\n    if (x and b): return 1\n    return 2"),
        "pipeline.py",
        "(a and b or not c)",
        "(a\n    and b\n    or\n    not c)",
    ),
    "if on one line": (
        project("def task(a):\n    if a: return 1\n    return 2"),
        "pipeline.py",
        "if a: return 1",
        "if a:\n        return 1",
    ),
    "pass": (
        project("def task(a):\n    if a:\n        return 1\n    return 2"),
        "pipeline.py",
        "        return 1\n",
        "        pass\n        return 1\n",
    ),
    "try with pass": (
        project("def task(a):\n    try:\n        a()\n    except KeyError:\n        pass\n    return 2"),
        "pipeline.py",
        "        pass\n",
        "        pass\n        pass\n",
    ),
    "parentheses and quotes": (project("def task(a): return a + 'x'"), "pipeline.py", "a + 'x'", '(a) + ("x")'),
    "renamed local": (
        project("def task(a):\n    b = a + 1\n    return b"),
        "pipeline.py",
        "b = a + 1\n    return b",
        "zeta = a + 1\n    return zeta",
    ),
    "renamed nested function": (
        project("def task(a):\n    def g(): return 1\n    return g()"),
        "pipeline.py",
        "def g(): return 1\n    return g()",
        "def h(): return 1\n    return h()",
    ),
    "renamed closure variables, order exchanged": (
        project("def task(x):\n    a = x\n    b = 2\n    def g(): return a - b\n    return g()"),
        "pipeline.py",
        "a = x\n    b = 2\n    def g(): return a - b",
        "z = x\n    b = 2\n    def g(): return z - b",
    ),
    "renamed loop variable": (
        project("def task(x): return [i for i in x], {k: v for k, v in x}"),
        "pipeline.py",
        "[i for i in x], {k: v for k, v in x}",
        "[j for j in x], {v: k for v, k in x}",
    ),
    "renamed variable around the task": (
        project("def make(n, m):\n    def inner(x): return x + n - m\n    return inner\ntask = make(1, 2)"),
        "pipeline.py",
        "make(n, m):\n    def inner(x): return x + n - m",
        "make(z, m):\n    def inner(x): return x + z - m",
    ),
    "unrelated function": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "def unrelated(x):\n    return x",
        "def unrelated(x):\n    return -x",
    ),
    "unrelated global": (project(BASE, utils=UTILS), "pipeline.py", "TABLE = {", "TABLE = {'z': 9, "),
    "unrelated function in a module used": (
        project("import utils\ndef task(x): return utils.clean(x)", utils=UTILS),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "unrelated function in a module used by literal getattr": (
        project('import utils\ndef task(x): return getattr(utils, "clean")(x)', utils=UTILS),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "unrelated function in a module imported in the body": (
        project("def task(x):\n    import utils as u\n    return u.clean(x)", utils=UTILS),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "unrelated function in a module in a closure": (
        project(
            "import utils\ndef make(m):\n    def inner(x): return m.clean(x)\n    return inner\ntask = make(utils)",
            utils=UTILS,
        ),
        "utils.py",
        "def other(x):\n    return x",
        "def other(x):\n    return -x",
    ),
    "unrelated module": (
        project("import utils, other\ndef task(x): return utils.clean(x)", utils=UTILS, other="N = 1"),
        "other.py",
        "N = 1",
        "N = 2",
    ),
    "added import": (
        project(BASE, utils=UTILS),
        "pipeline.py",
        "import utils",
        "import utils\nimport json, os.path\nfrom math import *",
    ),
    "added import of a local's name": (
        project("def task(v):\n    data = v\n    return data.items()"),
        "pipeline.py",
        "def task",
        "import json as data\ndef task",
    ),
    "order of definitions": (
        project("def a(): return 1\ndef b(): return 2\ndef task(): return a() + b()"),
        "pipeline.py",
        "def a(): return 1\ndef b(): return 2",
        "def b(): return 2\ndef a(): return 1",
    ),
    "renamed local beside an attribute called stack": (
        project("def task(t):\n    a = t.stack()\n    return a.dir"),
        "pipeline.py",
        "a = t.stack()\n    return a",
        "b = t.stack()\n    return b",
    ),
    "unread eval text": (
        project('def h(): return 1\ndef task(n): return eval("1 + 1")'),
        "pipeline.py",
        "return 1",
        "return 2",
    ),
    "annotations under functools.wraps": (
        project(
            "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def wrapper(*a): return f(*a)\n    return wrapper\n@deco\ndef task(x: int): return x"
        ),
        "pipeline.py",
        "x: int",
        "x: str",
    ),
    "docstring under functools.wraps": (
        project(
            "import functools\ndef deco(f):\n    @functools.wraps(f)\n    def wrapper(*a): return f(*a)\n    return wrapper\n@deco\ndef task(x):\n    'a'\n    return x"
        ),
        "pipeline.py",
        "'a'",
        "'b'",
    ),
    "helper moved to another module": (
        {
            "pipeline.py": "from one import f\ndef task(x): return f(x)",
            "one.py": "def f(x): return x + 1",
            "two.py": "def f(x): return x + 1",
        },
        "pipeline.py",
        "from one",
        "from two",
    ),
    "set order": (
        project("S = {'a', 'b', 'c'}\ndef task(): return S"),
        "pipeline.py",
        "'a', 'b', 'c'",
        "'c', 'b', 'a'",
    ),
    "logger's level": (
        project("import logging\nlog = logging.getLogger('x.y')\ndef task(): log.info('x')"),
        "pipeline.py",
        "def task",
        "log.setLevel(10)\ndef task",
    ),
    "line of a lambda": (project("task = lambda x: x + 1"), "pipeline.py", "task", "\n\ntask"),
    "dead code": (
        project("def task(x):\n    return x"),
        "pipeline.py",
        "return x",
        "if 0:\n        return 2\n    return x",
    ),
}


def _after(files, name, old, new):
    changed = dict(files)
    changed[name] = textwrap.dedent(new) if old is None else edited(files[name], old, new)
    return changed


@pytest.mark.parametrize("name", DIFFERENT)
def test_edit_that_changes_the_meaning(loader, name):
    """An edit that changes what the task can do changes its fingerprint."""
    files, *edit = DIFFERENT[name]
    assert loader.load(files).digest != loader.load(_after(files, *edit)).digest


@pytest.mark.parametrize("name", [*DIFFERENT, *SAME])
def test_same_project_in_another_folder(loader, name):
    """A project loaded twice, from two folders, has one fingerprint."""
    files = {**DIFFERENT, **SAME}[name][0]
    assert loader.load(files) == loader.load(files)


@pytest.mark.parametrize("name", SAME)
def test_edit_that_changes_no_meaning(loader, name):
    """An edit that changes nothing that the task can do leaves its fingerprint."""
    files, *edit = SAME[name]
    assert loader.load(files).digest == loader.load(_after(files, *edit)).digest
