"""`dagger clean`: forget results, remove the files that tasks made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dagger.cli.options import cache_option, dry_run_option, json_option, opened_cache, print_json

if TYPE_CHECKING:
    from dagger.core.cleaning import CleanReport


@click.command("clean")
@click.argument("targets", metavar="[TARGET]...", nargs=-1, type=click.Path())
@click.option("--outputs", is_flag=True, help="Remove the files that tasks made as well.")
@dry_run_option
@json_option
@cache_option
def clean(
    targets: tuple[str, ...],
    outputs: bool,
    dry_run: bool,
    as_json: bool,
    cache_directory: str | None,
) -> None:
    """Forget the results of the project here.

    Its tasks then run again. A TARGET is a task or the path of an output; without one, all are meant. --outputs removes
    only files that a task made and that are still as it made them, and never through a symbolic link; the rest is
    listed and left.
    """
    from dagger.core.cleaning import clean as clean_project

    with opened_cache(cache_directory) as cache:
        report = clean_project(cache, os.getcwd(), targets, outputs=outputs, dry_run=dry_run)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)


def _show(report: CleanReport) -> None:
    from dagger.cli.text import count, echo
    from dagger.printable import one_line

    would = "would be " if report.dry_run else ""
    for path in report.removed:
        echo(f"{would}removed  {one_line(path)}")
    for path, reason in report.left.items():
        echo(f"left  {one_line(path)} ({reason})")
    if not report.records and not report.removed and not report.left:
        echo("nothing to clean")
        return
    tasks = count(len(report.forgotten), "task")
    echo(f"{would}forgotten: {count(report.records, 'result')} of {tasks}")
