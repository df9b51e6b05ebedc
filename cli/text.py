"""Sizes, ages and tables as a person reads them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import IO

import click

from dagger.printable import one_line, printable

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*\Z", re.IGNORECASE)


def echo(text: str, *, file: IO[str] | None = None, err: bool = False) -> None:
    """Print a text for a person, with nothing in it that a terminal would obey."""
    click.echo(printable(text), file=file, err=err)


def size(count: float) -> str:
    """Return a number of bytes, as in ``1.5 MiB``."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def byte_count(text: str) -> int:
    """Return the number of bytes that a person wrote as ``500M``, ``1.5GiB`` or ``10GB``.

    K, M, G, T and KiB... count by 1024, KB... by 1000.

    Raises:
        click.BadParameter: It is none.
    """
    found = _SIZE.match(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a size, as in 500M or 1.5GiB")
    number, unit, ending = found.groups()
    base = 1000 if ending.lower() == "b" and unit else 1024
    return int(float(number) * base ** " kmgt".index(unit.lower() or " "))


def age(when: float) -> str:
    """Return how long ago something was, as in ``5 min ago``."""
    seconds = max(0.0, time.time() - when)
    for limit, length, unit in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit} ago"
    days = int(seconds / 86_400)
    return "1 day ago" if days == 1 else f"{days} days ago"


def moment(when: float) -> str:
    """Return a time with its date, in the time zone here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


def table(rows: Iterable[Sequence[str]], headings: Sequence[str], indent: str = "") -> str:
    """Return rows in columns that are as wide as they must be."""
    lines = [headings, *(tuple(map(one_line, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def count(number: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 record`` or ``3 records``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def close_to(name: str, known: Iterable[str]) -> str:
    """Return what a wrong name may have meant and what there is, as sentences for an error."""
    from difflib import get_close_matches

    names = sorted(set(known))
    if not names:
        return "there are none"
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    shown = ", ".join(map(one_line, names[:_MOST_NAMED]))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{meant}there are {shown}{more}"


_MOST_NAMED = 30
