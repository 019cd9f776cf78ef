"""A command as a value that quotes itself; the only thing that engines and launchers exchange."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Var:
    """A shell variable that is known only where the command runs; `Var("RANK")` is written `"${RANK}"`.

    `times` multiplies a number; `before` and `after` are plain text around it: `Var("HEAD", after=":50000")`. One that
    is `words` holds any number of words without blanks in them, and is written without quotes.
    """

    name: str
    times: int = 1
    after: str = ""
    words: bool = False
    before: str = ""

    def __str__(self) -> str:
        value = f"$(({self.name} * {self.times}))" if self.times != 1 else f"${self.name}"
        return f"{self.before}{value}{self.after}"


Word = str | Var


def quote(word: Word) -> str:
    """The word as a POSIX shell reads it back."""
    if isinstance(word, str):
        return shlex.quote(word)
    if word.words:
        return f"${word.name}"
    value = f"$(({word.name} * {word.times}))" if word.times != 1 else f"${{{word.name}}}"
    return f'"{word.before}{value}{word.after}"'


def times(word: Word, factor: int) -> Word:
    """A number multiplied, now or where the command runs."""
    return Var(word.name, times=word.times * factor) if isinstance(word, Var) else str(int(word) * factor)


def at_port(word: Word, port: int) -> Word:
    """`HOST:PORT`, the host known now or where the command runs."""
    return Var(word.name, after=f":{port}") if isinstance(word, Var) else f"{word}:{port}"


_SETTING = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*=")


def _begins_row(word: str, before: str) -> bool:
    """Whether a word begins a line: an option, or a `key=value` that is no option's value."""
    return word.startswith("--") or (not before.startswith("--") and _SETTING.match(word) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An argument list, the environment that it needs, and the secrets that go into its environment.

    `secrets` maps a variable's name to a secret's name: the launcher reads the value on the host, at the last moment,
    so that it stands in no argument list, script or log.
    """

    argv: tuple[Word, ...]
    env: Mapping[str, Word] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """The one line that a person would type: variables first, then the quoted words; no secrets."""
        return " ".join((*self.assignments(), *map(quote, self.argv)))

    def lines(self, indent: str = "    ") -> str:
        """The words over several lines, one option and its values a line, for a script that people read."""
        rows: list[list[str]] = [[]]
        for word in self.argv:
            if rows[-1] and isinstance(word, str) and _begins_row(word, rows[-1][-1]):
                rows.append([])
            rows[-1].append(quote(word))
        return f" \\\n{indent}".join(" ".join(row) for row in rows)

    def assignments(self) -> tuple[str, ...]:
        """`NAME=value` for each variable, quoted, sorted by name."""
        return tuple(f"{name}={quote(self.env[name])}" for name in sorted(self.env))
