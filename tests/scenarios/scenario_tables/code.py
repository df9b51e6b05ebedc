"""One file of code, tried in a module, in the script, in a notebook's cell and in `exec`: its own text and values."""

from __future__ import annotations

from scenario_tables.scenario import Scenario, everywhere

RERUNS = {"f"}

PLAIN = """
    def f(x):
        return {"y": x + 1}
"""

DOCUMENTED = """
    def f(x: int) -> dict:
        "Add one."
        total = x  # a comment
        for step in range(2):
            total += step
        return {"y": total}
"""

HELPER = """
    def helper(x):
        return x * 2

    def f(x):
        return {"y": helper(x)}
"""

MEANING: list[Scenario] = [
    everywhere("constant", PLAIN, ("+ 1", "+ 2"), ran=RERUNS),
    everywhere("operator", PLAIN, ("x + 1", "x - 1"), ran=RERUNS),
    everywhere("type_of_constant", PLAIN, ("+ 1", "+ 1.0"), ran=RERUNS),
    everywhere("true_for_one", PLAIN, ("+ 1", "+ True"), ran=RERUNS),
    everywhere("same_result", PLAIN, ("x + 1", "1 + x"), ran=RERUNS),
    everywhere("string_constant", 'def f(x):\n    return {"y": "a b"}\n', ("a b", "a  b"), ran=RERUNS),
    everywhere("negative_zero", 'def f(x):\n    return {"y": x * 0.0}\n', ("0.0", "-0.0"), ran=RERUNS),
    everywhere("default", 'def f(x, n=1):\n    return {"y": x + n}\n', ("n=1", "n=2"), ran=RERUNS),
    everywhere("keyword_default", 'def f(*, x, n=1):\n    return {"y": x + n}\n', ("n=1", "n=2"), ran=RERUNS),
    everywhere(
        "default_from_global", 'N = 1\n\ndef f(x, n=N):\n    return {"y": x + n}\n', ("N = 1", "N = 2"), ran=RERUNS
    ),
    everywhere("container_in_body", 'def f(x):\n    return {"y": x in {1, 2}}\n', ("{1, 2}", "{1, 3}"), ran=RERUNS),
    everywhere("nested_tuple", 'def f(x):\n    return {"y": (1, (2, x))}\n', ("(2, x)", "(2.0, x)"), ran=RERUNS),
    everywhere("called_method", 'def f(x):\n    return {"y": str(x).upper()}\n', ("upper", "lower"), ran=RERUNS),
    everywhere("called_builtin", 'def f(x):\n    return {"y": min(x, 2)}\n', ("min", "max"), ran=RERUNS),
    everywhere(
        "order_of_statements",
        'def f(x):\n    x += 1\n    x *= 2\n    return {"y": x}\n',
        ("x += 1\n    x *= 2", "x *= 2\n    x += 1"),
        ran=RERUNS,
    ),
    everywhere(
        "handled_exception",
        'def f(x):\n    try:\n        return {"y": [][x]}\n    except IndexError:\n        return {"y": 0}\n',
        ("IndexError", "LookupError"),
        ran=RERUNS,
    ),
    everywhere("global_number", 'N = 1\n\ndef f(x):\n    return {"y": x + N}\n', ("N = 1", "N = 2"), ran=RERUNS),
    everywhere(
        "global_list", 'T = [1, 2]\n\ndef f(x):\n    return {"y": x + len(T)}\n', ("[1, 2]", "[1, 2, 3]"), ran=RERUNS
    ),
    everywhere(
        "global_dict_value", 'T = {"a": 1}\n\ndef f(x):\n    return {"y": T["a"]}\n', ('"a": 1', '"a": 2'), ran=RERUNS
    ),
    everywhere(
        "deep_global", 'T = {"a": [{"b": (1,)}]}\n\ndef f(x):\n    return {"y": T["a"]}\n', ("(1,)", "(2,)"), ran=RERUNS
    ),
    everywhere(
        "mutated_global",
        'T = [1]\nT.append(2)\n\ndef f(x):\n    return {"y": sum(T)}\n',
        ("append(2)", "append(3)"),
        ran=RERUNS,
    ),
    everywhere(
        "global_made_by_a_call",
        'def make():\n    return [1]\n\nT = make()\n\ndef f(x):\n    return {"y": T}\n',
        ("[1]", "[2]"),
        ran=RERUNS,
    ),
    everywhere("global_kind", 'N = 1\n\ndef f(x):\n    return {"y": repr(N)}\n', ("N = 1", "N = True"), ran=RERUNS),
    everywhere(
        "dict_order",
        'T = {"a": 1, "b": 2}\n\ndef f(x):\n    return {"y": list(T)}\n',
        ('"a": 1, "b": 2', '"b": 2, "a": 1'),
        ran=RERUNS,
    ),
    everywhere("helper", HELPER, ("x * 2", "x * 3"), ran=RERUNS),
    everywhere(
        "helper_exchanged", HELPER + "\n    def other(x):\n        return x\n", ("helper(x)}", "other(x)}"), ran=RERUNS
    ),
    everywhere(
        "helper_of_a_helper",
        'def one(x):\n    return x + 1\n\ndef two(x):\n    return one(x)\n\ndef f(x):\n    return {"y": two(x)}\n',
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere(
        "renamed_alias",
        'def one(x):\n    return x + 1\n\nalias = one\n\ndef f(x):\n    return {"y": alias(x)}\n',
        ("x + 1", "x + 2"),
        ran=RERUNS,
    ),
    everywhere(
        "mutual_recursion",
        """
        def even(n):
            return True if n == 0 else odd(n - 1)

        def odd(n):
            return False if n == 0 else even(n - 1)

        def f(x):
            return {"y": even(x)}
        """,
        ("return False if", "return None if"),
        ran=RERUNS,
    ),
    everywhere(
        "self_recursion",
        'def g(n):\n    return 1 if n < 2 else n * g(n - 1)\n\ndef f(x):\n    return {"y": g(x)}\n',
        ("n < 2", "n < 3"),
        ran=RERUNS,
    ),
    everywhere(
        "import_inside", 'def f(x):\n    import math\n    return {"y": math.floor(x)}\n', ("floor", "ceil"), ran=RERUNS
    ),
    everywhere("walrus", 'def f(x):\n    return {"y": (z := x) + z}\n', ("+ z", "* z"), ran=RERUNS),
    everywhere(
        "parameter_name", 'def f(x, *, n=1):\n    return {"y": x + n}\n', ("n=1", "m=1"), ("x + n", "x + m"), ran=RERUNS
    ),
    everywhere("f_string", 'def f(x):\n    return {"y": f"{x:>5}"}\n', (":>5", ":<5"), ran=RERUNS),
    everywhere(
        "global_statement",
        'N = 1\n\ndef f(x):\n    global N\n    N += x\n    return {"y": N}\n',
        ("N = 1", "N = 5"),
        ran=RERUNS,
    ),
    everywhere(
        "match_statement",
        'def f(x):\n    match x:\n        case 3:\n            return {"y": 1}\n    return {"y": 2}\n',
        ("case 3", "case 4"),
        ran=RERUNS,
    ),
    everywhere(
        "comprehension", 'def f(x):\n    return {"y": [i for i in range(x) if i % 2]}\n', ("% 2", "% 3"), ran=RERUNS
    ),
    everywhere(
        "docstring_that_is_used",
        'def helper():\n    "One."\n\ndef f(x):\n    return {"y": helper.__doc__}\n',
        ("One.", "Two."),
        ran=RERUNS,
    ),
    everywhere(
        "annotation_that_is_used",
        'def helper(a: int):\n    return a\n\ndef f(x):\n    return {"y": str(helper.__annotations__)}\n',
        ("a: int", "a: str"),
        ran=RERUNS,
    ),
    everywhere(
        "local_name_that_is_used",
        'def f(x):\n    total = x\n    return {"y": sorted(locals())}\n',
        ("total", "result"),
        ran=RERUNS,
    ),
]

NO_MEANING: list[Scenario] = [
    everywhere("comment", DOCUMENTED, ("# a comment", "# another")),
    everywhere("comment_gone", DOCUMENTED, ("  # a comment", "")),
    everywhere("docstring", DOCUMENTED, ("Add one.", "Add two.")),
    everywhere("docstring_gone", DOCUMENTED, ('"Add one."\n    ', "")),
    everywhere("docstring_added", PLAIN, ("def f(x):\n", 'def f(x):\n    "Says what it does."\n')),
    everywhere("annotation", DOCUMENTED, ("x: int", "x: float")),
    everywhere("annotation_gone", DOCUMENTED, ("x: int) -> dict", "x)")),
    everywhere("local_annotation", DOCUMENTED, ("total = x ", "total: int = x ")),
    everywhere("formatting", DOCUMENTED, ("total += step", "total  +=  (step)")),
    everywhere("several_lines", PLAIN, ("x + 1", "(\n        x\n        + 1\n    )")),
    everywhere("quotes", PLAIN, ('"y"', "'y'")),
    everywhere("trailing_comma", PLAIN, ("x + 1}", "x + 1,}")),
    everywhere("blank_lines", DOCUMENTED, ("def f", "\n\n\n\ndef f")),
    everywhere(
        "renamed_local",
        DOCUMENTED,
        ("total = x", "result = x"),
        ("total += step", "result += step"),
        ('y": total', 'y": result'),
    ),
    everywhere("renamed_loop_variable", DOCUMENTED, ("for step", "for each"), ("+= step", "+= each")),
    everywhere("number_written_otherwise", 'def f(x):\n    return {"y": x + 1000}\n', ("1000", "1_000")),
    everywhere("string_written_otherwise", 'def f(x):\n    return {"y": "ab"}\n', ('"ab"', '"a" "b"')),
    everywhere("unrelated_function", PLAIN, ("def f", "def unrelated():\n    return 5\n\ndef f")),
    everywhere(
        "unrelated_function_edited", HELPER + "\n    def other(x):\n        return x\n", ("return x\n", "return 7\n")
    ),
    everywhere("unrelated_global", "N = 1\n\n" + 'def f(x):\n    return {"y": x}\n', ("N = 1", "N = 2")),
    everywhere("added_import", PLAIN, ("def f", "import math\n\ndef f")),
    everywhere("removed_import", "import math\n\n" + 'def f(x):\n    return {"y": x}\n', ("import math\n", "")),
    everywhere(
        "order_of_definitions",
        HELPER + "\n    def other(x):\n        return x\n",
        ("def helper", "def more():\n    pass\n\ndef helper"),
    ),
    everywhere("helper_comment", HELPER, ("return x * 2", "return x * 2  # twice")),
    everywhere("helper_docstring", HELPER, ("    return x * 2", '    "Twice."\n    return x * 2')),
    everywhere("helper_annotation", HELPER, ("helper(x):", "helper(x: float) -> float:")),
    everywhere(
        "set_order",
        'S = {"a", "b", "c"}\n\ndef f(x):\n    return {"y": sorted(S)}\n',
        ('"a", "b", "c"', '"c", "b", "a"'),
    ),
    everywhere(
        "global_made_otherwise", 'T = [1, 2]\n\ndef f(x):\n    return {"y": T}\n', ("[1, 2]", "list(range(1, 3))")
    ),
    everywhere("same_global_value", 'N = 4\n\ndef f(x):\n    return {"y": N}\n', ("N = 4", "N = 2 + 2")),
    everywhere("code_after", PLAIN, ('{"y": x + 1}\n', '{"y": x + 1}\n\nEND = 1\n')),
    everywhere("type_comment", PLAIN, ("def f(x):\n", "def f(x):  # type: (int) -> dict\n")),
    everywhere(
        "renamed_comprehension_variable",
        'def f(x):\n    return {"y": [i for i in range(x)]}\n',
        ("[i for i", "[j for j"),
    ),
    everywhere(
        "unused_helper_of_a_helper",
        HELPER + "\n    def extra(x):\n        return helper(x)\n",
        ("return helper(x)\n", "return -helper(x)\n"),
    ),
    everywhere("pass_in_body", PLAIN, ("def f(x):\n", "def f(x):\n    pass\n")),
]

SCENARIOS = MEANING + NO_MEANING
