"""What a connection to a host is for those who use one: a function from script to output."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Progress = Callable[[str], None]
LOST, KILLED = -1, -2
"""The exit status of a script where none arrived: the connection was lost, or a signal killed the shell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a script printed, bytes that are no UTF-8 kept as surrogates, and its exit status (LOST or KILLED: none)."""

    stdout: str
    stderr: str
    status: int


class Remote(Protocol):
    """Something that runs a script on one host. A fake one in a test is a function in this shape."""

    def __call__(self, script: str, progress: Progress | None = None) -> Output:
        """Raises Unreachable where there is no session, and Truncated where the connection broke in the middle.

        A script without `progress` only reads, and is given up after a shorter silence.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """The host key that a machine shows, as a fleet file pins it, and the key pinned for it now ("": none)."""

    pin: str
    fingerprint: str
    pinned: str = ""
    pinned_fingerprint: str = ""

    @property
    def changed(self) -> bool:
        """Whether another key is pinned."""
        return bool(self.pinned) and self.pinned != self.pin


Connect = Callable[[str], Remote]
"""From the name of a host in the fleet to its remote. Raises Unreachable."""
