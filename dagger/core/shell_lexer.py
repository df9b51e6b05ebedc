"""Where in a shell script each placeholder stands: what quotes it, and what may follow from its text.

`dagger.core.script_text` quotes by this. It follows the grammar that bash and sh share, as far as
quoting depends on it: quotes, substitutions, ``case``, comments, here-documents. It need not
understand everything: where it loses its way it says so, and then only plain paths are put in. What
it must never do is believe in quotes that the shell does not see.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from dagger.core.shell_hazards import Word, hazards
from dagger.errors import RefusedError
from dagger.lean_typing import NamedTuple, NoReturn

MARK = "\0"
"""Stands for a placeholder in the text that is read."""

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PARAMETER = re.compile(r"[#!]?(?:[A-Za-z_]\w*|\d+|[@*#?$!-])", re.ASCII)
_DEFAULT = re.compile(r":?[-+]")
_REDIRECTION = re.compile(r"<<<|<>|[<>]&|>>|>\||&>>?|[<>]")
_ORDINARY = re.compile(r"[\w./:,@%+=-]+")
_IN_SINGLE = re.compile(r"[^'\0]+")
_IN_DOUBLE = re.compile(r"""[^"\\$`\0]+""")
_DELIMITER = re.compile(r"""(?:[^\s\\'"`$<>();&|]|\\[^\n]|'[^'\n]*'|"[^"\\`$\n]*")+""")
_OPERATOR = re.compile(r";;&|;;|;&|&&|\|\||\|&|[;&|]")
_SUBSCRIPT = re.compile(r"(?:[A-Za-z_]\w*)?\[[^\]]*$", re.ASCII)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^\]]*\])?\+?=", re.ASCII)
_BEFORE_COMMAND = frozenset(["if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "coproc"])


class Where(Enum):
    """The quotes around a placeholder."""

    BARE = auto()
    DOUBLE = auto()
    SINGLE = auto()
    ANSI = auto()  # $'...'
    COMMENT = auto()


class Place(NamedTuple):
    """Where a placeholder stands.

    Attributes:
        name: What is in the braces.
        line: Its line, from 1.
        source: That line's text.
        where: The quotes around it.
        starts_word: Whether nothing of its word stands before it.
        only_plain: Why only a plain path can be put here; empty if any can.
        one: Why only one path can; empty if several can.
        after_name: Whether it stands right after ``$name``, with which it must not join.
        in_braces: Whether its word has an open brace, so that a comma would tell alternatives.
        redirected: Whether it names a redirection's file.
        in_backticks: Whether the shell takes away one layer of backslashes before it reads this.
        here_line: In a here-document its delimiter, this line, and the number of its first placeholder.
    """

    name: str
    line: int
    source: str
    where: Where = Where.BARE
    starts_word: bool = False
    only_plain: str = ""
    one: str = ""
    after_name: bool = False
    in_braces: bool = False
    redirected: bool = False
    in_backticks: bool = False
    here_line: tuple[str, str, int] | None = None


def find_places(text: str, names: list[str]) -> list[Place]:
    """Tells where each placeholder of a script stands.

    Args:
        text: The script with `MARK` for each placeholder, other braces no longer doubled.
        names: The placeholders' names, in order.

    Raises:
        RefusedError: One stands where nothing could be put, as after a ``$``.
    """
    lines = _source_lines(text, names)
    reader = _Reader(text, names, lines)
    try:
        reader.commands("")
    except (_LostError, RecursionError) as lost:
        number = text.count("\n", 0, reader.position)
        why = f"dagger loses track of the quotes at line {number + 1}: {lost or 'too deep'}"
        # From the first on: what was read before the loss may have been read wrongly as well.
        found = {place: each for place, each in reader.places.items() if each.where is not Where.COMMENT}
        return [
            (found.get(number) or reader.place_at(number))._replace(only_plain=why, here_line=None)
            for number in range(len(names))
        ]
    return [
        place._replace(only_plain=place.only_plain or reader.hazards.get(number, ""))
        for number, place in sorted(reader.places.items())
    ]


def _source_lines(text: str, names: list[str]) -> list[str]:
    pieces = text.split(MARK)
    shown = pieces[0] + "".join(f"{{{name}}}{piece}" for name, piece in zip(names, pieces[1:], strict=True))
    return [line.strip() for line in shown.split("\n")]


class _LostError(Exception):
    """What is read is not understood, so that nothing after it is either."""


class _Command:
    """A simple command as far as it has been read."""

    def __init__(self, *, first: bool) -> None:
        self.words: list[Word] = []
        self.word: Word | None = None
        self.first = first  # a reserved word would be one here
        self.redirecting = False

    def open_word(self) -> Word:
        if self.word is None:
            self.word = Word()
        return self.word


class _HereDocument(NamedTuple):
    delimiter: str
    stripped: bool
    quoted: bool


class _Reader:
    """Recursive descent over the text; each method leaves `position` behind what it read."""

    def __init__(self, text: str, names: list[str], lines: list[str]) -> None:
        self.text = text
        self.end = len(text)
        self.position = 0
        self.names = names
        self.lines = lines
        self.places: dict[int, Place] = {}
        self.hazards: dict[int, str] = {}
        self.here_documents: list[_HereDocument] = []
        self.in_backticks = False
        self.only_plain = ""
        self.after_name = False

    # Looking

    def next(self, count: int = 1) -> str:
        return self.text[self.position : min(self.position + count, self.end)]

    def skip(self, count: int = 1) -> None:
        self.position = min(self.position + count, self.end)

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.position, self.end)
        return found[0] if found else ""

    def place_at(self, number: int) -> Place:
        position = -1
        for _ in range(number + 1):
            position = self.text.index(MARK, position + 1)
        line = self.text.count("\n", 0, position)
        return Place(self.names[number], line + 1, self.lines[line])

    def refuse(self, why: str) -> NoReturn:
        place = self.place_at(self.text.count(MARK, 0, self.position))
        why = why.replace("NAME", place.name)
        raise RefusedError(f"script line {place.line}: {place.source}\n  {why}")

    def take(self, word: Word, ordinary: re.Pattern[str]) -> None:
        """Reads into a word what means nothing here: a run of it, or the character at hand."""
        found = self.match(ordinary) or self.next()
        word.add(found)
        self.skip(len(found))

    # Placeholders

    def placeholder(self, where: Where, word: Word, *, redirected: bool = False, only_plain: str = "") -> None:
        number = self.text.count(MARK, 0, self.position)
        only_plain = only_plain or self.only_plain
        if self.after_name and (only_plain or self.in_backticks):
            self.refuse("the path would become a part of the variable's name; write ${{variable}}{NAME}")
        one = {Where.DOUBLE: "double quotes", Where.SINGLE: "quotes", Where.ANSI: "quotes"}.get(where, "")
        if where is Where.BARE:
            assigned = _ASSIGNMENT.match(word.text)
            one = "a redirection" if redirected else "an assignment" if assigned else ""
            if _SUBSCRIPT.match(word.text):
                only_plain = only_plain or "a subscript is arithmetic, which would run what is in it"
        self.places[number] = self.place_at(number)._replace(
            where=where,
            starts_word=not word.text,
            only_plain=only_plain,
            one=one,
            after_name=self.after_name,
            in_braces="{" in word.text,
            redirected=redirected,
            in_backticks=self.in_backticks,
        )
        self.after_name = False
        word.add(MARK, number)
        self.skip()

    # Commands

    def commands(self, closer: str, *, grammar: bool = True, waiting: int | None = None) -> None:
        """Reads commands up to a closing parenthesis, or the end.

        Args:
            closer: ")" or nothing.
            grammar: Whether reserved words count; not in an array or a pattern.
            waiting: In a substitution, how many here-documents the line outside has announced.
        """
        command = _Command(first=grammar)
        cases: list[str] = []  # per open `case`, what comes next: subject, in, pattern, body
        while self.position < self.end:
            character = self.next()
            if character in " \t":
                self.skip()
                self.end_word(command, cases)
            elif character == "\n":
                self.end_command(command, cases, grammar)
                self.skip()
                self.read_here_documents(waiting)
            elif character == "#" and command.word is None:
                self.comment()
            elif character == "(":
                self.parenthesis(command, cases, grammar)
            elif character == ")":
                self.end_word(command, cases)
                if self.closes(command, cases, closer, waiting):
                    return
            elif character in "<>" or self.next(2) == "&>":
                self.redirection(command, cases)
            elif character in ";&|":
                self.operator(command, cases, grammar)
            else:
                self.word_part(command)
        self.end_command(command, cases, grammar)
        if closer or cases:
            raise _LostError(f"no {closer or 'esac'} at the end")

    def closes(self, command: _Command, cases: list[str], closer: str, waiting: int | None) -> bool:
        """Reads a closing parenthesis, and tells whether it ends these commands, not a pattern of a case."""
        self.skip()
        if cases and cases[-1] == "pattern":
            cases[-1] = "body"
            command.words, command.first = [], True
            return False
        if not closer:
            raise _LostError("a ) that nothing opened")
        self.end_command(command, cases, grammar=True)
        if cases or (waiting is not None and len(self.here_documents) > waiting):
            raise _LostError("a ) that ends an open case or here-document")
        return True

    def word_part(self, command: _Command) -> None:
        character = self.next()
        if self.next(2) == "\\\n":
            self.skip(2)
            return
        word = command.open_word()
        if character == MARK:
            self.placeholder(Where.BARE, word, redirected=command.redirecting)
        elif not self.quoted_part(word):
            self.take(word, _ORDINARY)

    def quoted_part(self, word: Word) -> bool:
        """Reads a quotation or an expansion, if one begins here outside of quotes."""
        character = self.next()
        if character == "\\":
            if self.next(2)[1:] == MARK:
                self.skip()
                self.refuse("a backslash stands before {NAME}; take it away, dagger quotes")
            word.quote(self.next(2)[1:])
            self.skip(2)
        elif character == "'":
            self.single(word)
        elif character == '"':
            self.double(word)
        elif character == "`":
            self.backticks(word, in_double=False)
        elif character == "$":
            self.dollar(word, in_double=False)
        else:
            return False
        return True

    def end_word(self, command: _Command, cases: list[str]) -> None:
        word, command.word = command.word, None
        if word is None:
            return
        if command.redirecting:
            command.redirecting = False
            return
        command.words.append(word)
        plain = "" if word.quoted else word.text
        step = cases[-1] if cases else ""
        if step == "subject":
            cases[-1] = "in"
        elif step == "in":
            if plain != "in":
                raise _LostError("case without in")
            cases[-1], command.words = "pattern", []
        elif step == "pattern":
            if plain == "esac" and len(command.words) == 1:
                cases.pop()
        elif command.first and plain == "case":
            cases.append("subject")
        elif step == "body" and command.first and plain == "esac":
            cases.pop()
        opens = plain == "{" and [each.text for each in command.words[-3:-2]] == ["function"]
        command.first = opens or (command.first and plain in _BEFORE_COMMAND)

    def end_command(self, command: _Command, cases: list[str], grammar: bool) -> None:
        self.end_word(command, cases)
        if cases and cases[-1] in ("subject", "in"):
            return
        self.hazards.update(hazards(command.words))
        command.words, command.first, command.redirecting = [], grammar, False

    def operator(self, command: _Command, cases: list[str], grammar: bool) -> None:
        self.end_word(command, cases)
        operator = self.match(_OPERATOR)
        if cases and cases[-1] == "pattern":
            if operator != "|":
                raise _LostError(f"{operator} in a pattern of case")
        else:
            self.end_command(command, cases, grammar)
            if operator in (";;", ";&", ";;&"):
                if not cases or cases[-1] != "body":
                    raise _LostError(f"{operator} outside of case")
                cases[-1] = "pattern"
        self.skip(len(operator))
        self.no_joined_operator()

    def no_joined_operator(self) -> None:
        if re.match(r"\\\n[<>;&|()]", self.next(3)):
            raise _LostError("an operator over two lines")

    def parenthesis(self, command: _Command, cases: list[str], grammar: bool) -> None:
        word = command.word
        if cases and cases[-1] == "pattern" and word is None:
            self.skip()
            command.words.append(Word("("))  # so that an esac after it is a pattern
            return
        counting = bool(command.words) and command.words[-1].text == "for"
        if self.next(2) == "((" and word is None and (command.first or counting):
            self.skip(2)
            self.arithmetic(Word())
            return
        self.skip()
        self.no_joined_operator()
        if word is None:
            self.commands(")")
            command.first = grammar
        elif self.next() == ")" and not word.quoted and not word.text.endswith("="):
            self.skip()
            command.word, command.words, command.first = None, [], True  # the name of a function
        else:
            self.commands(")", grammar=False, waiting=len(self.here_documents))
            word.add("\1")

    def redirection(self, command: _Command, cases: list[str]) -> None:
        if self.next(2) in ("<(", ">("):
            self.skip(2)
            self.commands(")", waiting=len(self.here_documents))
            command.open_word().add("\1")
            return
        self.end_word(command, cases)
        if self.next(2) == "<<" and self.next(3) != "<<<":
            self.skip(2)
            self.announce_here_document()
            return
        self.skip(len(self.match(_REDIRECTION)))
        self.no_joined_operator()
        command.redirecting = True

    # Quotes

    def single(self, word: Word) -> None:
        self.skip()
        word.quote("")
        while self.position < self.end:
            character = self.next()
            if character == MARK:
                self.placeholder(Where.SINGLE, word)
                continue
            if character == "'":
                self.skip()
                return
            self.take(word, _IN_SINGLE)
        raise _LostError("a ' without its second")

    def ansi(self, word: Word) -> None:
        self.skip()
        word.quote("")
        while self.position < self.end:
            character = self.next()
            if character == MARK:
                self.placeholder(Where.ANSI, word)
                continue
            if character == "\\":
                if self.next(2)[1:] == MARK:
                    self.skip()
                    self.refuse("a backslash stands before {NAME}; take it away, dagger quotes")
                if self.next(2)[1:] == "'":
                    raise _LostError("a \\' in $'...', which not every shell reads alike")
                self.skip()
            elif character == "'":
                self.skip()
                return
            word.add(self.next())
            self.skip()
        raise _LostError("a $' without its second '")

    def double(self, word: Word, only_plain: str = "") -> None:
        self.skip()
        word.quote("")
        while self.position < self.end:
            character = self.next()
            if character == '"':
                self.skip()
                return
            if character == MARK:
                self.placeholder(Where.DOUBLE, word, only_plain=only_plain)
            elif character == "\\":
                if self.next(2)[1:] == MARK:
                    self.skip()
                    self.refuse("a backslash stands before {NAME}; take it away, dagger quotes")
                word.add(self.next(2)[1:])
                self.skip(2)
            elif character == "`":
                self.backticks(word, in_double=True)
            elif character == "$":
                self.dollar(word, in_double=True)
            else:
                self.take(word, _IN_DOUBLE)
        raise _LostError('a " without its second')

    def backticks(self, word: Word, *, in_double: bool) -> None:
        self.skip()
        start = stop = self.position
        while stop < self.end and self.text[stop] != "`":
            stop += 2 if self.text[stop] == "\\" else 1
        if stop >= self.end:
            raise _LostError("a ` without its second")
        former = self.end, self.in_backticks, self.only_plain
        escaped = "\\" in self.text[start:stop]
        if in_double or self.in_backticks or escaped:
            self.only_plain = "it stands in backticks within quotes, or with backslashes; write $( )"
        self.end, self.in_backticks = stop, True
        if escaped:
            while MARK in self.text[self.position : stop]:
                self.position = self.text.index(MARK, self.position)
                self.placeholder(Where.BARE, Word())
        else:
            self.commands("", waiting=len(self.here_documents))
        self.end, self.in_backticks, self.only_plain = former
        self.position = stop + 1
        word.quote("\1")

    # Expansions

    def dollar(self, word: Word, *, in_double: bool) -> None:
        self.skip()
        character = self.next()
        if character == MARK:
            self.refuse("for the path write {NAME} without a dollar; for a variable of the shell, ${{NAME}}")
        if self.next(2) == "\\\n":
            raise _LostError("a $ at a line's end")
        if self.next(2) == "((":
            self.skip(2)
            self.arithmetic(word)
        elif character == "(":
            self.skip()
            self.no_joined_operator()
            self.commands(")", waiting=len(self.here_documents))
        elif character == "{":
            self.skip()
            self.parameter(word, in_double=in_double)
        elif character == "[":
            raise _LostError("$[...], an old way to write $((...))")
        elif character == "'" and not in_double:
            self.ansi(word)
            return
        elif character == '"' and not in_double:
            self.double(word)
            return
        elif name := self.match(_NAME):
            self.skip(len(name))
            if self.next(2) == "\\\n":
                raise _LostError("a variable's name at a line's end")
            self.after_name = self.next() == MARK
        elif character and character in "0123456789@*#?$!-":
            self.skip()
        word.quote("\1")

    def parameter(self, word: Word, *, in_double: bool) -> None:
        """Reads the rest of ``${``; a path can be put in as a default alone, all else are patterns."""
        if self.next() == MARK:
            self.refuse("{NAME} stands where a variable's name belongs")
        name = self.match(_PARAMETER)
        if not name:
            raise _LostError("an unknown kind of ${...}")
        self.skip(len(name))
        default = self.match(_DEFAULT)
        self.skip(len(default))
        plain = "" if default and not in_double else "it stands in ${...}"
        inner = Word()
        while self.position < self.end:
            character = self.next()
            if character == "}":
                self.skip()
                word.places += inner.places
                return
            if character == MARK:
                self.placeholder(Where.BARE, inner, only_plain=plain)
            elif self.next(2) in ("<(", ">(") or (in_double and character == "'"):
                raise _LostError(f"a {character} within ${{...}}")
            elif in_double and character == '"':
                self.double(inner, only_plain="it stands in quotes within ${...} within quotes")
            elif in_double and character == "`":
                self.backticks(inner, in_double=True)
            elif in_double and character == "$":
                self.dollar(inner, in_double=True)
            elif not self.quoted_part(inner):
                inner.add(character)
                self.skip()
        raise _LostError("a ${ without its }")

    def arithmetic(self, word: Word) -> None:
        """Reads up to ``))``."""
        depth = 0
        inner = Word()
        former, self.only_plain = self.only_plain, "arithmetic would run what is in it"
        while self.position < self.end:
            character = self.next()
            if character == MARK:
                self.placeholder(Where.BARE, inner)
                continue
            if self.quoted_part(inner):
                continue
            self.skip()
            depth += (character == "(") - (character == ")")
            if depth < 0:
                if self.next() != ")":
                    raise _LostError("(( that is not arithmetic; write ( (")
                self.skip()
                self.only_plain = former
                word.quote("\1")
                return
        raise _LostError("(( without its ))")

    # Comments and here-documents

    def comment(self) -> None:
        while self.position < self.end and self.next() != "\n":
            if self.next() == MARK:
                self.placeholder(Where.COMMENT, Word())
            else:
                self.skip()

    def announce_here_document(self) -> None:
        stripped = self.next() == "-"
        self.skip(stripped)
        while self.next() and self.next() in " \t":
            self.skip()
        found = self.match(_DELIMITER)
        if MARK in found or self.next() == MARK:
            self.refuse("{NAME} stands where a here-document's end is named")
        if not found or self.text[self.position + len(found)] in "$`'\"\\":
            raise _LostError("a here-document with an odd end")
        self.skip(len(found))
        delimiter = re.sub(r"\\(.)|['\"]", r"\1", found)
        self.here_documents.append(_HereDocument(delimiter, stripped, delimiter != found))

    def read_here_documents(self, waiting: int | None) -> None:
        if waiting and self.here_documents:
            raise _LostError("a here-document that begins within a substitution")
        for document in self.here_documents:
            while not self.here_line(document):
                pass
        self.here_documents.clear()

    def here_line(self, document: _HereDocument) -> bool:
        """Reads a line of a here-document, and tells whether it was its end."""
        if self.position >= self.end:
            raise _LostError(f"a here-document without its {document.delimiter}")
        stop = self.text.find("\n", self.position, self.end)
        stop = self.end if stop < 0 else stop
        line = self.text[self.position : stop]
        number = self.text.count(MARK, 0, self.position)
        if not document.quoted:
            if re.search(r"(?<!\\)(?:\\\\)*\\$", line):
                raise _LostError("a line of a here-document that ends with a backslash")
            self.after_name = bool(re.search(r"[\\$]\w*\0", line))
        for each in range(number, number + line.count(MARK)):
            self.position = self.text.index(MARK, self.position)
            self.placeholder(Where.BARE, Word(), only_plain="in a here-document it cannot be")
            shown = line.lstrip("\t") if document.stripped else line
            self.places[each] = self.places[each]._replace(here_line=(document.delimiter, shown, number))
        self.position = min(stop + 1, self.end)
        return (line.lstrip("\t") if document.stripped else line) == document.delimiter
