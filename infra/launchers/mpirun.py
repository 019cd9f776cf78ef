"""mpirun: containers of one image on all nodes, an SSH mesh between them, and one MPI rank a GPU."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from infra import paths, runtime
from infra.command import Command, Word
from infra.deployment import Deployment
from infra.launchers import container, unbuilt
from infra.launchers.script import marked, script, title
from infra.placement import Placement
from infra.protocols import Engine, Rendezvous

MESH_PORT = 2233
"""The port of the sshd in the containers, as Kimi-K2's guide has it."""


class Mpirun(unbuilt.Unbuilt):
    """The launcher `mpirun`."""

    name: ClassVar[str] = "mpirun"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"mpi"})
    options: ClassVar[tuple[str, ...]] = ("nodelist", "gpus", "port", "shm")

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """It starts nothing yet; it needs an image, and a port of the mesh that is not the endpoint's."""
        yield from unbuilt.warning(self.name)
        if not d.image:
            yield Problem(
                where="$.image",
                rule="launcher",
                found="nothing",
                wanted="a container image by digest, with the engine, Open MPI and sshd in it",
                why="mpirun reaches the other nodes through sshd in their containers",
            )
        if (d.launcher.port or MESH_PORT) == d.port:
            yield Problem(
                where="$.launcher.port",
                rule="launcher",
                found=str(d.port),
                wanted="a port that is not slipway:port",
                why="the mesh's sshd and the endpoint listen on the same nodes",
            )

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The engine's own, the same for every rank."""
        return tuple(engine.command(d, rank) for rank in place.ranks)

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """One line, in the container of the first node."""
        first = engine.command(d, place.ranks[0])
        line = mpirun(d, place, Command(argv=first.argv, env=d.env))
        return ((place.ranks[0].host, line.line()),)

    def files(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The engine's YAML, a script a node that keeps its container, and the one that starts all ranks."""
        made = dict(engine.files(d))
        command = engine.command(d, place.ranks[0])
        mark = marked(d, [command], made)
        hosts = {rank.host: rank for rank in reversed(place.ranks)}
        for host, rank in sorted(hosts.items()):
            sshd = Command(argv=("/usr/sbin/sshd", "-D", "-e", "-f", f"{paths.job_folder(d)}/sshd_config"))
            kept = container.run(d, rank, sshd, gpus=place.gpus_per_node, mark=mark)
            made[f"{host}/container.sh"] = script(d, title(d, f"the container on {host}"), kept, mark)
        env = {**runtime.environment(d, mark), **command.env}
        inside = mpirun(d, place, Command(argv=command.argv, env=env))
        entered = Command(argv=("podman", "exec", container.name(d, place.ranks[0]), *inside.argv), env=inside.env)
        made[f"{place.ranks[0].host}/mpirun.sh"] = script(d, title(d, "all ranks"), entered, mark)
        return made


def mpirun(d: Deployment, place: Placement, command: Command) -> Command:
    """`mpirun` of a command: as many ranks as GPUs, each variable named, the mesh's own port."""
    hosts: dict[str, int] = {}
    for rank in place.ranks:
        address = str(rank.address)
        hosts[address] = hosts.get(address, 0) + 1
    argv: list[Word] = ["mpirun", "-np", str(len(place.ranks))]
    argv += ["-H", ",".join(f"{address}:{count}" for address, count in hosts.items())]
    argv += ["-mca", "plm_rsh_args", f"-p {d.launcher.port or MESH_PORT}", "--allow-run-as-root"]
    for variable in sorted(command.env):
        argv += ["-x", variable]
    return Command(argv=(*argv, *command.argv), env=command.env)
