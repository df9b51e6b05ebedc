"""The global settings of libraries that tasks commonly turn.

A library counts only where it is loaded: importing one to look at its settings would cost more than most tasks.
Other state inside installed packages is not undone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from dagger.lean_typing import Any

Restore = Callable[[], None]

_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_NUMPY_PRINTING: dict[str, Any] = {
    "edgeitems": 3,
    "floatmode": "maxprec",
    "formatter": None,
    "infstr": "inf",
    "legacy": False,
    "linewidth": 75,
    "nanstr": "nan",
    "precision": 8,
    "sign": "-",
    "suppress": False,
    "threshold": 1000,
}


def take_libraries() -> list[Restore]:
    """Look at what is set now, and give each random generator a fresh seed.

    A generator is seeded, not put back: with the former state, two replicates that run in one worker one after the
    other would draw the same numbers.
    """
    reseed()
    return [_decimal(), _numpy(), _pandas(), _matplotlib()]


def reseed() -> None:
    """Give each random generator a fresh seed, as one has that is loaded later."""
    for name in ("random", "numpy.random"):
        numbers = sys.modules.get(name)
        if numbers is not None:
            numbers.seed()


def _decimal() -> Restore:
    def module() -> Any:
        return sys.modules.get("decimal")

    former = module().getcontext().copy() if module() else None

    def restore() -> None:
        if module():
            # Without a former context the library came with this job: its default is what a fresh one copies.
            module().setcontext(former if former is not None else module().DefaultContext.copy())

    return restore


def _numpy() -> Restore:
    def module() -> Any:
        return sys.modules.get("numpy")

    def loaded() -> bool:
        return hasattr(module(), "geterr") and hasattr(module(), "get_printoptions")

    errors, printing = (module().geterr(), module().get_printoptions()) if loaded() else (None, None)

    def restore() -> None:
        if not loaded():
            return
        module().seterr(**(errors or _NUMPY_ERRORS))
        if module().get_printoptions() != (printing or _NUMPY_PRINTING):
            module().set_printoptions(**(printing or _NUMPY_PRINTING))

    return restore


def _pandas() -> Restore:
    def options() -> Any:
        return getattr(sys.modules.get("pandas._config.config"), "_global_config", None)

    former = _copied(options())

    def restore() -> None:
        now = options()
        if former is None and now is not None:
            _reset_pandas()
        elif now is not None and now != former:
            _put_back(now, former)

    return restore


def _reset_pandas() -> None:
    """Undo the settings of the job that brought pandas along; there is no former state to go back to."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of each setting that is on its way out
        reset = getattr(sys.modules.get("pandas"), "reset_option", None)
        if reset is not None:
            reset("all")


def _copied(options: Any) -> Any:
    if not isinstance(options, dict):
        return options
    return {name: _copied(value) for name, value in options.items()}


def _put_back(options: dict[str, Any], former: dict[str, Any]) -> None:
    for name in [name for name in options if name not in former]:
        del options[name]
    for name, value in former.items():
        if isinstance(value, dict) and isinstance(options.get(name), dict):
            _put_back(options[name], value)
        else:
            options[name] = value


def _matplotlib() -> Restore:
    def module() -> Any:
        return sys.modules.get("matplotlib")

    # As plain dicts: reading the setting "backend" the usual way would choose and load one.
    former = dict(dict.items(module().rcParams)) if hasattr(module(), "rcParams") else None

    def restore() -> None:
        plots: Any = sys.modules.get("matplotlib.pyplot")
        if hasattr(plots, "close"):
            plots.close("all")  # the next task would draw into this one's figure
        settings = getattr(module(), "rcParams", None)
        if settings is not None:
            wanted = former if former is not None else dict(dict.items(module().rcParamsOrig))
            changed = {key: value for key, value in wanted.items() if dict.get(settings, key) != value}
            dict.update(settings, changed)

    return restore
