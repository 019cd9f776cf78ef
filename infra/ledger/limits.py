"""Limits of a partition, QOS, account or namespace against what a request takes of them."""

from collections.abc import Iterator

from hosts.problem import Problem
from infra.ledger.host import HostNeed
from infra.ledger.request import FitRequest

UNITS = {"gpus": "GPUs", "nodes": "nodes", "cpus": "CPUs", "time_s": "seconds"}


def taken(r: FitRequest, host: HostNeed) -> dict[str, float]:
    """What a request takes, by the name of a limit; 0 where that is not known."""
    return {
        "gpus": r.world,
        "nodes": r.nodes,
        "cpus": r.cpus * r.nodes,
        "memory_gib": host.ram_gib * r.nodes,
        "node_memory_gib": host.ram_gib,
        "storage_gib": host.disk_gib,
        "time_s": r.time_s,
    }


def limit_problems(r: FitRequest, host: HostNeed) -> Iterator[Problem]:
    """Each limit that is exceeded, with the number that is missing."""
    wants = taken(r, host)
    for limit in r.limits:
        asked = wants.get(limit.what, 0.0)
        if asked <= limit.most:
            continue
        unit = UNITS.get(limit.what, "GiB")
        yield Problem(
            where=r.place(f"limit.{limit.what}"),
            rule="limit",
            found=f"{asked:.0f} {unit}",
            wanted=f"at most {limit.most:g} {unit} ({limit.what.removesuffix('_gib').replace('_', ' ')} of {limit.of})",
            why=f"{asked - limit.most:.0f} {unit} too many: it would wait for ever, or be refused",
            fix=f"another {limit.of.split(' ', maxsplit=1)[0]}, or a higher limit",
            source=limit.of,
        )
