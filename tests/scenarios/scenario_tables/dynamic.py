"""Imports that only running the code could tell: then all own modules that are loaded count."""

from __future__ import annotations

from scenario_tables.scenario import Scenario, change

RERUNS = {"f"}
HELPERS = "FACTOR = 2\n\ndef clean(x):\n    return x * FACTOR\n"

SCENARIOS = [
    Scenario(
        "import_module_by_variable",
        """
        from importlib import import_module
        import HERE.helpers

        NAME = "HERE.helpers"

        def f(x):
            return {"y": import_module(NAME).clean(x)}
        """,
        change("helpers.py", "FACTOR = 2", "FACTOR = 3"),
        ran=RERUNS,
        files={"helpers.py": HELPERS},
    ),
]
