"""Commands for the tests of rules: a line as a person types it, held against its release's table, as a subject."""

import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from infra.flags import table as tables
from infra.flags.check import check
from infra.flags.words import Token
from infra.rules import Context, Subject, findings, of_command

NOTHING: Mapping[str, Any] = MappingProxyType({})


def tokens(line: str) -> tuple[Token, ...]:
    """The words of a line; what follows a dollar is known only at run time."""
    return tuple(Token(text=word, line=1, literal=word.find("$")) for word in shlex.split(line))


def subject(engine: str, release: str, arguments: str, around: Mapping[str, Any] = NOTHING) -> Subject:
    """The subject of an engine's command whose own name is left out."""
    table = tables.load(engine, release)
    return of_command(
        check(table, tokens(arguments)), Context(engine=engine, release=release, place="line 1", **around)
    )


def rules_of(engine: str, release: str, arguments: str, around: Mapping[str, Any] = NOTHING) -> list[str]:
    """The names of the rules that a command breaks, in the order of the registry."""
    return [found.problem.rule for found in findings(subject(engine, release, arguments, around))]
