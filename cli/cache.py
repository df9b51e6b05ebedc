"""`dagger cache`: what is remembered, how much there is, what to throw away, what is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from dagger.cli.ending import FAILED, OK, message
from dagger.cli.options import (
    cache_option,
    dry_run_option,
    json_option,
    opened_cache,
    print_json,
    print_json_list,
)
from dagger.cli.text import age, byte_count, close_to, count, echo, moment, size, table
from dagger.errors import UsageError

if TYPE_CHECKING:
    from dagger.cache import Cache
    from dagger.cache.records import Record

_SHORT = 12
_LEAST_KEY = 4
_PAGE = 100
_SORTED = 1_000
_DAY = 86_400.0


@click.group("cache")
def cache() -> None:
    """Look into the cache, tidy it, check it."""


@cache.command("ls")
@click.argument("task", required=False)
@click.option("--all", "every_root", is_flag=True, help="Of all projects that share the cache.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=0),
    help=f"Only the newest N; 0 for all.  [default: {_PAGE}, with --json all]",
)
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
    if limit is None:
        limit = 0 if as_json else _PAGE
    known: set[str] = set()
    with opened_cache(cache_directory) as store:
        found = _newest(store, task, known, every_root=every_root)
        first = next(found, None)
        if first is None and task is not None:
            raise UsageError(f"no record of {task!r}; {close_to(task, known)}")
        records = chain(() if first is None else (first,), found)
        pages = _pages(islice(records, limit or None))
        if as_json:
            print_json_list(_summary(record) for page in pages for record in page)
        else:
            _print_pages(pages, every_root=every_root)
        if limit and next(records, None) is not None:
            message(f"these are the newest {limit}; --limit 0 lists all")


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
        known: set[str] = set()
        records = _found(store, task_or_key, known)
        if not records:
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


def _newest(store: Cache, task: str | None, known: set[str], *, every_root: bool) -> Iterator[Record]:
    """Return the records of a task or of all, those last filed first; the names of all that were seen go to `known`."""
    root = os.getcwd()
    for record in store.all_records(newest_first=True):
        if every_root or record.root == root:
            known.add(record.task)
            if task in (None, record.task):
                yield record


def _pages(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Return records some at a time: they were filed when they ended, and are listed by when they began."""
    while page := list(islice(records, _SORTED)):
        yield sorted(page, key=lambda record: record.started, reverse=True)


def _print_pages(pages: Iterator[list[Record]], *, every_root: bool) -> None:
    headings = ["task", "type", "made", "took", "size", "key", *(["project"] if every_root else ())]
    for number, page in enumerate(pages):
        lines = table(([*_row(record), *([record.root] if every_root else ())] for record in page), headings)
        echo(lines if not number else lines.partition("\n")[2])


def _found(store: Cache, task_or_key: str, known: set[str]) -> list[Record]:
    """Return the records of a task of this project, or else those whose key begins so; `known` gets all its tasks."""
    root = os.getcwd()
    named, begun = [], []
    for record in store.all_records():
        if record.root == root:
            known.add(record.task)
            if record.task == task_or_key:
                named.append(record)
        if record.key.startswith(task_or_key):
            begun.append(record)
    return named if named or len(task_or_key) < _LEAST_KEY else begun


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
