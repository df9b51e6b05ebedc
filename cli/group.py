"""The command ``dagger`` itself: its own options, and which module has which command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used.

    Args:
        lazy: Name to module and variable, as in ``dagger.cli.run:run``.
        settings: What `click.Group` takes.
    """

    def __init__(self, *, lazy: Mapping[str, str], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order in which they are shown."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, its module imported."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, variable = self.lazy[cmd_name].split(":")
        command = getattr(import_module(module), variable)
        assert isinstance(command, click.Command)
        return command


@click.group(
    "dagger",
    cls=LazyGroup,
    lazy={
        "run": "dagger.cli.run:run",
        "why": "dagger.cli.why:why",
        "clean": "dagger.cli.clean:clean",
        "cache": "dagger.cli.cache:cache",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-C",
    "directories",
    metavar="DIR",
    multiple=True,
    callback=lambda _context, _option, given: _change_directory(given),
    expose_value=False,
    is_eager=True,
    help="Change to DIR first; given more than once, each counts from the one before.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=lambda context, _option, given: _show_version(context, given),
    help="Show the version and exit.",
)
def dagger() -> None:
    """Make for Python pipelines.

    Runs what must run, never what need not, and says why.
    """


def _change_directory(directories: tuple[str, ...]) -> None:
    for directory in directories:
        try:
            os.chdir(directory)
        except OSError as error:
            raise click.BadParameter(f"{directory}: {error.strerror}", param_hint="-C") from None


def _show_version(context: click.Context, given: bool) -> None:
    if given and not context.resilient_parsing:
        from dagger import __version__

        click.echo(f"dagger {__version__}")
        context.exit()
