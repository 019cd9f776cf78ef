"""Words of a command that belong to no option, and what a parser insists on that is not there."""

from collections.abc import Iterator, Sequence

from hosts.problem import Problem
from infra.flags.case import FALSE, TRUE, Case, problem, without_value
from infra.flags.finding import Edit, Finding
from infra.flags.pieces import Piece, Sort
from infra.flags.reading import Given
from infra.flags.unknown import canonical
from infra.flags.words import Token


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
        if before and flag and not flag.takes_value and not before.trouble and piece.text.lower() in (*TRUE, *FALSE):
            fix, groups = without_value(flag, before, piece.text)
            said = problem(
                case,
                before,
                found=f"{before.written} {piece.text}",
                wanted=f"{before.written} without a value",
                why="it is a switch, and the word after it belongs to nothing",
                fix=fix,
                source=flag.source,
            )
            yield piece.at, Finding(problem=said, edit=Edit(drop=(before.name,), take=(piece.at,), add=groups))
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
