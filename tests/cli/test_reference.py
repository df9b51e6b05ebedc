"""The command reference is the commands' own help, and every command and option has some."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from dagger.cli.group import dagger
from dagger.cli.reference import reference

PAGE = Path(__file__).parents[2] / "docs" / "command.md"


def commands(command=dagger, names=("dagger",)):
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*names, name))


def test_reference_is_up_to_date():
    """docs/command.md is what ``python -m dagger.cli.reference docs/command.md`` writes."""
    assert PAGE.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize(
    ("names", "command"), list(commands()), ids=lambda it: " ".join(it) if isinstance(it, tuple) else ""
)
def test_all_have_help(names, command):
    """Each command says in a first sentence that fits a list what it does; each option has help."""
    first = command.help.split("\n\n")[0]
    assert first.endswith(".")
    assert len(first) <= 80
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(names)} {parameter.opts}"


def test_lists_are_not_cut_short():
    """On a terminal of 80 columns no command's description ends in dots."""
    for _, command in commands():
        assert "..." not in command.get_short_help_str(80 - 14)
