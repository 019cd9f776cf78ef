"""A problem together with the edit of the command that repairs it."""

from dataclasses import dataclass

from hosts.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What to take out of a command, and what to put in."""

    drop: tuple[str, ...] = ()
    """Options by canonical name with dashes, or as they are written where the release has none of that name."""
    take: tuple[int, ...] = ()
    """Indices of words that belong to no option and are to be taken out."""
    add: tuple[tuple[str, ...], ...] = ()
    """Groups of words: `("--moe-a2a-backend", "deepep")`; one that begins without a dash goes to the front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem, and how to edit the command so that it is gone, where that is known."""

    problem: Problem
    edit: Edit | None = None
