"""An option that the release does not have: what became of it, and what was probably meant."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hosts.problem import Problem
from infra.flags.finding import Edit, Finding
from infra.flags.history import history
from infra.flags.near import nearest_name
from infra.flags.reading import Given
from infra.flags.replaced import Replaced, replacement
from infra.flags.table import FlagTable, load, newest, releases

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """What an unknown option was probably meant to be."""

    fix: str
    why: str = ""
    source: str = ""
    groups: tuple[Group, ...] = ()
    """The words to write instead; none where it is left out."""
    drops: tuple[str, ...] = ()
    """Options that go with it."""
    sure: bool = True
    """Whether the words may be put in without asking."""


def unknown_option(table: FlagTable, given: Given, others: Sequence[Given]) -> Finding:
    """The finding for an option that no parser of the release takes."""
    release = f"{table.engine} {table.release}"
    name = canonical(table, given.spelling)
    past = history(_family(table))
    told = past.told(name, table.release)
    meant = _meant(table, name, given, others, known_past=bool(told))
    why = "; ".join(part for part in (told, meant.why if meant else "") if part)
    if not told and name not in past.flags and past.releases:
        why = why or "no release that was read has it"
    if not told and (meant is None or meant.fix.startswith("did you mean")):
        why = "; ".join(part for part in (_relatives(table, name), why) if part)
    problem = Problem(
        where=given.where,
        token=given.written,
        found=given.written,
        wanted=f"an option of {release}",
        why=why or "its parser stops at others",
        fix=meant.fix if meant else None,
        rule="flag",
        source=(meant.source if meant else "") or (past.source if told else table.source),
    )
    edit = Edit(drop=(given.written, *meant.drops), add=meant.groups) if meant and meant.sure else None
    return Finding(problem=problem, edit=edit)


def replaced_option(table: FlagTable, given: Given, others: Sequence[Given]) -> Meant | None:
    """What takes the place of an option that the release still knows."""
    instead = replacement(table, given.name)
    return _replaced(table, instead, given, others) if instead else None


def ambiguous_option(table: FlagTable, given: Given, others: Sequence[Given]) -> Finding:
    """The finding for an abbreviation of several options."""
    past = history(_family(table))
    told = past.told(given.spelling, table.release)
    instead = replacement(table, given.spelling)
    meant = _replaced(table, instead, given, others) if instead else None
    names = ", ".join(given.candidates)
    why = "; ".join(part for part in (told, meant.why if meant else "") if part)
    problem = Problem(
        where=given.where,
        token=given.written,
        found=f"{given.written}, which may stand for {names}",
        wanted="one option's name, or a beginning that only one has",
        why=why,
        fix=meant.fix if meant else f"write one of {names}",
        rule="flag",
        source=(meant.source if meant else "") or table.source,
    )
    return Finding(problem=problem, edit=Edit(drop=(given.written,), add=meant.groups) if meant else None)


def canonical(table: FlagTable, written: str) -> str:
    """The name as this parser would spell it."""
    if table.parser == "flexible" and written.startswith("--"):
        head, dot, rest = written.partition(".")
        return head.replace("_", "-") + dot + rest
    return written


def _family(table: FlagTable) -> str:
    return {"sglang-kt": "sglang", "kt-kernel": "sglang"}.get(table.engine, table.engine)


def _relatives(table: FlagTable, name: str) -> str:
    """That another release has the option, or only a fork, or only the original."""
    own = [(table.engine, release) for release in releases(table.engine) if release != table.release]
    others = {"sglang": ("sglang-kt",), "sglang-kt": ("sglang",)}.get(table.engine, ())
    for engine, release in [*own, *((other, newest(other)) for other in others)]:
        if release and name in load(engine, release).spellings:
            return f"{engine} {release} has it, {table.engine} {table.release} has not"
    return ""


def _meant(table: FlagTable, name: str, given: Given, others: Sequence[Given], *, known_past: bool) -> Meant | None:
    for guess in _guesses(table, name, given, others):
        if guess is not None:
            return guess
    if known_past:
        return None
    names = [one for one in table.spellings if one.startswith("--")]
    near = nearest_name(name, names)
    if near is None:
        return None
    flag = table.flags[table.spellings[near]]
    whole = not flag.takes_value or bool(given.values)
    return Meant(fix=f"did you mean {near}?", groups=_with_value(table, near, given), sure=whole)


def _guesses(table: FlagTable, name: str, given: Given, others: Sequence[Given]) -> Iterator[Meant | None]:
    instead = replacement(table, name)
    yield _replaced(table, instead, given, others) if instead else None
    yield _dashes(table, name, given)
    yield _other_separator(table, name, given)
    yield _negation(table, name)
    positive = re.sub(r"^--no-", "--", name)
    instead = replacement(table, positive) if positive != name else None
    yield _replaced(table, instead, given, others) if instead and not instead.to and not instead.words else None


def _dashes(table: FlagTable, name: str, given: Given) -> Meant | None:
    """One dash too few or too many, or a value that sticks to a short name."""
    bare = name.lstrip("-")
    for dashes in ("--", "-"):
        full = canonical(table, f"{dashes}{bare}")
        if full != name and full in table.spellings:
            return Meant(fix=f"write {full}", groups=_with_value(table, full, given))
    found = re.fullmatch(r"(--?[a-zA-Z][\w-]*?)[:]?(\d[\w.]*)", name)
    if found and found[1] in table.spellings and table.flags[table.spellings[found[1]]].takes_value:
        return Meant(fix=f"write {found[1]} {found[2]}", groups=((found[1], found[2]), *_left_over(given)))
    return None


def _left_over(given: Given) -> tuple[Group, ...]:
    return tuple((piece.token.text,) for piece in given.values)


def _other_separator(table: FlagTable, name: str, given: Given) -> Meant | None:
    """Underscores for dashes, or dashes for underscores."""
    for full in (name.replace("_", "-"), "--" + name[2:].replace("-", "_")):
        if full != name and full in table.spellings:
            uses = "underscores" if "_" in full else "dashes"
            return Meant(
                fix=f"write {full}", why=f"its options are written with {uses}", groups=_with_value(table, full, given)
            )
    return None


def _negation(table: FlagTable, name: str) -> Meant | None:
    """`--no-x` of a switch, which is off unless it is given."""
    positive = "--" + name.removeprefix("--no-").removeprefix("--no_")
    if positive[2:] == name[2:] or positive not in table.spellings:
        return None
    flag = table.flags[table.spellings[positive]]
    if flag.takes_value:
        return None
    return Meant(fix="leave it out", why=f"{positive} is off unless it is given, and has no negative form")


def _with_value(table: FlagTable, name: str, given: Given) -> tuple[Group, ...]:
    """The option under another name, with the values it had."""
    option = name.partition(".")[0]
    flag = table.flags.get(table.spellings.get(option, option))
    values = tuple(piece.text for piece in given.values)
    if flag is None or (not flag.takes_value and "." not in name):
        return ((name,), *(() if _truth(values) else tuple((value,) for value in values)))
    if len(values) == 1 and values[0].startswith("-"):
        return ((f"{name}={values[0]}",),)
    return ((name, *values),)


def _truth(values: Sequence[str]) -> bool:
    return len(values) == 1 and values[0].lower() in ("true", "1", "yes", "on")


def _replaced(table: FlagTable, entry: Replaced, given: Given, others: Sequence[Given]) -> Meant | None:  # noqa: PLR0911 - one return a form of entry
    why, source = entry.why, entry.source
    values = tuple(piece.text for piece in given.values)
    if entry.copies:
        copied = next((one.values for one in reversed(others) if one.name == table.spellings.get(entry.copies)), ())
        words = (entry.to, *(piece.text for piece in copied)) if copied else ()
        fix = (
            f"write {' '.join(words)}" if words else f"write {entry.to} with the number of GPUs that share the experts"
        )
        return Meant(
            fix=fix, why=why, source=source, groups=(words,) if words else (), drops=entry.drops, sure=bool(words)
        )
    if entry.by_value:
        chosen = entry.by_value.get(values[0]) if values else None
        if chosen is None:
            return Meant(fix=entry.fix, why=why, source=source, sure=False)
        words = tuple(chosen)
        groups = tuple(words[index : index + 2] for index in range(0, len(words), 2))
        return Meant(fix=f"write {' '.join(words)}" if words else "leave it out", why=why, source=source, groups=groups)
    if entry.nest:
        inner = values[0] if values else "..."
        words = (entry.to, f'{{"{entry.nest}": {inner}}}')
        return Meant(fix=f"write {entry.to} '{words[1]}'", why=why, source=source, groups=(words,), sure=bool(values))
    if entry.to:
        groups = _with_value(table, entry.to, given)
        return Meant(fix=entry.fix or f"write {entry.to}", why=why, source=source, groups=groups)
    if entry.words:
        return Meant(fix=entry.fix or f"write {' '.join(entry.words)}", why=why, source=source, groups=(entry.words,))
    return Meant(fix=entry.fix or "leave it out", why=why, source=source)
