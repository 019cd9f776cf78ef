"""An argument list is read as the release's own parser would read it, and what it would refuse is said."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.flags.finding import Finding
from infra.flags.table import FlagTable
from infra.flags.words import Token, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a command."""

    name: str
    """Canonical, with dashes; "" for one that the release does not have."""
    written: str
    """As it stands in the command."""
    values: tuple[Token, ...]
    value: Value
    """Typed: 64k is 65536; UNKNOWN where only the run knows."""
    at: int
    """Its index in the list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An argument list, read."""

    options: tuple[Option, ...]
    positionals: tuple[Token, ...]
    findings: tuple[Finding, ...]


def check(table: FlagTable, words: Sequence[Token]) -> Checked:
    """The options, positionals and findings of the words after a command's own name."""
    raise NotImplementedError


def corrected(checked: Checked, words: Sequence[Token], findings: Sequence[Finding]) -> tuple[str, ...] | None:
    """The words with the edits of all findings made; None where an error has no edit."""
    raise NotImplementedError
