"""A plan for people, on a terminal of 100 columns; problems first."""

import textwrap
from collections.abc import Iterator, Sequence

from hosts.problem import Problem
from hosts.text import printable
from infra import shown
from infra.bars import waterfall
from infra.deployment import Deployment
from infra.engines import ENGINES
from infra.folding import Launch
from infra.placement import place
from infra.plan_document import by_hand, plan_json, reading
from infra.reading import Reading
from infra.shown import Ledger, Need
from infra.typed_lines import rows

__all__ = ["WIDTH", "by_hand", "no_ledger", "plan_json", "plan_text", "reading", "said"]

WIDTH = 100


def plan_text(it: Deployment | Reading, *, ascii_only: bool = False) -> str:
    """The plan as a person reads it; `ascii_only` where the terminal can't show more."""
    text = "\n".join(printable(line, keep="").rstrip() for line in _lines(reading(it), ascii_only)) + "\n"
    return text.replace("…", "...").encode("ascii", "replace").decode() if ascii_only else text


def _lines(it: Reading, ascii_only: bool) -> Iterator[str]:
    d = it.deployment
    yield from _wrap(f"{d.stack}: {shown.title(d)}", 0)
    yield from _problems(it)
    yield from _ranks(it)
    yield from _launch(it)
    for ledger in shown.ledgers(it):
        yield from _ledger(ledger, ascii_only)
    if not it.fits:
        yield from ("", "memory")
        yield from _wrap(no_ledger(it), 2)
    limits = shown.limits(it)
    if limits:
        yield from ("", "limits")
        yield from _needs(limits, "of", ascii_only)
    cost = shown.cost(it)
    if cost:
        yield from ("", "cost")
        yield from _wrap(cost, 2)
    yield from _stages(it)


def _problems(it: Reading) -> Iterator[str]:
    for problem in (*it.errors, *it.warnings):
        yield ""
        yield from _wrap(f"{problem.level}: {problem.where}" + (f"  {problem.token}" if problem.token else ""), 0)
        for name, text in said(problem):
            yield from _wrap(f"{name:<8}{text}", 2, more=10)
    if it.errors:
        yield ""
        yield from _wrap(f"{shown.verdict(it)}. Nothing is brought up from it; what follows is what it would be.", 0)


def said(problem: Problem) -> tuple[tuple[str, str], ...]:
    """What a problem says, by name."""
    all_of_it = (
        ("found", problem.found),
        ("wanted", problem.wanted),
        ("why", problem.why),
        ("fix", problem.fix or ""),
        ("source", problem.source),
    )
    return tuple((name, text) for name, text in all_of_it if text)


def no_ledger(it: Reading) -> str:
    """Why there is none."""
    if it.left_out:
        return "not computed until the options are right that the release refuses"
    if not it.proven:
        return "not computed until the errors above are gone"
    if it.deployment.fleet.stand_in:
        return "not computed: the GPUs of this fleet are stand-ins"
    return f"not computed: what {it.deployment.engine} takes is not known"


def _ranks(it: Reading) -> Iterator[str]:
    found = shown.ranks(it)
    if not found:
        return
    heads = ("ranks" if len(found) > 1 or "-" in found[0].ranks else "rank", "role", "hosts", "GPUs")
    table = [heads, *((row.ranks, row.role, row.hosts, row.gpus) for row in found)]
    wide = [max(len(row[n]) for row in table) for n in range(4)]
    hosts = min(wide[2], WIDTH - wide[0] - wide[1] - wide[3] - 8)
    yield ""
    for row in table:
        cells = textwrap.wrap(row[2], max(20, hosts), break_on_hyphens=False)
        for n, cell in enumerate(cells):
            first = row if n == 0 else ("", "", "", "")
            yield f"  {first[0]:<{wide[0]}}  {first[1]:<{wide[1]}}  {cell:<{hosts}}  {first[3]}"


def _launch(it: Reading) -> Iterator[str]:
    found = shown.by_hand(it)
    for launch in found:
        yield ""
        yield from _wrap(f"by hand, {launch.place}", 0)
        yield from _launched(launch)
    if not found:
        return
    if it.left_out:
        yield from _wrap(f"left out, since the release refuses them: {', '.join(it.left_out)}", 2)
    d = it.deployment.by_hand  # behind a gateway the engine itself has no key
    for name, secret in ENGINES[d.engine].command(d, place(d).ranks[0]).secrets.items():
        yield from _wrap(f"and {name}, the secret {secret}, which is read on the host", 2)
    for name, text in shown.files(it).items():
        yield ""
        yield name
        for line in text.splitlines():
            yield from textwrap.wrap(line, WIDTH - 4, initial_indent="    ", subsequent_indent="      ")


def _launched(launch: Launch) -> Iterator[str]:
    yield from rows(launch.line, WIDTH)
    for text in launch.same:
        yield from _wrap(text, 2)


def _ledger(it: Ledger, ascii_only: bool) -> Iterator[str]:
    yield ""
    yield from _wrap(f"memory of {it.role + ': ' if it.role else ''}{it.title}", 0)
    yield from (f"  {row}" for row in waterfall(it.parts, it.total_gib, width=WIDTH - 2, ascii_only=ascii_only))
    yield from _wrap(it.said, 2)
    if it.fits:
        yield "  it fits"
    if it.missing_gib:
        yield from _wrap(f"does not fit: {it.missing_gib:.1f} GiB a GPU are missing", 2)
    if it.changes:
        yield "  what makes it fit, cheapest first, each checked, with its KV cache:"
        for n, change in enumerate(it.changes, 1):
            yield from _wrap(f"{n}  {change.tokens:>10,} tokens  {change.text}  ({change.cost})", 4, more=26)
    elif it.missing_gib:
        yield "  no change that was tried makes it fit"
    yield "  a node"
    yield from _needs(it.needs, "of", ascii_only)


def _needs(found: Sequence[Need], word: str, ascii_only: bool) -> Iterator[str]:
    name = max(len(need.name) for need in found)
    for need in found:
        has = f"{word} {need.has}" if need.has else ""
        row = f"    {need.name:<{name}}  {need.needs:>12}  {has:<12}"
        yield from _wrap(f"{row}  {_gauge(need, ascii_only)}  {need.whose}", 0, more=6)


def _gauge(need: Need, ascii_only: bool) -> str:
    """A small bar of ten cells."""
    if need.share is None:
        return " " * 10
    full = max(1, min(10, round(need.share * 10)))
    ink, blank = ("#", ".") if ascii_only else ("█", "░")
    return ink * full + blank * (10 - full)


def _stages(it: Reading) -> Iterator[str]:
    found = shown.stage_rows(it)
    if not found:
        return
    yield from ("", "stages")
    name = max(len(row.name) for row in found)
    for row in found:
        yield from _wrap(f"{row.name:<{name}}  {row.count:>3} on {row.hosts}", 2, more=name + 8)


def _wrap(text: str, indent: int, *, more: int | None = None) -> list[str]:
    """Lines no wider than a screen; blanks that stand in a row stay, for they are columns."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2 if more is None else more),
        break_on_hyphens=False,
        drop_whitespace=True,
    )
