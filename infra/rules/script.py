"""The commands of one document taken together: downloads, installations, benchmarks, and the servers they speak of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hosts.problem import Level, Problem
from infra.flags.finding import Edit, Finding
from infra.rules.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command that starts no engine: its words without quotes, and its place."""

    words: tuple[str, ...]
    place: str
    env: Mapping[str, str] = field(default_factory=dict)
    known: bool = True
    """Whether all of its words are certain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A document: its engine commands, its other commands in order, and the versions that it pins by distribution.

    `text` has one (place, line) a line, for what stands in prose or in a request's JSON.
    """

    subjects: tuple[Subject, ...] = ()
    steps: tuple[Step, ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)
    text: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """How a document breaks a rule."""

    place: str
    found: str
    wanted: str
    why: str = ""
    fix: str | None = None
    word: str | None = None
    """What of the command is wrong, as it is written."""
    subjects: tuple[Subject, ...] = ()
    """The commands that `edit` changes."""
    edit: Edit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptFinding(Finding):
    """A finding about a document."""

    subjects: tuple[Subject, ...] = ()
    """Those of the script's subjects whose words `edit` changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRule:
    """A rule about more than one command, or about one that is no engine's."""

    name: str
    level: Level = "error"
    title: str
    why: str
    source: str
    check: Callable[[Script], Iterator[Flaw]]

    def findings(self, script: Script) -> Iterator[ScriptFinding]:
        """What of the document breaks this rule."""
        for flaw in self.check(script):
            yield ScriptFinding(
                problem=Problem(
                    level=self.level,
                    rule=self.name,
                    where=flaw.place,
                    token=flaw.word,
                    found=flaw.found,
                    wanted=flaw.wanted,
                    why=flaw.why or self.why,
                    fix=flaw.fix,
                    source=self.source,
                ),
                edit=flaw.edit,
                subjects=flaw.subjects,
            )
