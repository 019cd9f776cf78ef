"""Words as their writer meant them: dashes made hyphens, an option parted from its value, prose cut off."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hosts.problem import Problem
from infra.flags.table import FlagTable
from infra.flags.words import Token

_DASH = re.compile(r"(?:[\u2010-\u2015\u2212]-?|-[\u2010-\u2015\u2212])(?=[A-Za-z])")
_PAIR = re.compile(r"(--[A-Za-z][\w.-]*)[ \t]+(\S.*)", re.DOTALL)
_VALUE = re.compile(r"[a-z0-9$/{'\"\[.-].*|True|False|None", re.DOTALL)


def mend(words: Sequence[Token]) -> tuple[tuple[Token, ...], tuple[Problem, ...]]:
    """The words as they were meant, and what was wrong with them."""
    mended: list[Token] = []
    problems: list[Problem] = []
    for token in words:
        dash = _DASH.match(token.text)
        pair = _PAIR.fullmatch(token.text)
        if dash:
            problems.append(_dash(token))
            mended.append(replace(token, text=f"--{token.text[dash.end() :]}"))
        elif pair and "=" not in pair[1] and token.known:
            problems.append(_joined(token, pair[1], pair[2]))
            mended += [replace(token, text=pair[1]), replace(token, text=pair[2].strip())]
        else:
            mended.append(token)
    return tuple(mended), tuple(problems)


def without_prose(words: Sequence[Token], table: FlagTable | None) -> tuple[Token, ...]:
    """The words up to the last option and its value: where line ends were lost, a sentence may follow."""
    last = max((n for n, token in enumerate(words) if token.text.startswith("--")), default=-1)
    if last < 0:
        return tuple(words)
    name = words[last].text.partition("=")[0]
    flag = table.flags.get(table.spellings.get(name, name)) if table else None
    if "=" in words[last].text or (flag and not flag.takes_value):
        return tuple(words[: last + 1])
    rest = words[last + 1 : last + 2]
    takes = bool(flag) or (rest and _VALUE.fullmatch(rest[0].text))
    return tuple(words[: last + 2]) if takes else tuple(words[: last + 1])


def _dash(token: Token) -> Problem:
    return Problem(
        rule="shell",
        where=token.where,
        token=token.text,
        found=f"{token.text[0]} (U+{ord(token.text[0]):04X}) before {_DASH.sub('', token.text, count=1)}",
        wanted="two hyphens",
        why="the parser takes it for a word and no option; word processors and web pages put it there",
        fix=f"write --{_bare(token)}",
        source="POSIX.1 12.2, guideline 4: options begin with a hyphen-minus",
    )


def _bare(token: Token) -> str:
    return _DASH.sub("", token.text, count=1)


def _joined(token: Token, option: str, value: str) -> Problem:
    return Problem(
        rule="shell",
        where=token.where,
        token=option,
        found=f"{option} and its value in one word",
        wanted="two words",
        why="the parser gets an option whose name has a blank in it",
        fix=f"make two words of it: {option} and {value.strip()}",
        source="the argument list is passed on as it is, no shell splits it",
    )


def known_problems(problems: Sequence[Problem]) -> Iterator[Problem]:
    """Each problem once."""
    seen: dict[tuple[str, str, str | None, str], None] = {}
    for problem in problems:
        key = (problem.where, problem.rule, problem.token, problem.found)
        if key not in seen:
            seen[key] = None
            yield problem
