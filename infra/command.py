"""A command as a value that quotes itself; the only thing that engines and launchers exchange."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Var:
    """A shell variable that is known only where the command runs; `Var("RANK")` is written `"${RANK}"`."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


Word = str | Var


def quote(word: Word) -> str:
    """The word as a POSIX shell reads it back."""
    return f'"${{{word.name}}}"' if isinstance(word, Var) else shlex.quote(word)


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
            if rows[-1] and isinstance(word, str) and word.startswith("--"):
                rows.append([])
            rows[-1].append(quote(word))
        return f" \\\n{indent}".join(" ".join(row) for row in rows)

    def assignments(self) -> tuple[str, ...]:
        """`NAME=value` for each variable, quoted, sorted by name."""
        return tuple(f"{name}={quote(self.env[name])}" for name in sorted(self.env))
