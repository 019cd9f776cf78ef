"""Ports, addresses and interfaces: free of each other, reachable, and the same on all nodes."""

import re
from collections.abc import Iterator

from infra.rules.gpus import uses_ray
from infra.rules.rule import SGLANG, VLLM, Breach, Rule
from infra.rules.subject import Subject

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_ADDRESSES = ("dist-init-addr", "master-addr", "data-parallel-address", "host")
_STRAY = re.compile(r"(\$(?:\{\w+\}|\w+)|[A-Za-z0-9_.-]+)\$(?=:|$)")
_INTERFACES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
_NO_FABRIC = re.compile(r"(?:lo|docker0|virbr0|cni0|=lo)$")
_ARGS = "vllm 0.19.1, vllm/engine/arg_utils.py: create_engine_config"
PORTS = {
    "vllm": ("port", "data-parallel-rpc-port", "master-port"),
    "sglang": ("port", "nccl-port", "disaggregation-bootstrap-port", "dist-init-addr"),
    "sglang-kt": ("port", "nccl-port", "disaggregation-bootstrap-port", "dist-init-addr"),
    "trtllm": ("port", "disagg_cluster_uri"),
}
DEFAULT_PORTS = {"vllm": 8000, "sglang": 30000, "sglang-kt": 30000, "trtllm": 8000}


def _stray_dollar(s: Subject) -> Iterator[Breach]:
    for option in _ADDRESSES:
        text = s.texts.get(option, "")
        found = _STRAY.search(text)
        if found and "$(" not in text:
            right = text[: found.end() - 1] + text[found.end() :]
            yield Breach(
                options=(option,),
                found=text,
                wanted=right,
                fix=f"write {s.token(option)} {right}",
                edit=s.edit(option, add=((s.token(option), right),)),
            )


def _port_of(s: Subject, option: str) -> int | None:
    if option == "dist-init-addr":
        end = s.texts.get(option, "").rpartition(":")[2]
        return int(end) if end.isdigit() and len(end) < 6 else None
    return s.number(option)


def _clash(s: Subject) -> Iterator[Breach]:
    names = PORTS.get(s.engine, ())
    taken: dict[int, str] = {}
    if "port" not in s.options and s.engine in DEFAULT_PORTS and not s.given("headless"):
        taken[DEFAULT_PORTS[s.engine]] = "the server's own port"
    for name in names:
        port = _port_of(s, name) if name in s.options else None
        if port is None or (name == "port" and s.given("headless")):
            continue
        if port in taken:
            yield Breach(
                options=(name,),
                found=f"port {port} for --{name} and for {taken[port]}",
                wanted="a port for each",
                fix=f"give --{name} another",
            )
        taken[port] = f"--{name}"


def _range(s: Subject) -> Iterator[Breach]:
    for name in PORTS.get(s.engine, ()):
        port = _port_of(s, name) if name in s.options else None
        if port is not None and not 0 < port < 65536 and not (name == "data-parallel-rpc-port" and port == 0):
            yield Breach(options=(name,), found=f"port {port}", wanted="1 to 65535")


def _sglang_address(s: Subject) -> Iterator[Breach]:
    nodes = s.number("nnodes")
    if s.commanded and nodes and nodes > 1 and "dist-init-addr" not in s.options:
        yield Breach(
            options=("nnodes",),
            found=f"{nodes} nodes without --dist-init-addr",
            wanted="the address and a port of node 0",
            fix="add --dist-init-addr IP:PORT",
            edit=s.edit(add=(("--dist-init-addr", "$MASTER_ADDR:5000"),)),
        )


def _sglang_address_port(s: Subject) -> Iterator[Breach]:
    address = s.text("dist-init-addr")
    if address and not re.search(r":[0-9]+$", address):
        yield Breach(
            options=("dist-init-addr",),
            found=address,
            wanted="HOST:PORT",
            fix=f"write --dist-init-addr {address.rstrip(':')}:5000",
            edit=s.edit("dist-init-addr", add=(("--dist-init-addr", f"{address.rstrip(':')}:5000"),)),
        )


def _local_address(s: Subject) -> Iterator[Breach]:
    for option in ("dist-init-addr", "master-addr", "data-parallel-address"):
        address = (s.text(option) or "").removeprefix("tcp://")
        host = address.rpartition(":")[0] if option == "dist-init-addr" else address
        spans = (s.number("nnodes") or 1) > 1 or _spread(s)
        if host in LOCAL and spans:
            yield Breach(
                options=(option,),
                found=f"{host} as the address of the first node",
                wanted="an address that the other nodes reach",
                fix="write the first node's address on the fabric",
            )


def _spread(s: Subject) -> bool:
    """Whether vLLM's data ranks are on several nodes."""
    size, local = s.number("data-parallel-size"), s.number("data-parallel-size-local")
    return s.engine == "vllm" and size is not None and local is not None and 0 < local < size


def _vllm_address(s: Subject) -> Iterator[Breach]:
    nodes = s.number("nnodes")
    if s.commanded and nodes and nodes > 1 and "master-addr" not in s.options:
        yield Breach(
            options=("nnodes",),
            found=f"{nodes} nodes without --master-addr",
            wanted="the address of node 0",
            fix="add --master-addr IP",
            edit=s.edit(add=(("--master-addr", "$MASTER_ADDR"),)),
        )


def _data_address(s: Subject) -> Iterator[Breach]:
    given = {"data-parallel-address", "master-addr", "nnodes", "data-parallel-rank"} & s.options.keys()
    external = s.given("data-parallel-external-lb")
    if s.commanded and s.given("headless") and _spread(s) and not given and not external and not uses_ray(s):
        yield Breach(
            options=("headless",),
            found="data ranks of another node without --data-parallel-address",
            wanted="the address of the node with the API server",
            fix="add --data-parallel-address IP",
            edit=s.edit(add=(("--data-parallel-address", "$MASTER_IP"),)),
        )


def _headless(s: Subject) -> Iterator[Breach]:
    nodes, rank, p = s.number("nnodes"), s.number("node-rank"), s.parallelism
    if not s.commanded or not nodes or nodes < 2 or rank is None or rank >= nodes or p is None or p.data > 1:
        return
    if rank > 0 and not s.given("headless"):
        yield Breach(
            options=("node-rank",),
            found=f"an API server on node {rank}",
            wanted="--headless on all nodes but the first",
            fix="add --headless",
            edit=s.edit(add=(("--headless",),)),
        )
    if rank == 0 and s.given("headless"):
        yield Breach(
            options=("headless",),
            found="no API server on node 0",
            wanted="--headless on all nodes but the first",
            fix="leave out --headless here",
            edit=s.edit("headless"),
        )


def _interfaces(s: Subject) -> Iterator[Breach]:
    named = {name: s.env[name] for name in _INTERFACES if s.env.get(name)}
    for name, interface in named.items():
        if s.several_nodes and _NO_FABRIC.match(interface):
            yield Breach(
                found=f"{name}={interface} over several nodes",
                wanted="the interface that the other nodes are reached by",
                fix=f"set {name} to it (ip -br address)",
            )


def _localhost(s: Subject) -> Iterator[Breach]:
    host = s.text("host") if "host" in s.options else "127.0.0.1"
    if s.commanded and s.published and host in LOCAL and (s.number("node-rank") or 0) == 0:
        yield Breach(
            options=("host",),
            found="a published port of a server that listens on localhost alone",
            wanted="an address that clients and probes reach",
            fix="add --host 0.0.0.0",
            edit=s.edit("host", add=(("--host", "0.0.0.0"),)),  # noqa: S104 - what the person wants to be told
        )


RULES: tuple[Rule, ...] = (
    Rule(
        name="stray-dollar",
        engines=VLLM | SGLANG,
        title="an address with a dollar that is no variable's",
        why="the shell leaves a dollar before a colon as it is, so that the host is called `name$`",
        source="bash(1): EXPANSION; MoonshotAI/Kimi-K2, docs/deploy_guidance.md, the prefill node",
        check=_stray_dollar,
    ),
    Rule(
        name="port-clash",
        title="one port for two services of a process",
        why="the second to bind it fails: address already in use",
        source="bind(2): EADDRINUSE",
        check=_clash,
    ),
    Rule(
        name="port-range",
        title="a port that is none",
        why="ports have 16 bits",
        source="tcp(7)",
        check=_range,
    ),
    Rule(
        name="first-node-missing",
        engines=SGLANG,
        title="several nodes without the address of the first",
        why="each node would wait for the others on an address of its own",
        source="sglang 0.5.9, sglang/srt/server_args.py: PortArgs.init_new",
        check=_sglang_address,
    ),
    Rule(
        name="first-node-port",
        engines=SGLANG,
        title="an address of the first node without a port",
        why="SGLang wants HOST:PORT",
        source="sglang 0.5.9, sglang/srt/server_args.py: PortArgs.init_new",
        check=_sglang_address_port,
    ),
    Rule(
        name="first-node-local",
        engines=VLLM | SGLANG,
        title="localhost as the address of the first of several nodes",
        why="on every other node it is that node itself",
        source=_ARGS,
        check=_local_address,
    ),
    Rule(
        name="first-node-missing",
        engines=VLLM,
        title="several nodes without the address of the first",
        why="the default is 127.0.0.1, on which nodes don't find each other",
        source="vllm 0.19.1, vllm/config/parallel.py: master_addr",
        check=_vllm_address,
    ),
    Rule(
        name="data-address-missing",
        engines=VLLM,
        title="a headless node of data ranks without the address of its API server",
        why="the default is 127.0.0.1: the handshake never comes",
        source=_ARGS,
        check=_data_address,
    ),
    Rule(
        name="headless",
        engines=VLLM,
        title="--headless missing on another node than the first, or standing on the first",
        why="the first node has the API server, the others only workers",
        source="vllm-project/recipes, strategies; vllm 0.19.1, vllm/entrypoints/cli/serve.py: run_headless",
        check=_headless,
    ),
    Rule(
        name="interface",
        title="an interface without other nodes on it, for traffic between nodes",
        why="NCCL and Gloo wait there for peers that never come",
        source="vllm-project/recipes, strategies; NCCL: NCCL_SOCKET_IFNAME",
        check=_interfaces,
    ),
    Rule(
        name="localhost",
        engines=SGLANG,
        level="warning",
        title="a published port of a server that listens on localhost",
        why="SGLang binds to 127.0.0.1 by default, which is the container's own",
        source="sglang 0.5.9, sglang/srt/server_args.py: host",
        check=_localhost,
    ),
)
