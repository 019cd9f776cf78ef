"""Keeps a stack's private Ray cluster to what was declared; runs on its nodes with the environment's own Python.

start CONF HOST TIMEOUT_S COMMAND…
    refuses an address that is not this host's, waits on a worker for the head's port, and becomes COMMAND (`ray start`)
wait CONF TIMEOUT_S
    on the head, before the driver: until exactly the declared nodes are alive with their GPUs and each role would land
    where it was declared; exits 3 with what is wrong and what to do
drive CONF TIMEOUT_S COMMAND…
    waits so, runs COMMAND (the driver), and ends it with exit 3 when a node is lost: vLLM itself notices at the next
    request, says 200 until then, and exits 0
alive CONF
    prints `node HOST ADDRESS STATE` for each declared node and each other one that is alive; exits 3 unless all is well
roles CONF
    prints who gets which GPUs' ranks and role, without asking Ray; exits 3 where they would land wrong
placed CONF TIMEOUT_S
    once the driver is up: until Ray's placement groups hold the declared number of GPUs on each node; exits 3 if not

CONF is JSON: {"port": 6380, "sort": "vllm", "nodes": [{"host", "address", "gpus", "interface", "role"}, …]}, the head
first, the others in the order of the ranks or roles that they are meant for; `sort` is whose order decides, and
`interface` and `role` may be "". RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH must be set, except for `start` and `roles`.

Standard library of Python 3.10 only, but for Ray itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PROGRESS = "\x1f"
POLL_S = 0.5
SIGN_OF_LIFE_S = 10.0
WATCH_S = 2.0
LOST_AFTER_S = 10.0
"""How long the GCS may not answer before it counts as lost; a dead node it declares itself."""
END_S = 15.0
ASK_TIMEOUT_S = 5
CONNECT_TIMEOUT_S = 2.0
ALIVE, CREATED = 0, "CREATED"
SIOCGIFADDR = 0x8915
REFUSED = 3


class Node(NamedTuple):
    """A node as declared; `role` "" is one of a cluster without roles."""

    host: str
    address: str
    gpus: int
    interface: str = ""
    role: str = ""

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


class Cluster(NamedTuple):
    """What was declared: the head first."""

    port: int
    sort: str
    nodes: tuple[Node, ...]

    @property
    def head(self) -> Node:
        return self.nodes[0]


class Seen(NamedTuple):
    """A node as Ray has it; `host` is what it calls itself, and `why` how it died."""

    address: str
    gpus: int
    alive: bool
    host: str = ""
    why: str = ""


def load(path: str) -> Cluster:
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    nodes = [
        Node(
            str(node["host"]), str(node["address"]), int(node["gpus"]), node.get("interface", ""), node.get("role", "")
        )
        for node in found["nodes"]
    ]
    return Cluster(int(found["port"]), str(found["sort"]), tuple(nodes))


def by_number(address: str) -> tuple[int, str]:
    """Where an address comes by number; a name comes after all of them."""
    try:
        return int(ipaddress.ip_address(address)), address
    except ValueError:
        return 1 << 128, address


def in_order(cluster: Cluster) -> list[Node]:
    """The nodes in the order in which the engine gives them ranks or roles.

    vLLM (`ray_executor.py`, sort_by_driver_then_worker_ip): the driver's node, then those with fewer workers, then by
    address as text, so that 10.0.0.10 comes before 10.0.0.9. TorchSpec (`ray/placement_group.py`): by the address's
    numbers, wherever the head is.
    """
    if cluster.sort == "torchspec":
        return sorted(cluster.nodes, key=lambda node: by_number(node.address))
    return sorted(cluster.nodes, key=lambda node: (node is not cluster.head, node.gpus, node.address))


def misplaced(cluster: Cluster) -> str:
    """Why a role would land on another node than the declared one, and the fix; "" where none would."""
    order = in_order(cluster)
    for wanted, got in zip(cluster.nodes, order, strict=True):
        if (wanted.role, wanted.gpus) != (got.role, got.gpus):
            by = "the numbers of their addresses" if cluster.sort == "torchspec" else "driver, workers, address"
            return (
                f"the role {wanted.role} would land on {got}, which was declared for {got.role}, and not on {wanted}: "
                f"{cluster.sort} orders nodes by {by}\n"
                f"  what to do: declare the roles' nodes in the order {', '.join(node.host for node in order)}"
            )
    return ""


def roles(cluster: Cluster) -> Iterator[str]:
    """A line for each node: its ranks, and its role."""
    first = 0
    for node in in_order(cluster):
        ranks = f"rank {first}" if node.gpus == 1 else f"ranks {first} to {first + node.gpus - 1}"
        yield f"{node}: {ranks}" + (f", {node.role}" if node.role else "")
        first += node.gpus


def states(cluster: Cluster, seen: Sequence[Seen]) -> list[tuple[str, str, str]]:
    """(host, address, state) of each declared node, then of each alive one that nobody declared.

    The state is `alive`, `dead: WHY`, `missing`, `N GPUs, wanted M`, `twice` or `unexpected`.
    """
    found = []
    for node in cluster.nodes:
        there = [one for one in seen if one.address == node.address]
        alive = [one for one in there if one.alive]
        if len(alive) > 1:
            state = "twice"
        elif alive:
            state = "alive" if alive[0].gpus == node.gpus else f"{alive[0].gpus} GPUs, wanted {node.gpus}"
        else:
            state = f"dead: {there[-1].why or 'no reason given'}" if there else "missing"
        found.append((node.host, node.address, state))
    declared = {node.address for node in cluster.nodes}
    others = (one for one in seen if one.alive and one.address not in declared)
    return found + [(one.host or "?", one.address, "unexpected") for one in others]


def hopeless(cluster: Cluster, found: Sequence[tuple[str, str, str]]) -> str:
    """What no waiting mends, and the fix; "" where there is nothing of it."""
    hosts = {node.host: node.address for node in cluster.nodes}
    for host, address, state in found:
        if state == "unexpected" and host in hosts:
            return (
                f"{host} has joined with {address}, and was declared with {hosts[host]}: another interface\n"
                f"  what to do: start its node with --node-ip-address {hosts[host]}"
            )
        if state == "unexpected":
            return (
                f"{host} ({address}) is in the cluster, and no node of this stack\n"
                "  what to do: end the `ray start` there; it knows this cluster's token, so make a new one"
            )
        if "GPUs" in state or state == "twice":
            return f"{host} ({address}) has joined with {state}\n  what to do: run pulumi up, which starts it anew"
    return ""


def client(cluster: Cluster) -> Callable[[], list[Seen]]:
    """What asks the cluster's GCS for its nodes: 0.4 s to import, 10 ms each time. Raises what Ray does."""
    from ray._raylet import GcsClient  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - the others need no Ray

    gcs = GcsClient(address=f"{cluster.head.address}:{cluster.port}")

    def ask() -> list[Seen]:
        nodes: Any = gcs.get_all_node_info(timeout=ASK_TIMEOUT_S)
        return [
            Seen(
                address=str(node.node_manager_address),
                gpus=int(node.resources_total.get("GPU", 0)),
                alive=node.state == ALIVE,
                host=str(node.node_manager_hostname),
                why=str(node.death_info.reason_message),
            )
            for node in sorted(nodes.values(), key=lambda node: node.start_time_ms)
        ]

    return ask


def listening(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=CONNECT_TIMEOUT_S):
        return True
    return False


def until(end: float, check: Callable[[], str], what: str) -> str:
    """Polls until `check` finds nothing missing, or the time is over; what was missing last. Says what it waits for."""
    said, next_sign, start = "", 0.0, time.monotonic()
    while lacking := check():
        now = time.monotonic()
        if now >= end:
            return lacking
        if lacking != said or now >= next_sign:
            print(f"{PROGRESS}{what}: waits for {lacking} ({now - start:.0f} s)", flush=True)
            said, next_sign = lacking, now + SIGN_OF_LIFE_S
        time.sleep(POLL_S)
    return ""


def own(node: Node) -> str:
    """Why an address is none of this host's, or not on the declared interface; "" where it is."""
    with socket.socket(socket.AF_INET6 if ":" in node.address else socket.AF_INET) as probe:
        try:
            probe.bind((node.address, 0))
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return f"{node.address} is no address of this host, {socket.gethostname()}"
        if not node.interface or ":" in node.address:
            return ""
        try:
            asked = struct.pack("256s", node.interface[:15].encode())
            has = socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, asked)[20:24])
        except OSError:
            return f"{node.host} has no interface {node.interface} with an IPv4 address"
    return "" if has == node.address else f"{node.interface} of {node.host} has {has}, and {node.address} was declared"


def refuse(why: str) -> NoReturn:
    print(f"slipway: error: ray: {why}", flush=True)
    sys.exit(REFUSED)


def start(conf: str, host: str, timeout_s: str, *command: str) -> None:
    cluster = load(conf)
    node = next(node for node in cluster.nodes if node.host == host)
    if wrong := own(node):
        refuse(f"{wrong}\n  what to do: correct the address or interface of {host} in the fleet's file")
    if node is not cluster.head:
        head, port = cluster.head, cluster.port
        lacking = until(
            time.monotonic() + float(timeout_s),
            lambda: "" if listening(head.address, port) else f"port {port} of the head, {head}",
            "ray",
        )
        if lacking:
            refuse(
                f"nothing listens at {lacking} after {timeout_s} s\n  what to do: read the log of Ray on {head.host}"
            )
    os.execvp(command[0], command)  # noqa: S606 - the command comes from the process's own script


def wait(conf: str, timeout_s: str) -> None:
    wait_for(load(conf), timeout_s)


def wait_for(cluster: Cluster, timeout_s: str) -> Callable[[], list[Seen]]:
    """Returns what asks for the nodes, once all is as declared; exits otherwise."""
    end = time.monotonic() + float(timeout_s)
    if wrong := misplaced(cluster):
        refuse(wrong)
    head, port = cluster.head, cluster.port
    if lacking := until(
        end, lambda: "" if listening(head.address, port) else f"port {port} of the head, {head}", "ray"
    ):
        refuse(f"nothing listens at {lacking} after {timeout_s} s\n  what to do: read the log of Ray on {head.host}")
    try:
        ask = client(cluster)
    except Exception as error:  # noqa: BLE001 - Ray's own, of many kinds
        refuse(f"{head} does not answer: {str(error)[:300]}\n  what to do: read the log of Ray on {head.host}")

    def lacking_nodes() -> str:
        found = states(cluster, ask())
        if why := hopeless(cluster, found):
            refuse(why)
        return ", ".join(f"{host} ({address}, {state})" for host, address, state in found if state != "alive")

    if lacking := until(end, lacking_nodes, "ray"):
        refuse(f"not in the cluster after {timeout_s} s: {lacking}\n  what to do: read the log of Ray on that node")
    for line in roles(cluster):
        print(f"slipway: ray: {line}", flush=True)
    return ask


def lost(cluster: Cluster, ask: Callable[[], list[Seen]]) -> str:
    """The declared nodes that are no longer alive; "" where all are. Raises what Ray does where the GCS is silent."""
    return ", ".join(
        f"{host} ({address}, {state})"
        for host, address, state in states(cluster, ask())
        if state not in ("alive", "unexpected")
    )


def drive(conf: str, timeout_s: str, *command: str) -> None:
    cluster = load(conf)
    ask = wait_for(cluster, timeout_s)
    driver = subprocess.Popen(command)
    asked = False

    def end(number: int, _: object) -> None:
        nonlocal asked
        asked = True
        driver.send_signal(number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    answered, gone = time.monotonic(), ""
    while not gone and (code := waited(driver, WATCH_S)) is None:
        try:
            gone = lost(cluster, ask)
            answered = time.monotonic()
        except Exception as error:  # noqa: BLE001 - Ray's own, of many kinds
            if time.monotonic() - answered > LOST_AFTER_S:
                gone = f"{cluster.head} (its GCS: {str(error)[:200]})"
    if not gone:
        assert code is not None
        # vLLM exits 0 where its engine has died
        sys.exit(128 - code if code < 0 else code if code or asked else 1)
    driver.terminate()
    if waited(driver, END_S) is None:
        driver.kill()
        driver.wait()
    if not asked:
        refuse(
            f"lost {gone}; ended the driver\n  what to do: run pulumi up, which starts that node and the driver anew"
        )


def waited(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """How the process ended within a time; None where it has not."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def alive(conf: str) -> None:
    cluster = load(conf)
    seen = client(cluster)() if listening(cluster.head.address, cluster.port) else []
    found = states(cluster, seen)
    for host, address, state in found:
        print("node", host, address, state)
    sys.exit(0 if all(state == "alive" for _, _, state in found) else REFUSED)


def show_roles(conf: str) -> None:
    cluster = load(conf)
    for line in roles(cluster):
        print(line)
    if wrong := misplaced(cluster):
        refuse(wrong)


def held(groups: Sequence[dict[str, Any]], addresses: dict[str, str]) -> dict[str, int]:
    """GPUs that live placement groups hold, by node's address; `addresses` are those of Ray's node ids."""
    count: dict[str, int] = {}
    for group in groups:
        if group["state"] != CREATED:
            continue
        for bundle, node in group["bundles_to_node_id"].items():
            address = addresses.get(node, "?")
            count[address] = count.get(address, 0) + int(group["bundles"][bundle].get("GPU", 0))
    return count


def placed(conf: str, timeout_s: str) -> None:
    cluster = load(conf)
    import ray  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - the others need no Ray

    ray.init(address=f"{cluster.head.address}:{cluster.port}", logging_level="ERROR", log_to_driver=False)
    wanted = {node.address: node.gpus for node in cluster.nodes}

    def lacking() -> str:
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
        has = held(list(ray.util.placement_group_table().values()), addresses)
        wrong = sorted(address for address in {*wanted, *has} if wanted.get(address, 0) != has.get(address, 0))
        return ", ".join(f"{at} to hold {wanted.get(at, 0)} GPUs (it holds {has.get(at, 0)})" for at in wrong)

    if left := until(time.monotonic() + float(timeout_s), lacking, "ray"):
        refuse(f"after {timeout_s} s still waiting for {left}\n  what to do: read the driver's log")
    for line in roles(cluster):
        print(f"slipway: ray: {line}", flush=True)


if __name__ == "__main__":
    modes: dict[str, Callable[..., None]] = {
        "start": start,
        "wait": wait,
        "drive": drive,
        "alive": alive,
        "roles": show_roles,
        "placed": placed,
    }
    modes[sys.argv[1]](*sys.argv[2:])
