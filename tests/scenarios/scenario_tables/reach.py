"""Code in several files: how a function's reach goes through modules, and where it ends."""

from __future__ import annotations

from scenario_tables.scenario import Scenario, both, change, remove, write

RERUNS = {"f"}

HELPERS = """
    FACTOR = 2

    def clean(x):
        return x * FACTOR

    def other(x):
        return x - 1

    class Tool:
        size = 1
"""


def _reached(name: str, imports: str, call: str, *, reason: str = "code changed: HERE.helpers.FACTOR") -> Scenario:
    """Return a scenario in which the global of a helper in another module is edited."""
    source = f'{imports}\n\ndef f(x):\n    return {{"y": {call}}}\n'
    edit = change("helpers.py", "FACTOR = 2", "FACTOR = 3")
    return Scenario(name, source, edit, ran=RERUNS, files={"helpers.py": HELPERS}, reason=reason)


def _not_reached(name: str, imports: str, call: str) -> Scenario:
    """Return a scenario in which another function of the same module is edited."""
    source = f'{imports}\n\ndef f(x):\n    return {{"y": {call}}}\n'
    return Scenario(name, source, change("helpers.py", "x - 1", "x - 2"), files={"helpers.py": HELPERS})


IMPORTS = {
    "from_import": ("from HERE.helpers import clean", "clean(x)"),
    "from_import_as": ("from HERE.helpers import clean as tidy", "tidy(x)"),
    "import_as": ("import HERE.helpers as p", "p.clean(x)"),
    "import_dotted": ("import HERE.helpers", "HERE.helpers.clean(x)"),
    "import_from_package": ("from HERE import helpers", "helpers.clean(x)"),
    "import_relative": ("from . import helpers", "helpers.clean(x)"),
    "import_relative_as": ("from .helpers import clean as tidy", "tidy(x)"),
    "module_alias": ("from . import helpers\n\nh = helpers", "h.clean(x)"),
    "getattr_literal": ("from . import helpers", 'getattr(helpers, "clean")(x)'),
    "getattr_with_default": ("from . import helpers", 'getattr(helpers, "clean", None)(x)'),
    "function_alias": ("from . import helpers\n\ntidy = helpers.clean", "tidy(x)"),
    "table_of_functions": ("from . import helpers\n\nTABLE = {'c': helpers.clean}", "TABLE['c'](x)"),
}

THROUGH_IMPORTS = [_reached(name, *way) for name, way in IMPORTS.items()]
BESIDE_IMPORTS = [_not_reached(f"{name}_other_function", *way) for name, way in IMPORTS.items()]

DEEP = {
    "one.py": "from HERE.two import second\n\ndef first(x):\n    return second(x) + 1\n",
    "two.py": "from HERE import three\n\ndef second(x):\n    return three.third(x) * 2\n",
    "three.py": "LIMIT = 5\n\ndef third(x):\n    return min(x, LIMIT)\n\ndef unused(x):\n    return x\n",
}
USES_DEEP = 'from HERE.one import first\n\ndef f(x):\n    return {"y": first(x)}\n'

PACKAGE = {
    "pkg/__init__.py": "from .inner import clean\n\nVERSION = 1\n",
    "pkg/inner.py": "def clean(x):\n    return x + 1\n",
    "pkg/mod.py": "def g(x):\n    return x * 5\n\ndef h(x):\n    return x\n",
}

OTHERS = [
    Scenario(
        "three_modules_deep_function",
        USES_DEEP,
        change("three.py", "min(x, LIMIT)", "max(x, LIMIT)"),
        ran=RERUNS,
        files=DEEP,
        reason="code changed: HERE.three.third",
    ),
    Scenario(
        "three_modules_deep_value",
        USES_DEEP,
        change("three.py", "LIMIT = 5", "LIMIT = 2"),
        ran=RERUNS,
        files=DEEP,
        reason="code changed: HERE.three.LIMIT",
    ),
    Scenario("three_modules_deep_unused", USES_DEEP, change("three.py", "return x\n", "return -x\n"), files=DEEP),
    Scenario("three_modules_deep_comment", USES_DEEP, change("three.py", "LIMIT = 5", "LIMIT = 5  # five"), files=DEEP),
    Scenario(
        "import_pkg_mod_as",
        'import HERE.pkg.mod as p\n\ndef f(x):\n    return {"y": p.g(x)}\n',
        change("pkg/mod.py", "x * 5", "x * 6"),
        ran=RERUNS,
        files=PACKAGE,
    ),
    Scenario(
        "import_pkg_mod_as_other_function",
        'import HERE.pkg.mod as p\n\ndef f(x):\n    return {"y": p.g(x)}\n',
        change("pkg/mod.py", "return x\n", "return 0\n"),
        files=PACKAGE,
    ),
    Scenario(
        "long_attribute_chain",
        'import HERE.pkg.mod\n\ndef f(x):\n    return {"y": HERE.pkg.mod.g(x)}\n',
        change("pkg/mod.py", "x * 5", "x * 6"),
        ran=RERUNS,
        files=PACKAGE,
    ),
    Scenario(
        "long_attribute_chain_other_module",
        'import HERE.pkg.mod\n\ndef f(x):\n    return {"y": HERE.pkg.mod.g(x)}\n',
        change("pkg/inner.py", "x + 1", "x + 2"),
        files=PACKAGE,
    ),
    Scenario(
        "re_export",
        'from HERE.pkg import clean\n\ndef f(x):\n    return {"y": clean(x)}\n',
        change("pkg/inner.py", "x + 1", "x + 2"),
        ran=RERUNS,
        files=PACKAGE,
        reason="code changed: HERE.pkg.inner.clean",
    ),
    Scenario(
        "re_export_through_module",
        'from HERE import pkg\n\ndef f(x):\n    return {"y": pkg.clean(x)}\n',
        change("pkg/inner.py", "x + 1", "x + 2"),
        ran=RERUNS,
        files=PACKAGE,
    ),
    Scenario(
        "package_value_beside",
        'from HERE import pkg\n\ndef f(x):\n    return {"y": pkg.clean(x)}\n',
        change("pkg/__init__.py", "VERSION = 1", "VERSION = 2"),
        files=PACKAGE,
    ),
    Scenario(
        "star_import",
        'from HERE.helpers import *\n\ndef f(x):\n    return {"y": clean(x)}\n',
        change("helpers.py", "FACTOR = 2", "FACTOR = 3"),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "star_import_other_function",
        'from HERE.helpers import *\n\ndef f(x):\n    return {"y": clean(x)}\n',
        change("helpers.py", "x - 1", "x - 2"),
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "module_value",
        'from HERE import helpers\n\ndef f(x):\n    return {"y": helpers.FACTOR}\n',
        change("helpers.py", "FACTOR = 2", "FACTOR = 3"),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "moved_to_another_module",
        'from HERE.helpers import clean\n\ndef f(x):\n    return {"y": clean(x)}\n',
        both(
            write("more.py", "def clean(x):\n    return x * 7\n"),
            change("steps.py", "HERE.helpers", "HERE.more"),
        ),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "import_in_body",
        'def f(x):\n    from HERE.helpers import clean\n    return {"y": clean(x)}\n',
        change("helpers.py", "FACTOR = 2", "FACTOR = 3"),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "import_module_in_body",
        'def f(x):\n    import HERE.helpers as p\n    return {"y": p.clean(x)}\n',
        change("helpers.py", "FACTOR = 2", "FACTOR = 3"),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "import_in_body_comment",
        'def f(x):\n    from HERE.helpers import clean\n    return {"y": clean(x)}\n',
        change("helpers.py", "FACTOR = 2", "FACTOR = 2  # twice"),
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "import_module_literal",
        """
        from importlib import import_module

        def f(x):
            return {"y": import_module("HERE.helpers").clean(x)}
        """,
        change("helpers.py", "FACTOR = 2", "FACTOR = 3"),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "cyclic_imports",
        'from HERE.one import a\n\ndef f(x):\n    return {"y": a(x)}\n',
        change("two.py", "x + 1", "x + 2"),
        ran=RERUNS,
        files={
            "one.py": "from HERE import two\n\ndef a(x):\n    return two.b(x) if x else 0\n\ndef stop(x):\n    return x\n",
            "two.py": "from HERE import one\n\ndef b(x):\n    return one.stop(x + 1)\n",
        },
    ),
    Scenario(
        "unrelated_module",
        'from HERE import helpers, more\n\ndef f(x):\n    return {"y": helpers.clean(x)}\n',
        change("more.py", "N = 1", "N = 2"),
        files={"helpers.py": HELPERS, "more.py": "N = 1\n"},
    ),
    Scenario(
        "module_reformatted",
        'from HERE import helpers\n\ndef f(x):\n    return {"y": helpers.clean(x)}\n',
        change("helpers.py", "def clean", "\n\n\n# about clean\ndef clean"),
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "table_loaded_from_a_file",
        """
        import json, os

        with open(os.path.join(os.path.dirname(__file__), "table.json")) as file:
            TABLE = json.load(file)

        def f(x):
            return {"y": TABLE["a"]}
        """,
        write("table.json", '{"a": 2}'),
        ran=RERUNS,
        files={"table.json": '{"a": 1}'},
        reason="code changed: HERE.steps.TABLE",
    ),
    Scenario(
        "table_loaded_from_a_file_reformatted",
        """
        import json, os

        with open(os.path.join(os.path.dirname(__file__), "table.json")) as file:
            TABLE = json.load(file)

        def f(x):
            return {"y": TABLE["a"]}
        """,
        write("table.json", '{ "a" : 1 }'),
        files={"table.json": '{"a": 1}'},
    ),
    Scenario(
        "fallback_import",
        """
        try:
            from HERE.extra import g
        except ImportError:
            def g(x):
                return 0

        def f(x):
            return {"y": g(x)}
        """,
        remove("extra.py"),
        ran=RERUNS,
        files={"extra.py": "def g(x):\n    return 1\n"},
    ),
    Scenario(
        "own_module_of_a_librarys_name",
        'from HERE import types\n\ndef f(x):\n    return {"y": types.g(x)}\n',
        change("types.py", "x + 1", "x + 2"),
        ran=RERUNS,
        files={"types.py": "def g(x):\n    return x + 1\n"},
    ),
    Scenario(
        "only_what_uses_it",
        """
        from dagger.core import FunctionTask, MemoryDatum
        from HERE import helpers

        def one(x):
            return {"y": helpers.clean(x)}

        def two(x):
            return {"y": helpers.other(x)}

        def join(a, b):
            return {"y": a + b}

        a = FunctionTask("HERE.one", one, {"x": MemoryDatum(pointer=1)}, {"y": None})
        b = FunctionTask("HERE.two", two, {"x": MemoryDatum(pointer=1)}, {"y": None})
        tasks = [FunctionTask("HERE.join", join, {"a": a["y"], "b": b["y"]}, {"y": None})]
        """,
        change("helpers.py", "x - 1", "x - 2"),
        ran={"two", "join"},
        files={"helpers.py": HELPERS},
    ),
    Scenario(
        "early_cutoff",
        """
        from dagger.core import FunctionTask, MemoryDatum
        from HERE import helpers

        def one(x):
            return {"y": helpers.clean(x)}

        def two(y):
            return {"z": y}

        a = FunctionTask("HERE.one", one, {"x": MemoryDatum(pointer=1)}, {"y": None})
        tasks = [FunctionTask("HERE.two", two, {"y": a["y"]}, {"z": None})]
        """,
        change("helpers.py", "x * FACTOR", "FACTOR * x"),
        ran={"one"},
        files={"helpers.py": HELPERS},
    ),
]

SCENARIOS = THROUGH_IMPORTS + BESIDE_IMPORTS + OTHERS
