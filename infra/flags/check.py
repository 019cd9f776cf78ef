"""An argument list is read as the release's own parser would read it, and what it would refuse is said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from infra.flags.case import Case
from infra.flags.dotted import Merged, merged
from infra.flags.finding import Edit, Finding
from infra.flags.judge import judged
from infra.flags.pieces import pieces
from infra.flags.placed import misplaced, missing
from infra.flags.reading import Given, Reading, read
from infra.flags.serve import model_first
from infra.flags.table import FlagTable, load, releases
from infra.flags.words import UNKNOWN, Token, Value

__all__ = ["Checked", "Edit", "Finding", "Option", "check", "corrected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a command."""

    name: str
    """Canonical, with dashes; "" for one that the release does not have."""
    written: str
    """As it stands in the command."""
    values: tuple[Token, ...]
    value: Value
    """Typed: 64k is 65536; UNKNOWN where only the run knows. A dotted option has the value of the whole JSON."""
    at: int
    """Its index in the list."""
    words: int = 1
    """How many words it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An argument list, read."""

    options: tuple[Option, ...]
    positionals: tuple[Token, ...]
    findings: tuple[Finding, ...]
    open: bool = False
    """Whether the run may add options that nobody sees: `$EXTRA_ARGS`."""


def check(table: FlagTable, words: Sequence[Token], *, module: bool = False, partial: bool = False) -> Checked:
    """The options, positionals and findings of the words after a command's own name.

    `module` says that an engine was started as a Python module (`python -m`), `partial` that the words are not the
    whole command, so that nothing is missed.
    """
    words = tuple(words)
    if "serve-model" in table.traits and not module and not partial:
        table = replace(table, positionals=(("model_path", "?"),))
    skipped = 1 if "serve-optional" in table.traits and words and words[0].text == "serve" else 0
    seen, dotted = pieces(table, words[skipped:])
    reading = read(table, seen)
    case = Case(table=table, reading=reading, module=module, partial=partial)
    findings: list[tuple[int, Finding]] = []
    options: list[Option] = []
    for one in _in_order(case, reading, merged(table, dotted, reading)):
        option, found = one
        options.append(replace(option, at=option.at + skipped))
        findings += [(option.at + skipped, finding) for finding in found]
    findings += [(at + skipped, _shifted(finding, skipped)) for at, finding in misplaced(case)]
    findings += [(at + skipped, _shifted(finding, skipped)) for at, finding in model_first(case, words[skipped:])]
    findings += [(len(words), finding) for finding in missing(case, words)]
    if table.parser == "click-open":
        findings += _passed_on(table, reading, words)
    findings.sort(key=lambda pair: pair[0])
    return Checked(
        options=tuple(sorted(options, key=lambda option: option.at)),
        positionals=tuple(piece.token for piece in reading.positionals),
        findings=tuple(finding for _, finding in findings),
        open=reading.open,
    )


def _in_order(case: Case, reading: Reading, dotted: Sequence[Merged]) -> Iterator[tuple[Option, list[Finding]]]:
    gathered: dict[str, tuple[Value, ...]] = {}
    for given in reading.given:
        value, found = judged(case, given)
        flag = case.table.flags.get(given.name)
        if flag is not None and flag.many == "append":
            gathered[given.name] = (*gathered.get(given.name, ()), value)
            value = gathered[given.name]
        yield _option(given, value), found
    for one in dotted:
        for index, given in enumerate(one.given):
            yield _option(given, one.value), list(one.findings) if index == 0 else []


def _option(given: Given, value: Value) -> Option:
    return Option(
        name=given.name,
        written=given.written,
        values=tuple(replace(piece.token, text=piece.text, literal=_literal(piece.token)) for piece in given.values),
        value=value if not given.trouble else UNKNOWN,
        at=given.at,
        words=given.words,
    )


def _literal(token: Token) -> int:
    return -1 if token.known else 0


def _shifted(finding: Finding, by: int) -> Finding:
    if not by or finding.edit is None or not finding.edit.take:
        return finding
    return replace(finding, edit=replace(finding.edit, take=tuple(index + by for index in finding.edit.take)))


def _passed_on(table: FlagTable, reading: Reading, words: Sequence[Token]) -> list[tuple[int, Finding]]:
    """What `kt run` does not know itself it hands to the server, whose parser is held against it here."""
    release = table.release if table.release in releases("sglang-kt") else ""
    if not release:
        return []
    handed = [given for given in reading.given if not given.name]
    if not handed:
        return []
    server = load("sglang-kt", release)
    found: list[tuple[int, Finding]] = []
    for given in handed:
        span = words[given.at : given.at + given.words]
        found += [(given.at, finding) for finding in check(server, span, partial=True).findings]
    return found


def corrected(checked: Checked, words: Sequence[Token], findings: Sequence[Finding]) -> tuple[str, ...] | None:
    """The words with the edits of all findings made; None where an error has no edit."""
    if any(finding.edit is None and finding.problem.level == "error" for finding in findings):
        return None
    edits = [finding.edit for finding in findings if finding.edit is not None]
    gone: set[int] = {index for edit in edits for index in edit.take}
    added: dict[int, list[tuple[str, ...]]] = {}
    for edit in edits:
        spans = [option for option in checked.options if option.name in edit.drop or option.written in edit.drop]
        for option in spans:
            gone |= set(range(option.at, option.at + option.words))
        place = spans[0].at if spans else len(words)
        for group in edit.add:
            at = place if group[0].startswith("-") else 0
            if group not in added.setdefault(at, []):
                added[at].append(group)
    out: list[str] = []
    for index in range(len(words) + 1):
        out += [word for group in added.get(index, ()) for word in group]
        if index < len(words) and index not in gone:
            out.append(words[index].text)
    return tuple(out)
