"""SGLang: one launch_server a node, over TCP; prefill and decode apart behind a router; `sglang-kt` is its fork."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from hosts.problem import Problem
from infra import fabric, paths
from infra.command import Command, Word, at_port
from infra.deployment import Argument, Deployment, Guards, Parallelism, at
from infra.engines.options import layer_problems, refused, rendered, software_problems
from infra.flags import table as flag_table
from infra.flags.table import FlagTable
from infra.placement import Placement, Rank, place
from infra.protocols import Rendezvous, Within

_PARALLELISM = "set it in slipway:parallelism"
_ATTENTION_DP = "set data in slipway:parallelism: it counts the replicas of attention"
_LAUNCHER = "leave it out: the launcher knows it"
_TLS = "set slipway:endpoint.tls, for the gateway before it"
RESERVED: Mapping[str, str] = {
    "api-key": "leave it out: it would stand in the process list",
    "attn-dp-size": _ATTENTION_DP,
    "config": "write the options themselves in slipway:engine.args, where they are checked",
    "data-parallel-size": _ATTENTION_DP,
    "dcp-size": "set decode_context in slipway:parallelism",
    "disaggregation-mode": "use slipway:roles, prefill and decode",
    "dist-init-addr": _LAUNCHER,
    "dp-size": _ATTENTION_DP,
    "enable-dp-attention": _ATTENTION_DP,
    "host": "leave it out: the server listens where its role needs it",
    "kt-weight-path": "set slipway:experts where it is not the model's own folder",
    "model-path": "set slipway:model",
    "nnodes": _PARALLELISM,
    "node-rank": _LAUNCHER,
    "pipeline-parallel-size": _PARALLELISM,
    "port": "set slipway:port",
    "pp-size": _PARALLELISM,
    "speculative-draft-model-path": "set slipway:draft",
    "ssl-certfile": _TLS,
    "ssl-keyfile": _TLS,
    "tensor-parallel-size": _PARALLELISM,
    "tp-size": _PARALLELISM,
}
"""Options that Slipway sets, by every canonical name that a release has; what to write instead."""
ROUTER_RESERVED: Mapping[str, str] = {
    "decode": "leave it out: it is the first node of the role decode",
    "host": "leave it out: it is all addresses of its node, or that of slipway:endpoint.interface",
    "pd-disaggregation": "leave it out: roles are prefill and decode",
    "port": "set slipway:port",
    "prefill": "leave it out: it is the first node of the role prefill",
}
ROUTER = "sglang-router"
INIT_PORT, ROLE_PORT, BOOTSTRAP_PORT = 50000, 30000, 8998
"""The rendezvous of a group's nodes as in Kimi-K2's guide; and SGLang's own defaults of --port and of the KV transfer's
--disaggregation-bootstrap-port (sglang/srt/server_args.py)."""
HEALTH: Mapping[str, Argument] = {
    "cb-failure-threshold": 3,
    "cb-timeout-duration-secs": 5,
    "health-check-interval-secs": 2,
    "health-check-timeout-secs": 2,
    "health-failure-threshold": 2,
    "health-success-threshold": 1,
    "prometheus-host": "127.0.0.1",
    "worker-startup-check-interval": 1,
}
"""With these a server that died is left out after four seconds (measured, 0.3.2); by the router's own defaults it takes
minutes. Its metrics are not for everybody on the network."""
BOOTSTRAP = "disaggregation-bootstrap-port"
DCP = "--dcp-size"


class Sglang:
    """The engine `sglang`."""

    name: ClassVar[str] = "sglang"
    package: ClassVar[str] = "sglang"
    rendezvous: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "tcp"})
    roles: ClassVar[tuple[str, ...]] = ("prefill", "decode")
    guards: ClassVar[Guards] = "nothing"

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
        """The environment must hold the release, roles have a router, and experts lie on CPUs in the fork alone."""
        yield from software_problems(d, self.package)
        yield from layer_problems(d)
        if d.roles and d.router is None:
            yield refused("$.router", "nothing", f"{{name: {ROUTER}, release: …}}", why="clients need one address")
        if d.router and not d.roles:
            yield refused("$.router", d.router.name, "slipway:roles beside it", why="it stands before roles")
        if d.router and d.router.release in flag_table.releases(ROUTER):
            for problem in flag_table.load(ROUTER, d.router.release).problems(d.router.args, ROUTER_RESERVED):
                yield _moved(problem, "$.router.args")
        yield from _port_problems(d)
        if d.experts and not _on_cpu(d):
            yield refused("$.experts", d.experts, "kt-method among the engine's options", why="it has no effect alone")
        for part in d.parts:
            where = f"$.roles.{part.role}.parallelism" if part.role else "$.parallelism"
            if part.parallelism.decode_context > 1 and DCP not in flag_table.load(self.name, d.release).flags:
                found, why = str(part.parallelism.decode_context), f"{self.name} {d.release} has no {DCP}"
                yield refused(f"{where}.decode_context", found, "1", why=why)

    def files(self, d: Deployment) -> Mapping[str, str]:  # noqa: ARG002
        """It reads none."""
        return {}

    def servers(self, d: Deployment, place: Placement) -> tuple[str, ...]:  # noqa: ARG002
        """One."""
        return (at(*d.listen),)

    def ports(self, d: Deployment, rank: Rank) -> tuple[int, ...]:
        """A role's server and the KV transfer's bootstrap on its first node, and the rendezvous of several nodes."""
        part = d.part(rank.role)
        if not rank.is_head:
            return ()
        bootstrap = (int(str(part.args.get(BOOTSTRAP, BOOTSTRAP_PORT))),) if rank.role == "prefill" else ()
        return (*((ROLE_PORT,) if rank.role else ()), *bootstrap, *((INIT_PORT,) if rank.nodes > 1 else ()))

    def within(self, d: Deployment) -> Within | None:  # noqa: ARG002
        """It is the engine itself."""
        return None

    def command(self, d: Deployment, rank: Rank) -> Command:
        """`launch_server` of one node."""
        d = d.part(rank.role)
        table = flag_table.load(self.name, d.release)
        argv: list[Word] = ["python", "-m", "sglang.launch_server", "--model-path", paths.model(d)]
        if d.role:
            argv += ["--disaggregation-mode", d.role, "--host", rank.address, "--port", str(ROLE_PORT)]
        else:
            argv += ["--host", d.listen[0], "--port", str(d.listen[1])]
        args = {"served-model-name": d.served_name, **d.args}
        argv += rendered(table, {"served-model-name": args.pop("served-model-name")})
        argv += _parallelism(d.parallelism, table, args)
        if rank.nodes > 1:
            argv += ["--dist-init-addr", at_port(rank.head, INIT_PORT)]
            argv += ["--nnodes", str(rank.nodes), "--node-rank", rank.index]
        if d.draft:
            argv += ["--speculative-draft-model-path", paths.draft(d)]
        if _on_cpu(d):
            argv += ["--kt-weight-path", paths.experts(d)]
        argv += rendered(table, args)
        return Command(argv=tuple(argv), env={**fabric.environment(rank, d.env), **d.env})

    def router(self, d: Deployment, place: Placement) -> Command | None:
        """`launch_router` before the first node of each server; it runs where the first rank does."""
        if d.router is None or not d.roles:
            return None
        heads = [rank for rank in place.ranks if rank.is_head]
        bootstrap = str(d.part("prefill").args.get(BOOTSTRAP, BOOTSTRAP_PORT))
        argv: list[Word] = ["python", "-m", "sglang_router.launch_router", "--pd-disaggregation"]
        for rank in heads:
            argv += [f"--{rank.role}", f"http://{rank.head}:{ROLE_PORT}"]
            argv += [bootstrap] if rank.role == "prefill" else []
        argv += ["--host", d.listen[0], "--port", str(d.listen[1])]
        if d.router.release in flag_table.releases(ROUTER):
            argv += rendered(flag_table.load(ROUTER, d.router.release), {**HEALTH, **d.router.args})
        return Command(argv=tuple(argv))


class SglangKt(Sglang):
    """The engine `sglang-kt`: the fork that hands experts to KT-Kernel on the CPUs; the same command."""

    name: ClassVar[str] = "sglang-kt"
    package: ClassVar[str] = "sglang-kt"
    roles: ClassVar[tuple[str, ...]] = ()

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """What SGLang's are, and that kt-method is named."""
        yield from super().problems(d)
        if any(name.startswith("kt-") for name in d.args) and not _on_cpu(d):
            yield refused(
                "$.engine.args",
                "kt options without kt-method",
                "kt-method: RAWINT4, LLAMAFILE, AMXINT4 or another of kt-kernel's",
                why="its default, AMXINT4, takes weights that were converted for it",
            )


def _port_problems(d: Deployment) -> Iterator[Problem]:
    """Neither the endpoint's port nor that behind a gateway is one of SGLang's own."""
    taken = {ROLE_PORT, BOOTSTRAP_PORT} if d.router else set[int]()
    taken |= {INIT_PORT} if any(rank.nodes > 1 for rank in place(d).ranks) else set()
    for port in sorted({d.port, d.listen[1]} & taken):
        found = str(port) if port == d.port else f"{d.port}, which puts it behind its gateway on {port}"
        yield refused(
            "$.port",
            found,
            "another port",
            why="prefill and decode listen there on their nodes" if d.router else "its nodes meet there",
        )


def _on_cpu(d: Deployment) -> bool:
    return "kt-method" in d.args


def _parallelism(p: Parallelism, table: FlagTable, args: Mapping[str, Argument]) -> Iterator[str]:
    """SGLang counts attention's replicas inside its tensor ranks: `--tp-size` is all ranks of a pipeline stage."""
    ranks = p.tensor * p.data
    yield from ("--tp-size", str(ranks))
    if p.pipeline > 1:
        yield from ("--pp-size", str(p.pipeline))
    if p.decode_context > 1:
        yield from (DCP, str(p.decode_context))
    if p.data > 1 and "--attn-dp-size" in table.flags:
        yield from ("--attn-dp-size", str(p.data))
    elif p.data > 1:
        yield from ("--dp-size", str(p.data), "--enable-dp-attention")
    if p.expert and not {"ep-size", "expert-parallel-size"} & set(args):
        yield from ("--ep-size", str(ranks))


def _moved(problem: Problem, place: str) -> Problem:
    return replace(problem, where=problem.where.replace("$.engine.args", place, 1))
