"""`--json-flag.key value` options merged into the JSON that vLLM's parser makes of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from hosts.problem import Problem
from infra.flags.finding import Edit, Finding
from infra.flags.pieces import Dotted
from infra.flags.reading import Given, Reading
from infra.flags.shapes import Fault, Reader
from infra.flags.table import Flag, FlagTable
from infra.flags.unknown import ambiguous_option, unknown_option
from infra.flags.values import SIZE, Refusal, typed
from infra.flags.words import UNKNOWN, RunTime, Value

MAX_KEYS = 40
"""In one option's name; each nests its value once more, and no configuration is half as deep."""
MAX_BRACKETS = 200
"""In the JSON after a dotted option; what has more is not followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """All dotted options of one JSON option."""

    given: tuple[Given, ...]
    value: Value
    findings: tuple[Finding, ...]


def merged(table: FlagTable, dotted: Sequence[Dotted], reading: Reading) -> list[Merged]:
    """One value for each JSON option that is written by its keys."""
    by_option: dict[str, list[Dotted]] = {}
    for one in dotted:
        by_option.setdefault(one.option, []).append(one)
    return [_merged(table, option, group, reading) for option, group in by_option.items()]


def _merged(table: FlagTable, option: str, group: Sequence[Dotted], reading: Reading) -> Merged:
    names = _names(table, option)
    name = table.spellings[names[0]] if len(names) == 1 else ""
    given = tuple(_given(one, name) for one in group)
    if not name and option == "-O" and "--compilation-config" in table.spellings:
        findings = tuple(_old_level(table, one, as_given) for one, as_given in zip(group, given, strict=True))
        return Merged(given=given, value=UNKNOWN, findings=findings)
    if not name:
        finder = ambiguous_option if names else unknown_option
        findings = tuple(finder(table, _renamed(one, option, names), reading.given) for one in given)
        return Merged(given=given, value=UNKNOWN, findings=findings)
    flag = table.flags[name]
    tree: dict[str, object] = {}
    found: list[Finding] = []
    for one, as_given in zip(group, given, strict=True):
        if one.value is None:
            found.append(_finding(as_given, found=f"{one.written} without a value", wanted="a value after it"))
            continue
        if len(one.keys) > MAX_KEYS:
            found.append(_too_deep(as_given, len(one.keys)))
            continue
        _put(tree, one.keys, _leaf(table, one))
    replaced = [one for one in reading.given if one.name == name and not one.trouble]
    if replaced:
        found.append(
            _finding(
                given[0],
                found=f"{given[0].written} beside {replaced[0].written}",
                wanted="all keys in the JSON, or all of them dotted",
                why="the dotted keys replace the whole JSON that was given before them",
                level="warning",
            )
        )
    found += _faults(table, flag, group, given, tree)
    return Merged(given=given, value=_frozen(tree), findings=tuple(found))


def _too_deep(given: Given, keys: int) -> Finding:
    return _finding(
        given,
        found=f"{given.written[:40]}… with {keys} keys inside one another",
        wanted=f"at most {MAX_KEYS}",
        why="each dot nests the JSON once more, and Python's parser gives up on too many",
    )


def _old_level(table: FlagTable, one: Dotted, given: Given) -> Finding:
    """`-O.level=3`, from the time when -O was the short form of --compilation-config."""
    value = one.value.text if one.value else ""
    level = one.keys in (("level",), ("mode",))
    word = f"-O{value}" if level else f"-cc.{'.'.join(one.keys)}={value}"
    return _finding(
        given,
        found=given.written,
        wanted="-O0 to -O3, or a key of --compilation-config",
        why=f"in {table.engine} {table.release} what follows -O is a level alone",
        fix=f"write {word}",
        edit=Edit(drop=(given.written,), add=((word,),)),
    )


def _names(table: FlagTable, option: str) -> tuple[str, ...]:
    if option in table.spellings:
        return (option,)
    return tuple(one for one in table.spellings if one.startswith(option)) if option.startswith("--") else ()


def _renamed(given: Given, option: str, names: tuple[str, ...]) -> Given:
    return Given(
        name="",
        spelling=given.written if given.written.startswith("--") else option,
        written=given.written,
        values=given.values,
        at=given.at,
        words=given.words,
        where=given.where,
        candidates=names,
    )


def _given(one: Dotted, name: str) -> Given:
    where = one.value.token.where if one.value else "the command"
    values = (one.value,) if one.value else ()
    return Given(name=name, spelling=name, written=one.written, values=values, at=one.at, words=one.words, where=where)


def _leaf(table: FlagTable, one: Dotted) -> object:
    assert one.value is not None
    if not one.value.known:
        return UNKNOWN
    text = one.value.text
    if one.adds:
        return [*text.split(",")]
    if max(text.count("{"), text.count("[")) > MAX_BRACKETS:
        return UNKNOWN
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if "dotted-suffix" in table.traits and SIZE.fullmatch(text):
        value = typed(table, Flag(kind="size"), text)[0]
        return value if isinstance(value, int) else text
    return text


def _put(tree: dict[str, object], keys: Sequence[str], value: object) -> None:
    *path, last = keys
    for key in path:
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    old = tree.get(last)
    tree[last] = [*old, *value] if isinstance(old, list) and isinstance(value, list) else value


def _frozen(value: object) -> Value:
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value if isinstance(value, bool | int | float | str | RunTime) else None


def _faults(
    table: FlagTable, flag: Flag, group: Sequence[Dotted], given: Sequence[Given], tree: dict[str, object]
) -> list[Finding]:
    if not flag.kind.startswith("json"):
        refusal = typed(table, flag, json.dumps("a mapping"))[1] or (Refusal(found="", wanted=f"a {flag.kind}"),)
        return [_finding(given[0], found=f"{given[0].written} of an option that is no JSON", wanted=refusal[0].wanted)]
    found = []
    for fault in Reader(classes=table.classes).faults(flag.shape or "any", tree):
        owner = _owner(group, fault)
        found.append(_of_fault(group[owner], given[owner], fault))
    return found


def _owner(group: Sequence[Dotted], fault: Fault) -> int:
    """The dotted option that the fault lies in."""
    for index, one in enumerate(group):
        length = min(len(one.keys), len(fault.path))
        if length and one.keys[:length] == fault.path[:length]:
            return index
    return 0


def _of_fault(one: Dotted, given: Given, fault: Fault) -> Finding:
    edit = None
    fix = f"did you mean {fault.better}?" if fault.better else None
    is_key = fault.found == fault.where
    if fault.better and is_key and len(fault.path) <= len(one.keys):
        keys = (*one.keys[: len(fault.path) - 1], fault.better, *one.keys[len(fault.path) :])
        name = ".".join((one.written.split(".")[0], *keys)) + ("+" if one.adds else "")
        fix = f"did you mean {name}?"
        edit = Edit(drop=(given.written,), add=((name, *(piece.text for piece in given.values)),))
    elif fault.better and fault.path == one.keys:
        edit = Edit(drop=(given.written,), add=((given.written, fault.better),))
    return _finding(
        given,
        found=fault.found if is_key else f"{fault.where}: {fault.found}",
        wanted=fault.wanted,
        why=fault.why,
        fix=fix,
        level="warning" if fault.ignored else "error",
        edit=edit,
    )


def _finding(
    given: Given,
    *,
    found: str,
    wanted: str,
    why: str = "",
    fix: str | None = None,
    level: str = "error",
    edit: Edit | None = None,
) -> Finding:
    problem = Problem(
        where=given.where,
        token=given.written,
        found=found,
        wanted=wanted,
        why=why,
        fix=fix,
        level="warning" if level == "warning" else "error",
        rule="flag",
    )
    return Finding(problem=problem, edit=edit)
