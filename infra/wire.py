"""Stages in the form that crosses to Pulumi: text, booleans, lists, mappings; no numbers, for 16 becomes 16.0. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from hosts.fleet import Fleet, Host, SlurmMode, Storage
from hosts.resources import KINDS
from hosts.state import Resource, Stage, from_wire, to_wire

How = Literal["add", "delete", "update"]
Plain = Any
"""What JSON has: text, booleans, lists, mappings."""

CONNECT_FIELDS = ("address", "user", "jump", "host_key", "interface")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One property that differs, by its Pulumi path (`hosts["dgx1"]["file:/etc/x"].content`), and how."""

    path: str
    host: str
    key: str
    field: str
    how: How


def inputs(stack: str, stage: Stage, fleet: Fleet) -> dict[str, Plain]:
    """What a stage's Pulumi resource is made of. `connect` and `fleet` are how to get there, and are never diffed."""
    return {
        "stack": stack,
        "stage": stage.name,
        "keep": stage.keep,
        "lock": stage.lock,
        "fleet": {
            "name": fleet.name,
            "slurm": fleet.slurm,
            "storage": fleet.storage.path,
            "shared": fleet.storage.shared,
            "partition": fleet.partition,
            "known_hosts": fleet.known_hosts,
            "identity": fleet.identity,
            "stand_in": fleet.stand_in,
        },
        "connect": {
            host.name: {name: getattr(host, name) for name in CONNECT_FIELDS}
            | {"port": str(host.port), "sudo": host.sudo, "role": host.role}
            for host in fleet.hosts
        },
        "hosts": {name: {r.key: to_wire(r) for r in resources} for name, resources in stage.hosts.items()},
        # a mapping has no order on the wire, and resources do
        "order": {name: [r.key for r in resources] for name, resources in stage.hosts.items()},
    }


def stage_of(wire: Mapping[str, Plain]) -> Stage:
    """The stage that `inputs` wrote. Raises ValueError or KeyError where it is not one."""
    hosts: dict[str, tuple[Resource, ...]] = {}
    for name, resources in wire["hosts"].items():
        order = {key: n for n, key in enumerate(wire.get("order", {}).get(name, ()))}
        keys = sorted(resources, key=lambda key: order.get(key, len(order)))
        hosts[name] = tuple(from_wire(resources[key], KINDS) for key in keys)
    return Stage(name=wire["stage"], hosts=hosts, keep=wire["keep"], lock=wire.get("lock", True))


def fleet_of(wire: Mapping[str, Plain]) -> Fleet:
    """As much of the fleet as reaching its hosts and scanning them takes."""
    fleet = wire["fleet"]
    return Fleet(
        name=fleet["name"],
        slurm=cast(SlurmMode, fleet["slurm"]),
        storage=Storage(path=fleet["storage"], shared=fleet["shared"]),
        partition=fleet["partition"],
        known_hosts=fleet["known_hosts"],
        identity=fleet["identity"],
        stand_in=fleet["stand_in"],
        hosts=tuple(
            Host(
                name=name,
                port=int(host["port"]),
                sudo=host["sudo"],
                role=host["role"],
                **{field: host[field] for field in CONNECT_FIELDS},
            )
            for name, host in wire["connect"].items()
        ),
    )


def differences(actual: Mapping[str, Plain], desired: Mapping[str, Plain]) -> Iterator[Difference]:
    """What differs between two `hosts` mappings, by field where both sides have the resource."""
    for host in sorted({*actual, *desired}):
        was, wanted = actual.get(host, {}), desired.get(host, {})
        for key in sorted({*was, *wanted}):
            path = f"hosts[{quoted(host)}][{quoted(key)}]"
            if key not in was or key not in wanted:
                how: How = "add" if key not in was else "delete"
                yield Difference(path=path, host=host, key=key, field="", how=how)
                continue
            for field in sorted({*was[key], *wanted[key]}):
                if was[key].get(field) != wanted[key].get(field):
                    yield Difference(path=f"{path}.{field}", host=host, key=key, field=field, how="update")


def quoted(text: str) -> str:
    """A key as Pulumi's property paths write it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def without(stage: Stage, kept: Mapping[str, Plain]) -> Stage:
    """The stage less every resource whose host and key stand in `kept`: what an update has to take away."""
    left = {
        host: tuple(r for r in resources if r.key not in kept.get(host, {}) and r.removable)
        for host, resources in stage.hosts.items()
    }
    return Stage(name=stage.name, hosts={h: r for h, r in left.items() if r}, keep=stage.keep, lock=stage.lock)


def requirements_only(stage: Stage) -> Stage:
    """The stage's requirements: all that must hold before anything of it is written or taken away."""
    left = {host: tuple(r for r in resources if r.kind == "Requirement") for host, resources in stage.hosts.items()}
    return Stage(name=stage.name, hosts={h: r for h, r in left.items() if r}, keep=stage.keep, lock=stage.lock)


def claims_only(stage: Stage) -> Stage:
    """The stage's claims: all that deleting a kept stage takes away."""
    left = {host: tuple(r for r in resources if r.kind == "Claim") for host, resources in stage.hosts.items()}
    return Stage(name=stage.name, hosts={h: r for h, r in left.items() if r}, keep=stage.keep, lock=stage.lock)
