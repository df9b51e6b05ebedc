"""Texts on their way to a terminal: names, messages and what tasks print may hold anything, and a terminal obeys.

All that is shown to a person goes through here; what programs read (JSON) escapes by itself.
"""

from __future__ import annotations

# What moves a terminal's cursor, sets its title or turns a text around; halves of characters, which no encoding has.
# A text, since few runs have a use for the pattern that it compiles to, or for `re`.
_UNSEEN = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"


def printable(text: str) -> str:
    """Return a text with nothing in it that a terminal would obey; names and what tasks print may hold anything."""
    if text.isprintable():
        return text
    import re

    return re.sub(_UNSEEN, lambda it: ascii(it[0])[1:-1], text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Return a text as `printable` does, on one line."""
    return text if text.isprintable() else printable(text).replace("\n", "\\n")
