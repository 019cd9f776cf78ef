"""Ray: a private cluster of the stack's own, one node a host, and the engine as its driver on the head."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from hosts.problem import Problem
from hosts.shell import quote
from infra import fabric, paths
from infra.command import Command, Word, at_port
from infra.deployment import Deployment
from infra.launchers import container, gateway
from infra.launchers.owned import OPTIONS, Owned
from infra.launchers.process import Process, check_artifacts, check_port, clear_way, title, typed
from infra.placement import Placement, Rank
from infra.protocols import Engine, Rendezvous

PORT = 6380
"""Not Ray's own 6379, where somebody else's cluster (or a Redis) may be; TorchSpec's scripts take this one too."""
NODE_PORTS = {
    "node-manager-port": 1,
    "object-manager-port": 2,
    "runtime-env-agent-port": 3,
    "dashboard-agent-grpc-port": 4,
    "dashboard-agent-listen-port": 5,
    "metrics-export-port": 6,
    "min-worker-port": 20,
    "max-worker-port": 99,
}
"""The ports of every node of the cluster, above the head's."""
AUTOSCALER, CLIENT = 7, 8
"""Two more of the head's, which otherwise are 44217 and 10001 for every cluster."""
PORTS = 100
"""How many ports a cluster takes, from the head's own upward."""
OBJECT_STORE_BYTES = 2 << 30
"""Ray would take 30 % of the memory; what engines pass through it is small."""
DETECTION = {
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
}
"""A dead node is known after 3 s, one that is silent after 9 s, and not after a minute."""
TOKEN = "ray-token"  # noqa: S105 - a file's name
"""The file of the cluster's token in the job's folder."""


CONF = "ray.json"
"""What `hosts/programs/ray_cluster.py` reads, in the job's folder."""
WAIT_S = "300"
"""How long a node waits for the head, and the driver for all nodes."""
STACK_CHARACTERS = 19
"""Ray's sockets lie below its temporary folder, and a socket's path has at most 107 characters."""


class Ray(Owned):
    """The launcher `ray`."""

    name: ClassVar[str] = "ray"
    offers: ClassVar[frozenset[Rendezvous]] = frozenset({"ray"})
    options: ClassVar[tuple[str, ...]] = (*OPTIONS, "port")
    programs: ClassVar[tuple[str, ...]] = ("ray_cluster",)
    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """Its port is not the endpoint's, and the environment holds Ray."""
        yield from self.owner_problems(d)
        yield from gateway.problems(d, {d.launcher.port or PORT: "Ray's head"})
        if (d.launcher.port or PORT) == d.port:
            yield Problem(
                where="$.launcher.port",
                rule="launcher",
                found=str(d.port),
                wanted="a port that is not slipway:port",
                why="Ray's head and the endpoint are on the same node",
            )
        if len(d.stack) > STACK_CHARACTERS:
            yield Problem(
                where="$",
                rule="launcher",
                found=f"the stack {d.stack}, of {len(d.stack)} characters",
                wanted=f"a name of at most {STACK_CHARACTERS}",
                why="the paths of Ray's sockets have it in them, and those are short",
            )
        if d.software.requirements and not any(line.startswith("pip ray ") for line in d.software.packages):
            yield Problem(
                where="$.environment",
                rule="environment",
                found=f"{d.software.name}, which holds no ray",
                wanted="an environment with ray",
                why="vLLM brings no Ray since 0.18",
                fix=f"add ray to infra/environments/{d.software.name}/requirements.in and pin it anew",
                source=f"infra/environments/{d.software.name}/requirements.txt",
            )

    def commands(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Command, ...]:
        """The driver on the first node, a worker of the cluster on each other; Ray starts what computes there."""
        driver = engine.command(d, fabric.agreed(place.ranks))
        address = at_port(place.ranks[0].head, d.launcher.port or PORT)
        first = replace(driver, env={**driver.env, "RAY_ADDRESS": address})
        return (first, *(node(d, place, rank) for rank in place.ranks[1:]))

    def by_hand(self, d: Deployment, place: Placement, engine: Engine) -> tuple[tuple[str, str], ...]:
        """The head, the workers, then the driver."""
        d = d.by_hand
        head = place.ranks[0]
        driver = self.commands(d, place, engine)[0]
        shown = Command(argv=driver.argv, env={**d.env, "RAY_ADDRESS": driver.env["RAY_ADDRESS"]})
        return (*((rank.host, typed(d, node(d, place, rank), rank)) for rank in place.ranks), (head.host, shown.line()))

    def texts(self, d: Deployment, place: Placement, engine: Engine) -> Mapping[str, str]:
        """The engine's files, and what the cluster must be."""
        return {**engine.files(d), CONF: json.dumps(cluster(d, place), indent=2) + "\n"}

    def processes(self, d: Deployment, place: Placement, engine: Engine) -> tuple[Process, ...]:
        """A node of the cluster on each host, and the driver on the head, which waits for all of them."""
        nodes = [_node(d, place, rank) for rank in place.ranks]
        return (*nodes, _driver(d, place, self.commands(d, place, engine)[0], engine))


def cluster(d: Deployment, place: Placement) -> dict[str, object]:
    """What `hosts/programs/ray_cluster.py` is told: the nodes, the head first, and whose order decides."""
    nodes = []
    for rank in place.ranks:
        host = d.fleet.host(rank.host)
        about = {"host": host.name, "address": host.address, "interface": host.interface, "role": rank.role}
        nodes.append({**about, "gpus": place.gpus_per_node})
    sort = d.engine if d.engine == "torchspec" else "vllm"
    return {"port": d.launcher.port or PORT, "sort": sort, "nodes": nodes}


def _program(d: Deployment, *words: Word) -> tuple[Word, ...]:
    mode, *rest = words
    folder = paths.job_folder(d)
    return ("python3", f"{folder}/ray_cluster.py", mode, f"{folder}/{CONF}", *rest)


def _node(d: Deployment, place: Placement, rank: Rank) -> Process:
    """Ray on one host, with what computes there below it; the head makes the cluster's token anew for each run."""
    start = node(d, place, rank)
    is_head = rank is place.ranks[0]
    process = Process(
        host=rank.host,
        name="ray",
        what=title(d, "Ray"),
        command=replace(start, argv=(*_program(d, "start", rank.host, WAIT_S), *start.argv)),
        before="\n".join(
            (
                check_artifacts(d),
                *(
                    [check_port(d.launcher.port or PORT, "set launcher.port to a free one"), _new_token(d)]
                    if is_head
                    else []
                ),
            )
        ),
        reads=(CONF,),
        devices=rank.gpus,
        contained=bool(d.image),
    )
    if not d.image:
        return process
    return replace(process, command=container.run(d, place, "ray", process.command))


def _new_token(d: Deployment) -> str:
    """Shell that makes the token anew: one that a node sent to a stranger on the head's port opens no later cluster."""
    token = quote(f"{paths.job_folder(d)}/{TOKEN}")
    return f"(umask 077; od -An -N32 -tx1 /dev/urandom | tr -d ' \\n' >{token}.new)\nmv -f -- {token}.new {token}"


def _driver(d: Deployment, place: Placement, command: Command, engine: Engine) -> Process:
    """The engine on the head, once all nodes are there; it ends when one of them does."""
    driven = replace(
        command,
        argv=(*_program(d, "drive", WAIT_S), *command.argv),
        env={
            **fabric.environment(fabric.agreed(place.ranks), d.env),
            **command.env,
            **security(d),
            "RAY_COLOR_PREFIX": "0",
        },
    )
    process = Process(
        host=place.ranks[0].host,
        name="driver",
        what=title(d, "the driver"),
        command=driven,
        before="".join(map(clear_way, engine.servers(d, place)[:1])),
        reads=(CONF, *engine.files(d)),
        contained=bool(d.image),
    )
    return replace(process, command=container.enter(d, "ray", driven)) if d.image else process


def node(d: Deployment, place: Placement, rank: Rank) -> Command:
    """`ray start` of one node: the first rank's is the head; each says its own address, and none joins another's.

    No port is left to chance, so that two clusters on the same nodes never meet.
    """
    port, head = d.launcher.port or PORT, place.ranks[0]
    argv: list[Word] = ["ray", "start"]
    if rank is head:
        argv += ["--head", "--port", str(port), "--include-dashboard", "false"]
        argv += ["--ray-client-server-port", str(port + CLIENT)]
    else:
        argv += ["--address", at_port(head.head, port)]
    argv += ["--node-ip-address", rank.address]
    for option, offset in NODE_PORTS.items():
        argv += [f"--{option}", str(port + offset)]
    argv += ["--num-cpus", str(2 * place.gpus_per_node + 4), "--num-gpus", str(place.gpus_per_node)]
    argv += ["--object-store-memory", str(OBJECT_STORE_BYTES), "--temp-dir", paths.temporary("ray")]
    env: dict[str, Word] = {
        # a host's name may resolve to loopback, which gloo would then take
        **fabric.environment(rank, d.part(rank.role).env),
        # Ray gives its own environment to what it starts; vLLM's driver only adds VLLM_ and NCCL_
        **d.part(rank.role).env,
        **security(d),
        **({"AUTOSCALER_METRIC_PORT": str(port + AUTOSCALER), **DETECTION} if rank is head else {}),
        "RAY_memory_monitor_refresh_ms": "0",  # a lost rank ends the engine; limits are the owner's
        "VLLM_HOST_IP": rank.address,  # by which vLLM tells nodes apart, and sorts their ranks
    }
    return Command(argv=(*argv, "--disable-usage-stats", "--block"), env=env)


def security(d: Deployment) -> dict[str, str]:
    """What a node, a driver and whoever asks the cluster needs: without the token each is refused."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": f"{paths.job_folder(d)}/{TOKEN}",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
