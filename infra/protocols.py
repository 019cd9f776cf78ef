"""What an engine and a launcher must be; engines know flags and not `srun`, launchers know `srun` and not flags."""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, Protocol

from hosts.problem import Problem
from hosts.state import Stage
from infra.command import Command
from infra.deployment import Argument, Deployment
from infra.placement import Placement, Rank

Rendezvous = Literal["single", "tcp", "mpi", "ray"]
"""How the ranks of an engine find each other; what a launcher offers must contain it."""


class Engine(Protocol):
    """An inference engine: its command line and what it can't do."""

    name: ClassVar[str]
    rendezvous: ClassVar[frozenset[Rendezvous]]

    def releases(self) -> tuple[str, ...]:
        """The releases that Slipway has a table for."""

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:
        """What the release does not take, of a release that has a table."""

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """What else does not work together, from the engine's own rules."""

    def command(self, d: Deployment, rank: Rank) -> Command:
        """The process of one rank."""


class Launcher(Protocol):
    """What starts an engine's ranks on machines and owns their life."""

    name: ClassVar[str]
    offers: ClassVar[frozenset[Rendezvous]]

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """What this launcher can't do on that fleet."""

    def stages(
        self, d: Deployment, place: Placement, engine: Engine, *, digests: Mapping[str, str]
    ) -> tuple[Stage, ...]:
        """`launch`, which submits and returns, and `ready`, which waits; `digests` are secrets' sha256 by name."""
