"""systemd: one process a rank on the hosts themselves, as units over SSH; where there is SLURM, in a job of its."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from hosts.problem import Problem
from infra.command import Command
from infra.deployment import Deployment
from infra.launchers import container, gateway
from infra.launchers.owned import OPTIONS, Owned
from infra.launchers.process import Process, check_artifacts, check_port, clear_way, title, typed
from infra.placement import Placement, Rank
from infra.protocols import Engine, Rendezvous


class Systemd(Owned):
    """The launcher `systemd`."""

    name: ClassVar[str] = "systemd"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "tcp"})
    options: ClassVar[tuple[str, ...]] = OPTIONS

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """What its owner can't do."""
        yield from self.owner_problems(d)
        yield from gateway.problems(d, {})

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The engine's own, each."""
        return tuple(engine.command(d, rank) for rank in place.ranks)

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """Each rank's line on its host, and the router's."""
        d = d.by_hand
        lines = [(rank.host, typed(d, engine.command(d, rank), rank)) for rank in place.ranks]
        router = engine.router(d, place)
        return (*lines, *(((place.ranks[0].host, router.line()),) if router else ()))

    def processes(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Process, ...]:
        """One a rank, and the router beside the first."""
        listed = [_rank(d, place, rank, engine) for rank in place.ranks]
        router = engine.router(d, place)
        if router:
            listed.append(
                Process(
                    host=place.ranks[0].host,
                    name="router",
                    what=title(d, "the router"),
                    command=router,
                    before=check_port(d.listen[1]),
                )
            )
        return tuple(listed)


def _rank(d: Deployment, place: Placement, rank: Rank, engine: Engine) -> Process:
    """The process of one rank; it looks whether its weights are sound, and whether its port is free."""
    command, process, servers = engine.command(d, rank), f"rank-{rank.word}", engine.servers(d, place)
    serves = not d.roles and (rank.is_head or len(servers) == len(place.ranks))
    bare = Process(
        host=rank.host,
        name=process,
        what=title(d, f"{rank.role} rank {rank.index}".strip()),
        command=command,
        before="\n".join(
            (
                check_artifacts(d),
                *([clear_way(servers[0])] if serves else []),
                *(check_port(port, "end it, or use other nodes") for port in engine.ports(d, rank)),
            )
        ),
        reads=tuple(engine.files(d)),
        devices=rank.gpus,
        contained=bool(d.image),
    )
    if not d.image:
        return bare
    return replace(bare, command=container.run(d, place, process, command))
