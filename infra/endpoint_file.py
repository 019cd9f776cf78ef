"""What a stack file says of its endpoint: the interface that it is bound to, and the files of its TLS."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace

from hosts.fleet import Host
from hosts.problem import Problem
from hosts.schema import PATH, Kind, Reader, nearest
from infra.deployment import GATED, Deployment, EndpointConfig
from infra.placement import place
from infra.worded import worded

INTERFACE = Kind(
    pattern=r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,44}",
    wanted="the interface of the head's host as the fleet declares it, or an address",
)
FILE = Kind(
    pattern=PATH.pattern,
    wanted="the absolute path of a PEM file on the head's host, without blanks",
)


def endpoint(top: Reader) -> EndpointConfig:
    """What is said of it, not yet held against a fleet; nothing where nothing is."""
    if not top.has("endpoint"):
        top.raw("endpoint")
        return EndpointConfig()
    reader = top.child("endpoint")
    interface = worded(reader, "interface", INTERFACE)
    certificate = key = ""
    if reader.has("tls"):
        tls = reader.child("tls")
        certificate, key = (worded(tls, name, FILE, default=None) for name in ("certificate", "key"))
        tls.done()
    reader.raw("tls")
    reader.done()
    return EndpointConfig(interface=interface, certificate=certificate, key=key)


def bound(d: Deployment, found: list[Problem]) -> EndpointConfig:
    """The endpoint with the address of its interface on the head's host; what is wrong with it goes into `found`."""
    said = d.endpoint
    if said == EndpointConfig():
        return said
    if d.launcher.name not in GATED:
        found.append(
            _problem(
                "$.endpoint",
                f"an endpoint of its own kind with the launcher {d.launcher.name}",
                f"one of the launchers {', '.join(GATED)}",
                why=f"{d.launcher.name} puts no gateway before the engine, and listens on all addresses of its node",
            )
        )
        return EndpointConfig()
    if not said.interface:
        return said
    name = place(d).ranks[0].host
    if not name:
        why = "SLURM chooses the node, and with it the address"
        fix = "leave it out, or name all nodes of the job in launcher.nodelist"
        found.append(_problem("$.endpoint.interface", said.interface, "nothing", why=why, fix=fix))
        return replace(said, interface="")
    head = d.fleet.host(name)
    wrong = tuple(_interface_problems(d, head))
    found += wrong
    return said if wrong else replace(said, address=_address(said.interface) or head.address)


def _interface_problems(d: Deployment, head: Host) -> Iterator[Problem]:
    """An address must be the head's; a name must be the one that the fleet declares, and have an address in numbers."""
    where, name, inventory = "$.endpoint.interface", d.endpoint.interface, f"hosts/inventory/{d.fleet.name}.yaml"
    address = _address(name)
    if address:
        other = next((host.name for host in d.fleet.hosts if host.address == address and host is not head), "")
        number = ipaddress.ip_address(address)
        if other:
            wanted = f"an address of {head.name}, the head"
            yield _problem(where, f"{name}, the address of {other}", wanted, fix=f"write {head.address}")
        elif number.is_loopback or number.is_unspecified or number.is_multicast:
            why = "clients are on other machines; left out, it is bound to all addresses"
            yield _problem(where, name, f"an address of {head.name} that others reach", why=why)
    elif not head.interface:
        wanted = f"an address of {head.name}, or `interface: {name}` of {head.name} in {inventory}"
        yield _problem(where, f"{name}, and the fleet declares no interface of {head.name}", wanted)
    elif name != head.interface:
        near = nearest(name, (head.interface,))
        fix = f"did you mean {near}?" if near else None
        yield _problem(
            where, name, f"{head.interface}, the interface of {head.name} ({inventory}), or an address", fix=fix
        )
    elif not _address(head.address):
        wanted = f"the address of {head.interface} in numbers"
        yield _problem(where, f"{name}, whose address the fleet declares as the name {head.address}", wanted,
                       why="on the host itself that name may be a loopback's")  # fmt: skip


def _address(text: str) -> str:
    """The text itself where it is an address, else ""."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ""
    return text


def _problem(where: str, found: str, wanted: str, *, why: str = "", fix: str | None = None) -> Problem:
    return Problem(where=where, rule="endpoint", found=found, wanted=wanted, why=why, fix=fix)
