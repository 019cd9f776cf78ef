"""One thing that is wrong with an input: where, what was found, what is wanted, why, and what to do."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A finding with its place; `where` is a `$.path` in the user's file or `line N`."""

    where: str
    found: str
    wanted: str
    why: str = ""
    fix: str | None = None
    level: Level = "error"
    rule: str = "schema"
    token: str | None = None
    source: str = ""

    def __str__(self) -> str:
        text = f"{self.level}: {self.where}: found {self.found}, wanted {self.wanted}"
        if self.why:
            text += f" ({self.why})"
        return f"{text}; {self.fix}" if self.fix else text

    def to_json(self) -> dict[str, str | None]:
        """The shape that every `--json` output uses (DESIGN.md 1)."""
        return {
            "level": self.level,
            "rule": self.rule,
            "where": self.where,
            "token": self.token,
            "found": self.found,
            "wanted": self.wanted,
            "why": self.why,
            "fix": self.fix,
            "source": self.source,
        }
