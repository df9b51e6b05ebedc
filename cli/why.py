"""`dagger why`: the reasons of a task's last run, or of its next, with what changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

import click

from dagger.cli.ending import OK
from dagger.cli.options import (
    CommandWithArguments,
    cache_option,
    json_option,
    opened_cache,
    print_json,
    stdout_apart,
)

if TYPE_CHECKING:
    from dagger.core.explain import Detail, Explanation

_SHORT = 12


@click.command("why", cls=CommandWithArguments)
@click.argument("task")
@click.argument("script", required=False, type=click.Path())
@json_option
@cache_option
def why(
    task: str,
    script: str | None,
    arguments: tuple[str, ...],
    as_json: bool,
    cache_directory: str | None,
) -> int:
    """Say why TASK last ran, or would run now.

    It tells of the last run, or with a SCRIPT of the next. TASK is a task or the path of an output. The source of code
    that changed is shown as a diff, small values as they were and are, files by path and digest. The SCRIPT runs as
    with "dagger run -n", each ARG behind -- in its sys.argv; what it prints goes to standard error.
    """
    if script is None:
        if arguments:
            raise click.UsageError("arguments behind -- are for a SCRIPT, but there is none")
        from dagger.core.explain import explain_last

        with opened_cache(cache_directory) as cache:
            found = explain_last(cache, os.getcwd(), task)
        _show(found, as_json=as_json, stream=sys.stdout)
        return OK
    return _why_next(task, script, arguments, as_json=as_json, cache_directory=cache_directory)


def _why_next(task: str, script: str, arguments: tuple[str, ...], *, as_json: bool, cache_directory: str | None) -> int:
    from dagger.cli.script import check_script, execute

    check_script(script)
    if cache_directory:
        os.environ["DAGGER_CACHE_DIR"] = cache_directory
    answers = stdout_apart()
    from dagger.cli.ledger import Ledger
    from dagger.core.explain import explain_next
    from dagger.core.session import Session

    ledger = Ledger()
    session = Session(dry_run=True, targets=(task,), quiet=True, listeners=[ledger])
    code = execute(script, arguments, session, ledger, quiet=True)
    if code == OK:
        _show(explain_next(session, task), as_json=as_json, stream=answers)
    answers.flush()
    return code


def _show(found: Explanation, *, as_json: bool, stream: IO[str]) -> None:
    if as_json:
        print_json(found.to_dict(), stream)
    else:
        from dagger.cli.text import echo

        echo("\n".join(_lines(found)), file=stream)


def _lines(found: Explanation, indent: str = "") -> Iterator[str]:
    yield f"{indent}{found.task}: {_outcome(found)}"
    for detail in found.details:
        yield from (f"{indent}  {line}" for line in _detail_lines(detail))
    for above in found.because:
        yield from _lines(above, indent + "  ")


def _outcome(found: Explanation) -> str:
    from dagger.cli.text import age
    from dagger.core.report import duration

    told = found.outcome
    if found.when:
        told += f" {age(found.when)}"
        told += f", in {duration(found.seconds)}" if found.outcome == "ran" else ""
    if found.error:
        told += f": {found.error}"
    if found.because:
        told += ", for what it needs will run:"
    return told


def _detail_lines(detail: Detail) -> Iterator[str]:
    path = f" ({detail.path})" if detail.path else ""
    yield f"{detail.sentence}{path}"
    if detail.diff:
        yield from (f"  {line}" for line in detail.diff.splitlines())
    elif detail.subject and detail.before != detail.after and detail.before not in detail.sentence:
        yield f"  {_side(detail.before)} → {_side(detail.after)}"


def _side(text: str) -> str:
    """Return one side of a change; of a digest the beginning is enough."""
    is_digest = len(text) == 32 and not set(text) - set("0123456789abcdef")
    return (text[:_SHORT] if is_digest else text) or "none"
