"""Which ranks a deployment has and how many GPUs of which nodes they take, or why they don't fit the fleet."""

from collections.abc import Iterator
from dataclasses import dataclass

from hosts.fleet import Fleet, Host
from hosts.problem import Problem
from infra.command import Var, Word
from infra.deployment import Deployment, LauncherConfig, Parallelism

HEAD, ADDRESS = Var("SLIPWAY_HEAD"), Var("SLIPWAY_ADDRESS")
"""What a launcher's job sets where the nodes are not known before: the host of rank 0, and the node's own address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One engine process that a launcher starts, with its GPUs.

    `index`, `head` (the host of rank 0) and `address` (the node's own) are shell variables where only the launcher's
    job knows them. `host` is "" as long as a scheduler chooses the node.
    """

    index: Word
    nodes: int
    gpus: tuple[int, ...]
    head: Word
    address: Word
    host: str = ""

    @property
    def is_head(self) -> bool:
        """Whether it is rank 0, the one that answers clients."""
        return self.index == "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The ranks in order, and the nodes that they may land on: as many as ranks, or more where a scheduler chooses."""

    ranks: tuple[Rank, ...]
    candidates: tuple[Host, ...]

    @property
    def gpus_per_node(self) -> int:
        """The same on each node."""
        return len(self.ranks[0].gpus)


def place(d: Deployment) -> Placement:
    """The placement of a deployment that `problems` found nothing wrong with."""
    nodes, per_node = _shape(d.parallelism, d.launcher, d.fleet)
    candidates = _candidates(d.fleet, d.launcher, per_node)
    # an existing site's partition may have nodes that the fleet file does not name
    certain = len(candidates) == nodes and (d.fleet.slurm != "existing" or d.launcher.nodelist)
    fixed = [host.name for host in candidates] if certain else [""] * nodes
    return Placement(
        ranks=tuple(
            Rank(
                index=str(n),
                nodes=nodes,
                gpus=tuple(range(per_node)),
                head=fixed[0] or HEAD,
                address=ADDRESS,
                host=fixed[n],
            )
            for n in range(nodes)
        ),
        candidates=candidates,
    )


def problems(parallelism: Parallelism, launcher: LauncherConfig, fleet: Fleet) -> Iterator[Problem]:
    """Why a parallelism can't be placed on a fleet; each names what would fit."""
    by_name = {host.name: host for host in fleet.nodes}
    unknown = [name for name in launcher.nodelist if name not in by_name]
    if unknown:
        yield Problem(
            where="$.launcher.nodelist",
            rule="placement",
            found=", ".join(unknown),
            wanted=f"nodes of the fleet {fleet.name} ({', '.join(by_name)})",
        )
        return
    largest = _largest(fleet, launcher)
    if largest == 0:
        yield Problem(
            where="$.fleet",
            rule="placement",
            found=f"{fleet.name}, whose nodes have no GPUs declared",
            wanted="`gpus` of its nodes",
            fix=f"run: invoke enroll --fleet {fleet.name} HOST…",
        )
        return
    if launcher.gpus > largest:
        yield Problem(
            where="$.launcher.gpus",
            rule="placement",
            found=str(launcher.gpus),
            wanted=f"at most {largest}, what a node has",
        )
        return
    nodes, per_node = _shape(parallelism, launcher, fleet)
    world = parallelism.world
    where = "$.parallelism.tensor" if parallelism.pipeline == parallelism.data == 1 else "$.parallelism"
    if nodes * per_node != world:
        yield Problem(
            where=where,
            rule="placement",
            found=f"{world} GPUs",
            wanted=f"at most {per_node}, or a multiple of {per_node} (the GPUs taken of a node)",
            why="each node gives the same number",
        )
        return
    if launcher.nodelist and len(launcher.nodelist) != nodes:
        yield Problem(
            where="$.launcher.nodelist",
            rule="placement",
            found=f"{len(launcher.nodelist)} nodes",
            wanted=f"{nodes}, the nodes that {world} GPUs are on",
            why="a job gets all nodes of its list",
        )
        return
    able = _candidates(fleet, launcher, per_node)
    if nodes > len(able):
        yield Problem(
            where=where,
            rule="placement",
            found=f"{world} GPUs, {nodes} nodes of {per_node}",
            wanted=f"at most {len(able)} nodes: {', '.join(host.name for host in able) or 'none has as many GPUs'}",
        )


def _shape(parallelism: Parallelism, launcher: LauncherConfig, fleet: Fleet) -> tuple[int, int]:
    """(nodes, GPUs of each), rounded down where it does not divide."""
    per_node = min(launcher.gpus or _largest(fleet, launcher), parallelism.world)
    return parallelism.world // per_node, per_node


def _largest(fleet: Fleet, launcher: LauncherConfig) -> int:
    counts = [host.gpus.count for host in fleet.nodes if host.gpus and _allowed(host, launcher)]
    return max(counts, default=0)


def _candidates(fleet: Fleet, launcher: LauncherConfig, per_node: int) -> tuple[Host, ...]:
    return tuple(host for host in fleet.nodes if host.gpus and host.gpus.count >= per_node and _allowed(host, launcher))


def _allowed(host: Host, launcher: LauncherConfig) -> bool:
    return not launcher.nodelist or host.name in launcher.nodelist
