"""What an engine and a launcher must be; engines know flags and not `srun`, launchers know `srun` and not flags."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from hosts.problem import Problem
from hosts.resources.endpoint import Endpoint
from hosts.state import Stage
from infra.command import Command
from infra.deployment import Argument, Deployment, Guards
from infra.placement import Placement, Rank, Rendezvous

__all__ = ["Engine", "Launcher", "Rendezvous", "Within"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """An engine that runs inside a role of another, as a deployment of its own, and host memory taken beside it."""

    deployment: Deployment
    host_gib: float


class Engine(Protocol):
    """An engine: its command line and what it can't do."""

    name: ClassVar[str]
    rendezvous: ClassVar[frozenset[Rendezvous]]
    roles: ClassVar[tuple[str, ...]]
    """The roles that it knows; () where it is one thing on all its ranks."""

    guards: ClassVar[Guards]
    """What it asks clients for the API key before; all, where it has no clients."""

    def unnamed(self, model: str) -> str:
        """What it calls a model of that folder that no option names; "" where Slipway always names one."""

    def releases(self) -> tuple[str, ...]:
        """The releases that Slipway has a table for."""

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:
        """What the release does not take, of a release that has a table."""

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """What else does not work together, from the engine's own rules; `d` is all of a deployment, roles included."""

    def command(self, d: Deployment, rank: Rank) -> Command:
        """The process of one rank; the launcher decides which ranks have one of their own."""

    def files(self, d: Deployment) -> Mapping[str, str]:
        """The files that its command reads, text by name in the folder of the job."""

    def router(self, d: Deployment, place: Placement) -> Command | None:
        """What stands before the roles and answers clients, None where rank 0 answers."""

    def servers(self, d: Deployment, place: Placement) -> tuple[str, ...]:
        """What a gateway on the first node hands requests to, taken as one: `ADDRESS:PORT`, or `unix:` and a path in
        the run's folder, `@RUN@`. The first is on that node; others are the gateways of their nodes."""

    def ports(self, d: Deployment, rank: Rank) -> tuple[int, ...]:
        """The ports besides the endpoint's that a rank listens on at its node's address; they must be nobody's."""

    def within(self, d: Deployment) -> Within | None:
        """What serves inside one part of a deployment; None where that is this engine itself, or nothing serves."""


class Launcher(Protocol):
    """What starts an engine's ranks on machines and owns their life."""

    name: ClassVar[str]
    offers: ClassVar[frozenset[Rendezvous]]
    options: ClassVar[tuple[str, ...]]
    """The keys of `slipway:launcher` that it uses."""
    built: ClassVar[bool]
    """Whether it starts anything yet, or only plans."""

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """What this launcher can't do on that fleet."""

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """What runs as each rank, in the order of `place.ranks`."""

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """(where, line) for each line that a person would type to the same end, in that order."""

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The files that it writes to start the ranks, text by name; `HOST/NAME` lies on that host alone."""

    def stages(
        self, d: Deployment, place: Placement, engine: Engine, *, digests: Mapping[str, str]
    ) -> tuple[Stage, ...]:
        """`launch`, which starts and returns, and `ready`, which waits; `digests` are secrets' sha256 by name."""

    def endpoint(self, d: Deployment, place: Placement, engine: Engine) -> Endpoint:
        """Where the stack answers clients."""
