"""A stack file as far as it could be read: the deployment, every problem, and the ledger of each part."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hosts.problem import Problem
from infra.changes import Change
from infra.deployment import Deployment
from infra.ledger.fit import Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known of a deployment, whatever is wrong with it; nothing is brought up from one with errors.

    `placed`: its ranks are known. `rendered`: so are their commands. `staged`: and what is brought about on each host.
    `left_out` are options that the release refuses: the commands are those without them, and no ledger is made.
    """

    deployment: Deployment
    problems: tuple[Problem, ...] = ()
    fits: Mapping[str, Fit] = field(default_factory=dict)
    """By role, "" where there are none."""
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    """Of each part that does not fit."""
    placed: bool = True
    rendered: bool = True
    staged: bool = True
    proven: bool = True
    """Whether rules and ledger were asked; what was wrong before them may be the cause of what they would find."""
    left_out: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What refuses it."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What does not."""
        return tuple(problem for problem in self.problems if problem.level != "error")
