"""`dagger run`: a script with options that apply to every manager in it."""

from __future__ import annotations

import sys

import click

from dagger.cli.options import CommandWithArguments, json_option, print_json, stdout_apart


@click.command("run", cls=CommandWithArguments)
@click.argument("script", type=click.Path())
@click.argument("targets", metavar="[TARGET]...", nargs=-1, type=click.Path())
@click.option("-j", "--jobs", metavar="N", type=click.IntRange(min=1), help="Run at most N tasks at once.")
@click.option("-k", "--keep-going", is_flag=True, help="After a failure, run all that does not need it.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would run, and why; run nothing.")
@click.option("-f", "--force", metavar="TASK", multiple=True, help="Run TASK whatever is known of it; repeatable.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Also print what tasks print, and tasks that are up to date.")
@json_option
def run(
    script: str,
    targets: tuple[str, ...],
    arguments: tuple[str, ...],
    jobs: int | None,
    keep_going: bool,
    dry_run: bool,
    force: tuple[str, ...],
    quiet: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Run the workflow that SCRIPT makes.

    SCRIPT is run as Python would run it, with each ARG behind -- in its sys.argv. The options apply to every
    manager in it and win over arguments. If it calls no run(), its end tasks are run.

    A TARGET is a task or the path of an output; only what the targets need is run. With -n or a TARGET, the script
    ends without an error at its first use of a value that was not computed.
    """
    from dagger.cli.script import check_script, execute

    if quiet and verbose:
        raise click.UsageError("-q and -v exclude each other")
    check_script(script)
    # A script's output, at its exit too, would mix with the JSON.
    answers = stdout_apart() if as_json else sys.stdout
    from dagger.cli.ledger import Ledger
    from dagger.cli.progress import Lines, listener
    from dagger.core.session import Session

    ledger = Ledger()
    session = Session(
        jobs=jobs,
        keep_going=keep_going,
        dry_run=dry_run,
        force=frozenset(force),
        targets=targets,
        quiet=quiet,
        listeners=[ledger],
    )
    # A plan is what a dry run is asked for; progress is beside what a script prints.
    show = (
        Lines(sys.stderr if as_json else answers, verbose=verbose) if dry_run else listener(sys.stderr, verbose=verbose)
    )
    if not quiet:
        session.listeners.append(show)
    code = execute(script, arguments, session, ledger, quiet=quiet, at_end=show.close)
    if as_json:
        print_json(ledger.to_dict(code), answers)
    return code
