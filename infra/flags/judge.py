"""The findings about single options of a command, and about words and options that are not where they have to be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hosts.problem import Level, Problem
from infra.flags.finding import Edit, Finding
from infra.flags.near import nearest_name
from infra.flags.pieces import Piece, Sort
from infra.flags.reading import Given, Reading
from infra.flags.table import Flag, FlagTable
from infra.flags.unknown import ambiguous_option, canonical, replaced_option, unknown_option
from infra.flags.values import Refusal, not_one_of, typed
from infra.flags.words import UNKNOWN, Token, Value

_TRUE = ("true", "1", "yes", "on", "t")
_FALSE = ("false", "0", "no", "off", "f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A command with its table."""

    table: FlagTable
    reading: Reading
    module: bool = False
    partial: bool = False

    def has(self, name: str) -> bool:
        """Whether an option is given."""
        return any(one.name == name for one in self.reading.given)

    @property
    def asks_for_help(self) -> bool:
        """Whether the command only prints."""
        return any(one.spelling in ("-h", "--help", "--version", "-v") for one in self.reading.given)


def judged(case: Case, given: Given) -> tuple[Value, list[Finding]]:  # noqa: PLR0911 - one return a kind of trouble
    """The value of an option, and what is wrong with it."""
    if given.trouble == "unknown":
        if case.table.parser == "click-open":
            return UNKNOWN, []
        return UNKNOWN, [unknown_option(case.table, given, case.reading.given)]
    if given.trouble == "ambiguous":
        return UNKNOWN, [ambiguous_option(case.table, given, case.reading.given)]
    flag = case.table.flags.get(given.name)
    if flag is None:
        return True, []
    if given.trouble == "missing":
        return UNKNOWN, [_no_value(case, flag, given)]
    if given.trouble == "valued":
        return UNKNOWN, [_valued_switch(case, flag, given)]
    value, found = _value(case, flag, given)
    if flag.refuses:
        found.insert(0, _refused(case, flag, given))
    elif flag.deprecated is not None:
        found.append(_deprecated(case, flag, given))
    found += _clashes(case, flag, given)
    return value, found


def _value(case: Case, flag: Flag, given: Given) -> tuple[Value, list[Finding]]:
    if not flag.takes_value:
        return given.spelling not in flag.negative, []
    if not given.values:
        return True, []
    values: list[Value] = []
    found: list[Finding] = []
    for index, piece in enumerate(given.values):
        if not piece.known:
            values.append(UNKNOWN)
            continue
        value, refusals = typed(case.table, flag, piece.text, given.name)
        values.append(value)
        found += [_refusal(case, flag, given, index, one) for one in refusals]
        if not refusals:
            found += _registered(case, flag, given, index)
    single = flag.many in ("", "maybe", "append")
    return (values[0] if single else tuple(values)), found


def _registered(case: Case, flag: Flag, given: Given, index: int) -> Iterator[Finding]:
    text = given.values[index].text
    plugin = any(one.name.endswith("-parser-plugin") for one in case.reading.given)
    if not flag.registered or text in flag.registered or text in ("", "None") or plugin or case.reading.open:
        return
    if not given.name.endswith("-parser"):
        lowered = {name.lower() for name in flag.registered}
        if text.lower() in {*lowered, "auto", "none"} or "." in text or nearest_name(text, flag.registered) is None:
            return
    used = given.name != "--tool-call-parser" or case.has("--enable-auto-tool-choice")
    level: Level = "error" if used or case.partial or "--enable-auto-tool-choice" not in case.table.flags else "warning"
    refusal = not_one_of(text, flag.registered)
    yield _refusal(
        case,
        flag,
        given,
        index,
        Refusal(
            found=refusal.found,
            wanted=refusal.wanted,
            fix=refusal.fix,
            better=refusal.better,
            level=level,
        ),
    )


def _refusal(case: Case, flag: Flag, given: Given, index: int, refusal: Refusal) -> Finding:
    edit = None
    if refusal.better is not None:
        texts = [piece.text for piece in given.values]
        texts[index] = refusal.better
        one = len(texts) == 1 and (given.attached or texts[0].startswith("-"))
        edit = Edit(drop=(given.name,), add=((f"{given.written}={texts[0]}",) if one else (given.written, *texts),))
    problem = _problem(
        case,
        given,
        found=refusal.found,
        wanted=refusal.wanted,
        why=refusal.why,
        fix=refusal.fix,
        level="warning" if refusal.level == "warning" else "error",
        source=flag.source,
    )
    return Finding(problem=problem, edit=edit)


def _no_value(case: Case, flag: Flag, given: Given) -> Finding:
    stray = given.stray
    fix, edit = None, None
    if stray is not None and stray.text not in case.table.spellings and not stray.text.startswith("--"):
        fix = f"write {given.written}={stray.text}, if that is its value"
    what = "a value after it" if flag.many in ("", "append") else "one value or more after it"
    return Finding(
        problem=_problem(
            case, given, found=f"{given.written} without a value", wanted=what, fix=fix, source=flag.source
        ),
        edit=edit,
    )


def _valued_switch(case: Case, flag: Flag, given: Given) -> Finding:
    text = given.values[0].text if given.values else ""
    fix, groups = _without_value(flag, given, text)
    problem = _problem(
        case,
        given,
        found=f"{given.written}={text}",
        wanted=f"{given.written} without a value",
        why="it is a switch",
        fix=fix,
        source=flag.source,
    )
    return Finding(problem=problem, edit=Edit(drop=(given.name,), add=groups) if fix else None)


def _without_value(flag: Flag, given: Given, text: str) -> tuple[str | None, tuple[tuple[str, ...], ...]]:
    """A switch that was given a truth value, as it has to be written."""
    if text.lower() in _TRUE:
        return f"write {given.spelling}", ((given.spelling,),)
    if text.lower() in _FALSE:
        off = flag.negative[0] if flag.negative else ""
        return (f"write {off}", ((off,),)) if off else ("leave it out", ())
    return None, ()


def _refused(case: Case, flag: Flag, given: Given) -> Finding:
    finding = unknown_option(case.table, given, case.reading.given)
    problem = _problem(
        case,
        given,
        found=given.written,
        wanted="what the parser says in its place",
        why=flag.refuses,
        fix=finding.problem.fix,
        source=flag.source,
    )
    return Finding(problem=problem, edit=finding.edit)


def _deprecated(case: Case, flag: Flag, given: Given) -> Finding:
    instead = flag.deprecated or ""
    meant = replaced_option(case.table, given, case.reading.given)
    problem = _problem(
        case,
        given,
        found=given.written,
        wanted="an option that stays",
        why="it is deprecated and will go",
        fix=meant.fix if meant else f"write {instead}" if instead else None,
        level="warning",
        rule="flag-deprecated",
        source=flag.source,
    )
    edit = None
    if meant is not None and meant.sure:
        edit = Edit(drop=(given.name, *meant.drops), add=meant.groups)
    elif instead.partition("=")[0] in case.table.spellings:
        heir = case.table.flags[case.table.spellings[instead.partition("=")[0]]]
        if heir.takes_value == (flag.takes_value or "=" in instead):
            edit = Edit(drop=(given.name,), add=((instead, *(piece.text for piece in given.values)),))
    return Finding(problem=problem, edit=edit)


def _clashes(case: Case, flag: Flag, given: Given) -> Iterator[Finding]:
    """Another option of a group of which only one may be given, said at the later one."""
    if not flag.group:
        return
    for other in case.reading.given:
        rival = case.table.flags.get(other.name)
        if rival is None or rival.group != flag.group or other.name == given.name or other.at >= given.at:
            continue
        yield Finding(
            problem=_problem(
                case,
                given,
                found=f"{given.written} beside {other.written}",
                wanted="one of the two",
                why="the parser takes only one of them",
                source=flag.source,
            )
        )


def misplaced(case: Case) -> Iterator[tuple[int, Finding]]:
    """Words that belong to no option."""
    after: dict[int, list[Piece]] = {}
    for piece, _ in case.reading.extras:
        start = next((at for at in sorted(after) if at + len(after[at]) + 1 == piece.at), None)
        if start is not None:
            after[start].append(piece)
        elif _named_word(case, piece):
            after[piece.at] = []
    taken = {piece.at for pieces in after.values() for piece in pieces}
    for piece, before in case.reading.extras:
        if piece.at in taken:
            continue
        if case.table.parser == "click-open" or piece.sort is Sort.OPEN or not piece.known:
            continue
        flag = case.table.flags.get(before.name) if before else None
        if before and flag and not flag.takes_value and not before.trouble and piece.text.lower() in (*_TRUE, *_FALSE):
            fix, groups = _without_value(flag, before, piece.text)
            problem = _problem(
                case,
                before,
                found=f"{before.written} {piece.text}",
                wanted=f"{before.written} without a value",
                why="it is a switch, and the word after it belongs to nothing",
                fix=fix,
                source=flag.source,
            )
            yield piece.at, Finding(problem=problem, edit=Edit(drop=(before.name,), take=(piece.at,), add=groups))
            continue
        yield piece.at, _extra_word(case, piece, before, after.get(piece.at, []))


def _named_word(case: Case, piece: Piece) -> str:
    """The option that a word would be with two plain dashes before it; "" where it would be none."""
    bare = piece.text.lstrip("-—–−")  # noqa: RUF001 - dashes that word processors put in
    for dashes in ("--", "-"):
        name = canonical(case.table, f"{dashes}{bare}")
        if name.partition("=")[0] in case.table.spellings and (bare == piece.text or not piece.text.startswith("-")):
            return name
    return ""


def _extra_word(case: Case, piece: Piece, before: Given | None, values: Sequence[Piece]) -> Finding:
    text = piece.text
    fix, edit = None, None
    name = _named_word(case, piece)
    if name:
        fix = f"write {name}" + ("" if text[0].isalnum() else ": its dash is a long one")
        taken = (piece.at, *(one.at for one in values))
        edit = Edit(take=taken, add=((name, *(one.text for one in values)),))
    after = f" after {before.written}" if before else ""
    problem = Problem(
        where=piece.token.where,
        token=text,
        found=f"{text}{after}",
        wanted="an option, or the value of one",
        why=f"{case.table.command} takes no further words",
        fix=fix,
        rule="flag",
        source=case.table.source,
    )
    return Finding(problem=problem, edit=edit)


def missing(case: Case, words: Sequence[Token]) -> Iterator[Finding]:
    """Options and words that the parser insists on."""
    if (
        case.partial
        or case.reading.open
        or case.asks_for_help
        or (case.has("--config") and case.table.parser != "click")
    ):
        return
    where = words[0].where if words else "the command"
    for name, flag in case.table.flags.items():
        seen = "serve-model" in case.table.traits and case.reading.positionals and name == "--model-path"
        if flag.required and not case.has(name) and not seen:
            yield Finding(problem=_absent(case, where, name, "its parser insists on it"))
    needed = [name for name, how in case.table.positionals if how in ("1", "+")]
    for name in needed[len(case.reading.positionals) :]:
        yield Finding(problem=_absent(case, where, name.upper(), "its parser insists on it"))


def _absent(case: Case, where: str, name: str, why: str) -> Problem:
    return Problem(
        where=where,
        token=name,
        found=f"no {name}",
        wanted=f"{case.table.command} with {name}",
        why=why,
        rule="flag",
        source=case.table.source,
    )


def _problem(
    case: Case,
    given: Given,
    *,
    found: str,
    wanted: str,
    why: str = "",
    fix: str | None = None,
    level: Level = "error",
    rule: str = "flag",
    source: str = "",
) -> Problem:
    return Problem(
        where=given.where,
        token=given.written,
        found=found,
        wanted=wanted,
        why=why,
        fix=fix,
        level=level,
        rule=rule,
        source=source or case.table.source,
    )
