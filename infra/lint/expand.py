"""Words become tokens: what the text assigns is put in, what only the run knows stays as it is written."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from infra.flags.words import Token
from infra.lint.lexer import Lexer
from infra.lint.scope import Scope
from infra.lint.words import MAX_DEPTH, Piece, Word

BUDGET = 4 << 20
"""Characters that all expansions of one document may yield together."""
_PARAM = re.compile(
    r"(?P<flag>[#!])?(?P<name>[A-Za-z_]\w*|[0-9]+|[@*#?$!-])(?P<index>\[[^\]]{0,80}\])?(?P<op>:?[-=+?])?(?P<arg>.*)\Z",
    re.DOTALL,
)
_LISTS = re.compile(
    r"(?:.*_)?(?:ARGS?|ARGV|ARGUMENTS|OPTS?|OPTIONS?|FLAGS?|PARAMS?|EXTRAS?)(?:_.*)?|[@*]|EXTRA_.*|.*_EXTRA",
    re.IGNORECASE,
)
"""Names of variables that hold several words."""
_ATOMS = re.compile(r"(?:\$\([^)]{0,400}\)|`[^`]{0,400}`|\$\{[^}]{0,400}\}|<[^<>]{0,100}>|\S)+")
_UNKNOWN = re.compile(r"[$`<]")
_IN_DOCUMENT = re.compile(r"\\([$`\\])|\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
_BRACES = re.compile(r"\{[^{}\s:\"]{0,80}(?:,|\.\.)[^{}\s:\"]{0,80}\}")
_PLACEHOLDER_NAMES = re.compile(
    r"N|X|IP|PORT|RANK|HOST|(?:YOUR|MY|your)[_-].+|server-port|\.{2,3}|…|.*(?:\.\.\.|…)|xxx+|XXX+", re.DOTALL
)
_SYNOPSIS = re.compile(r"\[(?:[A-Za-z -]{1,40}\.*|\.{2,3}|…)\]|\.{2,3}|…")


@dataclass(slots=True)
class _Building:
    """The token that is being put together."""

    line: int
    text: str = ""
    literal: int = -1
    splits: bool = False
    started: bool = False

    def add(self, text: str, *, certain: int = -1) -> None:
        self.started = True
        if self.literal < 0 and certain >= 0:
            self.literal = len(self.text) + certain
        self.text += text

    def token(self) -> Token:
        return Token(text=self.text, line=self.line, literal=self.literal, splits=self.splits)


@dataclass(slots=True)
class Expander:
    """Puts the values of one scope into words."""

    scope: Scope
    spent: int = 0
    runs: list[tuple[str, int]] = field(default_factory=list)
    """Texts of `$(…)` that were met, with their lines: commands too."""

    def words(self, words: Sequence[Word]) -> tuple[Token, ...]:
        """The tokens of a command's words."""
        return tuple(token for word in words for token in self.word(word))

    def word(self, word: Word) -> Iterator[Token]:
        """The tokens of one word: one as a rule; several where it is a list, none where it is an empty one."""
        array = self._whole_array(word)
        if array is not None:
            yield from array
            return
        now = _Building(line=word.line)
        for piece in word.pieces:
            yield from self._piece(now, piece, alone=len(word.pieces) == 1)
        if now.started:
            yield _with_limits(now.token(), word)

    def value(self, pieces: Sequence[Piece], line: int) -> Token:
        """The one token that an assignment keeps."""
        now = _Building(line=line)
        for piece in pieces:
            if piece.kind in ("param", "run"):
                self._quoted(now, piece)
            else:
                now.add(piece.text, certain=0 if piece.kind == "open" else -1)
        return now.token()

    def document(self, body: str) -> str:
        """A here-document's text with the known variables in it replaced."""
        return _IN_DOCUMENT.sub(self._in_document, body)

    def _in_document(self, found: re.Match[str]) -> str:
        if found[1]:
            return found[1]
        value = self.scope.get(found[2] or found[3])
        if isinstance(value, Token) and value.known and self.pay(len(value.text)):
            return value.text
        return found[0]

    def pay(self, characters: int) -> bool:
        """Whether so many more characters are within the document's bound."""
        self.spent += characters
        return self.spent <= BUDGET

    def _whole_array(self, word: Word) -> tuple[Token, ...] | None:
        """The elements where a word is `"${ARGS[@]}"`."""
        params = [piece for piece in word.pieces if piece.kind != "text" or piece.text]
        if len(params) != 1 or params[0].kind != "param":
            return None
        found = _PARAM.match(params[0].text)
        if not found or found["flag"] or found["index"] not in ("[@]", "[*]"):
            return None
        value = self.scope.get(found["name"])
        if isinstance(value, tuple) and self.pay(sum(len(token.text) + 8 for token in value)):
            return value
        if isinstance(value, Token) and value.text and self.pay(len(value.text)):
            return (value,)
        return None

    def _piece(self, now: _Building, piece: Piece, *, alone: bool) -> Iterator[Token]:
        if piece.kind == "text":
            now.add(piece.text)
        elif piece.kind == "open":
            now.add(piece.text, certain=0)
        elif piece.quoted:
            self._quoted(now, piece)
        elif piece.kind == "run":
            self._quoted(now, piece)
            now.splits |= alone and not piece.text.startswith("(")
        else:
            yield from self._unquoted(now, piece, alone=alone)

    def _quoted(self, now: _Building, piece: Piece) -> None:
        """Adds a value as it is, blanks and all."""
        if piece.kind == "run":
            if not piece.text.startswith("("):
                self.runs.append((piece.text, piece.line))
            now.add(f"$({piece.text})", certain=0)
            return
        value = self._param(piece.text)
        if value is None:
            now.splits |= piece.text.startswith("@") or piece.text.endswith("[@]")
            now.add(_written(piece), certain=0)
        else:
            now.add(value.text, certain=value.literal)

    def _unquoted(self, now: _Building, piece: Piece, *, alone: bool) -> Iterator[Token]:
        """Adds a value that is cut at its blanks."""
        value = self._param(piece.text)
        if value is None:
            name = _PARAM.match(piece.text)
            is_list = name and (
                name["index"] or name["op"] in ("+", ":+") or _LISTS.fullmatch(name["name"]) or piece.text.endswith("-")
            )
            now.splits |= alone and bool(is_list)
            now.add(_written(piece), certain=0)
            return
        if not any(char.isspace() for char in value.text):
            if value.text:
                now.add(value.text, certain=value.literal)
            return
        end, first = 0, value.line or now.line
        for n, found in enumerate(_ATOMS.finditer(value.text)):
            if (n or value.text[0].isspace()) and now.started:
                yield now.token()
                now.text, now.literal, now.started, now.splits = "", -1, False, False
            if n:
                now.line = first + value.text.count("\n", 0, found.start())
            sure = _sure(value, found)
            now.add(found[0], certain=-1 if sure == len(found[0]) else sure)
            now.splits = 0 <= sure < len(found[0]) and bool(_LISTS.fullmatch(found[0].strip("${}")))
            end = found.end()
        if end < len(value.text) and now.started:
            yield now.token()
            now.text, now.literal, now.started, now.splits = "", -1, False, False

    def _param(self, text: str, depth: int = 0) -> Token | None:
        """The value of `${text}` where the script knows it."""
        found = _PARAM.match(text)
        if not found or found["flag"]:
            return None
        value = self.scope.get(found["name"])
        if found["index"]:
            value = _element(value, found["index"])
        elif isinstance(value, tuple):
            value = value[0] if value else None
        operator = (found["op"] or "").removeprefix(":")
        unset = found["name"] not in self.scope or (value is not None and not value.text)
        if operator == "+":
            value = self._argument(found["arg"], depth) if value is not None else None
        elif operator in ("-", "=") and unset:
            value = self._argument(found["arg"], depth) if found["arg"] or value is not None else None
            if operator == "=" and value is not None:
                self.scope.put(found["name"], value)
        elif not operator and found["arg"]:
            value = None
        return value if value is not None and self.pay(len(value.text)) else None

    def _argument(self, text: str, depth: int) -> Token | None:
        """The word after `:-`, expanded."""
        if depth >= MAX_DEPTH:
            return None
        if not any(char in text for char in "$`\\\"'"):
            return Token(text=text) if self.pay(len(text)) else None
        lexer = Lexer(text=text, counts=False)
        pieces = [piece for word in lexer.items() if isinstance(word, Word) for piece in word.pieces]
        now = _Building(line=0)
        for piece in pieces:
            inner = self._param(piece.text, depth + 1) if piece.kind == "param" else None
            if inner is not None:
                now.add(inner.text, certain=inner.literal)
            elif piece.kind == "text":
                now.add(piece.text)
            else:
                now.add(_written(piece) if piece.kind == "param" else f"$({piece.text})", certain=0)
        return now.token()


def _sure(value: Token, atom: re.Match[str]) -> int:
    """How many leading characters of a part of a value are certain; what is not known begins with `$` or a backtick."""
    if value.known or value.literal >= atom.end():
        return len(atom[0])
    unknown = _UNKNOWN.search(atom[0], max(value.literal - atom.start(), 0))
    return unknown.start() if unknown else len(atom[0])


def _element(value: Token | tuple[Token, ...] | None, index: str) -> Token | None:
    """One element of an array, or all of them in one text."""
    if isinstance(value, Token) or value is None:
        return value
    inside = index[1:-1]
    if inside in ("@", "*"):
        known = all(token.known for token in value)
        return Token(text=" ".join(token.text for token in value), literal=-1 if known else 0)
    return value[int(inside)] if inside.isdigit() and len(inside) < 6 and int(inside) < len(value) else None


def _written(piece: Piece) -> str:
    return f"${{{piece.text}}}" if piece.braced else f"${piece.text}"


def words_of(text: str, line: int, *, counts: bool = True) -> tuple[Token, ...]:
    """The words of a text that no shell runs, as compose splits it; `${NAME}` are variables of whoever runs it."""
    reader = Lexer(text=text, line=line, counts=counts)
    return Expander(scope=Scope()).words([item for item in reader.items() if isinstance(item, Word)])


def _with_limits(token: Token, word: Word) -> Token:
    """A token that stands for what the reader fills in is known only at run time."""
    text = token.text
    if not token.known:
        return token
    if _SYNOPSIS.fullmatch(text):
        return Token(text=text, line=token.line, literal=0, splits=True)
    if _PLACEHOLDER_NAMES.fullmatch(text):
        return Token(text=text, line=token.line, literal=0)
    braces = None if any(piece.quoted for piece in word.pieces) else _BRACES.search(text)
    return Token(text=text, line=token.line, literal=braces.start()) if braces else token
