"""Which ranks a deployment has and how many GPUs of which nodes they take, or why they don't fit the fleet."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal

from hosts.fleet import Fleet, Host
from hosts.problem import Problem
from infra.command import Var, Word
from infra.deployment import Deployment, LauncherConfig, Parallelism, Role
from infra.sizes import gib

Rendezvous = Literal["single", "tcp", "mpi", "ray"]
"""How the ranks of an engine find each other; what a launcher offers must contain it."""
HEAD, ADDRESS = Var("SLIPWAY_HEAD"), Var("SLIPWAY_ADDRESS")
"""What a launcher's job sets where the nodes are not known before: the host of rank 0, and the node's own address."""
_SCHEDULED = ("slurm", "kubernetes")
"""Launchers whose scheduler chooses the nodes."""
_MEETING: dict[str, Rendezvous] = {"mpirun": "mpi", "ray": "ray"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One engine process that a launcher starts, with its GPUs.

    `index` counts within its role's `replica`; it, `head` (the host of rank 0) and `address` (the node's own) are shell
    variables where only the launcher's job knows them. `host` is "" as long as a scheduler chooses the node.
    """

    index: Word
    nodes: int
    gpus: tuple[int, ...]
    head: Word
    address: Word
    host: str = ""
    role: str = ""
    replica: int = 0
    rendezvous: Rendezvous = "tcp"
    interface: str = ""
    hcas: tuple[str, ...] = ()
    """Those of its host; where one environment is given to all hosts, or a scheduler chooses, what all of them have."""

    @property
    def is_head(self) -> bool:
        """Whether it is rank 0, the one that answers clients."""
        return self.index == "0"

    @property
    def word(self) -> str:
        """What tells it from the deployment's other ranks: `0`, or `prefill-0-0` by role, replica and index."""
        return f"{self.role}-{self.replica}-{self.index}" if self.role else str(self.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The ranks in order, the nodes that they take, and those that they may land on: more where a scheduler chooses."""

    ranks: tuple[Rank, ...]
    candidates: tuple[Host, ...]
    nodes: int
    gpus_per_node: int
    """The same on each node."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts of its ranks, the first rank's first; none where a scheduler chooses them."""
        return tuple(dict.fromkeys(rank.host for rank in self.ranks if rank.host))

    @property
    def gpus(self) -> int:
        """All that the deployment takes."""
        return self.nodes * self.gpus_per_node


def rendezvous(launcher: str, nodes: int, *, by_tasks: bool = False) -> Rendezvous:
    """How the ranks of a launcher find each other on so many nodes; `by_tasks` as in LauncherConfig."""
    return "mpi" if by_tasks else _MEETING.get(launcher, "single" if nodes == 1 else "tcp")


def place(d: Deployment) -> Placement:
    """The placement of a deployment that `problems` found nothing wrong with."""
    replicas = {role.name: role.replicas for role in d.roles}
    parts = [(part, *_shape(part.parallelism, d.launcher, d.fleet)) for part in d.parts]
    nodes, per_node = sum(n * replicas.get(part.role, 1) for part, n, _ in parts), parts[0][2]
    candidates = _candidates(d.fleet, d.launcher, per_node)
    if d.launcher.name == "ray":
        candidates = tuple(sorted(candidates, key=_octets))  # so does TorchSpec
    if d.launcher.name == "ray" and d.engine != "torchspec":  # vLLM: the driver's node, then by the address as text
        candidates = (*candidates[:1], *sorted(candidates[1:nodes], key=lambda host: host.address), *candidates[nodes:])
    free = _hosts(d, candidates, nodes)
    ranks: list[Rank] = []
    for part, count, _ in parts:
        # behind a router the last role takes nodes from the end: another replica of any moves none that runs
        last = d.router is not None and len(d.roles) > 1 and part.role == d.roles[-1].name
        for replica in range(replicas.get(part.role, 1)):
            taken = free[-count:] if last else free[:count]
            free = free[:-count] if last else free[count:]
            ranks += _ranks(part, taken, per_node, replica, candidates)
    return Placement(ranks=tuple(ranks), candidates=candidates, nodes=nodes, gpus_per_node=per_node)


def _hosts(d: Deployment, candidates: tuple[Host, ...], nodes: int) -> list[Host | None]:
    """The host of each node, and of those that are left over behind a router; None where a scheduler chooses it."""
    if d.launcher.name not in _SCHEDULED:
        return list(candidates if d.router else candidates[:nodes])
    # an existing site's partition may have nodes that the fleet file does not name
    certain = len(candidates) == nodes and (d.fleet.slurm != "existing" or d.launcher.nodelist)
    return list(candidates) if certain else [None] * nodes


def _ranks(
    d: Deployment, hosts: Sequence[Host | None], per_node: int, replica: int, candidates: Sequence[Host]
) -> Iterator[Rank]:
    """The ranks of one engine: one a node, or one a GPU where they are those of an MPI job."""
    meeting = rendezvous(d.launcher.name, len(hosts), by_tasks=d.launcher.by_tasks)
    by_name = d.launcher.name == "slurm"  # its job asks the nodes for their addresses
    whole = d.launcher.devices[:per_node] or tuple(range(per_node))
    pieces = [(gpu,) for gpu in whole] if meeting == "mpi" else [whole]
    first = hosts[0]
    known = [host for host in hosts if host is not None]
    all_of_them = known if len(known) == len(hosts) else candidates
    one_environment = by_name or meeting == "mpi" or all_of_them is candidates
    index = 0
    for host in hosts:
        interface, hcas = _fabric(all_of_them if one_environment or host is None else [host])
        for piece in pieces:
            yield Rank(
                index=str(index),
                nodes=len(hosts),
                gpus=piece,
                head=HEAD if first is None else first.name if by_name else first.address,
                address=ADDRESS if host is None or by_name else host.address,
                host="" if host is None else host.name,
                role=d.role,
                replica=replica,
                rendezvous=meeting,
                interface=interface,
                hcas=hcas,
            )
            index += 1


def _fabric(hosts: Sequence[Host]) -> tuple[str, tuple[str, ...]]:
    """The interface and the HCAs that all of them have under the same names."""
    interfaces, hcas = {host.interface for host in hosts}, {host.hcas for host in hosts}
    return (interfaces.pop() if len(interfaces) == 1 else ""), (hcas.pop() if len(hcas) == 1 else ())


def problems(
    parallelism: Parallelism, launcher: LauncherConfig, fleet: Fleet, roles: Sequence[Role] = ()
) -> Iterator[Problem]:
    """Why a parallelism, or that of each role, can't be placed on a fleet; each names what would fit."""
    by_name = {host.name: host for host in fleet.nodes}
    unknown = [name for name in launcher.nodelist if name not in by_name]
    if unknown:
        yield _problem(
            "$.launcher.nodelist", ", ".join(unknown), f"nodes of the fleet {fleet.name} ({', '.join(by_name)})"
        )
        return
    largest = _largest(fleet, launcher)
    if largest == 0:
        yield _problem(
            "$.fleet",
            f"{fleet.name}, whose nodes have no GPUs declared",
            "`gpus` of its nodes",
            fix=f"run: invoke enroll --fleet {fleet.name} HOST…",
        )
        return
    divided = _role_problems(roles, launcher, fleet) if roles else _division(parallelism, launcher, fleet, "$")
    wrong = tuple(_gpu_problems(launcher, largest)) or tuple(divided)
    yield from wrong
    if wrong:
        return
    shapes = [_shape(role.parallelism, launcher, fleet) for role in roles] or [_shape(parallelism, launcher, fleet)]
    nodes = sum(shape[0] * times for shape, times in zip(shapes, [role.replicas for role in roles] or [1], strict=True))
    per_node = shapes[0][1]
    if launcher.nodelist and len(launcher.nodelist) != nodes:
        yield _problem(
            "$.launcher.nodelist",
            f"{len(launcher.nodelist)} nodes",
            f"{nodes}, the nodes that {nodes * per_node} GPUs are on",
            why="a job gets all nodes of its list",
        )
        return
    able = _candidates(fleet, launcher, per_node)
    if nodes > len(able):
        more = f"declare more nodes in hosts/inventory/{fleet.name}.yaml"
        yield _problem(
            "$.roles" if roles else _where(parallelism, "$"),
            f"{nodes * per_node} GPUs, {_nodes(nodes)} of {per_node}",
            f"at most {_nodes(len(able))}: {', '.join(host.name for host in able) or 'none has as many GPUs'}",
            fix=f"{more}, or {_smaller(parallelism, len(able) * per_node, per_node, roles)}",
        )
        return
    yield from _sizes(launcher, able, nodes)


def _gpu_problems(launcher: LauncherConfig, largest: int) -> Iterator[Problem]:
    """More GPUs of a node than one has, or other ones."""
    if launcher.gpus > largest:
        yield _problem("$.launcher.gpus", str(launcher.gpus), f"at most {largest}, what a node has")
    if launcher.devices and launcher.devices[-1] >= largest:
        yield _problem("$.launcher.devices", str(launcher.devices[-1]), f"numbers below {largest}, what a node has")
    if launcher.devices and launcher.gpus not in (0, len(launcher.devices)):
        found = f"{len(launcher.devices)} GPUs, and gpus: {launcher.gpus}"
        yield _problem("$.launcher.devices", found, f"{launcher.gpus} GPUs", fix="leave launcher.gpus out")


def _nodes(count: int) -> str:
    return f"{count} node{'s' * (count != 1)}"


def _smaller(parallelism: Parallelism, gpus: int, per_node: int, roles: Sequence[Role]) -> str:
    """What would fit on the GPUs that are there."""
    if roles:
        return f"roles of {_nodes(gpus // per_node)} together"
    if parallelism.pipeline == parallelism.data == 1:
        # a power of two of nodes, since heads are divided
        return f"tensor: {per_node << max(0, (gpus // per_node).bit_length() - 1)}"
    return f"a parallelism of at most {gpus} GPUs"


def _sizes(launcher: LauncherConfig, able: Sequence[Host], nodes: int) -> Iterator[Problem]:
    """More of each node than as many as the job takes have, of those that declare how much they have."""
    if launcher.name not in _SCHEDULED:
        return
    for key, asked, unit, has in (
        ("cpus", float(launcher.cpus), "CPUs", [float(host.cpus or inf) for host in able]),
        ("mem", gib(launcher.mem, launcher.name), "GiB", [host.memory_mib / 1024 or inf for host in able]),
    ):
        most = sorted(has, reverse=True)[nodes - 1]
        if asked > most:
            having = "one of {} has" if nodes == 1 else f"each of {nodes} of {{}} has"
            yield _problem(
                f"$.launcher.{key}",
                f"{asked:.0f} {unit}",
                f"at most {int(most)} {unit}, the most that {having.format(', '.join(host.name for host in able))}",
                why="no node could take it: it would wait for ever, or be refused",
                fix=f"{key}: {_written(key, most, launcher.name)}",
            )


def _written(key: str, most: float, launcher: str) -> str:
    """A number of CPUs or GiB as the launcher takes it."""
    return str(int(most)) if key == "cpus" else f"{int(most)}G" + "i" * (launcher == "kubernetes")


def _role_problems(roles: Sequence[Role], launcher: LauncherConfig, fleet: Fleet) -> Iterator[Problem]:
    """Each role fills its nodes, and all take the same number of GPUs of one."""
    _, first = _shape(roles[0].parallelism, launcher, fleet)
    for role in roles:
        place = f"$.roles.{role.name}"
        wrong = tuple(_division(role.parallelism, launcher, fleet, place))
        yield from wrong
        nodes, per_node = _shape(role.parallelism, launcher, fleet)
        if wrong:
            continue
        if nodes != role.nodes:
            found = f"{role.nodes}, and a parallelism of {role.parallelism.world} GPUs"
            yield _problem(f"{place}.nodes", found, f"{nodes} nodes of {per_node} GPUs", why="a role fills its nodes")
        elif per_node != first:
            found = f"{per_node} GPUs of a node"
            yield _problem(_where(role.parallelism, place), found, f"{first}, as {roles[0].name} takes")


def _division(parallelism: Parallelism, launcher: LauncherConfig, fleet: Fleet, place: str) -> Iterator[Problem]:
    nodes, per_node = _shape(parallelism, launcher, fleet)
    if nodes * per_node != parallelism.world:
        yield _problem(
            _where(parallelism, place),
            f"{parallelism.world} GPUs",
            f"at most {per_node}, or a multiple of {per_node} (the GPUs taken of a node)",
            why="each node gives the same number",
        )


def _where(parallelism: Parallelism, place: str) -> str:
    return f"{place}.parallelism" + (".tensor" if parallelism.pipeline == parallelism.data == 1 else "")


def _problem(where: str, found: str, wanted: str, *, why: str = "", fix: str | None = None) -> Problem:
    return Problem(where=where, rule="placement", found=found, wanted=wanted, why=why, fix=fix)


def _shape(parallelism: Parallelism, launcher: LauncherConfig, fleet: Fleet) -> tuple[int, int]:
    """(nodes, GPUs of each), rounded down where it does not divide."""
    per_node = min(launcher.gpus or len(launcher.devices) or _largest(fleet, launcher), parallelism.world)
    return parallelism.world // per_node, per_node


def _largest(fleet: Fleet, launcher: LauncherConfig) -> int:
    counts = [host.gpus.count for host in fleet.nodes if host.gpus and _allowed(host, launcher)]
    return max(counts, default=0)


def _candidates(fleet: Fleet, launcher: LauncherConfig, per_node: int) -> tuple[Host, ...]:
    return tuple(host for host in fleet.nodes if host.gpus and host.gpus.count >= per_node and _allowed(host, launcher))


def _allowed(host: Host, launcher: LauncherConfig) -> bool:
    return not launcher.nodelist or host.name in launcher.nodelist


def _octets(host: Host) -> tuple[int, str]:
    """By number where the address is one; names come after, as they are."""
    try:
        return int(ipaddress.ip_address(host.address)), host.name
    except ValueError:
        return 1 << 128, host.name
