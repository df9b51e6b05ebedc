"""Installed distributions count by version, and only where a function reaches them."""

from __future__ import annotations

import shutil
from pathlib import Path

from scenario_tables.scenario import Edit, Scenario, both, change

RERUNS = {"f"}


def _install(version: str, *, suffix: str = "lib", code: str | None = None, requires: str = "") -> Edit:
    """Install a distribution beside the scenario's folder, in place of the version that is there."""

    def edit(folder: Path) -> None:
        site = folder.parent / "site-packages"
        name = f"{folder.name}_{suffix}"
        (site / name).mkdir(parents=True, exist_ok=True)
        text = code if code is not None else f'VERSION = "{version}"\n\ndef number():\n    return VERSION\n'
        (site / name / "__init__.py").write_text(text)
        for old in site.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        required = f"Requires-Dist: {requires.replace('HERE', folder.name)}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}")
        (info / "RECORD").write_text(f"{name}/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")

    return edit


USES = 'import HERE_lib\n\ndef f(x):\n    return {"y": HERE_lib.number()}\n'
UPGRADED = "package changed: HERE_lib (1.0 → 1.1)"


def _reached(name: str, source: str, **options: object) -> Scenario:
    given: dict[str, object] = {"reason": UPGRADED, "setup": _install("1.0"), **options}
    return Scenario(name, source, _install("1.1"), ran=RERUNS, **given)  # type: ignore[arg-type]


SCENARIOS = [
    _reached("upgraded", USES),
    _reached("upgraded_from_import", 'from HERE_lib import number\n\ndef f(x):\n    return {"y": number()}\n'),
    _reached("upgraded_import_as", 'import HERE_lib as lib\n\ndef f(x):\n    return {"y": lib.number()}\n'),
    _reached("upgraded_in_the_body", 'def f(x):\n    import HERE_lib\n    return {"y": HERE_lib.number()}\n'),
    _reached("upgraded_as_default", 'from HERE_lib import number\n\ndef f(x, g=number):\n    return {"y": g()}\n'),
    _reached(
        "upgraded_below_a_helper",
        'from HERE.helpers import g\n\ndef f(x):\n    return {"y": g()}\n',
        files={"helpers.py": "import HERE_lib\n\ndef g():\n    return HERE_lib.number()\n"},
    ),
    Scenario(
        "upgraded_base_class",
        'from HERE_lib import Base\n\nclass P(Base):\n    pass\n\ndef f(x):\n    return {"y": P().n}\n',
        _install("1.1", code="class Base:\n    n = 2\n"),
        ran=RERUNS,
        setup=_install("1.0", code="class Base:\n    n = 1\n"),
        reason=UPGRADED,
    ),
    Scenario("downgraded", USES, _install("0.9"), ran=RERUNS, setup=_install("1.0"), reason="HERE_lib (1.0 → 0.9)"),
    Scenario("installed_again", USES, _install("1.0"), setup=_install("1.0")),
    Scenario(
        "upgraded_but_not_reached",
        'import HERE_lib\n\ndef f(x):\n    return {"y": x}\n\ndef g():\n    return HERE_lib.number()\n',
        _install("1.1"),
        setup=_install("1.0"),
    ),
    Scenario(
        "edited_under_its_version",
        USES,
        _install("1.0", code='def number():\n    return "1.0"  # from a branch\n'),
        setup=_install("1.0"),
    ),
    Scenario(
        "required_one_upgraded",
        USES,
        _install("2.1", suffix="deep", code="N = 1\n"),
        ran=RERUNS,
        setup=both(
            _install("2.0", suffix="deep", code="N = 1\n"),
            _install("1.0", requires="HERE_deep>=1; python_version > '3'"),
        ),
        reason="package changed: HERE_deep (2.0 → 2.1)",
    ),
    Scenario(
        "beside_the_required_one",
        USES,
        _install("2.1", suffix="other", code="N = 1\n"),
        setup=both(_install("2.0", suffix="other", code="N = 1\n"), _install("1.0")),
    ),
    Scenario(
        "one_installed_for_another",
        'import HERE_lib as lib\n\ndef f(x):\n    return {"y": lib.number()}\n',
        both(_install("1.0", suffix="more"), change("steps.py", "HERE_lib", "HERE_more")),
        ran=RERUNS,
        setup=_install("1.0"),
    ),
    Scenario(
        "own_code_outside_the_folder",
        """
        import os, sys
        sys.path.insert(0, os.path.abspath("HERE/lib"))
        import HERE_own

        def f(x):
            return {"y": HERE_own.number()}
        """,
        change("lib/HERE_own.py".replace("HERE", "try_own_code_outside_the_folder"), "return 1", "return 2"),
        ran=RERUNS,
        files={"lib/HERE_own.py": "def number():\n    return 1\n"},
    ),
    Scenario(
        "standard_library",
        'import json\n\ndef f(x):\n    return {"y": json.dumps(x)}\n',
        (("import json\n", "import json\nimport csv\n"),),
    ),
]
