"""The grouping of words into options, their values and positionals, by the rules of argparse and of click."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from infra.flags.history import history
from infra.flags.pieces import Piece, Sort
from infra.flags.table import Flag, FlagTable

_NEGATIVE_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$")
_SOUNDS_LIKE_A_SWITCH = re.compile(r"--(enable|disable|no|skip|use|trust|force|allow)[-_]")
_SOUNDS_LIKE_OPTIONS = re.compile(r"(?i)arg|opt|flag|extra|param|\.\.\.|…|@|\*")
_TRUTHS = frozenset(("true", "false"))

Trouble = Literal["", "unknown", "ambiguous", "missing", "valued"]
"""What keeps the parser from taking an option: valued is a value attached to a switch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One option as it stands in the command."""

    name: str
    """Canonical; "" where it is not known."""
    spelling: str
    """The full name that it stands for: an alias, a negative name."""
    written: str
    values: tuple[Piece, ...] = ()
    at: int
    words: int
    where: str
    trouble: Trouble = ""
    candidates: tuple[str, ...] = ()
    attached: bool = False
    """Whether its value was written with `=`."""
    stray: Piece | None = None
    """The word after it that it does not take: a dash-word where a value is wanted."""


@dataclass(slots=True)
class Reading:
    """What a parser made of a command."""

    given: list[Given] = field(default_factory=list)
    positionals: list[Piece] = field(default_factory=list)
    extras: list[tuple[Piece, Given | None]] = field(default_factory=list)
    """Words that belong to nothing, with the option before them."""
    open: bool = False
    """Whether the run may add options that nobody sees."""


def read(table: FlagTable, pieces: Sequence[Piece]) -> Reading:
    """The options, values and positionals of a command."""
    reader = _Reader(table=table, pieces=list(pieces), click=table.parser not in ("flexible", "argparse"))
    return reader.read()


@dataclass(slots=True)
class _Reader:
    table: FlagTable
    pieces: list[Piece]
    click: bool
    index: int = 0
    loose: bool = False
    ended: bool = False
    full: bool = False
    last: Given | None = None
    out: Reading = field(default_factory=Reading)

    def read(self) -> Reading:
        while self.index < len(self.pieces):
            piece = self.pieces[self.index]
            sort = self._sort(piece)
            if sort is Sort.OPTION:
                self._end_of_words()
                self._option(piece)
                self.loose = False
            elif sort is Sort.END:
                self.index += 1
                self.ended = True
            else:
                self._argument(piece, sort)
        return self.out

    def _sort(self, piece: Piece) -> Sort:
        if self.ended and piece.sort is not Sort.OPEN:
            return Sort.ARGUMENT
        sort = piece.sort
        if sort is Sort.OPTION and piece.token.known and not self.click:
            if self._resolve(piece.text)[0]:
                return sort
            if _NEGATIVE_NUMBER.match(piece.text) or " " in piece.text:
                return Sort.ARGUMENT
        return sort

    def _end_of_words(self) -> None:
        """Argparse fills all positionals that it can from the first run of words, with none where they may be none."""
        needed = sum(1 for _, how in self.table.positionals if how in ("1", "+"))
        if not self.click and self.out.positionals and len(self.out.positionals) >= needed:
            self.full = True

    def _room(self) -> bool:
        if self.full:
            return False
        most = sum(99 if how in ("*", "+") else 1 for _, how in self.table.positionals)
        return len(self.out.positionals) < most

    def _argument(self, piece: Piece, sort: Sort) -> None:
        self.index += 1
        if sort is Sort.OPEN:
            self.loose = True
            if self._room() and not piece.certain.startswith("-") and not _SOUNDS_LIKE_OPTIONS.search(piece.text):
                self.out.positionals.append(piece)
            else:
                self.out.open = True
        elif self._room():
            self.out.positionals.append(piece)
        elif not self.loose:
            self.out.extras.append((piece, self.last))

    def _resolve(self, text: str) -> tuple[tuple[str, ...], str | None]:  # noqa: PLR0911 - the order is argparse's
        """The full names that a word may stand for, and the value attached to it."""
        names = self.table.spellings
        if text in names or text in ("-h", "--help"):
            return (text,), None
        head, equals, value = text.partition("=")
        attached = value if equals else None
        if equals and (head in names or head == "--help"):
            return (head,), attached
        if self.click:
            return self._short(text)
        if text.startswith("--"):
            return tuple(name for name in ("--help", *names) if name.startswith(head)), attached
        short, rest = text[:2], text[2:]
        if f"-{head}" in names:  # a long name with one dash: its letters are no value of the short one
            return (), None
        found = [name for name in ("-h", *names) if name.startswith(text) and name != short]
        if short in names:
            return (short, *found), rest
        return tuple(found), None

    def _short(self, text: str) -> tuple[tuple[str, ...], str | None]:
        if not text.startswith("--") and text[:2] in self.table.spellings:
            return (text[:2],), text[2:].removeprefix("=")
        return (), None

    def _option(self, piece: Piece) -> None:
        self.index += 1
        names, attached = self._resolve(piece.text if piece.token.known else piece.certain.partition("=")[0])
        head, equals, value = piece.text.partition("=")
        written = piece.token.text.partition("=")[0] if equals else piece.token.text
        tail: Piece | None = None
        if not piece.token.known:
            tail = replace(piece, text=value, hidden=piece.hidden - len(head) - 1)
        elif attached is not None:
            tail = replace(piece, text=attached, hidden=0)
        elif equals and not names:
            tail = replace(piece, text=value, hidden=0)
        given = Given(name="", spelling=head, written=written, at=piece.at, words=piece.words, where=piece.token.where)
        given = replace(given, attached=tail is not None)
        if len(names) == 1:
            given = self._known(given, names[0], tail)
        else:
            trouble: Trouble = "ambiguous" if names else "unknown"
            given = self._unknown(replace(given, trouble=trouble, candidates=names), tail)
        self.last = given
        self.out.given.append(given)

    def _unknown(self, given: Given, tail: Piece | None) -> Given:
        """The words after an option that nobody knows are taken to be its values."""
        if tail is not None:
            return replace(given, values=(tail,))
        values: list[Piece] = []
        if self.index < len(self.pieces):
            following = self.pieces[self.index]
            sort = self._sort(following)
            a_word = sort is Sort.ARGUMENT and (
                following.text.lower() in _TRUTHS or not self._is_switch(given.spelling)
            )
            if a_word or (sort is Sort.OPEN and not self._is_switch(given.spelling)):
                values.append(following)
                self.index += 1
                self.loose = sort is Sort.OPEN
        return replace(given, values=tuple(values), words=given.words + sum(one.words for one in values))

    def _is_switch(self, name: str) -> bool:
        """Whether an option that this release lacks takes no value where it exists, or sounds so."""
        engine = {"sglang-kt": "sglang"}.get(self.table.engine, self.table.engine)
        life = history(engine).flags.get(name)
        return not life.value if life else _SOUNDS_LIKE_A_SWITCH.match(name) is not None

    def _known(self, given: Given, spelling: str, tail: Piece | None) -> Given:
        name = self.table.spellings.get(spelling, spelling)
        given = replace(given, name=name, spelling=spelling)
        flag = self.table.flags.get(name)
        if flag is None or not flag.takes_value:
            return replace(given, values=(tail,), trouble="valued") if tail is not None else given
        if tail is not None:
            return replace(given, values=(tail,))
        return self._with_values(given, flag)

    def _with_values(self, given: Given, flag: Flag) -> Given:
        least, most = _counts(flag)
        values: list[Piece] = []
        stray: Piece | None = None
        while len(values) < most and self.index < len(self.pieces):
            piece = self.pieces[self.index]
            sort = self._sort(piece)
            if sort is Sort.END or (sort is Sort.OPTION and not self._swallowed(piece)):
                stray = piece
                break
            values.append(piece)
            self.index += 1
            if sort is Sort.OPEN:
                self.loose = True
                if not piece.certain.startswith("-"):
                    continue
                self.out.open = True
        if stray is not None and not values and least and not self._is_an_option(stray):
            self.index += 1
            values_words = stray.words
        else:
            values_words = 0
        trouble: Trouble = "missing" if len(values) < least and not any(one.sort is Sort.OPEN for one in values) else ""
        words = given.words + sum(one.words for one in values) + values_words
        return replace(given, values=tuple(values), words=words, trouble=trouble, stray=stray if trouble else None)

    def _is_an_option(self, piece: Piece) -> bool:
        """Whether a word with a dash is meant as an option, not as the value of the one before it."""
        return piece.text.startswith("--") or piece.sort is Sort.END or bool(self._resolve(piece.text)[0])

    def _swallowed(self, piece: Piece) -> bool:
        """Click takes the next word whatever it looks like; that is meant unless it is an option of its own."""
        return self.click and not self._resolve(piece.text)[0]


def _counts(flag: Flag) -> tuple[int, int]:
    """How many words an option takes: at least, at most."""
    if flag.many.isdigit():
        return int(flag.many), int(flag.many)
    return {"words": (1, 9999), "any": (0, 9999), "maybe": (0, 1)}.get(flag.many, (1, 1))
