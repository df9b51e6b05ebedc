"""Code objects in a pickle, with the name of their file: tracebacks show it, and whose code it is is told by it.

From its version 3.1.3 on cloudpickle leaves the name out, so that equal code makes equal pickles.
"""

from __future__ import annotations

from types import CodeType

import cloudpickle

from dagger.lean_typing import Any

_LEFT_OUT = "<dynamic-code>"


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """Take a code object apart as cloudpickle does, but for the name of its file."""
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if isinstance(it, str) and it == _LEFT_OUT else it for it in arguments)
