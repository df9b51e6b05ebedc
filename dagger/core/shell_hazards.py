"""Commands that run, as a program, what they are given as text; a path in such a text could run too.

``bash -c "cat {file}"`` gives bash the right text, and bash then reads the path as a part of a program.
No quoting helps, since only the author knows what becomes of that text. So `dagger.core.shell_lexer`
asks here about each command, and what is named here takes plain paths only. It is a list of the
usual ones, not a proof: a program of the user's own may do the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ALWAYS = frozenset(["eval", "trap", "let", "alias", "ssh", "watch"])
_DECLARES = frozenset(
    ["declare", "typeset", "local", "export", "readonly", "unset", "read", "getopts", "mapfile", "readarray"]
)
_INTERPRETER = re.compile(
    r"(?:ba|da|k|z|fi)?sh|su|python[\d.]*|pypy[\d.]*|perl[\d.]*|ruby|node|nodejs|php|lua|julia|R|Rscript|octave|gnuplot"
)
_PROGRAM_FOLLOWS = re.compile(r"-[A-Za-z]*[ceErp]|--(?:eval|command|print)")
_OPTION_WITH_VALUE = frozenset(["-o", "+o", "-O", "-W", "-X", "-I", "-M"])
_FILTERS = frozenset(["awk", "gawk", "mawk", "nawk", "sed", "gsed", "jq", "perl"])
_FILTER_PROGRAM = re.compile(r"[;(){}|\"]|^\d*s[^\w\s]|^/.*/\w{0,2}$", re.ASCII)
_NUMBER_TESTS = frozenset(["-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v"])
_ASSIGNED = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)


class Word:
    """A word of a command: its text without quotes; NUL stands for a placeholder, SOH for an expansion."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.places: list[int] = []
        self.quoted = False

    def add(self, text: str, place: int | None = None) -> None:
        """Appends text, or a placeholder by its number."""
        self.text += text
        if place is not None:
            self.places.append(place)

    def quote(self, text: str) -> None:
        """Appends what was quoted or expanded: no reserved word, then."""
        self.text += text
        self.quoted = True


def hazards(words: list[Word]) -> dict[int, str]:
    """Returns which placeholders of a command would be read as a program, and why."""
    if not any(word.places for word in words):
        return {}
    return {
        place: why
        for position, word in enumerate(words)
        if word.places and (why := next(_reasons(words, position), ""))
        for place in word.places
    }


def _reasons(words: list[Word], position: int) -> Iterator[str]:
    before = [word.text.rpartition("/")[2] for word in words[:position]]
    text = words[position].text
    for number, name in enumerate(before):
        options = words[number + 1 : position]
        if name in _ALWAYS:
            yield f"{name} reads it as a command"
        elif name in _DECLARES and not _ASSIGNED.match(text):
            yield f"{name} reads it as a variable's name"
        elif name == "printf" and options and options[-1].text == "-v":
            yield "printf -v reads it as a variable's name"
        elif _INTERPRETER.fullmatch(name) and _is_program(options):
            yield f"{name} reads it as a part of its program; hand it on as an argument"
        elif name == "parallel" and text != "\0" and re.search(r"\s", text):
            yield "parallel reads it as a command"
        elif name in _FILTERS and text != "\0" and _FILTER_PROGRAM.search(text):
            yield f"{name} reads it as a part of its program"
    if any(word.text in ("[[", "]]", "[", "test") for word in words) and any(
        word.text in _NUMBER_TESTS for word in words
    ):
        yield "a comparison of numbers is arithmetic, which would run what is in it"


def _is_program(options: list[Word]) -> bool:
    """Tells whether what follows these words of an interpreter's command is its program's text."""
    if not options or not _PROGRAM_FOLLOWS.fullmatch(options[-1].text):
        return False
    values = [
        each.text for each, former in zip(options[1:], options, strict=False) if former.text in _OPTION_WITH_VALUE
    ]
    return all(word.text[:1] in "-+" or word.text in values for word in options if word.text)
