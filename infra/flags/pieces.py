"""The words of a command as a parser sees them: names folded, `-O3` spelt out, dotted options set aside."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from infra.flags.table import FlagTable
from infra.flags.words import Token

_ELLIPSES = ("...", "…", "[...]", "[options]", "[OPTIONS]")
"""What a person writes for options that the reader is to think of."""

_PLACEHOLDER = re.compile(r"<[^<>]+>|\{\{.*\}\}|\{[A-Za-z_][A-Za-z_0-9]*\}|\[[A-Za-z_ -]+\]|%[A-Za-z_]+%")


class Sort(Enum):
    """What a parser takes a word for."""

    OPTION = "option"
    ARGUMENT = "argument"
    OPEN = "may be anything"
    END = "--"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One word for the parser."""

    text: str
    token: Token
    at: int
    """The index of the word in the command."""
    words: int = 1
    """How many words of the command it stands for."""
    hidden: int = 0
    """How many of its leading characters a rewriting of the parser put there."""

    @property
    def certain(self) -> str:
        """The leading characters that the run cannot change."""
        if self.token.known:
            return self.text
        return self.text[: max(self.token.literal, 0) + self.hidden]

    @property
    def known(self) -> bool:
        """Whether the run cannot change it, and a person has not still to fill it in."""
        return self.token.known and not _PLACEHOLDER.search(self.text)

    @property
    def sort(self) -> Sort:
        """Option or argument."""
        start = self.certain
        if self.text in _ELLIPSES:
            return Sort.OPEN
        if self.token.known:
            if self.text == "--":
                return Sort.END
            return Sort.OPTION if len(self.text) > 1 and self.text.startswith("-") else Sort.ARGUMENT
        if start.startswith("-"):
            return Sort.OPTION if "=" in start else Sort.OPEN
        return Sort.OPEN if self.token.splits and not start else Sort.ARGUMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Dotted:
    """`--json-flag.key.key value`."""

    written: str
    option: str
    keys: tuple[str, ...]
    value: Piece | None
    """None where the value is missing."""
    adds: bool
    """Whether it ends in + and adds to a list."""
    at: int
    words: int


def pieces(table: FlagTable, words: Sequence[Token]) -> tuple[list[Piece], list[Dotted]]:
    """What the release's parser makes of the words before it looks for options."""
    plain = [Piece(text=token.text, token=token, at=index) for index, token in enumerate(words)]
    if table.parser != "flexible":
        return plain, []
    folded = [piece for one in _levels(table, plain) for piece in _folded(one)]
    return _without_dotted(folded) if "dotted" in table.traits else (folded, [])


def _folded(piece: Piece) -> Iterator[Piece]:
    """Underscores between the dashes and the first dot become dashes."""
    if not piece.text.startswith("--"):
        yield piece
        return
    name, equals, value = piece.text.partition("=")
    head, dot, rest = name.partition(".")
    yield replace(piece, text=head.replace("_", "-") + dot + rest + equals + value)


def _levels(table: FlagTable, plain: Sequence[Piece]) -> Iterator[Piece]:
    """`-O3`, `-O=3` and `-O 3`, as the release reads them."""
    optimization = "O-optimization" in table.traits
    if not optimization and "O-level" not in table.traits:
        yield from plain
        return
    for index, piece in enumerate(plain):
        text, start = piece.text, piece.certain
        if text == "-O" and index + 1 < len(plain) and plain[index + 1].text in ("0", "1", "2", "3"):
            yield replace(piece, text="--optimization-level" if optimization else "-O.level")
        elif start.startswith("-O") and text != "-O" and not text.startswith("-O."):
            value = text[3:] if text[2] == "=" else text[2:]
            if optimization:
                yield replace(
                    piece,
                    text=f"--optimization-level={value}",
                    hidden=len("--optimization-level=") - len(text) + len(value),
                )
            else:
                yield replace(piece, text=f"-O.level={value}", hidden=len("-O.level=") - len(text) + len(value))
        else:
            yield piece


def _without_dotted(folded: Sequence[Piece]) -> tuple[list[Piece], list[Dotted]]:
    kept: list[Piece] = []
    dotted: list[Dotted] = []
    index = 0
    while index < len(folded):
        piece = folded[index]
        index += 1
        name, equals, _ = piece.text.partition("=")
        if not name.startswith("-") or "." not in name or len(name) > len(piece.certain) or _is_number(piece.text):
            kept.append(piece)
            continue
        value: Piece | None = None
        count = 1
        if equals:
            value = replace(piece, text=piece.text[len(name) + 1 :], hidden=piece.hidden - len(name) - 1)
        elif index < len(folded):
            value = folded[index]
            index += 1
            count = 2
        option, *keys = name.removesuffix("+").split(".")
        dotted.append(
            Dotted(
                written=piece.token.text.partition("=")[0],
                option=option,
                keys=tuple(keys),
                value=value,
                adds=name.endswith("+"),
                at=piece.at,
                words=count,
            )
        )
    return kept, dotted


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-\d*\.?\d+", text) is not None
