"""The words of a command, and the values that they hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class RunTime(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "known at run time"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = RunTime.UNKNOWN
"""A value that only the run knows."""

Value = bool | int | float | str | tuple["Value", ...] | Mapping[str, "Value"] | RunTime | None
"""What an option holds; None is JSON's null."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One word of a command, its quotes removed."""

    text: str
    """Known variables are substituted; what only the run knows stays as it is written: `$PORT`, `${A}/x`."""
    line: int = 0
    """The 1-based line of the document, 0 where there is none."""
    literal: int = -1
    """How many leading characters are certain; -1 is all of them."""
    splits: bool = False
    """Whether the run may make no word of it, or several."""

    @property
    def known(self) -> bool:
        """Whether the run cannot change it."""
        return not self.splits and (self.literal < 0 or self.literal >= len(self.text))

    @property
    def certain(self) -> str:
        """The leading characters that the run cannot change."""
        return self.text if self.known else self.text[: max(self.literal, 0)]

    @property
    def where(self) -> str:
        """The place as a problem names it."""
        return f"line {self.line}" if self.line else "the command"
