"""The arguments of a stack file, held against a release: each becomes its words, and those are checked."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from hosts.problem import Problem
from hosts.words import describe
from infra.deployment import Argument
from infra.flags.check import check
from infra.flags.table import Flag, FlagTable, render
from infra.flags.words import Token

PLACE = "$.engine.args"


def problems(table: FlagTable, args: Mapping[str, Argument], reserved: Mapping[str, str]) -> Iterator[Problem]:
    """Arguments that the release refuses; `reserved` are those that Slipway sets, with what to write instead."""
    words: list[Token] = []
    names: list[str] = []
    for name, value in args.items():
        if name in reserved:
            yield _problem(table, name, f"--{name}", "an option that Slipway does not set itself", fix=reserved[name])
            continue
        full = table.spellings.get(f"--{name}", "")
        flag = table.flags.get(full)
        if flag is None or f"--{name}" in flag.negative:
            yield _unknown(table, name, value)
            continue
        wanted = _wanted(flag, value)
        if wanted:
            yield _problem(table, name, describe(value), wanted, source=flag.source)
            continue
        words += [Token(text=text, line=len(names) + 1) for text in render(flag, name, value)]
        names.append(name)
    for finding in check(table, words, partial=True).findings:
        number = re.fullmatch(r"line (\d+)", finding.problem.where)
        name = names[int(number[1]) - 1] if number else ""
        yield replace(
            finding.problem,
            where=f"{PLACE}.{name}" if name else PLACE,
            token=f"--{name}" if name else finding.problem.token,
            source=finding.problem.source or table.source,
        )


def _unknown(table: FlagTable, name: str, value: Argument) -> Problem:
    release, option = f"{table.engine} {table.release}", f"--{name}"
    known = table.spellings.get(option) or table.spellings.get(f"-{name}")
    if known and option in table.flags[known].negative:
        return _problem(table, name, option, f"an option of {release}", fix=f"write {known[2:]}: false")
    if known:
        return _problem(table, name, f"the short form of {known}", "the long name", fix=f"write {known[2:]}")
    text = value if isinstance(value, str) else describe(value)
    words = [Token(text=option), *([] if isinstance(value, bool) else [Token(text=text)])]
    checked = check(table, words, partial=True)
    problem = checked.findings[0].problem if checked.findings else None
    folded = name.replace("_", "-")
    if problem is None and f"--{folded}" in table.flags:
        return _problem(table, name, option, f"an option of {release}", fix=f"did you mean {folded}?")
    if problem is None or "which may stand for" in problem.found:
        meant = checked.options[0].name[2:] if checked.options else ""
        fix = f"write {meant}" if meant else None
        return _problem(table, name, option, f"an option of {release}", why="a stack file writes full names", fix=fix)
    fix = re.sub(r"(?<![\w-])--(?=[a-z])", "", problem.fix) if problem.fix else None
    return replace(problem, where=f"{PLACE}.{name}", token=option, found=option, fix=fix)


def _wanted(flag: Flag, value: Argument) -> str:
    """What the option takes, where the value is something else; "" where it fits."""
    wanted = ""
    if not flag.takes_value:
        wanted = "" if isinstance(value, bool) else "true or false"
    elif isinstance(value, bool) and not flag.kind.startswith("json"):
        wanted = f"a value ({flag.kind}), not true or false"
    elif isinstance(value, Mapping):
        wanted = "" if flag.kind.startswith("json") else f"a value ({flag.kind}), not a mapping"
    elif isinstance(value, list | tuple):
        wanted = "" if flag.many or flag.kind.startswith("json") else "one value"
    return wanted


def _problem(
    table: FlagTable, name: str, found: str, wanted: str, *, why: str = "", fix: str | None = None, source: str = ""
) -> Problem:
    return Problem(
        where=f"{PLACE}.{name}",
        token=f"--{name}",
        found=found,
        wanted=wanted,
        why=why,
        fix=fix,
        rule="flag",
        source=source or table.source,
    )
