"""A shell text becomes words and operators with their lines, and a broken continuation is joined and noted."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from infra.lint.words import BROKEN, PLACEHOLDER, REMARK, Note, Word, WordReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """`;`, `&`, `&&`, `|`, a line's end, `(` …"""

    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """`> file`, or a here-document with its text."""

    operator: str
    line: int
    target: Word | None = None
    body: str = ""
    body_line: int = 0
    expands: bool = False
    """Whether variables in the here-document are replaced."""


Item = Word | Operator | Redirect

_BLANKS = re.compile(r"(?:[ \t\r\f\v\u00a0]|\\\r?\n)+")
_OPERATOR = re.compile(r"\n|;;&|;;|;&|&&|\|\||\|&|[;&|()]")
_REDIRECT = re.compile(r"(?:[0-9]{1,3}|\{[A-Za-z_]\w{0,60}\})?(?:<<<|<<-?|<>|<&|<|>>|>&|>\||&>>|&>|>)")
_LOST_END = re.compile(r"\\[ \t]+(?=--?[A-Za-z])")
_DOUBLED = re.compile(r"\\\\[ \t]*\n[ \t]*(?=--?[A-Za-z])")
_ELSEWHERE = re.compile(r"[\^`][ \t]*\r?\n(?=[ \t]*--?[A-Za-z])")
"""How a line is continued in Windows' cmd and in PowerShell."""
_COMMENTED = re.compile(r"\\[ \t]*\Z")
_OPTION_NEXT = re.compile(
    r"(?:[ \t]*\n){0,2}[ \t]*(?P<comment>#[^\n]*\n(?:[ \t]*(?:#[^\n]*)?\n){0,8}[ \t]*)?"
    r"(?P<dash>--?|[\u2013\u2014])[A-Za-z]"
)
_AMPERSAND_NEXT = re.compile(r"[ \t]*&(?=[ \t]*(?:#[^\n]*)?(?:\n|\Z))")
_PATTERN = re.compile(r"[^\n()]{1,200}\)")
_PATTERN_WORDS = re.compile(r"[\w*?=.\[\]-]+(?:\|[\w*?=.\[\]-]+)*\)")


@dataclass(slots=True)
class Lexer(WordReader):
    """Reads one text from its start to its end."""

    _documents: list[tuple[str, bool, bool, int]] = field(default_factory=list)
    _words: int = 0
    _first: str = ""

    def items(self) -> Iterator[Item]:
        """Words, operators and redirections in order."""
        while self.at < len(self.text):
            yield from self._next()

    def _next(self) -> Iterator[Item]:
        text, at = self.text, self.at
        if self._skip(text[at]):
            return
        operator = _OPERATOR.match(text, at)
        if operator and not text.startswith("&>", at):
            yield from self._operator(operator[0])
            return
        redirect = None if PLACEHOLDER.match(text, at) else _REDIRECT.match(text, at)
        if redirect:
            yield from self._redirect(redirect[0])
            return
        word = self._word()
        if word.pieces or word.array is not None:
            if not self._words:
                self._first = word.plain
            self._words += 1
            yield word

    def _skip(self, char: str) -> bool:
        """Eats a blank, a comment or a line's continuation."""
        if char != "\n" and char.isspace():
            self.at += 1
            return True
        if char == "#":
            self._comment()
            return True
        elsewhere = _ELSEWHERE.match(self.text, self.at) if self._words else None
        if elsewhere:
            self._jump(elsewhere.end())
            return True
        return char == "\\" and self._continue()

    def _continue(self) -> bool:
        """Eats a backslash that continues the line, or was meant to."""
        text, at = self.text, self.at
        if at == len(text) - 1:
            self.notes.append(Note(kind="cut", line=self.line))
            self.at += 1
            return True
        if text.startswith(("\\\n", "\\\r\n"), at):
            self._continued = True
            self.at = text.index("\n", at)
            self._step("\n")
            return True
        doubled = _DOUBLED.match(text, at)
        if doubled and self._words:
            self.notes.append(Note(kind="doubled", line=self.line))
            self._continued = True
            self._jump(doubled.end())
            return True
        lost, remark = _LOST_END.match(text, at), REMARK.match(text, at)
        broken = remark or BROKEN.match(text, at)
        if not self._words or not (lost or broken):
            return False
        self.notes.append(Note(kind="remark" if remark else "blank", line=self.line))
        self._continued = True
        self.at = lost.end() if lost else broken.end() if broken else at
        if broken and self.at < len(text):
            self._step("\n")
        return True

    def _comment(self) -> None:
        """A comment ends the command, also where the line before it, or the comment itself, ends in a backslash."""
        line = self.line
        comment = self._skip_comment()
        means_more = self._words and (self._continued or _COMMENTED.search(comment.rstrip("\r")))
        follows = self.at < len(self.text) and _OPTION_NEXT.match(self.text, self.at + 1)
        if means_more and follows and not self._is_pattern(follows.start("dash")):
            self.notes.append(Note(kind="comment", line=line))
            self._jump(follows.start("dash"))
            self._continued = True

    def _is_pattern(self, at: int) -> bool:
        """Whether `--port)` of a `case` stands here, and no option."""
        found = _PATTERN.match(self.text, at)
        return bool(found and _PATTERN_WORDS.fullmatch(re.sub(r"[ \t]*\|[ \t]*", "|", found[0])))

    def _operator(self, operator: str) -> Iterator[Item]:
        line = self.line
        self.at += len(operator)
        if operator != "\n":
            self._words = 0
            self._continued = False
            yield Operator(text=operator, line=line)
            return
        if self.counts:
            self.line += 1
        if self._documents:
            yield from self._bodies()
        elif self._words and self._first != "case":
            follows = _OPTION_NEXT.match(self.text, self.at)
            if follows and self._goes_on(follows) and not self._is_pattern(follows.start("dash")):
                self.notes.append(Note(kind="missing", line=line))
                self._jump(follows.start("dash"))
                self._continued = True
                return
            alone = _AMPERSAND_NEXT.match(self.text, self.at)
            if alone:
                self.notes.append(Note(kind="ampersand", line=line))
                self._jump(alone.end() - 1)
                return
        self._words = 0
        self._continued = False
        yield Operator(text="\n", line=line)

    def _goes_on(self, follows: re.Match[str]) -> bool:
        """Whether options further on are the command's: past an empty line only where a backslash led to that."""
        between = self.text[self.at : follows.start("dash")]
        empty = not self.text[max(self.at - 200, 0) : self.at - 1].rpartition("\n")[2].strip()
        return empty or bool(follows["comment"]) or "\n" not in between

    def _redirect(self, written: str) -> Iterator[Item]:
        line = self.line
        operator = written.lstrip("0123456789")
        operator = operator[operator.index("}") + 1 :] if operator.startswith("{") else operator
        self.at += len(written)
        blanks = _BLANKS.match(self.text, self.at)
        if blanks:
            self._jump(blanks.end())
        if operator in ("<<", "<<-"):
            word = self._word()
            delimiter = "".join(piece.text for piece in word.pieces)
            if delimiter:
                quoted = any(piece.quoted for piece in word.pieces)
                self._documents.append((delimiter, not quoted, operator == "<<-", line))
            return
        at_end = self.at >= len(self.text) or self.text[self.at] in "\n;|&)"
        target = None if at_end else self._word()
        yield Redirect(operator=operator, line=line, target=target)

    def _bodies(self) -> Iterator[Item]:
        """The here-documents that begin on the next line, in order."""
        for delimiter, expands, strips, line in self._documents:
            start, body_line = self.at, self.line
            rows: list[str] = []
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                row = self.text[self.at : end]
                self.at = min(end + 1, len(self.text))
                self.line += 1 if self.counts else 0
                if row.rstrip("\r") == delimiter or ((strips or rows) and row.strip() == delimiter):
                    break
                rows.append(row.lstrip("\t") if strips else row)
            else:
                if start == self.at:
                    continue
            yield Redirect(operator="<<", line=line, body="\n".join(rows) + "\n", body_line=body_line, expands=expands)
        self._documents.clear()
