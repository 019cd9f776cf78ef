"""A command with its table while it is judged, and how a problem of one of its options is said."""

from dataclasses import dataclass

from hosts.problem import Level, Problem
from infra.flags.reading import Given, Reading
from infra.flags.table import Flag, FlagTable

TRUE = ("true", "1", "yes", "on", "t")
FALSE = ("false", "0", "no", "off", "f")


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


def problem(
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
    """A problem of an option, at its place."""
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


def without_value(flag: Flag, given: Given, text: str) -> tuple[str | None, tuple[tuple[str, ...], ...]]:
    """A switch that was given a truth value, as it has to be written."""
    if text.lower() in TRUE:
        return f"write {given.spelling}", ((given.spelling,),)
    if text.lower() in FALSE:
        off = flag.negative[0] if flag.negative else ""
        return (f"write {off}", ((off,),)) if off else ("leave it out", ())
    return None, ()
