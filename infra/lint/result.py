"""What a lint found, as JSON and for a terminal of 100 columns."""

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hosts.problem import Problem
from infra.flags.check import Checked
from infra.flags.words import Token
from infra.lint.document import Document, Launch

WIDTH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LintedCommand:
    """One engine command, and how it should be; `corrected` is None where nothing is to be, or can be, corrected."""

    line: int
    engine: str
    release: str
    table: str
    """The release of the table that it was held against: the nearest one, where it has none of its own."""
    argv: tuple[str, ...]
    corrected: tuple[str, ...] | None
    launch: Launch
    checked: Checked | None
    words: tuple[Token, ...]

    def to_json(self) -> dict[str, object]:
        """DESIGN.md 1."""
        return {
            "line": self.line,
            "engine": self.engine,
            "release": self.release,
            "argv": list(self.argv),
            "corrected": None if self.corrected is None else list(self.corrected),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LintResult:
    """Commands and problems of one document, by line."""

    name: str
    document: Document
    commands: tuple[LintedCommand, ...]
    problems: tuple[Problem, ...]
    limits: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no problem is an error."""
        return all(problem.level != "error" for problem in self.problems)

    def to_json(self) -> dict[str, object]:
        """DESIGN.md 1."""
        return {
            "ok": self.ok,
            "commands": [command.to_json() for command in self.commands],
            "problems": [problem.to_json() for problem in self.problems],
        }

    @property
    def _file(self) -> str:
        return self.name.rpartition("/")[2] if self.name != "-" else "standard input"

    def text(self) -> str:
        """Problems first, then each command that was corrected, one option a line."""
        return "\n".join(self._rows()) + "\n"

    def _rows(self) -> Iterator[str]:
        for problem in self.problems:
            yield from _of_problem(self._file, problem)
            yield ""
        for command in self.commands:
            if command.corrected is not None:
                yield f"line {command.line}, {command.engine} {command.release}, corrected:"
                yield ""
                yield from rows(command.corrected)
                yield ""
        yield from self.limits
        errors = sum(problem.level == "error" for problem in self.problems)
        others = len(self.problems) - errors
        engines = sorted({f"{command.engine} {command.release}" for command in self.commands})
        held = f"{_count(len(self.commands), 'command')} of {', '.join(engines)}" if engines else "no engine command"
        yield f"{self._file}: {held}; {_count(errors, 'error')}, {_count(others, 'warning')}"


def rows(words: Sequence[str]) -> list[str]:
    """A command over several lines, one option and its values a line, as a shell reads it back."""
    groups: list[list[str]] = [[]]
    for word in words:
        if groups[-1] and word.startswith("--"):
            groups.append([])
        groups[-1].append(_quoted(word))
    texts = [" ".join(group) for group in groups]
    return [
        f"    {'  ' if n else ''}{text}{' ' + chr(92) if n < len(texts) - 1 else ''}" for n, text in enumerate(texts)
    ]


def _quoted(word: str) -> str:
    """Quoted, but so that variables in it stay variables; lists of words stay open."""
    if "$" not in word:
        return shlex.quote(word)
    if not re.search(r"[^\w$@%+=:,./{}-]", word):
        return f'"{word}"' if word in ("$@", "${@}") or word.endswith("[@]}") else word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
    return f'"{escaped}"'


def _of_problem(name: str, problem: Problem) -> Iterator[str]:
    place = (
        f"{name}:{problem.where.removeprefix('line ')}"
        if problem.where.startswith("line ")
        else f"{name}: {problem.where}"
    )
    token = f" {problem.token}" if problem.token else ""
    yield from _wrapped(f"{place}: {problem.level}:{token}", f"[{problem.rule}]")
    for label, text in (
        ("found", problem.found),
        ("wanted", problem.wanted),
        ("why", problem.why),
        ("fix", problem.fix or ""),
        ("source", problem.source),
    ):
        if text:
            yield from textwrap.wrap(
                text,
                WIDTH,
                initial_indent=f"  {label + ':':<8}",
                subsequent_indent=" " * 10,
                break_on_hyphens=False,
            )


def _wrapped(head: str, tail: str) -> list[str]:
    return textwrap.wrap(f"{head} {tail}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
