"""What is called though it is no plain function: closures, partials, decorators, callable instances, tables."""

from __future__ import annotations

from scenario_tables.scenario import Scenario, change, everywhere

RERUNS = {"f"}

DECORATOR = """
    from functools import wraps

    def twice(function):
        "Call it twice."

        @wraps(function)
        def wrapper(*args, **kwargs):
            function(*args, **kwargs)
            return function(*args, **kwargs)

        return wrapper

    @twice
    def f(x):
        return {"y": x + 1}
"""

PARAMETRIZED = """
    def add(n):
        def decorate(function):
            def wrapper(x):
                return {"y": function(x)["y"] + n}

            return wrapper

        return decorate

    @add(1)
    def f(x):
        return {"y": x}
"""

CLOSURE = """
    def make(n):
        unused = 1

        def inner(x):
            return x + n

        return inner

    g = make(5)

    def f(x):
        return {"y": g(x)}
"""

CALLABLE = """
    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            return {"y": x + self.n}

    f = Adder(1)
"""

BOUND = """
    class Adder:
        def __init__(self, n):
            self.n = n

        def add(self, x):
            return {"y": x + self.n}

        def other(self):
            return 1

    f = Adder(1).add
"""

PARTIAL = """
    from functools import partial

    def add(a, x, b=0):
        return {"y": x + a + b}

    f = partial(add, 1, b=2)
"""

TABLE = """
    def one(x):
        return x + 1

    def two(x):
        return x + 2

    def three(x):
        return x + 3

    TABLE = {"one": one, "two": two}

    def f(x):
        return {"y": TABLE["one"](x)}
"""

EXEC = """
    namespace = {}
    exec("def g(x):\\n    return x + 1\\n", namespace)
    g = namespace["g"]

    def f(x):
        return {"y": g(x)}
"""

SCENARIOS = [
    everywhere("decorated", DECORATOR, ("x + 1", "x + 2"), ran=RERUNS),
    everywhere(
        "decorator",
        DECORATOR,
        ("return function(*args, **kwargs)", "return dict(function(*args, **kwargs), y=0)"),
        ran=RERUNS,
    ),
    everywhere("decorator_comment", DECORATOR, ("return wrapper", "return wrapper  # done")),
    everywhere("decorator_docstring", DECORATOR, ("Call it twice.", "Call it two times.")),
    everywhere("decorator_gone", DECORATOR, ("@twice\n", ""), ran=RERUNS),
    everywhere("decorator_argument", PARAMETRIZED, ("@add(1)", "@add(2)"), ran=RERUNS),
    everywhere("decorator_with_argument_edited", PARAMETRIZED, ('["y"] + n', '["y"] - n'), ran=RERUNS),
    everywhere("closure_value", CLOSURE, ("make(5)", "make(6)"), ran=RERUNS),
    everywhere("closure_code", CLOSURE, ("x + n", "x - n"), ran=RERUNS),
    everywhere("closure_maker_beside", CLOSURE, ("unused = 1", "unused = 2")),
    everywhere("closure_variable_made_otherwise", CLOSURE, ("make(5)", "make(2 + 3)")),
    everywhere(
        "nested_function",
        "def f(x):\n    def g(n):\n        return n + 1\n    return {'y': g(x)}\n",
        ("n + 1", "n + 2"),
        ran=RERUNS,
    ),
    everywhere(
        "nested_function_comment",
        "def f(x):\n    def g(n):\n        return n + 1\n    return {'y': g(x)}\n",
        ("n + 1", "n + 1  # one"),
    ),
    everywhere("lambda_function", "f = lambda x: {'y': x + 1}\n", ("x + 1", "x + 2"), ran=RERUNS),
    everywhere("lambda_comment", "f = lambda x: {'y': x + 1}\n", ("1}", "1}  # one")),
    everywhere("two_lambdas_on_a_line", "f, g = lambda x: {'y': x}, lambda x: 0\n", ("lambda x: 0", "lambda x: 1")),
    everywhere(
        "lambda_as_key", "def f(x):\n    return {'y': sorted([x, 1], key=lambda n: n)}\n", ("n: n", "n: -n"), ran=RERUNS
    ),
    everywhere(
        "generator",
        "def count(n):\n    for i in range(n):\n        yield i\n\ndef f(x):\n    return {'y': list(count(x))}\n",
        ("yield i", "yield i + 1"),
        ran=RERUNS,
    ),
    everywhere(
        "generator_expression",
        "def f(x):\n    return {'y': sum(i for i in range(x))}\n",
        ("(i for", "(-i for"),
        ran=RERUNS,
    ),
    everywhere(
        "coroutine",
        "import asyncio\n\nasync def g(x):\n    return x + 1\n\ndef f(x):\n    return {'y': asyncio.run(g(x))}\n",
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere("partial_argument", PARTIAL, ("add, 1", "add, 2"), ran=RERUNS),
    everywhere("partial_keyword", PARTIAL, ("b=2)", "b=3)"), ran=RERUNS),
    everywhere("partial_function", PARTIAL, ("x + a + b", "x + a - b"), ran=RERUNS),
    everywhere("partial_comment", PARTIAL, ("b=2)", "b=2)  # two")),
    everywhere(
        "lru_cached_helper",
        "from functools import lru_cache\n\n@lru_cache\ndef g(x):\n    return x + 1\n\ndef f(x):\n    return {'y': g(x)}\n",
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere(
        "lru_cached_task",
        "from functools import lru_cache\n\n@lru_cache(maxsize=None)\ndef f(x):\n    return {'y': x + 1}\n",
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere(
        "lru_cached_comment",
        "from functools import lru_cache\n\n@lru_cache\ndef g(x):\n    return x + 1\n\ndef f(x):\n    return {'y': g(x)}\n",
        ("x + 1", "x + 1  # more"),
    ),
    everywhere("callable_state", CALLABLE, ("Adder(1)", "Adder(2)"), ran=RERUNS),
    everywhere("callable_code", CALLABLE, ("x + self.n", "x - self.n"), ran=RERUNS),
    everywhere("callable_comment", CALLABLE, ("self.n = n", "self.n = n  # kept")),
    everywhere("bound_method_state", BOUND, ("Adder(1)", "Adder(2)"), ran=RERUNS),
    everywhere("bound_method_code", BOUND, ("x + self.n", "x - self.n"), ran=RERUNS),
    everywhere("bound_method_docstring", BOUND, ("    def add(self, x):\n", '    def add(self, x):\n        "Add."\n')),
    everywhere("table_entry_code", TABLE, ("x + 1", "x + 10"), ran=RERUNS),
    everywhere("table_other_entry_code", TABLE, ("x + 2", "x + 20"), ran=RERUNS),
    everywhere("table_entry_exchanged", TABLE, ('"one": one', '"one": three'), ran=RERUNS),
    everywhere("function_beside_the_table", TABLE, ("x + 3", "x + 30")),
    everywhere(
        "list_of_functions",
        "def a(x):\n    return 1\n\nSTEPS = [a]\n\ndef f(x):\n    return {'y': [s(x) for s in STEPS]}\n",
        ("return 1", "return 2"),
        ran=RERUNS,
    ),
    everywhere(
        "function_as_default",
        "def g(x):\n    return x + 1\n\ndef f(x, h=g):\n    return {'y': h(x)}\n",
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere(
        "map_over_a_helper",
        "def g(x):\n    return x + 1\n\ndef f(x):\n    return {'y': list(map(g, [x]))}\n",
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere("made_by_exec", EXEC, ("return x + 1", "return x + 2"), ran=RERUNS),
    everywhere(
        "function_attribute",
        "def g():\n    return g.n\n\ng.n = 1\n\ndef f(x):\n    return {'y': g()}\n",
        ("g.n = 1", "g.n = 2"),
        ran=RERUNS,
    ),
    everywhere(
        "single_dispatch",
        """
        from functools import singledispatch

        @singledispatch
        def show(x):
            return "other"

        @show.register
        def _(x: int):
            return "int"

        def f(x):
            return {"y": show(x)}
        """,
        ('return "int"', 'return "whole"'),
        ran=RERUNS,
    ),
    everywhere(
        "context_manager",
        """
        from contextlib import contextmanager

        @contextmanager
        def given():
            yield 1

        def f(x):
            with given() as n:
                return {"y": n}
        """,
        ("yield 1", "yield 2"),
        ran=RERUNS,
    ),
    everywhere(
        "cached_property",
        "from functools import cached_property\n\nclass P:\n    @cached_property\n    def n(self):\n        return 1\n\ndef f(x):\n    return {'y': P().n}\n",
        ("return 1", "return 2"),
        ran=RERUNS,
    ),
    everywhere(
        "reduce_with_helper",
        "from functools import reduce\n\ndef g(a, b):\n    return a + b\n\ndef f(x):\n    return {'y': reduce(g, [x, 2])}\n",
        ("a + b", "a * b"),
        ran=RERUNS,
    ),
    Scenario(
        "decorator_in_another_module",
        "from HERE.decorators import plus\n\n@plus\ndef f(x):\n    return {'y': x}\n",
        change("decorators.py", "+ 1", "+ 2"),
        ran=RERUNS,
        files={
            "decorators.py": """
            from functools import wraps

            def plus(function):
                @wraps(function)
                def wrapper(x):
                    return {"y": function(x)["y"] + 1}

                return wrapper
            """
        },
    ),
    Scenario(
        "closure_over_a_function_elsewhere",
        "from HERE.makers import make\n\ng = make(2)\n\ndef f(x):\n    return {'y': g(x)}\n",
        change("makers.py", "n * 2", "n * 3"),
        ran=RERUNS,
        files={
            "makers.py": """
            def double(n):
                return n * 2

            def make(n):
                def inner(x):
                    return double(x) + n

                return inner
            """
        },
    ),
    Scenario(
        "version_forces",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        tasks = [FunctionTask("HERE.f", f, {}, {"y": None}, version="1")]
        """,
        (('version="1"', 'version="2"'),),
        ran=RERUNS,
        reason="version changed",
    ),
    Scenario(
        "version_given_for_the_first_time",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        tasks = [FunctionTask("HERE.f", f, {}, {"y": None})]
        """,
        (('{"y": None}', '{"y": None}, version="1"'),),
        ran=RERUNS,
    ),
    Scenario(
        "ignored_input",
        """
        from dagger.core import FunctionTask, MemoryDatum

        def f(x, verbose):
            return {"y": x}

        given = {"x": MemoryDatum(pointer=1), "verbose": MemoryDatum(pointer=False)}
        tasks = [FunctionTask("HERE.f", f, given, {"y": None}, ignore=["verbose"])]
        """,
        (("pointer=False", "pointer=True"),),
    ),
    Scenario(
        "input_beside_an_ignored_one",
        """
        from dagger.core import FunctionTask, MemoryDatum

        def f(x, verbose):
            return {"y": x}

        given = {"x": MemoryDatum(pointer=1), "verbose": MemoryDatum(pointer=False)}
        tasks = [FunctionTask("HERE.f", f, given, {"y": None}, ignore=["verbose"])]
        """,
        (("pointer=1", "pointer=2"),),
        ran=RERUNS,
        reason="input changed: x",
    ),
    Scenario(
        "retries_timeout_and_resources_do_not_count",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        tasks = [FunctionTask("HERE.f", f, {}, {"y": None}, resources={"gpu": 1}, retries=0, timeout=60)]
        """,
        (('{"gpu": 1}, retries=0, timeout=60', '{"gpu": 2}, retries=1, timeout=50'),),
    ),
    Scenario(
        "renamed_task",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        tasks = [FunctionTask("HERE.f", f, {}, {"y": None})]
        """,
        (('"HERE.f"', '"HERE.g"'),),
        ran={"g"},
    ),
    Scenario(
        "not_cached",
        """
        from dagger.core import FunctionTask

        def f():
            return {"y": 1}

        tasks = [FunctionTask("HERE.f", f, {}, {"y": None}, cache=False)]
        """,
        (("return", "return "),),
        ran=RERUNS,
        always=RERUNS,
    ),
]
