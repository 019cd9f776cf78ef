"""The findings about single options of a command: names, values, what is deprecated, what excludes what."""

from collections.abc import Iterator

from hosts.problem import Level
from infra.flags.case import Case, problem, without_value
from infra.flags.finding import Edit, Finding
from infra.flags.near import nearest_name
from infra.flags.reading import Given
from infra.flags.table import Flag, load, releases
from infra.flags.unknown import ambiguous_option, replaced_option, unknown_option
from infra.flags.values import Refusal, not_one_of, typed
from infra.flags.words import UNKNOWN, Value

DIFFUSION = frozenset(
    ["--num-gpus", "--ulysses-degree", "--ring-degree", "--sp-degree", "--webui", "--pipeline-class-name"],
)
"""Options by which `sglang serve` is seen to start SGLang's other server, for models that make pictures."""

OR_CLASS = frozenset({"--distributed-executor-backend"})
"""Options that take their names letter by letter, and beside them only the dotted path of a class."""


def judged(case: Case, given: Given) -> tuple[Value, list[Finding]]:  # noqa: PLR0911 - one return a kind of trouble
    """The value of an option, and what is wrong with it."""
    if given.trouble == "unknown":
        if case.table.parser == "click-open" or _of_another_server(case):
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
    found += _overruled(case, flag, given)
    return value, found


def _of_another_server(case: Case) -> bool:
    """Whether a program that shares the engine's command reads the words: vllm-omni, SGLang's diffusion server."""
    seen = {one.spelling for one in case.reading.given}
    if case.table.engine == "vllm":
        return "--omni" in seen
    return case.table.engine == "sglang" and not case.module and bool(seen & DIFFUSION)


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
    elsewhere = ""
    if not flag.registered or text in flag.registered or text in ("", "None") or plugin or case.reading.open:
        return
    if not given.name.endswith("-parser"):
        lowered = {name.lower() for name in flag.registered}
        folded = given.name not in OR_CLASS and text.lower() in {*lowered, "auto", "none"}
        if folded or "." in text:
            return
        elsewhere = _registered_in(case, given.name, text)
        open_names = given.name not in OR_CLASS and not elsewhere
        if open_names and nearest_name(text, flag.registered) is None:
            return
    used = given.name != "--tool-call-parser" or case.has("--enable-auto-tool-choice")
    level: Level = "error" if used or case.partial or "--enable-auto-tool-choice" not in case.table.flags else "warning"
    refusal = not_one_of(text, flag.registered)
    guessed = elsewhere and nearest_name(text, flag.registered) is None
    yield _refusal(
        case,
        flag,
        given,
        index,
        Refusal(
            found=refusal.found,
            wanted=refusal.wanted,
            why=elsewhere,
            fix=None if guessed else refusal.fix,
            better=None if guessed else refusal.better,
            level=level,
        ),
    )


def _registered_in(case: Case, name: str, text: str) -> str:
    """Which other releases have the name that this one lacks."""
    engine = case.table.engine
    tables = (load(engine, one) for one in releases(engine) if one != case.table.release)
    have = [one.release for one in tables if name in one.flags and text in one.flags[name].registered]
    return f"{engine} {', '.join(have)} has it" if have else ""


def _refusal(case: Case, flag: Flag, given: Given, index: int, refusal: Refusal) -> Finding:
    edit = None
    if refusal.better is not None:
        texts = [piece.text for piece in given.values]
        texts[index] = refusal.better
        one = len(texts) == 1 and (given.attached or texts[0].startswith("-"))
        edit = Edit(drop=(given.name,), add=((f"{given.written}={texts[0]}",) if one else (given.written, *texts),))
    said = problem(
        case,
        given,
        found=refusal.found,
        wanted=refusal.wanted,
        why=refusal.why,
        fix=refusal.fix,
        level="warning" if refusal.level == "warning" else "error",
        source=flag.source,
    )
    return Finding(problem=said, edit=edit)


def _no_value(case: Case, flag: Flag, given: Given) -> Finding:
    stray = given.stray
    fix, edit = None, None
    if stray is not None and stray.text not in case.table.spellings and not stray.text.startswith("--"):
        fix = f"write {given.written}={stray.text}, if that is its value"
    what = "a value after it" if flag.many in ("", "append") else "one value or more after it"
    return Finding(
        problem=problem(
            case, given, found=f"{given.written} without a value", wanted=what, fix=fix, source=flag.source
        ),
        edit=edit,
    )


def _valued_switch(case: Case, flag: Flag, given: Given) -> Finding:
    text = given.values[0].text if given.values else ""
    fix, groups = without_value(flag, given, text)
    said = problem(
        case,
        given,
        found=f"{given.written}={text}",
        wanted=f"{given.written} without a value",
        why="it is a switch",
        fix=fix,
        source=flag.source,
    )
    return Finding(problem=said, edit=Edit(drop=(given.name,), add=groups) if fix else None)


def _refused(case: Case, flag: Flag, given: Given) -> Finding:
    finding = unknown_option(case.table, given, case.reading.given)
    said = problem(
        case,
        given,
        found=given.written,
        wanted="what the parser says in its place",
        why=flag.refuses,
        fix=finding.problem.fix,
        source=flag.source,
    )
    return Finding(problem=said, edit=finding.edit)


def _deprecated(case: Case, flag: Flag, given: Given) -> Finding:
    instead = flag.deprecated or ""
    meant = replaced_option(case.table, given, case.reading.given)
    said = problem(
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
    return Finding(problem=said, edit=edit)


def _overruled(case: Case, flag: Flag, given: Given) -> Iterator[Finding]:
    """An option that a later one of the same name contradicts: the last one counts."""
    if flag.many in ("append", "words", "any"):
        return
    for later in case.reading.given:
        if later.name != given.name or later.at <= given.at or later.trouble or given.trouble:
            continue
        known = all(piece.known for piece in (*given.values, *later.values))
        here, there = [piece.text for piece in given.values], [piece.text for piece in later.values]
        turned = (given.spelling in flag.negative) != (later.spelling in flag.negative)
        if turned or (known and flag.takes_value and here != there):
            said = problem(
                case,
                given,
                found=" ".join((given.written, *here)),
                wanted=f"only {' '.join((later.written, *there))}, or only this",
                why="both are given, and the last one counts",
                level="warning",
                source=flag.source,
            )
            yield Finding(problem=said)
            return


def _clashes(case: Case, flag: Flag, given: Given) -> Iterator[Finding]:
    """Another option of a group of which only one may be given, said at the later one."""
    if not flag.group:
        return
    for other in case.reading.given:
        rival = case.table.flags.get(other.name)
        if rival is None or rival.group != flag.group or other.name == given.name or other.at >= given.at:
            continue
        yield Finding(
            problem=problem(
                case,
                given,
                found=f"{given.written} beside {other.written}",
                wanted="one of the two",
                why="the parser takes only one of them",
                source=flag.source,
            )
        )
