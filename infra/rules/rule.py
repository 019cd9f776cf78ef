"""One rule: what it holds for, what it refuses, why, and who says so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hosts.problem import Level, Problem
from infra.flags.finding import Edit, Finding
from infra.rules.release import within
from infra.rules.subject import Subject

VLLM = frozenset({"vllm"})
SGLANG = frozenset({"sglang", "sglang-kt"})
KT = frozenset({"sglang-kt", "kt-kernel"})
TRTLLM = frozenset({"trtllm"})
ANY = VLLM | SGLANG | KT | TRTLLM


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """How a subject breaks a rule: the options at fault (the first known place counts), and what would be right."""

    options: tuple[str, ...] = ()
    found: str
    wanted: str
    why: str = ""
    """"": the rule's own reason."""
    fix: str | None = None
    edit: Edit | None = None
    place: str = ""
    """Where no option stands: "" is the subject's own place."""
    word: str | None = None
    """What is wrong, as it is written, where that is no option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule and its source, for `engines` from release `since` on and below release `below` ("": no bound)."""

    name: str
    engines: frozenset[str] = field(default=ANY)
    since: str = ""
    below: str = ""
    level: Level = "error"
    title: str
    """What it refuses."""
    why: str
    source: str
    check: Callable[[Subject], Iterator[Breach]]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """What of the subject breaks this rule."""
        if subject.engine not in self.engines or not within(subject.release, self.since, self.below):
            return
        for breach in self.check(subject):
            option = next((name for name in breach.options if name in subject.options), None)
            yield Finding(
                problem=Problem(
                    level=self.level,
                    rule=self.name,
                    where=breach.place or subject.where(*breach.options),
                    token=subject.token(option) if option else breach.word,
                    found=breach.found,
                    wanted=breach.wanted,
                    why=breach.why or self.why,
                    fix=breach.fix,
                    source=self.source,
                ),
                edit=breach.edit,
            )
