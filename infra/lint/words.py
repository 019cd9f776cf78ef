"""Words of a shell text: quotes, escapes, expansions and arrays, each read to its end in one pass."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

MAX_DEPTH = 12
"""Substitutions inside one another; what lies deeper stays as it is written."""

NoteKind = Literal["ampersand", "blank", "remark", "missing", "comment", "quote", "typographic", "cut", "doubled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a word. `param` is `${…}` without its braces, `run` what stands in `$(…)` or backticks."""

    kind: Literal["text", "param", "run", "open"]
    text: str
    quoted: bool = False
    line: int = 0
    braced: bool = False
    """Whether a `param` is written with braces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One word as written; `array` are the words of `NAME=(…)`."""

    pieces: tuple[Piece, ...]
    line: int
    array: "tuple[Word, ...] | None" = None

    @property
    def plain(self) -> str:
        """Its text where it is written without quotes and expansions, else ""."""
        piece = self.pieces[0] if len(self.pieces) == 1 else None
        return piece.text if piece and piece.kind == "text" and not piece.quoted else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A place where the text does not say to a shell what its writer meant."""

    kind: NoteKind
    line: int


_PLAIN = re.compile(r"[^\s\\'\"`$;&|()<>#{\u201c\u201d\u2018]+")
_CURLY_END = re.compile(r"[\u201d\u201c\u2019\n]")
REMARK = re.compile(r"\\(?:[ \t\u00a0]+#[^\n]*(?=\n|\Z)|#[^\n]*(?=\n[ \t]*--?[A-Za-z]))")
"""A comment after the backslash that was to continue the line."""
BROKEN = re.compile(r"\\[ \t\u00a0]+(?:#[^\n]*)?(?=\n|\Z)")
PLACEHOLDER = re.compile(r"<[^\s<>&|;()'\"`$=][^<>\n;|&'\"`$]{0,80}>|\{[A-Za-z][A-Za-z0-9_. -]{0,60}\}")
_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!_-]")
_ASSIGNS = re.compile(r"[A-Za-z_]\w*\+?=\Z")
_DOUBLE = re.compile(r"[^\"\\$`\n]+")
_ANSI = re.compile(r"[^'\\\n]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}


@dataclass(slots=True)
class WordReader:
    """Reads words from one text; `notes` grows on the way."""

    text: str
    line: int = 1
    counts: bool = True
    """Whether a line's end begins a new line of the document."""
    opaque: bool = False
    """Whether single quotes don't keep a variable from being replaced: it was to be before."""
    notes: list[Note] = field(default_factory=list)
    at: int = 0
    _continued: bool = False
    _unclosed: dict[str, bool] = field(default_factory=dict)

    def array(self) -> tuple[Word, ...]:
        """The words up to the closing parenthesis, which is eaten; a line's end is a blank here."""
        found: list[Word] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == ")":
                self.at += 1
                break
            if char in ";&|(" or char.isspace():
                self._step(char)
                continue
            if char == "#":
                self._skip_comment()
                continue
            if char in "<>":
                self.at += 1
                continue
            broken = REMARK.match(self.text, self.at) or BROKEN.match(self.text, self.at)
            if broken:
                self.notes.append(Note(kind="remark" if "#" in broken[0] else "blank", line=self.line))
                self.at = broken.end()
                continue
            word = self._word()
            if word.pieces:
                found.append(word)
        return tuple(found)

    def _step(self, char: str) -> None:
        self.at += 1
        if char == "\n" and self.counts:
            self.line += 1

    def _skip_comment(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        comment = self.text[self.at : end]
        self.at = end
        return comment

    def _jump(self, to: int) -> None:
        if self.counts:
            self.line += self.text.count("\n", self.at, to)
        self.at = to

    def _word(self) -> Word:
        """One word; where none can be read, one character is eaten, so that reading always goes on."""
        line, start = self.line, self.at
        pieces: list[Piece] = []
        while self.at < len(self.text) and self._piece(pieces):
            pass
        if self.at == start:
            self.at += 1
        joined = _joined(pieces)
        if self.text.startswith("(", self.at) and len(joined) == 1 and _ASSIGNS.match(joined[0].text):
            self.at += 1
            return Word(pieces=joined, line=line, array=self.array())
        return Word(pieces=joined, line=line)

    def _piece(self, pieces: list[Piece]) -> bool:
        """Reads one piece of a word; False where the word ends."""
        text, at = self.text, self.at
        char = text[at]
        plain = _PLAIN.match(text, at)
        if plain:
            self.at = plain.end()
            pieces.append(Piece(kind="text", text=plain[0], line=self.line))
            return True
        if char in "<{" and (placeholder := PLACEHOLDER.match(text, at)):
            self.at = placeholder.end()
            pieces.append(Piece(kind="open", text=placeholder[0], line=self.line))
            return True
        if char.isspace() or char in ";&|()<>":
            return False
        if char == "\\":
            return self._escape(pieces)
        if char in "'\"":
            self._quote(pieces)
        elif char == "`":
            self._backticks(pieces, quoted=False)
        elif char == "$":
            self._dollar(pieces, quoted=False)
        elif char in "\u201c\u201d\u2018" and (char != "\u2018" or not pieces):
            self._typographic(pieces)
        else:  # `#` inside a word, or a brace
            self.at += 1
            pieces.append(Piece(kind="text", text=char, line=self.line))
        return True

    def _escape(self, pieces: list[Piece]) -> bool:
        text, at = self.text, self.at
        if text.startswith(("\\\n", "\\\r\n"), at):
            self._continued = True
            self.at = text.index("\n", at)
            self._step("\n")
            return self.at < len(text) and not text[self.at].isspace()
        if BROKEN.match(text, at) or (not pieces and REMARK.match(text, at)):
            return False
        self.at = min(at + 2, len(text))
        pieces.append(Piece(kind="text", text=text[at + 1 : at + 2] or "\\", quoted=True, line=self.line))
        return True

    def _is_apostrophe(self, pieces: Sequence[Piece]) -> bool:
        """Whether a quote in the middle of a word of prose stands there, which another one far below would close."""
        before, at = pieces[-1] if pieces else None, self.at
        if before is None or before.kind != "text" or before.quoted or not before.text[-1:].isalnum():
            return False
        if pieces[0].text.startswith("-") or any("=" in piece.text for piece in pieces):
            return False
        following = self.text[at + 1 : at + 2]
        end = self.text.find("\n", at)
        return (following.isalnum() or following.isspace()) and 0 <= end < self.text.find(self.text[at], at + 1)

    def _quote(self, pieces: list[Piece]) -> None:
        if self._is_apostrophe(pieces):
            self.notes.append(Note(kind="quote", line=self.line))
            pieces.append(Piece(kind="text", text=self.text[self.at], line=self.line))
            self.at += 1
        elif self.text[self.at] == "'":
            self._single(pieces)
        else:
            self._double(pieces)

    def _single(self, pieces: list[Piece]) -> None:
        end = self._closing("'", self.at + 1)
        line = self.line
        body = self.text[self.at + 1 : end]
        self._jump(min(end + 1, len(self.text)) if end < len(self.text) and self.text[end] == "'" else end)
        known, dollar, rest = body.partition("$") if self.opaque else (body, "", "")
        pieces.append(Piece(kind="text", text=known, quoted=True, line=line))
        if dollar:
            pieces.append(Piece(kind="open", text=f"${rest}", quoted=True, line=line))

    def _closing(self, quote: str, start: int) -> int:
        """Where a quote closes; where it never does, the end of its line, with a note."""
        if not self._unclosed.get(quote):
            end = self.text.find(quote, start)
            if end >= 0:
                return end
            self._unclosed[quote] = True
        self.notes.append(Note(kind="quote", line=self.line))
        end = self.text.find("\n", start)
        return len(self.text) if end < 0 else end

    def _typographic(self, pieces: list[Piece]) -> None:
        """Quotes that a word processor made; read as the straight ones that were meant."""
        closing = _CURLY_END.search(self.text, self.at + 1, self.at + 2000)
        end = closing.start() if closing and closing[0] != "\n" else self.at
        if end == self.at:
            self.at += 1
            pieces.append(Piece(kind="text", text=self.text[self.at - 1], line=self.line))
            return
        self.notes.append(Note(kind="typographic", line=self.line))
        pieces.append(Piece(kind="text", text=self.text[self.at + 1 : end], quoted=True, line=self.line))
        self.at = end + 1

    def _double(self, pieces: list[Piece]) -> None:
        opened, line, before = self.at, self.line, len(pieces)
        self.at += 1
        pieces.append(Piece(kind="text", text="", quoted=True, line=self.line))
        stop = -1 if not self._unclosed.get('"') else self._closing('"', self.at)
        while self.at < len(self.text) and self.at != stop:
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return
            self._in_double(pieces, char)
        if stop < 0:  # it never closes: read the line again as if it closed at its end
            self._unclosed['"'] = True
            self.at, self.line = opened + 1, line
            del pieces[before:]
            stop = self._closing('"', self.at)
            body = self.text[self.at : stop]
            self.at = stop
            pieces.append(Piece(kind="text", text=body, quoted=True, line=line))

    def _in_double(self, pieces: list[Piece], char: str) -> None:
        plain = _DOUBLE.match(self.text, self.at)
        if plain:
            self.at = plain.end()
            pieces.append(Piece(kind="text", text=plain[0], quoted=True, line=self.line))
        elif char == "\\":
            following = self.text[self.at + 1 : self.at + 2]
            self.at = min(self.at + 2, len(self.text))
            if following == "\n":
                self.line += 1 if self.counts else 0
                return
            kept = following if following and following in '$`"\\' else "\\" + following
            pieces.append(Piece(kind="text", text=kept, quoted=True, line=self.line))
        elif char == "$":
            self._dollar(pieces, quoted=True)
        elif char == "`":
            self._backticks(pieces, quoted=True)
        else:
            self._step(char)
            pieces.append(Piece(kind="text", text=char, quoted=True, line=self.line))

    def _backticks(self, pieces: list[Piece], *, quoted: bool) -> None:
        line = self.line
        end = self._closing("`", self.at + 1)
        body = self.text[self.at + 1 : end]
        self._jump(min(end + 1, len(self.text)) if self.text.startswith("`", end) else end)
        pieces.append(Piece(kind="run", text=body, quoted=quoted, line=line))

    def _dollar(self, pieces: list[Piece], *, quoted: bool) -> None:
        text, at, line = self.text, self.at, self.line
        following = text[at + 1 : at + 2]
        if following == "(":
            end = self._matching(at + 2, "(", ")")
            kind: Literal["text", "run"] = "run"
            body = text[at + 2 : end]
            if body.startswith("("):
                body = f"({body[1:]}"
            self._jump(min(end + 1, len(text)))
            pieces.append(Piece(kind=kind, text=body, quoted=quoted, line=line))
        elif following == "{":
            end = self._matching(at + 2, "{", "}")
            self._jump(min(end + 1, len(text)))
            pieces.append(Piece(kind="param", text=text[at + 2 : end], quoted=quoted, line=line, braced=True))
        elif following == "'" and not quoted:
            self.at += 2
            self._ansi(pieces)
        elif following == '"' and not quoted:
            self.at += 1
        elif name := _NAME.match(text, at + 1):
            self.at = name.end()
            pieces.append(Piece(kind="param", text=name[0], quoted=quoted, line=line))
        else:
            self.at += 1
            pieces.append(Piece(kind="text", text="$", quoted=quoted, line=line))

    def _ansi(self, pieces: list[Piece]) -> None:
        """`$'…'` with C's escapes."""
        line, parts = self.line, []
        while self.at < len(self.text):
            plain = _ANSI.match(self.text, self.at)
            if plain:
                self.at = plain.end()
                parts.append(plain[0])
                continue
            char = self.text[self.at]
            self._step(char)
            if char == "'":
                break
            if char == "\\":
                following = self.text[self.at : self.at + 1]
                self.at = min(self.at + 1, len(self.text))
                parts.append(_ESCAPES.get(following, following))
            else:
                parts.append(char)
        pieces.append(Piece(kind="text", text="".join(parts), quoted=True, line=line))

    def _matching(self, start: int, opening: str, closing: str) -> int:
        """Where the bracket closes, quotes inside heeded; the end of its line where it does not."""
        key = opening
        if self._unclosed.get(key):
            return self._line_end(start)
        depth, at, text = 1, start, self.text
        stops = re.compile(rf"[\\'\"\{opening}\{closing}]")
        while found := stops.search(text, at):
            char, at = found[0], found.end()
            if char == "\\":
                at += 1
            elif char == opening:
                depth += 1
            elif char == closing:
                depth -= 1
                if not depth:
                    return at - 1
            elif opening == "(":
                end = text.find(char, at)
                while char == '"' and end > 0 and text[end - 1] == "\\":
                    end = text.find(char, end + 1)
                if end < 0:
                    break
                at = end + 1
        self._unclosed[key] = True
        return self._line_end(start)

    def _line_end(self, start: int) -> int:
        end = self.text.find("\n", start)
        return len(self.text) if end < 0 else end


def _joined(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Neighbouring text of the same quoting as one piece."""
    found: list[Piece] = []
    run: list[Piece] = []
    for piece in pieces:
        if run and (piece.kind != "text" or piece.quoted != run[0].quoted):
            found.append(_one(run))
            run = []
        if piece.kind == "text":
            run.append(piece)
        else:
            found.append(piece)
    if run:
        found.append(_one(run))
    return tuple(found)


def _one(run: list[Piece]) -> Piece:
    if len(run) == 1:
        return run[0]
    return Piece(kind="text", text="".join(piece.text for piece in run), quoted=run[0].quoted, line=run[0].line)
