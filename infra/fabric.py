"""What tells a rank's libraries which interface and HCAs lead to the other nodes, and what is read back of it.

Sources: NCCL's user guide, Environment Variables (a leading `=` matches names exactly: mlx5_1 alone is also a prefix of
mlx5_10); UCX's documentation of UCX_NET_DEVICES, DEVICE:PORT; PyTorch's of GLOO_SOCKET_IFNAME and TP_SOCKET_IFNAME.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hosts.problem import Problem
from infra.command import Word
from infra.deployment import Deployment
from infra.placement import Rank, place

HCA = "NCCL_IB_HCA"
SOCKETS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
_DEBUG = "NCCL_DEBUG"
_ANOTHER = ("NCCL_NET", "NCCL_NET_PLUGIN", "NCCL_IB_DISABLE")
"""With these a stack file chooses NCCL's transport itself, and it is not held to the fleet file's."""


def environment(rank: Rank, own: Mapping[str, Word]) -> dict[str, Word]:
    """The variables of a rank that speaks to other nodes, less those that the stack file has (`own`)."""
    if rank.nodes == 1 and not rank.role and rank.rendezvous != "ray":
        return {}
    env: dict[str, Word] = dict.fromkeys(SOCKETS, rank.interface) if rank.interface else {}
    if rank.hcas:
        env[HCA] = f"={','.join(rank.hcas)}"
        env["UCX_NET_DEVICES"] = ",".join(f"{hca}:1" for hca in rank.hcas)
        if _DEBUG not in own:  # the lines that are read back
            env |= {_DEBUG: "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET"}
    return {name: value for name, value in env.items() if name not in own}


def problems(d: Deployment) -> Iterator[Problem]:
    """A warning where several nodes would speak by whatever NCCL finds: it falls back to sockets without an error."""
    placed, chosen = place(d), (HCA, *_ANOTHER)
    names = {rank.host for rank in placed.ranks}
    hosts = placed.candidates if "" in names else tuple(host for host in placed.candidates if host.name in names)
    without = [host.name for host in hosts if not host.hcas]
    if d.fleet.stand_in or placed.nodes == 1 or not without:
        return
    if any(name in part.env for part in d.parts for name in chosen):
        return
    yield Problem(
        level="warning",
        where="$.fleet",
        rule="fabric",
        found=f"{d.fleet.name}, which declares no hcas of {', '.join(without)}",
        wanted=f"the HCAs by which the {placed.nodes} nodes speak to each other",
        why="NCCL takes whatever it finds, and sockets where that does not work; nobody would notice",
        fix=f"run: invoke enroll --fleet {d.fleet.name} {without[0]}; or set NCCL_NET: Socket in slipway:engine.env",
    )


def agreed(ranks: Sequence[Rank]) -> Rank:
    """The first rank, with what all of them have: a driver's variables override those of every node that it drives."""
    interfaces, hcas = {rank.interface for rank in ranks}, {rank.hcas for rank in ranks}
    return replace(
        ranks[0],
        interface=ranks[0].interface if len(interfaces) == 1 else "",
        hcas=ranks[0].hcas if len(hcas) == 1 else (),
    )


def expected(d: Deployment, ranks: Sequence[Rank]) -> tuple[str, ...]:
    """`HOST=HCA,HCA` of each node whose transport is read back; HOST is "" where a scheduler chooses it.

    A stack file that names HCAs itself is held to InfiniBand or RoCE, whichever they are.
    """
    found: dict[str, tuple[str, ...]] = {}
    for rank in ranks:
        own = d.part(rank.role).env
        if rank.nodes > 1 and rank.hcas and not any(name in own for name in _ANOTHER):
            entry = f"{rank.host}={'' if HCA in own else ','.join(rank.hcas)}"
            found[rank.host] = (entry,) if rank.host else (entry,) * rank.nodes
    return tuple(entry for entries in found.values() for entry in entries)
