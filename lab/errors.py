"""What can go wrong in the lab on purpose, below the tree of `hosts.errors`."""

from hosts.errors import Failed, Refused


class LabRefused(Refused):
    """This machine, or the lab as it stands, does not allow what was asked; nothing was changed."""


class LabFailed(Failed):
    """A step on this machine failed; the message holds the command and its last lines."""
