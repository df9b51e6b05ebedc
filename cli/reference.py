"""docs/command.md, made of the commands' own help, so that it cannot drift: ``python -m dagger.cli.reference FILE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from dagger.cli.group import dagger

_HEAD = """\
# The command `dagger`

Made of the commands' own help by `python -m dagger.cli.reference docs/command.md`; edit the help, not this file.

Exit codes: 0 for success; 1 where a task or the script failed, a check found damage, or the reader of the output went
away; 2 for wrong usage and for what is refused before anything runs; 130 when interrupted, 143 when terminated.
"""
_WIDTH = 100


def reference() -> str:
    """Return the whole reference as Markdown."""
    return _HEAD + "".join(f"\n{page}" for page in _pages(dagger, None))


def _pages(command: click.Command, parent: click.Context | None) -> Iterator[str]:
    settings = {**command.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = click.Context(command, parent, info_name=command.name, **settings)
    level = "#" * (2 if parent is None or parent.parent is None else 3)
    yield f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _pages(below, context)


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(reference())
