"""Ray: a private cluster of the stack's own, one node a host, and the engine as its driver on the head."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from hosts.problem import Problem
from infra import paths
from infra.command import Command, Word, at_port
from infra.deployment import Deployment
from infra.launchers import container, unbuilt
from infra.launchers.script import marked, script, title, typed, unit
from infra.placement import Placement, Rank
from infra.protocols import Engine, Rendezvous

PORT = 6380
"""Not Ray's own 6379, where somebody else's cluster (or a Redis) may be; TorchSpec's scripts take this one too."""


class Ray(unbuilt.Unbuilt):
    """The launcher `ray`."""

    name: ClassVar[str] = "ray"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"ray"})
    options: ClassVar[tuple[str, ...]] = ("nodelist", "gpus", "port", "shm")

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It starts nothing yet; its port is not the endpoint's, and the environment holds Ray."""
        yield from unbuilt.warning(self.name)
        if (d.launcher.port or PORT) == d.port:
            yield Problem(
                where="$.launcher.port",
                rule="launcher",
                found=str(d.port),
                wanted="a port that is not slipway:port",
                why="Ray's head and the endpoint are on the same node",
            )
        if d.software.requirements and not any(line.startswith("pip ray ") for line in d.software.packages):
            yield Problem(
                where="$.environment",
                rule="environment",
                found=f"{d.software.name}, which holds no ray",
                wanted="an environment with ray",
                why="vLLM brings no Ray since 0.18",
                fix=f"add ray to infra/environments/{d.software.name}/requirements.in and pin it anew",
                source=f"infra/environments/{d.software.name}/requirements.txt",
            )

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The driver on the first node, a worker of the cluster on each other; Ray starts what computes there."""
        driver = engine.command(d, place.ranks[0])
        address = at_port(place.ranks[0].head, d.launcher.port or PORT)
        first = replace(driver, env={**driver.env, "RAY_ADDRESS": address})
        return (first, *(node(d, place, rank) for rank in place.ranks[1:]))

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """The head, the workers, then the driver."""
        head = place.ranks[0]
        driver = self.commands(d, place, engine)[0]
        shown = Command(argv=driver.argv, env={**d.env, "RAY_ADDRESS": driver.env["RAY_ADDRESS"]})
        return (*((rank.host, typed(d, node(d, place, rank), rank)) for rank in place.ranks), (head.host, shown.line()))

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """A script and a unit for each node of the cluster, and for the driver."""
        made = dict(engine.files(d))
        driver = self.commands(d, place, engine)[0]
        nodes = [node(d, place, rank) for rank in place.ranks]
        mark = marked(d, [driver, *nodes], made)
        for rank, command in zip(place.ranks, nodes, strict=True):
            made |= _pair(d, place, rank, "ray", what=title(d, "Ray"), command=command, mark=mark)
        what = title(d, "the driver")
        return made | _pair(d, place, place.ranks[0], "driver", what=what, command=driver, mark=mark)


def node(d: Deployment, place: Placement, rank: Rank) -> Command:
    """`ray start` of one node: the first rank's is the head; each says its own address, and none joins another's."""
    port, head = d.launcher.port or PORT, place.ranks[0]
    argv: list[Word] = ["ray", "start"]
    if rank is head:
        argv += ["--head", "--port", str(port), "--include-dashboard", "false"]
    else:
        argv += ["--address", at_port(head.head, port)]
    argv += ["--node-ip-address", rank.address, "--num-gpus", str(place.gpus_per_node)]
    if rank is head:
        argv += ["--temp-dir", f"{paths.temporary(d)}ray"]  # workers take it from the head
    return Command(argv=(*argv, "--disable-usage-stats", "--block"), env=dict(d.part(rank.role).env))


def _pair(
    d: Deployment, place: Placement, rank: Rank, word: str, *, what: str, command: Command, mark: str
) -> dict[str, str]:
    named = replace(rank, index=word, role="")
    runs = container.run(d, named, command, gpus=place.gpus_per_node, mark=mark) if d.image else command
    return {
        f"{rank.host}/{word}.sh": script(d, what, runs, mark),
        f"{rank.host}/slipway-{d.stack}-{word}.service": unit(d, what, d.fleet.host(rank.host), f"{word}.sh", mark),
    }
