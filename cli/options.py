"""What several commands have in common: the cache that they read, `--json`, and words behind ``--``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from dagger.cli.ending import message

if TYPE_CHECKING:
    from dagger.cache import Cache

_Function = TypeVar("_Function", bound=Callable[..., Any])

DEFAULT_CACHE = ".dagger"


def cache_option(function: _Function) -> _Function:
    """Add ``--cache DIR``, which a command gets as `cache_directory`."""
    return click.option(
        "--cache",
        "cache_directory",
        metavar="DIR",
        envvar="DAGGER_CACHE_DIR",
        help="The cache directory.  [default: $DAGGER_CACHE_DIR, else .dagger]",
    )(function)


def json_option(function: _Function) -> _Function:
    """Add ``--json``, which a command gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")(function)


def dry_run_option(function: _Function) -> _Function:
    """Add ``-n`` for commands that take something away."""
    return click.option("-n", "--dry-run", is_flag=True, help="Say what would go, take nothing away.")(function)


@contextmanager
def opened_cache(directory: str | None) -> Iterator[Cache]:
    """Open the cache of the working directory's project; one that does not exist is empty and is not made.

    Args:
        directory: What ``--cache`` or its variable says, or None.

    Raises:
        UsageError: The directory that was named does not exist.
    """
    from dagger.cache import Cache

    if not os.path.isdir(directory or DEFAULT_CACHE):
        if directory:
            raise click.UsageError(f"there is no cache directory {directory!r}")
        message(f"nothing was run here yet: there is no {DEFAULT_CACHE} in {os.getcwd()}")
    cache = Cache.open(directory or DEFAULT_CACHE, root=os.getcwd())
    try:
        yield cache
    finally:
        cache.close()
        for warning in cache.warnings:
            message(warning)


def print_json(data: object, stream: IO[str] | None = None) -> None:
    """Print data for programs, on standard output by default: one JSON document, nothing else."""
    import json

    # Escaped, so that a file name in no encoding still makes JSON.
    click.echo(json.dumps(data, indent=2), file=stream)


def print_json_list(items: Iterable[object]) -> None:
    """Print what `print_json` prints of a list, without holding all of it."""
    import json
    from textwrap import indent

    before = "[\n"
    for item in items:
        click.echo(before + indent(json.dumps(item, indent=2), "  "), nl=False)
        before = ",\n"
    click.echo("[]" if before == "[\n" else "\n]")


def stdout_apart() -> IO[str]:
    """Return the standard output for this command alone.

    From now on whatever else is printed, by a script, at its exit or in other processes, goes to standard error.
    """
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


class CommandWithArguments(click.Command):
    """A command that takes ``-- ARG...`` for somebody else; it gets them as `arguments`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands behind the first ``--`` apart: click would mix it with the words before."""
        own, arguments = args, []
        if "--" in args:
            split = args.index("--")
            own, arguments = args[:split], args[split + 1 :]
        rest = super().parse_args(ctx, own)
        ctx.params["arguments"] = tuple(arguments)
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show ``-- ARG...`` in the usage line too."""
        return [*super().collect_usage_pieces(ctx), "[-- ARG...]"]
