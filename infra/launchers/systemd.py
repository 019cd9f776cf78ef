"""systemd: one unit a rank on the hosts themselves, over SSH; no scheduler stands between."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from infra.command import Command
from infra.deployment import Deployment
from infra.launchers import container, unbuilt
from infra.launchers.script import marked, script, title, typed, unit
from infra.placement import Placement, Rank
from infra.protocols import Engine, Rendezvous


class Systemd(unbuilt.Unbuilt):
    """The launcher `systemd`."""

    name: ClassVar[str] = "systemd"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "tcp"})
    options: ClassVar[tuple[str, ...]] = ("nodelist", "gpus", "shm")

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It starts nothing yet; and it needs hosts that we may log in to."""
        yield from unbuilt.warning(self.name)
        if d.fleet.slurm == "existing" or d.fleet.kubernetes:
            yield Problem(
                where="$.launcher.name",
                rule="launcher",
                found=f"systemd on the fleet {d.fleet.name}, whose nodes are somebody else's",
                wanted="a fleet whose nodes we may log in to",
                fix=f"use the launcher {'kubernetes' if d.fleet.kubernetes else 'slurm'}",
            )

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The engine's own, each."""
        return tuple(engine.command(d, rank) for rank in place.ranks)

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """Each rank's line on its host, and the router's."""
        lines = [(rank.host, typed(d, engine.command(d, rank), rank)) for rank in place.ranks]
        router = engine.router(d, place)
        return (*lines, *(((place.ranks[0].host, router.line()),) if router else ()))

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """A script and a unit for each rank, and for the router beside the first."""
        engine_files = engine.files(d)
        commands = self.commands(d, place, engine)
        router = engine.router(d, place)
        mark = marked(d, [*commands, *([router] if router else [])], engine_files)
        made = dict(engine_files)
        for rank, command in zip(place.ranks, commands, strict=True):
            word = "-".join(filter(None, (rank.role, str(rank.index))))
            runs = container.run(d, rank, command, gpus=place.gpus_per_node, mark=mark) if d.image else command
            made |= _pair(
                d, rank, word, what=title(d, f"{rank.role} rank {rank.index}".strip()), command=runs, mark=mark
            )
        if router:
            made |= _pair(d, place.ranks[0], "router", what=title(d, "the router"), command=router, mark=mark)
        return made


def _pair(d: Deployment, rank: Rank, word: str, *, what: str, command: Command, mark: str) -> dict[str, str]:
    file = f"rank-{word}.sh" if word != "router" else "router.sh"
    return {
        f"{rank.host}/{file}": script(d, what, command, mark),
        f"{rank.host}/slipway-{d.stack}-{word}.service": unit(d, what, d.fleet.host(rank.host), file, mark),
    }
