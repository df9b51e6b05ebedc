"""The command line: what to do is in the rooms below, here is how it is asked for and how it looks on a terminal.

Importing this imports nothing; each command's module is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command ``dagger`` and exit.

    Args:
        arguments: The words behind ``dagger``; the process's own by default.
    """
    import sys

    from dagger.cli.ending import finish
    from dagger.cli.group import dagger

    words = None if arguments is None else list(arguments)
    code = finish(lambda: dagger.main(args=words, prog_name="dagger", standalone_mode=False))
    # An interrupt that passed through `exec` of a text, as in the making of a dataclass, has Python end itself by
    # SIGINT whatever the exit code, even though it was caught; running another text takes that back.
    exec("")
    sys.exit(code)
