"""Which release's table a command is held against: the one asked for, the one the text pins, or the newest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hosts.problem import Problem
from infra.flags import table as tables
from infra.lint import pins
from infra.lint.document import Document, Launch, Pin
from infra.rules.release import key, within

SOURCE = "infra/engines/flags"
_PACKAGES = {
    "vllm": "vllm",
    "sglang": "sglang",
    "sglang-kt": "sglang-kt",
    "kt-kernel": "kt-kernel",
    "trtllm": "tensorrt-llm",
}
_OF_TABLE = {"vllm-bench-serve": "vllm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The release that is meant, and the tables that stand for it."""

    meant: str
    """As the text or the caller gives it; "" where nothing does."""
    table: str
    """The nearest table's release, "" where the command has none."""
    other: str = ""
    """Where no table is the release's own: the neighbour on its other side, "" at the ends."""
    line: int = 0
    """Where it is pinned."""

    @property
    def exact(self) -> bool:
        """Whether the table is that release's own."""
        return not self.meant or key(self.meant) == key(self.table)


def choose(document: Document, launch: Launch, engine: str, table: str, given: str) -> Choice:
    """The release of one command."""
    known = tables.releases(table) if table else ()
    pin = Pin(package="", release=given, line=0) if given else _pinned(document, launch, engine, table)
    if not known:
        return Choice(meant=pin.release if pin and pin.operator == "==" else "", table="")
    if pin is None:
        return Choice(meant="", table=known[-1])
    if pin.operator != "==":
        fits = [release for release in known if _fits(release, pin)]
        return Choice(meant="", table=(fits or known)[-1])
    return nearest(pin.release, known, pin.line)


def nearest(release: str, known: Sequence[str], line: int = 0) -> Choice:
    """The table of a release, or those beside it."""
    same = [other for other in known if key(other) == key(release)]
    if same:
        return Choice(meant=release, table=same[0], line=line)
    older = [other for other in known if key(other) < key(release)]
    newer = [other for other in known if key(other) > key(release)]
    if not older or not newer:
        return Choice(meant=release, table=(older or newer[:1])[-1], line=line)
    closest, other = older[-1], newer[0]
    if _distance(other, release) < _distance(closest, release):
        closest, other = other, closest
    return Choice(meant=release, table=closest, other=other, line=line)


def warnings(engine: str, choice: Choice) -> Iterator[Problem]:
    """What to say where a release has no table of its own."""
    if choice.exact or not choice.table:
        return
    beside = f"{choice.table} and {choice.other}" if choice.other else choice.table
    yield Problem(
        level="warning",
        rule="release",
        where=f"line {choice.line}" if choice.line else "the command",
        found=f"{engine} {choice.meant}, of which there is no table",
        wanted=f"one of {', '.join(tables.releases(engine))}",
        why=f"its commands were held against {beside} instead; only what holds for both is told"
        if choice.other
        else f"its commands were held against {beside} instead, and what that refuses is only warned of",
        fix=f"run: invoke flags.extract {engine} {choice.meant}",
        source=SOURCE,
    )


def _fits(release: str, pin: Pin) -> bool:
    if pin.operator == ">=":
        return within(release, since=pin.release)
    if pin.operator == ">":
        return key(release) > key(pin.release)
    if pin.operator in ("<", "<="):
        return within(release, below=pin.release) or (pin.operator == "<=" and key(release) == key(pin.release))
    stem = pin.release.rpartition(".")[0]
    return within(release, since=pin.release) and (release == stem or release.startswith(f"{stem}."))


def _pinned(document: Document, launch: Launch, engine: str, table: str) -> Pin | None:
    """The image's release, else the last exact pin before the command, else the first one after it, else a bound."""
    tag = pins.of_image(launch.around.image)
    package = _PACKAGES.get(engine, engine)
    if tag and table in (engine, _OF_TABLE.get(table)):
        return Pin(package=package, release=tag, line=launch.line)
    names = {package} if table == engine or _OF_TABLE.get(table) == engine else {table}
    found = [pin for pin in document.pins if pin.package in names]
    exact = [pin for pin in found if pin.operator == "=="]
    before = [pin for pin in exact if pin.line <= launch.line]
    if before:
        return max(before, key=lambda pin: pin.line)
    return next(iter(exact or found), None)


def _distance(one: str, other: str) -> list[int]:
    mine, theirs = key(one), key(other)
    longest = max(len(mine), len(theirs))
    pairs = zip((*mine, *[0] * (longest - len(mine))), (*theirs, *[0] * (longest - len(theirs))), strict=True)
    return [abs(a - b) for a, b in pairs]
