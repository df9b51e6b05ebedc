"""`dagger cache`: what is remembered, how much there is, what to throw away, what is damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from dagger.cli.ending import FAILED, OK
from dagger.cli.options import (
    cache_option,
    dry_run_option,
    json_option,
    opened_cache,
    print_json,
)
from dagger.cli.text import age, byte_count, close_to, count, echo, moment, size, table
from dagger.errors import UsageError

if TYPE_CHECKING:
    from dagger.cache import Cache
    from dagger.cache.records import Record

_SHORT = 12
_LEAST_KEY = 4
_DAY = 86_400.0


@click.group("cache")
def cache() -> None:
    """Look into the cache, tidy it, check it."""


@cache.command("ls")
@click.argument("task", required=False)
@click.option("--all", "every_root", is_flag=True, help="Of all projects that share the cache.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Only the newest N.")
@json_option
@cache_option
def list_records(
    task: str | None,
    every_root: bool,
    limit: int | None,
    as_json: bool,
    cache_directory: str | None,
) -> None:
    """List records of the project here, newest first."""
    with opened_cache(cache_directory) as store:
        here = [record for record in store.all_records() if every_root or record.root == os.getcwd()]
    records = [record for record in here if task in (None, record.task)]
    if task is not None and not records:
        raise UsageError(f"no record of {task!r}; {close_to(task, {record.task for record in here})}")
    records = sorted(records, key=lambda record: record.started, reverse=True)[:limit]
    if as_json:
        print_json([_summary(record) for record in records])
    elif records:
        headings = ["task", "type", "made", "took", "size", "key"]
        rows = [_row(record) for record in records]
        if every_root:
            headings.append("project")
            rows = [[*row, record.root] for row, record in zip(rows, records, strict=True)]
        echo(table(rows, headings))


@cache.command("show")
@click.argument("task_or_key")
@json_option
@cache_option
def show(task_or_key: str, as_json: bool, cache_directory: str | None) -> None:
    """Show what one record consists of.

    It is the newest of a TASK of the project here, or the one of a KEY, of which the beginning will do.
    """
    from dagger.cli.record import details, print_details

    with opened_cache(cache_directory) as store:
        records = _found(store, task_or_key)
        if not records:
            known = {record.task for record in store.all_records() if record.root == os.getcwd()}
            raise UsageError(f"no record of {task_or_key!r}; {close_to(task_or_key, known)}")
        keys = {record.key for record in records}
        if len(keys) > 1 and task_or_key not in {record.task for record in records}:
            raise UsageError(f"several keys begin with {task_or_key!r}: {', '.join(sorted(keys))}")
        record = max(records, key=lambda it: it.started)
        found = details(store, record)
    if as_json:
        print_json({**_summary(record), **found})
        return
    print_details(record, found)
    if len(records) > 1:
        echo(f"\nthe newest of {count(len(records), 'record')}; the others: dagger cache ls {record.task!r}")


@cache.command("stats")
@json_option
@cache_option
def stats(as_json: bool, cache_directory: str | None) -> None:
    """Count records, blobs and bytes.

    Those of all projects that share the cache.
    """
    with opened_cache(cache_directory) as store:
        found = store.size()
        directory = str(store.directory)
    if as_json:
        print_json({"directory": directory, **_counted(found)})
    else:
        echo(f"{directory}: {_told(found)}")


@cache.command("gc")
@click.option("--max-age", metavar="DAYS", type=click.FloatRange(min=0), help="Drop what no run used for so many days.")
@click.option(
    "--max-bytes",
    metavar="SIZE",
    callback=lambda _context, _option, given: given and byte_count(given),
    help="Drop what was not used for longest until the blobs fit into SIZE, as in 500M or 1.5GiB.",
)
@dry_run_option
@json_option
@cache_option
def collect(
    max_age: float | None,
    max_bytes: int | None,
    dry_run: bool,
    as_json: bool,
    cache_directory: str | None,
) -> None:
    """Throw away what is not needed.

    That is blobs that no record needs, and with a limit the records beyond it, of all projects that share the cache.
    What is younger than ten minutes stays, and so does whatever was moved to saved/.
    """
    seconds = None if max_age is None else max_age * _DAY
    with opened_cache(cache_directory) as store:
        found = store.gc(max_age=seconds, max_bytes=max_bytes, dry_run=dry_run)
    if as_json:
        print_json({**_counted(found), "dry_run": dry_run})
    else:
        echo(f"{'would drop' if dry_run else 'dropped'} {_told(found)}")


@cache.command("verify")
@click.option("--repair", is_flag=True, help="Drop what is damaged, and the results that want it.")
@json_option
@cache_option
def verify(repair: bool, as_json: bool, cache_directory: str | None) -> int:
    """Check every row and blob against its digest.

    Exits with 1 if there is damage. Nothing is changed but with --repair; then what is damaged is gone, and what made
    it runs again when it is needed.
    """
    with opened_cache(cache_directory) as store:
        found = store.verify(repair=repair)
    if as_json:
        print_json([{"kind": it.kind, "name": it.name, "what": it.what, "of": it.of} for it in found])
        return FAILED if found else OK
    for it in found:
        whose = f" ({'; '.join(it.of)})" if it.of else ""
        echo(f"{it.kind}  {it.name}  {it.what}{whose}")
    echo(_ending(len(found), repair))
    return FAILED if found else OK


def _ending(damaged: int, repair: bool) -> str:
    if not damaged:
        return "no damage"
    return f"{damaged} damaged; " + ("all dropped" if repair else "dagger cache verify --repair drops them")


def _found(store: Cache, task_or_key: str) -> list[Record]:
    """Return the records of a task of this project, or else those whose key begins so."""
    records = list(store.all_records())
    named = [it for it in records if it.task == task_or_key and it.root == os.getcwd()]
    if named or len(task_or_key) < _LEAST_KEY:
        return named
    return [it for it in records if it.key.startswith(task_or_key)]


def _size_of(record: Record) -> int:
    return sum(item.size for output in record.outputs for item in (output, *output.items))


def _row(record: Record) -> list[str]:
    from dagger.core.report import duration

    return [
        record.task,
        record.kind,
        age(record.started),
        duration(record.seconds),
        size(_size_of(record)),
        record.key[:_SHORT],
    ]


def _summary(record: Record) -> dict[str, Any]:
    return {
        "task": record.task,
        "type": record.kind,
        "key": record.key,
        "root": record.root,
        "started": record.started,
        "made": moment(record.started),
        "seconds": record.seconds,
        "size": _size_of(record),
        "reason": record.reason,
    }


def _counted(found: Any) -> dict[str, int]:
    return {"records": found.records, "blobs": found.blobs, "bytes": found.bytes}


def _told(found: Any) -> str:
    return f"{count(found.records, 'record')}, {count(found.blobs, 'blob')}, {size(found.bytes)}"
