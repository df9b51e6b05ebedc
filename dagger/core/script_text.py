"""A script's text: its placeholders, and how paths are put in so that no name is ever executed.

`checks` asks for a script's `placeholders` before anything runs, and `render` fills them in. Where each
one stands is told by `dagger.core.shell_lexer`; a path then goes in as it is when it is plain, and
quoted for its place when it is not. Where the place cannot be told, only a plain path goes in.

Passing paths in variables (``"$input"``) was weighed: an exported function or a here-document for
another shell would find them unset, and what runs would not be what one reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from dagger.errors import RefusedError
from dagger.lean_typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagger.core.shell_lexer import Place

_BRACES = re.compile(r"\{\{|\}\}|\{([^\W\d][\w-]*)\}|[{}]")
_PLAIN = re.compile(r"(?!-)[A-Za-z0-9_@%+=:,./-]+", re.ASCII)
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_@%+=:,./-]", re.ASCII)
_SIMPLE = re.compile(r"[^'\"`$\\#<()\[=]*")
_MARK = "\0"
_SUSPECT = re.compile(r"(?:[$\\]\w*|\$\{|<<-?[ \t]*\S*)\0")
_DOUBLE = re.compile(r'[\\"$`]')
_RESERVED = re.compile(r"case|coproc|do|done|elif|else|esac|fi|for|function|if|in|select|then|time|until|while")


def placeholders(script: str) -> frozenset[str]:
    """Returns the names in braces.

    Raises:
        RefusedError: A brace stands alone, or a placeholder stands where no path can; it shows the line.
    """
    text, names = _undoubled(script)
    if _SUSPECT.search(text):  # else no place refuses all paths, and a run with nothing to do reads no shell
        _places(script)
    return frozenset(names)


def is_plain_path(path: str) -> bool:
    """Tells whether a path means itself to a shell."""
    return _PLAIN.fullmatch(path) is not None


def stands_alone(script: str, name: str) -> bool:
    """Tells whether a placeholder is plainly a word of its own, so that several paths may go in; a quick look only."""
    beside = rf"(?:\S|>\s*)\{{{name}\}}|\{{{name}\}}[^\s;|&]"
    return _SIMPLE.fullmatch(script) is not None and re.search(beside, script) is None


def render(script: str, values: Mapping[str, str | Sequence[str]]) -> str:
    """Returns the text for the shell, with a path, or several, for each placeholder.

    Args:
        script: The text with its placeholders, and doubled braces.
        values: By name, a path or a sequence of paths.

    Raises:
        RefusedError: As `placeholders`, or a name has no value, or a value that is not plain cannot be
            put in its place safely.
    """
    pieces, places = _undoubled(script)[0].split(_MARK), _places(script)
    rendered = [pieces[0]]
    filled: list[str] = []
    for place, piece in zip(places, pieces[1:], strict=True):
        if place.name not in values:
            raise _refused(place, f"{{{place.name}}} has no value; {_DOUBLED}")
        filled.append(_fill(place, values[place.name]))
        rendered += filled[-1], piece
    for place in places:
        _check_delimiter(place, filled)
    return "".join(rendered)


_DOUBLED = "a brace of the shell's own is written twice, {{ and }}"


def _undoubled(script: str) -> tuple[str, list[str]]:
    """Returns a script with `_MARK` for each placeholder and single braces, and the placeholders' names."""
    if _MARK in script:
        raise RefusedError("a script cannot hold the character NUL")
    names: list[str] = []

    def undouble(match: re.Match[str]) -> str:
        if match[1]:
            names.append(match[1])
            return _MARK
        if len(match[0]) == 2:
            return match[0][0]
        number = script.count("\n", 0, match.start())
        line = script.split("\n")[number].strip()
        raise RefusedError(f"script line {number + 1}: {line}\n  a single {match[0]} here: {_DOUBLED}")

    return _BRACES.sub(undouble, script), names


@lru_cache(maxsize=256)
def _places(script: str) -> list[Place]:
    from dagger.core.shell_lexer import find_places

    return find_places(*_undoubled(script))


def _fill(place: Place, value: str | Sequence[str]) -> str:
    from dagger.core.shell_lexer import Where

    paths = [value] if isinstance(value, str) else list(value)
    if any("\0" in path for path in paths):
        raise _refused(place, f"a path for {{{place.name}}} holds the character NUL")
    if place.where is Where.COMMENT:
        return " ".join(_NOT_PLAIN.sub("?", path) for path in paths)
    if place.one and len(paths) != 1:
        raise _refused(
            place,
            f"{{{place.name}}} is {len(paths)} paths, and in {place.one} there is room for one; "
            "let it stand alone, or loop: for path in {" + place.name + "}; do ... done",
        )
    if place.only_plain:
        for path in paths:
            if not _PLAIN.fullmatch(path):
                raise _refused(
                    place,
                    f"{{{place.name}}} is {path!r}, which must be quoted, but {place.only_plain}; "
                    + (f"set path={{{place.name}}} before, and use $path" if place.here_line else "rename it"),
                )
        return " ".join(paths)
    return " ".join(_quoted(place, path, place.starts_word or number > 0) for number, path in enumerate(paths))


def _quoted(place: Place, path: str, starts_word: bool) -> str:
    """Quotes one path for its place."""
    from dagger.core.shell_lexer import Where

    if starts_word and (path.startswith("-") or (place.redirected and path.isdigit())):
        path = "./" + path  # not an option, not a descriptor
    if place.where is Where.BARE:
        text = path if _goes_bare(place, path, starts_word) else _single(path)
    elif place.where is Where.DOUBLE:
        text = '""' * place.after_name + _DOUBLE.sub(r"\\\g<0>", path)
    elif _PLAIN.fullmatch(path):
        text = path
    elif place.where is Where.SINGLE:
        text = path.replace("'", "'\\''")
    else:
        # Left and entered again, so that a shell that does not know $'...' reads the name alike.
        text = "'" + _single(path) + "$'"
    return re.sub(r"[\\`$]", r"\\\g<0>", text) if place.in_backticks else text


def _goes_bare(place: Place, path: str, starts_word: bool) -> bool:
    """Tells whether a path means itself without quotes: plain, and not taken for a part of the grammar."""
    if not _PLAIN.fullmatch(path) or place.after_name:
        return False
    if starts_word and (path.isdigit() or "=" in path or _RESERVED.fullmatch(path)):
        return False  # 2>out, name=value, done
    return not (place.in_braces and ("," in path or ".." in path))


def _single(path: str) -> str:
    return "'" + path.replace("'", "'\"'\"'") + "'"


def _check_delimiter(place: Place, filled: Sequence[str]) -> None:
    """Refuses a path that would end the here-document that it stands in."""
    if place.here_line is None:
        return
    delimiter, line, first = place.here_line
    for number in range(line.count("\0")):
        line = line.replace("\0", filled[first + number], 1)
    if line == delimiter:
        raise _refused(place, f"this line would end the here-document, as it reads {delimiter!r} then")


def _refused(place: Place, why: str) -> RefusedError:
    return RefusedError(f"script line {place.line}: {place.source}\n  {why}")
