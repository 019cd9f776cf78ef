"""What a release without a table of its own refuses: what the tables beside it agree on, and what history knows."""

from collections.abc import Iterator
from dataclasses import replace

from infra.flags.check import Checked
from infra.flags.finding import Finding
from infra.flags.history import history
from infra.flags.table import age
from infra.lint.choice import Choice


def findings(engine: str, choice: Choice, near: Checked, other: Checked | None) -> Iterator[Finding]:
    """The findings of the nearest table that hold for the release meant; beyond the last table they only warn."""
    unknown = {*_unknown(near), *(_unknown(other) if other else ())}
    agreed = {_key(finding) for finding in other.findings} if other else set()
    told: set[tuple[str, str, str | None]] = set()
    for finding in near.findings:
        had = _had(engine, finding.problem.token or "", choice.meant) if finding.problem.token in unknown else None
        if had is False or (had is None and _key(finding) in agreed):
            told.add(_key(finding))
            yield _of_release(finding, choice)
        elif had is None and other is None:
            yield replace(finding, problem=replace(finding.problem, level="warning"))
    for finding in other.findings if other else ():
        gone = finding.problem.token in unknown and _had(engine, finding.problem.token or "", choice.meant) is False
        if gone and _key(finding) not in told:
            yield _of_release(finding, choice)


def _had(engine: str, flag: str, release: str) -> bool | None:
    """Whether the release has an option; None where the releases that were read beside it differ, or none was."""
    known = history(engine)
    life = known.flags.get(flag.replace("_", "-")) or known.flags.get(flag)
    before = [one for one in known.releases if age(one) <= age(release)]
    after = [one for one in known.releases if age(one) >= age(release)]
    if life is None or not before or not after:
        return None
    had = {any(age(first) <= age(one) <= age(last) for first, last in life.runs) for one in (before[-1], after[0])}
    return had.pop() if len(had) == 1 else None


def _unknown(checked: Checked) -> set[str]:
    return {option.written.partition("=")[0] for option in checked.options if not option.name}


def _key(finding: Finding) -> tuple[str, str, str | None]:
    return finding.problem.where, finding.problem.rule, finding.problem.token


def _of_release(finding: Finding, choice: Choice) -> Finding:
    """The finding with the release meant in the place of the table's."""
    wanted = finding.problem.wanted
    for release in (choice.table, choice.other):
        wanted = wanted.replace(f" {release}", f" {choice.meant}") if release else wanted
    return replace(finding, problem=replace(finding.problem, wanted=wanted))
