"""The tree of everything that can go wrong on purpose, drawn before it is written.

SlipwayError                 exit
├── InputError               2     the user's files or words are wrong; carries every Problem at once
├── Refused                  3     a check said no; nothing was written anywhere
│   ├── Blocked                    a Requirement differs, a state is unknown, or something is somebody else's
│   └── NotOurs                    a claim of another stack or another backend is in the way
└── Failed                   1
    ├── Unreachable                no connection, or it went silent
    │   └── WrongHostKey           the machine shows another key than the pinned one
    ├── Truncated                  the connection ended before the script did
    ├── Locked                     another Slipway run works on the host
    ├── ChangedSincePlan           the machine moved between plan and apply
    ├── StepFailed                 a command on a host exited non-zero
    ├── NotConverged               everything ran, and something still differs
    ├── Cancelled                  a person told us to stop waiting; nothing is lost
    └── LeftBehind                 a teardown found something that is still there
"""

from collections.abc import Sequence

from hosts.problem import Problem


class SlipwayError(Exception):
    """Base of all expected errors; `exit_code` is what a command line ends with."""

    exit_code = 1


class InputError(SlipwayError):
    """Wrong input: every problem found, each with its `$.path`."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], what: str = "") -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        super().__init__("\n".join([what, *lines] if what else lines))


class Refused(SlipwayError):
    """A check said no, before anything was written."""

    exit_code = 3


class Blocked(Refused):
    """What may not be applied, and each reason: what was found, what is wanted and the fix."""

    def __init__(self, reasons: Sequence[str], what: str = "nothing was written on any host in this stage") -> None:
        self.reasons = tuple(reasons)
        super().__init__(f"{what}, because:\n" + "\n".join(f"  {line}" for line in reasons))


class NotOurs(Refused):
    """A claim of another stack, or of the same stack name from another backend, is in the way."""


class Failed(SlipwayError):
    """Something was tried and did not work."""


class Unreachable(Failed):
    """No session on the host: refused, timed out, not authenticated, or silent for too long."""


class WrongHostKey(Unreachable):
    """The machine presented another host key than the fleet pins, or the fleet pins none."""


class Truncated(Failed):
    """The last frame never arrived, and what ran after the last frame seen is not known."""


class Locked(Failed):
    """Another Slipway run holds the host's lock."""


class ChangedSincePlan(Failed):
    """A probe printed something else under the lock than it did when the plan was made."""


class StepFailed(Failed):
    """One command exited non-zero; carries its last lines."""


class NotConverged(Failed):
    """All steps ran and the machine still differs from what is wanted; the diff is in the message."""


class Cancelled(Failed):
    """Told to stop in the middle of a wait; the next run goes on from there."""


class LeftBehind(Failed):
    """What an absence scan found after a teardown."""


class Unknown(Exception):
    """A probe could not tell the actual state; the stage is blocked, never planned as absent. Raised by `parse`."""
