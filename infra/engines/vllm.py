"""vLLM: `vllm serve` on one node, or one process a node that find each other over TCP."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from hosts.problem import Problem
from infra import paths
from infra.command import Command, Word
from infra.deployment import Argument, Deployment
from infra.flags import table as flag_table
from infra.placement import Rank, place
from infra.protocols import Rendezvous

_PARALLELISM = "set it in slipway:parallelism"
_PLAIN_HTTP = "readiness asks http://NODE:PORT; put TLS in front of it"
RESERVED: Mapping[str, str] = {
    "api-key": "leave it out: it is made on the host, or comes from slipway:secrets.api-key, and stands in no argv",
    "config": "write the options themselves in slipway:engine.args, where they are checked",
    "data-parallel-size": _PARALLELISM,
    "enable-expert-parallel": _PARALLELISM,
    "grpc": _PLAIN_HTTP,
    "headless": "leave it out: Slipway sets it on all nodes but the first",
    "host": "leave it out: the server listens on all addresses of its node",
    "master-addr": "leave it out: it is the job's first node",
    "model": "set slipway:model",
    "nnodes": _PARALLELISM,
    "node-rank": "leave it out: the launcher knows it",
    "pipeline-parallel-size": _PARALLELISM,
    "port": "set slipway:port",
    "root-path": "leave it out: readiness asks /v1 at the root",
    "ssl-certfile": _PLAIN_HTTP,
    "ssl-keyfile": _PLAIN_HTTP,
    "tensor-parallel-size": _PARALLELISM,
    "uds": "leave it out: clients come over the network",
}
"""Options that Slipway sets, or that would take the endpoint away from it; what to write instead."""


class Vllm:
    """The engine `vllm`."""

    name: ClassVar[str] = "vllm"
    rendezvous: ClassVar[frozenset[Rendezvous]] = frozenset({"single", "tcp"})

    def releases(self) -> tuple[str, ...]:
        """The releases that have a flag table."""
        return flag_table.releases(self.name)

    def argument_problems(self, release: str, args: Mapping[str, Argument]) -> Iterator[Problem]:
        """Options that the release lacks, that Slipway sets, or whose value its parser refuses."""
        yield from flag_table.load(self.name, release).problems(args, RESERVED)

    def problems(self, d: Deployment) -> Iterator[Problem]:
        """The environment must hold the release, and data parallelism must stay on one node."""
        found = [package.split(" ")[2] for package in d.software.packages if package.startswith("pip vllm ")]
        if found and found[0].partition("+")[0] != d.release:
            yield Problem(
                where="$.engine.release",
                rule="environment",
                found=d.release,
                wanted=f"{found[0]}, which the environment {d.software.name} holds",
                fix=f"set the release to {found[0].partition('+')[0]}, or name another environment",
                source=f"infra/environments/{d.software.name}/requirements.txt",
            )
        if d.software.requirements and not found:
            yield Problem(
                where="$.environment",
                rule="environment",
                found=f"{d.software.name}, which holds no vllm",
                wanted=f"an environment with vllm {d.release}",
                source=f"infra/environments/{d.software.name}/requirements.txt",
            )
        if d.parallelism.pipeline > d.model.architecture.layers:
            yield Problem(
                where="$.parallelism.pipeline",
                rule="parallelism",
                found=str(d.parallelism.pipeline),
                wanted=f"at most {d.model.architecture.layers}, the model's layers",
            )
        if d.parallelism.data > 1 and len(place(d).ranks) > 1:
            yield Problem(
                where="$.parallelism.data",
                rule="parallelism",
                found=f"{d.parallelism.data} replicas over {len(place(d).ranks)} nodes",
                wanted="data parallelism inside one node",
                why="each node would need an API server and a share of the ranks of its own",
                fix="use tensor or pipeline parallelism across nodes",
            )

    def command(self, d: Deployment, rank: Rank) -> Command:
        """`vllm serve` of one node; the first node's has the API server, the others are headless."""
        table = flag_table.load(self.name, d.release)
        argv: list[Word] = ["vllm", "serve", paths.model(d)]
        if rank.is_head:
            argv += ["--host", "0.0.0.0", "--port", str(d.port)]  # noqa: S104 - clients are on other machines; the key guards it
        else:
            argv += ["--headless"]
        args = {"served-model-name": d.served_name, **d.args}
        argv += flag_table.render(
            table.flags["--served-model-name"], "served-model-name", args.pop("served-model-name")
        )
        argv += _parallelism(d)
        if rank.nodes > 1:
            if "distributed-executor-backend" not in args:
                argv += ["--distributed-executor-backend", "mp"]
            argv += ["--nnodes", str(rank.nodes), "--node-rank", rank.index, "--master-addr", rank.head]
        for name, value in args.items():
            argv += flag_table.render(table.flags[f"--{name}"], name, value)
        env: dict[str, Word] = {"VLLM_CACHE_ROOT": f"{paths.cache(d)}/vllm", "VLLM_NO_USAGE_STATS": "1", **d.env}
        if rank.nodes > 1:
            env["VLLM_HOST_IP"] = rank.address
        return Command(argv=tuple(argv), env=env, secrets={"VLLM_API_KEY": "api-key"})


def _parallelism(d: Deployment) -> Iterator[str]:
    p = d.parallelism
    yield from ("--tensor-parallel-size", str(p.tensor))
    if p.pipeline > 1:
        yield from ("--pipeline-parallel-size", str(p.pipeline))
    if p.data > 1:
        yield from ("--data-parallel-size", str(p.data))
    if p.expert:
        yield "--enable-expert-parallel"
