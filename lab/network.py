"""The nodes' network: a bridge, forwarding, and one firewall table with one rule, all recorded and undone."""

import json
import re
import socket
from pathlib import Path

from lab import host
from lab.errors import LabRefused

BRIDGE = "slipway0"
NETWORK = "10.77.0.0/24"
GATEWAY = "10.77.0.1"
TABLE = "slipway_lab"
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
RULES = f"""
table ip {TABLE} {{
  chain postrouting {{
    type nat hook postrouting priority srcnat
    ip saddr {NETWORK} ip daddr != {NETWORK} masquerade
  }}
}}
"""


def forwarding() -> str:
    """`0` or `1`: whether this machine forwards IPv4."""
    return FORWARD.read_text().strip()


def refuse_unless_free() -> None:
    """LabRefused where the lab's addresses are in use by something else on this machine."""
    for route in json.loads(host.run(["ip", "-json", "-4", "route", "show", "root", NETWORK])):
        if route.get("dev") != BRIDGE:
            raise LabRefused(
                f"network: found {route['dst']} routed through {route.get('dev')}, "
                f"wanted {NETWORK} unused for the lab's nodes; remove that route while the lab is up"
            )


def up() -> None:
    """Bridge, address, forwarding and masquerade; what is there already is left as it is."""
    if not exists(BRIDGE):
        host.run(["ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0"])
    host.run(["ip", "address", "replace", f"{GATEWAY}/24", "dev", BRIDGE])
    host.run(["ip", "link", "set", BRIDGE, "up"])
    if forwarding() != "1":
        FORWARD.write_text("1")
    # Made anew in one transaction, so that a run always ends with exactly this rule.
    host.run(["nft", "-f", "-"], input=f"table ip {TABLE}\ndelete table ip {TABLE}\n{RULES}")
    if drops_forwarded():
        for rule in accepting():
            if not holds(rule):
                host.run(["iptables", "-w", "-I", *rule])


def down(ip_forward: str) -> None:
    """Undo `up`; `ip_forward` is what forwarding was before."""
    for node in links():
        host.run(["ip", "link", "delete", node], check=False)
    if exists(BRIDGE):
        host.run(["ip", "link", "delete", BRIDGE])
    if host.which("nft"):
        host.run(["nft", "-f", "-"], input=f"table ip {TABLE}\ndelete table ip {TABLE}\n")
    if host.which("iptables"):
        for rule in accepting():
            if holds(rule):
                host.run(["iptables", "-w", "-D", *rule])
    if forwarding() != ip_forward:
        FORWARD.write_text(ip_forward)


def complete() -> bool:
    """Whether all of `up` is in place."""
    return (
        exists(BRIDGE)
        and forwarding() == "1"
        and TABLE in host.run(["nft", "list", "tables", "ip"])
        and not (drops_forwarded() and not all(map(holds, accepting())))
    )


def drops_forwarded() -> bool:
    """Whether iptables here drops forwarded packets unless told otherwise, as Docker sets it."""
    return bool(host.which("iptables")) and "-P FORWARD DROP" in host.run(
        ["iptables", "-w", "-S", "FORWARD"], check=False
    )


def accepting() -> tuple[tuple[str, ...], ...]:
    """The iptables rules that let the nodes out where forwarding is dropped by policy."""
    mark = ("-m", "comment", "--comment", TABLE, "-j", "ACCEPT")
    return ("FORWARD", "-i", BRIDGE, *mark), ("FORWARD", "-o", BRIDGE, *mark)


def holds(rule: tuple[str, ...]) -> bool:
    return host.run(["sh", "-c", 'iptables -w -C "$@" 2>/dev/null && echo yes || true', "sh", *rule]).strip() == "yes"


def exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def link(node: str) -> str:
    """This machine's end of a node's cable; systemd-nspawn names it after the machine."""
    return f"vb-slw-{node}"


def links() -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").glob(link("*")))


def cut(node: str) -> None:
    """Unplug a node at the switch: its own link stays up, nothing passes."""
    host.run(["ip", "link", "set", link(node), "nomaster"])


def heal(node: str) -> None:
    """Plug a node in again; nothing happens if it is."""
    host.run(["ip", "link", "set", link(node), "master", BRIDGE, "up"])


def is_cut(node: str) -> bool:
    return exists(link(node)) and not Path("/sys/class/net", link(node), "master").exists()


def answers(address: str, *, timeout_s: float = 1.0) -> bool:
    """Whether an sshd greets on port 22 of the address."""
    try:
        with socket.create_connection((address, 22), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def nameservers() -> str:
    """This machine's resolv.conf as a node can use it: a stub on loopback is replaced by what stands behind it."""
    for file in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        lines = file.read_text().splitlines() if file.exists() else []
        kept = [
            line for line in lines if not re.match(r"\s*nameserver\s+(127\.|::1)", line) and not line.startswith("#")
        ]
        if any(line.startswith("nameserver") for line in kept):
            return "".join(f"{line}\n" for line in kept)
    return ""
