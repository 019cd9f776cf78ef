"""mpirun: sshd on all nodes, in containers of one image or bare, a mesh of keys between them, one MPI rank a GPU."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from hosts.fleet import Host
from hosts.problem import Problem
from infra import paths, runtime
from infra.command import Command, Word, quote
from infra.deployment import Deployment
from infra.launchers import container, gateway
from infra.launchers.owned import OPTIONS, Owned
from infra.launchers.process import Process, check_artifacts, clear_way, title
from infra.placement import Placement
from infra.placement import place as placed
from infra.protocols import Engine, Rendezvous

MESH_PORT = 2233
"""The port of the sshd in the containers, as Kimi-K2's guide has it."""
MESH, CONF = "mesh", "mesh.json"
"""The process whose folder holds a node's keys, and what `hosts/programs/mesh.py` reads."""


class Mpirun(Owned):
    """The launcher `mpirun`."""

    name: ClassVar[str] = "mpirun"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"mpi"})
    options: ClassVar[tuple[str, ...]] = (*OPTIONS, "port")
    programs: ClassVar[tuple[str, ...]] = ("mesh", "mpirun")

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """A port of the mesh that is not the endpoint's, and the interface that it is bound to on every node."""
        yield from self.owner_problems(d)
        yield from gateway.problems(d, {d.launcher.port or MESH_PORT: "the mesh's sshd"})
        if (d.launcher.port or MESH_PORT) == d.port:
            yield Problem(
                where="$.launcher.port",
                rule="launcher",
                found=str(d.port),
                wanted="a port that is not slipway:port",
                why="the mesh's sshd and the endpoint listen on the same nodes",
            )
        nameless = [host.name for host in _hosts(d) if not host.interface]
        if nameless:
            yield Problem(
                where="$.fleet",
                rule="launcher",
                found=f"{', '.join(nameless)} of {d.fleet.name} without an interface",
                wanted="`interface` of each node that takes part",
                why="the mesh and Open MPI are bound to it, and a proof holds every rank to it",
                fix=f"put in what `ip -br address` calls it: interface: NAME in hosts/inventory/{d.fleet.name}.yaml",
            )
        named = [f"{host.name} ({host.address})" for host in _hosts(d) if not _is_ipv4(host.address)]
        if named:
            yield Problem(
                where="$.fleet",
                rule="launcher",
                found=f"{', '.join(named)} of {d.fleet.name}",
                wanted="IPv4 addresses in numbers",
                why="keys are pinned to them, and each node listens on its own alone",
            )

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The engine's own, the same for every rank."""
        return tuple(engine.command(d, rank) for rank in place.ranks)

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """One line, in the container of the first node."""
        d = d.by_hand
        first = engine.command(d, place.ranks[0])
        line = mpirun(d, place, Command(argv=first.argv, env=d.env))
        return ((place.ranks[0].host, line.line()),)

    def texts(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The engine's YAML, and who is in the mesh."""
        return {**engine.files(d), CONF: json.dumps(mesh(d, place), indent=2) + "\n"}

    def processes(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Process, ...]:
        """sshd and what keeps its keys on each node, and on the first one mpirun, once all nodes reach each other."""
        listed: list[Process] = []
        for host in place.hosts:
            listed += [_sshd(d, place, host), _keeper(d, host)]
        return (*listed, _mpirun(d, place, engine))


def _hosts(d: Deployment) -> list[Host]:
    """The hosts of its ranks, in their order."""
    return [d.fleet.host(name) for name in placed(d).hosts]


def _is_ipv4(address: str) -> bool:
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return True


def mesh(d: Deployment, place: Placement) -> dict[str, object]:
    """What `hosts/programs/mesh.py` is told: the nodes in the order of ranks, and the way into their containers."""
    hosts = [d.fleet.host(name) for name in place.hosts]
    enter = container.enter(d, MESH, Command(argv=())).argv if d.image else ()
    return {
        "stack": d.stack,
        "folder": paths.job_folder(d),
        "port": d.launcher.port or MESH_PORT,
        # root of its own user namespace, nobody outside; on somebody else's SLURM who we are there
        "user": "root" if d.image else paths.run_user(d.fleet) or d.fleet.login.user,
        "hosts": [
            {"name": host.name, "address": host.address, "interface": host.interface, "gpus": place.gpus_per_node}
            for host in hosts
        ],
        "enter": {host.name: list(enter) for host in hosts},
    }


def _program(d: Deployment, program: str, mode: str, host: str, *words: Word) -> Command:
    folder = paths.job_folder(d)
    argv = ("python3", "-I", f"{folder}/{program}.py", mode, f"{folder}/{CONF}", host, PRIVATE, *words)
    return Command(argv=argv)


PRIVATE = paths.temporary(MESH)
"""The folder of a node's keys."""


def _sshd(d: Deployment, place: Placement, host: str) -> Process:
    """Makes the node's keys, waits for the others', and becomes its sshd."""
    process = Process(
        host=host,
        name=MESH,
        what=title(d, f"sshd on {host}"),
        command=_program(d, "mesh", "serve", host),
        before="\n".join(
            (
                *([] if d.image else [_check_programs()]),
                check_artifacts(d),
                _program(d, "mesh", "keys", host).line(),
            )
        ),
        reads=(CONF,),
        devices=_devices(place, host),
        contained=bool(d.image),
    )
    if not d.image:
        return process
    return replace(process, command=container.run(d, place, MESH, process.command))


def _check_programs() -> str:
    """Shell that ends a process on a node without what an image would bring; `mpirun` may be the environment's own."""
    return (
        "for program in /usr/sbin/sshd ssh ssh-keygen mpirun; do\n"
        '  command -v "$program" >/dev/null || {\n'
        '    echo "slipway: error: no $program on $(hostname); install OpenSSH (its service need not run) and "'
        "'Open MPI there, or use slipway:image'\n"
        "    exit 1\n"
        "  }\n"
        "done"
    )


def _keeper(d: Deployment, host: str) -> Process:
    """Follows the peers' keys, and changes its own on request."""
    command = _program(d, "mesh", "keep", host)
    what = title(d, f"the mesh's keys on {host}")
    return Process(host=host, name="keeper", what=what, command=command, reads=(CONF,), contained=bool(d.image))


def _mpirun(d: Deployment, place: Placement, engine: Engine) -> Process:
    """Proves the mesh and the ranks' placement, then becomes the engine's mpirun."""
    head, command = place.ranks[0].host, engine.command(d, place.ranks[0])
    common = runtime.environment(d, "")
    given = sorted({*common, *command.env, *command.secrets} - {"HOME"})
    own = (
        "env",
        f"HOME={common['HOME']}",
    )  # sshd sets the home of its user; TMPDIR there is its own, on each node another
    run = _program(d, "mpirun", "run", head, *(word for name in given for word in ("-x", name)), "--", *own)
    # the ranks of this host are its children, those of the others their sshd's; SLURM's step has its own way
    gpus = ",".join(map(str, _devices(place, head)))
    own_gpus = {"CUDA_VISIBLE_DEVICES": gpus} if d.by_systemd and not d.image else {}
    return Process(
        host=head,
        name="mpirun",
        what=title(d, "all ranks"),
        command=replace(run, argv=(*run.argv, *command.argv), env={**own_gpus, **command.env}, secrets=command.secrets),
        before="\n".join((clear_way(engine.servers(d, place)[0]), AWAIT_KEYS)),
        reads=(CONF, *engine.files(d)),
        contained=bool(d.image),
    )


def _devices(place: Placement, host: str) -> tuple[int, ...]:
    """The GPUs of all ranks of a host, which have one each."""
    return tuple(gpu for rank in place.ranks if rank.host == host for gpu in rank.gpus)


AWAIT_KEYS = f"until [ -e {quote(PRIVATE)}/known_hosts ]; do sleep 0.2; done"
"""Shell that waits for this node's own keys, which its sshd's process makes; that ends all where it can't."""


def mpirun(d: Deployment, place: Placement, command: Command) -> Command:
    """The line of Kimi-K2's guide: as many ranks as GPUs, each variable named, the mesh's own port."""
    addresses = dict.fromkeys(str(rank.address) for rank in place.ranks)
    argv: list[Word] = ["mpirun", "-np", str(len(place.ranks))]
    argv += ["-H", ",".join(f"{address}:{place.gpus_per_node}" for address in addresses)]
    argv += ["-mca", "plm_rsh_args", f"-p {d.launcher.port or MESH_PORT}", "--allow-run-as-root"]
    for variable in sorted(command.env):
        argv += ["-x", variable]
    return Command(argv=(*argv, *command.argv), env=command.env)
