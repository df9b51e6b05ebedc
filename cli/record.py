"""One record in full, for `dagger cache show`: a reader of the rows that its key was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dagger.cli.text import age, echo, moment, size, table

if TYPE_CHECKING:
    from dagger.cache import Cache
    from dagger.cache.records import Output, Record

_SHORT = 12


def details(cache: Cache, record: Record) -> dict[str, Any]:
    """Return a record's manifest, code, reads, outputs and log, in a form for JSON."""
    code = cache.parts(record.fingerprint) if record.fingerprint else None
    return {
        "manifest": [dict(zip(("kind", "name", "digest"), row, strict=True)) for row in record.rows],
        "fingerprint": record.fingerprint,
        "code": [
            {"kind": part.kind, "name": part.name, "digest": part.digest, "source": part.source}
            for part in (code.parts if code else ())
        ],
        "reads": [{"kind": it.kind, "name": it.name, "digest": it.digest} for it in record.reads],
        "outputs": [_output(output) for output in record.outputs],
        "log": _log(cache, record),
    }


def _output(output: Output) -> dict[str, Any]:
    return {
        "name": output.name,
        "kind": output.kind,
        "size": output.size,
        "content": output.content,
        "value": output.value,
        "inline": output.inline is not None,
        "classes": list(output.classes),
        "members": [
            {"path": it.path, "size": it.size, "digest": it.digest, "executable": it.executable, "link": it.link}
            for it in output.members
            if it.path
        ],
        "items": [_output(item) for item in output.items],
    }


def _log(cache: Cache, record: Record) -> str:
    """Return all that the task printed, or its end where the rest is gone."""
    from dagger.errors import DaggerError

    if record.log_blob:
        try:
            return cache.blobs.read(record.log_blob).decode(errors="replace")
        except (DaggerError, OSError):
            return record.log
    return record.log


def print_details(record: Record, found: dict[str, Any]) -> None:
    """Print a record for a person."""
    from dagger.core.report import duration
    from dagger.printable import one_line

    told = [
        ("task", record.task),
        ("type", record.kind),
        ("key", record.key),
        ("project", record.root),
        ("made", f"{moment(record.started)} ({age(record.started)}) in {duration(record.seconds)}"),
        ("because", record.reason or "not known"),
    ]
    for name, text in told:
        echo(f"{name + ':':<9}{one_line(text)}")
    _section("manifest", ("kind", "name", "digest"), [tuple(row.values()) for row in found["manifest"]])
    code = [(part["kind"], part["name"], part["digest"][:_SHORT]) for part in found["code"]]
    _section("code", ("kind", "name", "digest"), code)
    reads = [(it["kind"], it["name"], it["digest"][:_SHORT]) for it in found["reads"]]
    _section("discovered reads", ("kind", "name", "digest"), reads)
    outputs = [row for output in found["outputs"] for row in _output_rows(output)]
    _section("outputs", ("name", "kind", "size", "content", "value"), outputs)
    if found["log"]:
        echo("\nlog")
        echo("\n".join(f"  {line}" for line in found["log"].splitlines()))


def _output_rows(output: dict[str, Any], indent: str = "") -> Iterator[tuple[str, ...]]:
    value = output["value"][:_SHORT] if output["value"] else "none"
    kind, name, content = output["kind"], output["name"], output["content"][:_SHORT]
    yield indent + name, kind, size(output["size"]), content, value
    for member in output["members"]:
        yield f"{indent}  {member['path']}", "", size(member["size"]), member["digest"][:_SHORT], ""
    for item in output["items"]:
        yield from _output_rows(item, indent + "  ")


def _section(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        echo(f"\n{title}\n{table(rows, headings, indent='  ')}")
