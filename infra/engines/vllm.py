"""vLLM: `vllm serve` on one node, one process a node that find each other over TCP, or one on a Ray cluster."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from infra import fabric, paths
from infra.command import Command, Word, times
from infra.deployment import Argument, Deployment, Guards, at
from infra.engines.options import layer_problems, refused, rendered, software_problems
from infra.flags import table as flag_table
from infra.placement import Placement, Rank, place
from infra.protocols import Rendezvous, Within

_PARALLELISM = "set it in slipway:parallelism"
_TLS = "set slipway:endpoint.tls, for the gateway before it"
_LAUNCHER = "leave it out: the launcher knows it"
RESERVED: Mapping[str, str] = {
    "api-key": "leave it out: it is made on the host, or comes from slipway:secrets.api-key, and stands in no argv",
    "config": "write the options themselves in slipway:engine.args, where they are checked",
    "data-parallel-address": _LAUNCHER,
    "data-parallel-external-lb": "set data-parallel-hybrid-lb, which is that where a node has one replica",
    "data-parallel-rank": _LAUNCHER,
    "data-parallel-size": _PARALLELISM,
    "data-parallel-size-local": _PARALLELISM,
    "data-parallel-start-rank": _LAUNCHER,
    "decode-context-parallel-size": "set decode_context in slipway:parallelism",
    "enable-expert-parallel": _PARALLELISM,
    "grpc": "leave it out: readiness and clients speak HTTP",
    "headless": "leave it out: Slipway sets it on all nodes but the first",
    "host": "leave it out: it is all addresses of its node, or that of slipway:endpoint.interface",
    "master-addr": "leave it out: it is the job's first node",
    "model": "set slipway:model",
    "nnodes": _PARALLELISM,
    "node-rank": _LAUNCHER,
    "pipeline-parallel-size": _PARALLELISM,
    "port": "set slipway:port",
    "root-path": "leave it out: readiness asks /v1 at the root",
    "ssl-certfile": _TLS,
    "ssl-keyfile": _TLS,
    "tensor-parallel-size": _PARALLELISM,
    "uds": "leave it out: clients come over the network",
}
"""Options that Slipway sets, or that would take the endpoint away from it; what to write instead."""
BACKEND, RPC_PORT = "distributed-executor-backend", "data-parallel-rpc-port"
HYBRID = "data-parallel-hybrid-lb"
"""With it each node answers clients for its own replicas, and what stands before the nodes divides requests up."""
DEFAULT_RPC_PORT = 29550
"""vLLM's own default (vllm/config/parallel.py, all releases that have a table)."""


class Vllm:
    """The engine `vllm`."""

    name: ClassVar[str] = "vllm"
    rendezvous: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "tcp", "ray"})
    roles: ClassVar[tuple[str, ...]] = ()
    guards: ClassVar[Guards] = "some"  # what does not begin with /v1 is open to all

    def unnamed(self, model: str) -> str:  # noqa: ARG002
        """It is always told how clients call the model."""
        return ""

    def releases(self) -> tuple[str, ...]:
        """The releases that have a flag table."""
        return flag_table.releases(self.name)

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:
        """Options that the release lacks, that Slipway sets, or whose value its parser refuses."""
        yield from flag_table.load(self.name, release).problems(args, RESERVED)

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """The environment must hold the release, and a replica must not be spread over nodes."""
        yield from software_problems(d, "vllm")
        yield from layer_problems(d)
        placement, p = place(d), d.parallelism
        if p.data > 1 and placement.nodes > 1 and placement.gpus_per_node % (p.tensor * p.pipeline):
            yield refused(
                "$.parallelism",
                f"{p.data} replicas of {p.tensor * p.pipeline} GPUs each, on nodes of {placement.gpus_per_node}",
                "replicas that lie inside one node",
                why="each node starts whole replicas of its own",
                fix="use tensor or pipeline parallelism across nodes without data parallelism, or fewer GPUs a replica",
            )
        backend = d.args.get(BACKEND)
        if d.launcher.name == "ray" and backend not in (None, "ray"):
            yield refused(
                f"$.engine.args.{BACKEND}", str(backend), "ray", why="the launcher is ray", fix="leave the option out"
            )
        if d.args.get(HYBRID):
            yield from _hybrid_problems(d, placement)
        config = d.args.get("speculative-config")
        if d.draft and isinstance(config, Mapping) and "model" in config:
            yield refused("$.engine.args.speculative-config.model", "a path beside slipway:draft", "one of them")
        if d.draft and not isinstance(config, Mapping):
            yield refused(
                "$.draft",
                f"{d.draft.name}, and no speculative-config",
                "engine.args.speculative-config with method and num_speculative_tokens",
                why="a draft alone has no effect",
            )

    def files(self, d: Deployment) -> Mapping[str, str]:  # noqa: ARG002
        """It reads none."""
        return {}

    def router(self, d: Deployment, place: Placement) -> Command | None:  # noqa: ARG002
        """Rank 0 answers."""
        return None

    def servers(self, d: Deployment, place: Placement) -> tuple[str, ...]:
        """Rank 0's; where each node answers, behind a gateway of its own, that of each other node."""
        if not d.gated:
            return (at(*d.listen),)
        others = (at(str(rank.address), d.inner_port) for rank in place.ranks if _answers(d, rank) and not rank.is_head)
        return (f"unix:@RUN@{paths.ENGINE_SOCKET.after}", *others)

    def ports(self, d: Deployment, rank: Rank) -> tuple[int, ...]:  # noqa: ARG002
        """None that is known before it runs."""
        return ()

    def within(self, d: Deployment) -> Within | None:  # noqa: ARG002
        """It is the engine itself."""
        return None

    def command(self, d: Deployment, rank: Rank) -> Command:
        """`vllm serve` of one node; the first node's has the API server, the others are headless unless each has."""
        table = flag_table.load(self.name, d.release)
        argv: list[Word] = ["vllm", "serve", paths.model(d)]
        if _answers(d, rank):
            host, port = d.listen
            argv += ["--uds", paths.ENGINE_SOCKET] if d.gated else ["--host", host, "--port", str(port)]
        else:
            argv += ["--headless"]
        args = {"served-model-name": d.served_name, **_with_draft(d)}
        argv += rendered(table, {"served-model-name": args.pop("served-model-name")})
        argv += _parallelism(d)
        argv += _meeting(d, rank, args)
        argv += rendered(table, args)
        env: dict[str, Word] = {"VLLM_CACHE_ROOT": f"{paths.cache(d)}/vllm", "VLLM_NO_USAGE_STATS": "1"}
        env |= {**fabric.environment(rank, d.env), **d.env}
        if rank.nodes > 1:
            env["VLLM_HOST_IP"] = rank.address
        # what reaches its socket has shown the key to the gateway
        return Command(argv=tuple(argv), env=env, secrets={} if d.gated else {"VLLM_API_KEY": "api-key"})


def _answers(d: Deployment, rank: Rank) -> bool:
    """Whether a rank has a server for clients."""
    return rank.is_head or bool(d.args.get(HYBRID))


def _hybrid_problems(d: Deployment, placement: Placement) -> Iterator[Problem]:
    """It divides replicas over nodes, and a gateway divides requests over those."""
    where = f"$.engine.args.{HYBRID}"
    if d.launcher.name == "ray" or placement.nodes == 1 or d.parallelism.data == 1:
        found = f"true, on {placement.nodes} node{'s' * (placement.nodes > 1)}, data: {d.parallelism.data}"
        found += ", on Ray" * (d.launcher.name == "ray")
        yield refused(where, found, "data above 1 on several nodes, not on Ray", fix="leave the option out")
    elif not d.gated or d.launcher.name == "slurm":
        yield refused(
            where,
            f"true, by the launcher {d.launcher.name}",
            "a launcher with a gateway on each node",
            why="each node answers clients for its own replicas, and nothing would divide requests over the nodes",
            fix="use the launcher systemd, whose processes a SLURM job owns as well, or leave the option out",
        )


def _with_draft(d: Deployment) -> dict[str, Argument]:
    """The options, with the draft's folder where it is a model of the catalogue."""
    config = d.args.get("speculative-config")
    if d.draft is None or not isinstance(config, Mapping):
        return dict(d.args)
    return {**d.args, "speculative-config": {"model": paths.draft(d), **config}}


def _parallelism(d: Deployment) -> Iterator[str]:
    p = d.parallelism
    yield from ("--tensor-parallel-size", str(p.tensor))
    if p.pipeline > 1:
        yield from ("--pipeline-parallel-size", str(p.pipeline))
    if p.decode_context > 1:
        yield from ("--decode-context-parallel-size", str(p.decode_context))
    if p.data > 1:
        yield from ("--data-parallel-size", str(p.data))
    if p.expert:
        yield "--enable-expert-parallel"


def _meeting(d: Deployment, rank: Rank, args: dict[str, Argument]) -> Iterator[Word]:
    """How the ranks find each other; takes out of `args` what it says itself."""
    if rank.rendezvous == "ray":
        args.pop(BACKEND, None)
        yield from (f"--{BACKEND}", "ray")
    elif rank.nodes > 1 and d.parallelism.data > 1:
        local = d.parallelism.data // rank.nodes
        yield from ("--data-parallel-size-local", str(local))
        if not rank.is_head:
            yield from ("--data-parallel-start-rank", times(rank.index, local))
        yield from ("--data-parallel-address", rank.head)
        yield from (f"--{RPC_PORT}", str(args.pop(RPC_PORT, DEFAULT_RPC_PORT)))
    elif rank.nodes > 1:
        if BACKEND not in args:
            yield from (f"--{BACKEND}", "mp")
        yield from ("--nnodes", str(rank.nodes), "--node-rank", rank.index, "--master-addr", rank.head)
